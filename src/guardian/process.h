// Who a process is: its pid and its start time together, since pids are used again.
//
// Plain system calls without allocation, so that the guardian may use all of it at any time.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace pgdba::guardian {

int64_t boot_now_ns();  // CLOCK_BOOTTIME

// Start time in clock ticks since boot; 0 when there is no such process, or only its zombie.
uint64_t start_time_of(pid_t pid);

inline bool is_alive(pid_t pid, uint64_t start) {
  return pid > 0 && start != 0 && start_time_of(pid) == start;
}

// A pidfd of exactly that process, or -1.
int open_pidfd(pid_t pid, uint64_t start);
bool signal_pidfd(int pidfd, int signal);

// Fills `pids` with the direct children of `parent`; returns how many there are (no more than `capacity` are filled
// in).
int children_of(pid_t parent, pid_t* pids, int capacity);

// Reads at most capacity - 1 bytes, puts a NUL behind them; -1 when the file cannot be read.
int read_small(const char* path, char* buffer, int capacity);

}  // namespace pgdba::guardian
