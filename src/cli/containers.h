// What the commands share that work on a compose project: what to do when `docker` fails, and who is meant by a name.
#pragma once

#include <string>
#include <vector>

#include "cli/outcome.h"
#include "cli/target.h"
#include "local/compose.h"

namespace pgdba::cli {

// With the command that helps, where what Docker said is known.
Failure docker_failure(const Error& error, std::string next = {});
// Runs it; progress goes to `on_lines`, or nowhere.
Outcome<void> run_compose(const local::DockerCall& call);

// The services of these names; "etcd" means all members, "pooler" whatever the service is called. None: all.
Outcome<std::vector<std::string>> chosen_services(const local::ClusterFile& cluster, const std::vector<std::string>& wanted);

}  // namespace pgdba::cli
