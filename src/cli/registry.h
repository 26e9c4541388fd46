// The clusters that this user knows: ~/.pgdba/clusters.json (0600, locked while it is changed, replaced as a whole) and
// the REST credentials of clusters that others run: ~/.pgdba/credentials (0600). The registry holds no secret.
//
// As root the files are those of the caller's HOME, whoever the cluster runs as.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/secret.h"
#include "base/time.h"
#include "cli/outcome.h"

namespace pgdba::cli {

struct Registered {
  std::string name;
  bool managed = false;  // made by `up` on this machine; else external, by `cluster connect`
  std::string root;      // managed: the folder of the cluster
  std::string compose;   // managed, and in containers: the folder of its compose file
  [[nodiscard]] const char* kind() const { return !managed ? "external" : compose.empty() ? "managed" : "docker"; }
  std::string scope;     // external, and in containers; else it is the name
  // External:
  std::string system_identifier;
  struct Member {
    std::string name;
    std::string endpoint;  // REST origin that answered from here, with this scope and identifier; empty: none did
    bool operator==(const Member&) const = default;
  };
  std::vector<Member> members;  // also those without an endpoint, to tell who is missing
  std::string pg_host;          // how PostgreSQL is reached from here; empty: as published
  uint16_t pg_port = 0;         // of the first member, the next ones follow; 0: as published
  std::string cacert;
  WallTime added{};
  bool operator==(const Registered&) const = default;
};

struct Credentials {
  std::string user;  // empty: none
  Secret password;
};

class Registry {
 public:
  explicit Registry(std::string folder) : folder_(std::move(folder)) {}
  static Registry of_caller();  // ~/.pgdba

  Outcome<std::vector<Registered>> read() const;  // sorted by name; no file: none
  // Under the lock: `change` gets what is there and may refuse.
  Outcome<void> change(const std::function<Outcome<void>(std::vector<Registered>&)>& change) const;
  Outcome<void> put(const Registered& entry) const;     // adds or replaces
  Outcome<bool> remove(const std::string& name) const;  // false: it was not there

  // PGDBA_REST_USER and PGDBA_REST_PASSWORD if set, else the line of `cluster`, else that of "*" in credentials:
  // "cluster:user:password", backslash before ':' and '\' in a field.
  Outcome<Credentials> credentials(const std::string& cluster) const;

  [[nodiscard]] std::string file() const { return folder_ + "/clusters.json"; }
  // What is kept about a cluster in containers: it is the caller's own, as this registry.
  [[nodiscard]] std::string docker_folder(const std::string& cluster) const { return folder_ + "/docker/" + cluster; }
  [[nodiscard]] std::string credentials_file() const { return folder_ + "/credentials"; }

 private:
  std::string folder_;
};

}  // namespace pgdba::cli
