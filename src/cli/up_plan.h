// What `up` is going to make or start: where, with which programs and ports. Refuses before anything is written.
#pragma once

#include <string>

#include "cli/commands.h"
#include "local/cluster_file.h"
#include "local/identity.h"
#include "local/machine.h"

namespace pgdba::cli {

// Where the cluster is, or shall be.
Outcome<std::string> find_root(const Context& context, const UpOptions& options);

// The folder exists and belongs to the user that the cluster runs as; as root also those above it are open to that
// user.
Outcome<void> prepare_root(const std::string& root, const local::Identity& identity);

// It is empty, but for what an `up` leaves that died before it wrote cluster.json.
bool folder_is_free(const std::string& root);

struct UpPlan {
  local::ClusterFile cluster;
  bool is_new = false;
};
// The cluster that is in this folder, if the options agree with it, or a plan for a new one.
Outcome<UpPlan> plan_up(const Context& context, const UpOptions& options, const std::string& root,
                        const local::Identity& identity);

// Every port of what does not run yet is free, or held by a process of this very cluster.
Outcome<void> check_ports(const local::Machine& machine);

}  // namespace pgdba::cli
