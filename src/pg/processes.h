// Processes of a data directory that have no guardian: a postmaster that somebody else started, what a killed
// postmaster left behind, and jobs (pg_basebackup, pg_rewind) of an agent that died.
//
// PostgreSQL and our jobs work in the data directory (cwd), by which, and by their program, they are found; nothing
// else is ever touched.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pg/layout.h"

namespace pgdba::pg {

// postmaster.pid: nullopt when absent or not written to its end of line 1.
struct PostmasterPid {
  pid_t pid = 0;
  int shm_id = -1;     // -1: not there yet
  std::string status;  // "starting", "stopping", "ready", "standby"; empty: not there yet
};
std::optional<PostmasterPid> read_postmaster_pid(const Layout& layout);

// postgres, pg_basebackup, pg_rewind and initdb processes of this user whose working folder is the data directory.
std::vector<pid_t> processes_in(const std::string& data_dir);

// Its pid, when a process of that pid works in the data directory.
std::optional<pid_t> living_postmaster(const Layout& layout);

bool shared_memory_in_use(int shm_id);

// Removes the sockets of this data directory's last server and their lock files from `folders` (as in the setting
// unix_socket_directories), which others may use too: only what the lock file says is ours. No server of ours may run. A
// postmaster that was killed and that nobody has reaped yet would keep the next one from its socket.
void remove_own_socket_locks(const Layout& layout, const std::string& folders, uint16_t port);

// SIGKILL to all that processes_in() finds, the postmaster first. True when nothing was left and the shared memory that
// postmaster.pid names is unused; then a stale postmaster.pid is removed too.
bool kill_unguarded(const Layout& layout);

}  // namespace pgdba::pg
