// Child processes without blocking the loop, and watching processes that are nobody's child.
//
// A child is started as posix_spawn does it (shared memory until exec, so a big agent starts it quickly), with stdin
// from /dev/null, default signal dispositions, an empty signal mask and no inherited descriptor but 0, 1, 2. It is
// awaited through its pidfd, so a reused pid can never be waited for or signalled by mistake.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/loop.h"
#include "net/task.h"

namespace pgdba::net {

struct RunAs {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::string home;
};
Result<RunAs> find_user(const std::string& name);  // not_found; reads the user database: may block where that is remote

struct ProcessSpec {
  ProcessSpec() = default;  // no aggregate: see task.h

  enum class Output { discard, capture, append, inherit };

  std::vector<std::string> argv;  // argv[0] is a path, or a name looked up in PATH
  std::vector<std::pair<std::string, std::string>> env;  // added to ours; an empty value removes the name
  bool clean_env = false;         // true: `env` is all it gets
  std::string cwd;                // empty: ours
  std::optional<RunAs> run_as;    // needs root; none: as we are
  Output output = Output::capture;  // of stdout and stderr together, in order
  size_t capture_bytes = 64 * 1024;  // the last so many bytes are kept
  std::string append_to;          // the file for Output::append, made with mode 0600, by us before switching user
  int parent_death_signal = 0;    // PR_SET_PDEATHSIG: sent to it when the thread that started it ends
  bool own_group = true;          // its own process group, so that kill_group() reaches its children
  bool own_session = false;       // setsid(): survives our terminal
  std::optional<mode_t> umask;
};

struct ExitStatus {
  std::optional<int> code;    // exited
  std::optional<int> signal;  // killed by it
  bool success() const { return code == 0; }
  std::string describe() const;  // "exited with code 1", "was killed by signal 9 (SIGKILL)"
};

// A started child. Destroying it while it runs kills its group (own_group) or itself and reaps it in the background,
// unless detach() was called.
class Process {
 public:
  static Result<std::unique_ptr<Process>> start(Loop& loop, ProcessSpec spec);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const;
  uint64_t start_time() const;  // as process_start_time()

  // Until it ended and its output was read (what its own children still write is waited for 100 ms more). timeout:
  // it still runs, wait again. Several tasks may wait.
  Task<Result<ExitStatus>> wait(BootTime deadline);
  std::optional<ExitStatus> status() const;  // none while it runs

  Result<void> signal(int signal);      // not_found once it ended
  Result<void> kill_group(int signal);  // everybody in its group; needs own_group or own_session
  const std::string& output() const;    // so far
  bool output_truncated() const;        // the beginning was dropped
  void detach();                        // lives on without us; reaped in the background while the loop runs

  struct Impl;

 private:
  explicit Process(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

struct ProcessResult {
  ExitStatus status;
  std::string output;
};
// Start, wait, and at the deadline SIGKILL to its group and Errc::timeout (with the end of its output in the text).
// An exit code other than 0 is a result, not an error. Cancelling kills it, too.
Task<Result<ProcessResult>> run_process(Loop& loop, ProcessSpec spec, BootTime deadline);

// Field 22 of /proc/<pid>/stat (clock ticks after boot): with the pid it names one process of this boot for good.
// not_found when there is no such process; a zombie counts as none.
Result<uint64_t> process_start_time(pid_t pid);

// Watches any process, child or not.
class ProcessWatch {
 public:
  // not_found when the process is gone or its start time is another one (the pid was reused).
  static Result<std::unique_ptr<ProcessWatch>> open(Loop& loop, pid_t pid, std::optional<uint64_t> start_time = {});
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

  pid_t pid() const;
  bool alive() const;                        // false as soon as it is dead, also before it was reaped
  Task<bool> exited(BootTime deadline);      // true: it ended; false: the deadline passed
  Result<void> signal(int signal);           // by pidfd: never another process

  struct Impl;

 private:
  explicit ProcessWatch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace pgdba::net
