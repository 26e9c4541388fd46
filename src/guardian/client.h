// The agent's side of the guardian: starts one per postmaster lifetime, moves its deadline, asks for the end, reads
// what became of it.
//
// Owns the mapping of the shared page and a pidfd of the guardian; destroying a Client touches neither process, and
// another Client (of a restarted agent) may adopt both. Blocking, but only for microseconds to about a millisecond
// (launch). One thread.
//
//   guardian::Client guard({.page = "/run/pgdba/x/guardian.page"});
//   guard.adopt();                          // once, at agent start; false: none lives
//   guard.set_deadline(deadline, owner);    // any time; a launch takes over what was set last
//   guard.launch({...});                    // page state: launching, then ready (or refused) within some 20 ms
//   ... remove standby.signal ...           // only once it is ready, with the deadline armed
//   guard.go();                             // forks the postmaster
//   guard.stop_fast(until) / guard.kill();  // state killing, then all_dead; the guardian exits
//
// Invariant: at most one guardian has the lock of a data directory; launch() while one lives is refused here, and by
// the lock if the page was lost.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "guardian/page.h"

namespace pgdba::guardian {

struct Settings {
  std::string page;                        // file in the run folder of this node
  std::string program = "/proc/self/exe";  // what has the subcommand "guardian"
};

// What makes this node the owner of the leader lock; remembered in the page for a restarted agent (L5).
struct Owner {
  int64_t lease = 0;
  int64_t leader_mod = 0;
  int64_t term = 0;
  bool operator==(const Owner&) const = default;
};

struct Launch {
  std::string data_dir;              // absolute
  std::string log_file;              // absolute; stdout and stderr of guardian and postmaster are appended
  std::vector<std::string> command;  // the postmaster: {"/usr/lib/postgresql/15/bin/postgres", "-D", …}
  // A deadline that is over: conflict for a primary; for a standby, which needs none, it is taken as disarmed.
  bool primary = false;
};

struct Status {
  bool page_found = false;  // of this boot; false: nothing below means anything
  bool guardian_alive = false;
  State state = State::launching;
  uint64_t incarnation = 0;
  pid_t guardian_pid = 0;
  pid_t postmaster_pid = 0;  // 0: not forked (yet)
  bool postmaster_alive = false;
  int shm_id = -1;
  std::optional<BootTime> deadline;
  Owner owner;
  // Meaningful once state is killing or all_dead.
  std::optional<int> exit_status;  // as wait() gives it
  bool told_to_stop = false;       // by the agent or by the deadline
  bool killed_by_deadline = false;
  Duration dying{};     // from the decision to kill until all were dead
  std::string problem;  // why it refused, could not run postgres, or could not put standby.signal back
  unsigned locked_kib = 0;
};

class Client {
 public:
  explicit Client(Settings settings);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Opens the page that an earlier agent left, if it is of this boot. True when its guardian lives.
  Result<bool> adopt();

  // A fresh page and a detached guardian. conflict: a guardian lives. Does not wait for `ready`.
  Result<void> launch(const Launch& launch);
  Result<void> go();

  // Atomic stores; they cannot fail and need no answer. nullopt disarms. Kept for the next launch, too.
  void set_deadline(std::optional<BootTime> deadline, const Owner& owner);
  // SIGINT to the postmaster now, SIGKILL to everything at `until`. Calling again moves `until`.
  void stop_fast(BootTime until);
  void kill();
  // SIGKILL to the guardian itself, which does not react (SIGSTOP): only after everything below it has been killed, for
  // it holds the lock of the data directory.
  void end_guardian();

  [[nodiscard]] Status status() const;
  // Readable when the guardian has exited; -1 without one. Belongs to the Client; stays valid until the next launch or
  // adopt.
  [[nodiscard]] int guardian_fd() const { return pidfd_; }

 private:
  void unmap();
  void close_pidfd();
  bool find_guardian() const;
  void wake() const;
  void store_owner(Page& page) const;

  Settings settings_;
  Page* page_ = nullptr;
  mutable int pidfd_ = -1;
  std::optional<BootTime> deadline_;
  Owner owner_;
};

}  // namespace pgdba::guardian
