// What a hard kill leaves outside the data directory: PostgreSQL's System V segment, which only its next start would
// remove, and its segments in /dev/shm. `down --purge` promises that nothing is left.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "local/cluster_file.h"
#include "local/identity.h"
#include "local/process.h"

namespace pgdba::local {

// Before a kill: notes which /dev/shm/PostgreSQL.* these processes have mapped, in <node>/shared_memory.
void remember_shared_memory(const ClusterFile& cluster, const std::string& node,
                            const std::vector<ProcessStat>& processes);
// After everything of the node is dead, before its folder is removed: PostgreSQL's segment if nobody is attached, with
// the control segment that it names, and what was noted if no process maps it.
void remove_shared_memory(const ClusterFile& cluster, const std::string& node);

// The program that the cluster's user can execute: this one (then the path is empty and /proc/self/exe is used, which
// works even when the folders above it are closed to that user), or a copy below `root` when its file itself is.
Result<std::string> program_for(const Identity& identity, const std::string& root);

}  // namespace pgdba::local
