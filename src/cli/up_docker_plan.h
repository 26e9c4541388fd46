// What `up --docker` is going to make or start, and whatever speaks against it. Nothing here changes anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "local/compose.h"

namespace pgdba::cli {

// Of docker-compose.yml: --compose-dir, else where this cluster was made from, else deployments/docker of this program's own tree.
Outcome<std::string> find_compose_folder(const UpOptions& options, const std::string& registered);

struct DockerPlan {
  local::ComposeProject project;
  std::vector<local::Container> containers;  // before
  bool has_data = false;                     // volumes of an earlier start
  bool makes_env = false;                    // there is no .env yet
  std::vector<std::string> overridden;       // passwords that the environment has, which Compose prefers to those of .env
};
// An engine answers, .env keeps the rules, and no other folder's containers or data are in the way.
Outcome<DockerPlan> plan_up_docker(const std::string& folder);

// Every port of what does not run yet is free. `before`: the cluster's ports so far.
Outcome<void> check_published_ports(const DockerPlan& plan, const std::vector<uint16_t>& before);
// The database that runs takes the passwords of .env.
Outcome<void> check_passwords(Context& context, const DockerPlan& plan);
// The name is free, or of this very project.
Outcome<void> check_free_name(const Context& context, const UpOptions& options, const local::ComposeProject& project);

}  // namespace pgdba::cli
