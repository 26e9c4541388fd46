// The one small process that `up` leaves behind: it starts what is wanted and restarts what died, as systemd or
// Docker's restart policy would. It knows commands (local/supervised.h), not clusters.
//
// Invariants: what is wanted down is never started; a process is started only when the one in its record is gone; if
// the supervisor dies everything goes on, and the next one adopts what runs by its records (any process can be watched
// by pidfd, child or not). Back-off: 0.2 s doubling to 5 s, from the start again once a process has lived 10 s.
//
// Idle cost: it sleeps in epoll and wakes for a death, a changed file, a signal, a due restart, and once in 30 s to
// keep the logs bounded (copied to .1 and truncated beyond 8 MB).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "local/identity.h"
#include "local/supervised.h"

namespace pgdba::local {

inline constexpr int64_t kMaxLogBytes = 8 * 1024 * 1024;

// `pgdba supervisor FOLDER`: becomes the supervisor of that folder until SIGTERM; leaves its processes running.
// Returns the exit code: 0 told to end, 3 another one is there, 1 cannot work (see its log).
int supervisor_main(const std::string& folder, const std::string& log);

// Starts one with the rights of `identity`, detached from this process, its session and its terminal, and waits until
// it watches. `program`: the file to execute; empty: this very program.
Result<ProcessId> start_supervisor(const Supervised& supervised, const std::string& log, const Identity& identity,
                                   const std::string& program);

// For the tests.
Result<void> rotate_log(const std::string& path, int64_t limit);
int64_t next_backoff_ms(int64_t last_ms, Duration lived);

}  // namespace pgdba::local
