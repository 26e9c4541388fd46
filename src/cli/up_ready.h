// What `up` prints when the cluster is ready: its status, how to connect, what to type next. The same for processes and for
// containers.
#pragma once

#include "cli/context.h"
#include "cli/status_view.h"

namespace pgdba::cli {

inline constexpr const char* kNamesAreNoRoles =
    "A node's name says where it started, not its role: after a failover pg-primary may be a replica.";

// Then a command to copy has to name its cluster.
bool several_known(const Context& context);
void print_ready(const Context& context, const Target& target, const FullSight& full);

}  // namespace pgdba::cli
