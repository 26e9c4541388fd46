// fork and exec with everything that must be true of a long-lived process: a session of its own, a known environment,
// no inherited descriptor, its output appended to a log, its record on disk before it runs.
#pragma once

#include "base/error.h"
#include "local/identity.h"
#include "local/supervised.h"

namespace pgdba::local {

// A child of this process. It writes its own record before exec; an exec that fails is exit 127 and a line in the log.
Result<ProcessId> spawn(const Supervised& files, const Spec& spec);
int open_child_pidfd(pid_t pid);  // for an own child that was not reaped yet; -1 on failure

// Not a child: handed to the init process, with the rights of `identity` for good. Its name and marker are not set.
Result<void> spawn_detached(const Spec& spec, const Identity& identity);

}  // namespace pgdba::local
