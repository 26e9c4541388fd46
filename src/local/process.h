// Processes named so that a reused pid is never mistaken for one of ours: pid and start time.
//
// A dead process that nobody has reaped yet (a zombie; in a container without an init these stay) counts as gone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "local/files.h"

namespace pgdba::local {

struct ProcessId {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // since boot, /proc/PID/stat field 22
  bool operator==(const ProcessId&) const = default;
};

struct ProcessStat {
  ProcessId id;
  pid_t parent = 0;
  char state = '?';  // R S D T t Z X …
  std::string name;  // at most 15 bytes
  [[nodiscard]] bool gone() const { return state == 'Z' || state == 'X'; }
  [[nodiscard]] bool frozen() const { return state == 'T'; }
};

std::optional<ProcessStat> read_stat(pid_t pid);
std::vector<ProcessStat> all_processes();  // without those that are gone
bool alive(const ProcessId& id);
std::string boot_id();                // changes with each boot; empty: not readable
std::string command_line(pid_t pid);  // arguments joined by blanks; empty for another user's or a kernel thread

// Becomes readable when the process ends. Errc::not_found: it has ended already, or the pid is another process now.
Result<Fd> open_pidfd(const ProcessId& id);
// False when it is gone already. Never signals a process that took over the pid.
bool send_signal(const ProcessId& id, int signal);
// True when all are gone before `patience` is over.
bool wait_gone(const std::vector<ProcessId>& ids, Duration patience);

// The processes of one node, or of one etcd member: whatever was started with `marker` in its environment, PostgreSQL
// processes whose working folder is `data_dir` (they overwrite their environment with their titles, and lose their
// parent when it is killed), and all descendants of these.
struct NodeMark {
  std::string marker;    // "PGDBA_NODE=<folder>"
  std::string data_dir;  // real path; empty: none
};
std::vector<ProcessStat> find_node(const NodeMark& mark);

// Signals all of them as nearly at once as can be, and again those that appeared meanwhile, until a search finds no
// new one: a postmaster forks until it is stopped itself. Returns everybody it reached, in the order of the search.
std::vector<ProcessStat> signal_node(const NodeMark& mark, int signal);
// SIGKILL, until a search finds none. Errc::timeout names who is left.
Result<std::vector<ProcessStat>> kill_node(const NodeMark& mark, Duration patience);

}  // namespace pgdba::local
