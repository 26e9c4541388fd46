// The page that one guardian and its agent share: a file in the node's run folder, mapped by both.
//
// One page belongs to one postmaster lifetime. The agent creates it (a new file, renamed into place), the guardian
// finds it by path and launch id. Every field has one writer; a restarted agent finds in it all that it needs to take
// over both processes (L5). The guardian reads `deadline_ns` and `command`, nothing else, once it runs.
//
// Invariant: whatever a crash leaves behind is safe to read: single words are atomic, and the group {lease, leader_mod,
// term} counts only while `owner_seq` is even.
#pragma once

#include <atomic>
#include <cstdint>

namespace pgdba::guardian {

enum class State : uint32_t {
  launching,  // the agent made the page, no guardian has answered yet
  ready,      // the guardian holds the lock of the data directory and waits for `go`
  running,    // the postmaster was forked
  killing,    // it ended or is being killed; its descendants are being killed
  all_dead,   // the proof of G1; the guardian exits. Final
  refused,    // the guardian could not begin: `refusal` says why; nothing was started. Final
};

enum class Command : uint32_t { none, go, stop_fast, kill };

struct Page {
  static constexpr uint64_t kMagic = 0x6e61696472617567;  // "guardian"
  static constexpr uint32_t kVersion = 1;

  // Written by the agent before the page gets its name.
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  int32_t agent_pid = 0;
  uint64_t agent_start = 0;  // start times are those of /proc/<pid>/stat, in clock ticks since boot
  uint64_t incarnation = 0;  // random, never 0: the name of this postmaster lifetime
  char boot_id[40] = {};     // of the host's boot: pids, start times and the deadline mean nothing after another one

  // Written by the agent.
  std::atomic<int64_t> deadline_ns{0};  // CLOCK_BOOTTIME; 0: disarmed
  std::atomic<Command> command{Command::none};
  std::atomic<uint32_t> owner_seq{0};  // odd while the three fields below change
  std::atomic<int64_t> lease{0};
  std::atomic<int64_t> leader_mod{0};
  std::atomic<int64_t> term{0};
  std::atomic<int64_t> fast_until_ns{0};  // stop_fast: from then on the guardian kills

  // Written by the guardian.
  std::atomic<State> state{State::launching};
  std::atomic<int32_t> guardian_pid{0};
  std::atomic<uint64_t> guardian_start{0};
  std::atomic<int32_t> postmaster_pid{0};
  std::atomic<uint64_t> postmaster_start{0};
  std::atomic<int32_t> shm_id{-1};        // PostgreSQL's System V segment; -1: not known yet
  std::atomic<int32_t> exit_status{-1};   // of the postmaster, as wait() gives it; -1: not ended
  std::atomic<uint32_t> told_to_stop{0};  // the agent had asked for the end, or the deadline made it
  std::atomic<uint32_t> killed_by_deadline{0};
  std::atomic<int32_t> exec_errno{0};         // why the postgres program could not be run
  std::atomic<int32_t> signal_file_errno{0};  // why standby.signal could not be put back
  std::atomic<int64_t> killing_since_ns{0};
  std::atomic<int64_t> all_dead_ns{0};
  std::atomic<uint32_t> locked_kib{0};  // memory that is locked, for the log
  char refusal[256] = {};
};

static_assert(sizeof(Page) <= 4096);
static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<State>::is_always_lock_free);

}  // namespace pgdba::guardian
