// The compose project of deployments/docker: what Compose itself makes of its files, .env and the environment
// (`docker compose config`), which of its containers exist, and what its passwords have to be.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "local/cluster_file.h"
#include "local/docker.h"

namespace pgdba::local {

struct ComposeProject {
  std::string folder;  // of docker-compose.yml
  std::string name;    // Compose's
  std::string scope;
  std::vector<ClusterFile::Node> nodes;  // services that publish PostgreSQL and the REST API
  std::vector<std::string> etcd;
  std::string pooler;  // the service that publishes the pooler
  uint16_t pooler_port = 0;
  struct Image {
    std::string service, name;
    bool built = false;  // here, where it is missing; else pulled
  };
  std::vector<Image> images;  // one entry per image
  Secret superuser, replication, pooler_password, rest_password;
  std::string rest_user;
  int ttl_s = 10;
  [[nodiscard]] std::vector<std::string> services() const;
};

// From the JSON of `docker compose config`, in which a $ of a value is written $$.
Result<ComposeProject> parse_compose_config(std::string_view json, const std::string& folder);
// What the other commands need of it, below `root`: cluster.json, the passfile, the REST password.
ClusterFile cluster_of(const ComposeProject& project, const std::string& name, const std::string& root, WallTime created);
Result<void> write_compose_state(const ClusterFile& cluster, const ComposeProject& project);
// invalid: with the variable that .env lacks, or with what Compose said.
Result<ComposeProject> read_compose_project(const std::string& folder);
// The rules of deployments/docker/entrypoint.sh, in its words. nullopt: good.
std::optional<std::string> problem_with_passwords(const ComposeProject& project);

inline std::string env_file_path(const std::string& folder) {
  return folder + "/.env";
}
// .env.example with two random passwords in it. One that is there is never touched: conflict.
Result<void> make_env_file(const std::string& folder);
std::string env_text(std::string_view example, const Secret& superuser, const Secret& replication);

struct Container {
  std::string id;
  std::string service;
  std::string state;   // Docker's: created, running, paused, restarting, exited, dead
  std::string status;  // "Up 4 seconds (healthy)"
  std::string folder;  // of the compose file that it was made from
  [[nodiscard]] bool running() const { return state == "running"; }
  [[nodiscard]] bool paused() const { return state == "paused"; }
  [[nodiscard]] bool well() const;  // it runs, and its health check, if it has one, has succeeded
};
// All of the project, sorted by service.
Result<std::vector<Container>> containers_of(const std::string& project);
std::vector<Container> parse_containers(std::string_view text);
// Names of what else it has in the engine: `kind` is volume or network.
Result<std::vector<std::string>> names_of(const char* kind, const std::string& project);

// As its members say, asked with etcdctl inside one that runs; empty: nobody leads, or nobody can be asked.
std::string etcd_leader_of(const std::vector<Container>& containers, const std::vector<std::string>& members);
std::string parse_etcd_leader(std::string_view text);

struct ContainerExits {
  std::string service;
  int64_t restarts = 0;
  int code = 0;  // of its last exit
};
Result<std::vector<ContainerExits>> exits_of(const std::vector<Container>& containers);

// A line of `docker compose logs --timestamps`.
struct ComposeLine {
  std::string service;
  std::string moment;  // RFC 3339 in UTC with nine digits: sorts as text
  std::string text;
};
std::optional<ComposeLine> parse_compose_line(std::string_view line);

// The commands of a project: `docker compose …` in its folder, whatever project the environment names. Placeholders stand in
// for passwords where .env is gone, and labels for the files where the folder is: to stop, to delete and to read logs needs neither.
// `project` empty: as its files and .env name it. The environment has no say in that: with somebody else's project's name in it `up`
// would make its containers there, and `down --purge` delete that project's volumes.
DockerCall compose_call(const std::string& folder, const std::string& project, std::vector<std::string> arguments);

}  // namespace pgdba::local
