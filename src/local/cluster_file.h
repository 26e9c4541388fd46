// What `up` decided about a cluster on this machine, kept in <root>/cluster.json so that every later command, also
// after a reboot, means the same ports, programs and members. Holds no secret. Written once; only the programs' folder
// changes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace pgdba::local {

enum class Profile {
  fast,      // ttl 3 s, etcd heartbeat 50 ms and election 500 ms
  standard,  // ttl 10 s, etcd's defaults
};
std::string_view to_string(Profile profile);
std::optional<Profile> parse_profile(std::string_view text);

inline constexpr int kMaxNodes = 7;
inline constexpr int kEtcdMembers = 3;
inline constexpr const char* kPooler = "pooler";  // its name among the processes, and of its folder

struct ClusterFile {
  struct Node {
    std::string name;  // where it started, not its role: pg-primary, pg-replica-1 …
    uint16_t pg_port = 0;
    uint16_t rest_port = 0;
    bool operator==(const Node&) const = default;
  };
  struct Etcd {
    std::string name;  // etcd1 …
    uint16_t client_port = 0;
    uint16_t peer_port = 0;
    bool operator==(const Etcd&) const = default;
  };
  // Its parts are containers of a compose project, not processes of ours. Then only names, ports and secrets count below.
  struct Compose {
    std::string folder;   // of docker-compose.yml
    std::string project;  // Compose's name for it
    std::string scope;
    std::string pooler;     // the service
    std::string rest_user;  // empty: the REST API takes writes from anybody
    int ttl_s = 10;         // when it was made
    bool operator==(const Compose&) const = default;
  };
  std::string name;  // also the scope, but of a compose project
  std::string root;  // the folder that holds all of it
  std::vector<Node> nodes;
  std::vector<Etcd> etcd;
  uint16_t pooler_port = 0;  // where applications connect
  int port_offset = 0;
  Profile profile = Profile::fast;
  std::string bin_dir;  // PostgreSQL's programs
  int pg_major = 0;
  std::string etcd_program;
  std::string token;        // of the etcd cluster; another one than any cluster before under this name
  std::string socket_root;  // unix sockets are in <socket_root>/<node>
  WallTime created{};
  std::optional<Compose> compose;
  bool operator==(const ClusterFile&) const = default;

  // The places, all below root.
  [[nodiscard]] std::string node_folder(const std::string& node) const { return root + "/" + node; }
  [[nodiscard]] std::string data_dir(const std::string& node) const { return root + "/" + node + "/data"; }
  [[nodiscard]] std::string yaml(const std::string& node) const { return root + "/" + node + "/patroni.yml"; }
  [[nodiscard]] std::string log_folder(const std::string& node) const { return root + "/" + node + "/log"; }
  [[nodiscard]] std::string socket_dir(const std::string& node) const { return socket_root + "/" + node; }
  [[nodiscard]] std::string etcd_data(const std::string& member) const { return root + "/" + member + "/data"; }
  [[nodiscard]] std::string pooler_folder() const { return root + "/" + kPooler; }
  [[nodiscard]] std::string pooler_ini() const { return pooler_folder() + "/pooler.ini"; }
  [[nodiscard]] std::string supervised() const { return root + "/supervised"; }
  [[nodiscard]] std::string secrets() const { return root + "/secrets"; }
  [[nodiscard]] std::string passfile() const { return root + "/pgpass"; }
  [[nodiscard]] std::string rest_url(const Node& node) const;      // "http://127.0.0.1:8008"
  [[nodiscard]] std::string client_url(const Etcd& member) const;  // "http://127.0.0.1:12379"
  [[nodiscard]] const Node* find_node(std::string_view node) const;
  [[nodiscard]] std::vector<uint16_t> ports() const;  // all that are listened on
};

inline std::string cluster_file_path(const std::string& root) {
  return root + "/cluster.json";
}
Result<ClusterFile> read_cluster_file(const std::string& root);
Result<void> write_cluster_file(const ClusterFile& cluster);

// "/var/lib/pgdba/NAME" for root, else "~/.local/share/pgdba/NAME".
std::string default_root(const std::string& name);
// Letters, digits, '-', '_', '.'; begins with a letter or digit; at most 40. nullopt: good; else what is wrong.
std::optional<std::string> problem_with_name(std::string_view name);
// The same for the folder: PostgreSQL's configuration and our own files take no quotes, commas, line ends … in a path.
std::optional<std::string> problem_with_root(std::string_view root);

// Where sockets can live so that "<folder>/<node>/.s.PGSQL.65535" stays within the 107 bytes of a unix address: below
// the root when that is short enough, else /tmp/pgdba-<uid>-<hash of root>.
std::string choose_socket_root(const std::string& root, const std::vector<ClusterFile::Node>& nodes, uint32_t uid);
// Names and ports of a new cluster with this many nodes (1 to 7) at this offset; etcd's ports are left at 0.
ClusterFile plan_cluster(const std::string& name, const std::string& root, int nodes, int port_offset);

}  // namespace pgdba::local
