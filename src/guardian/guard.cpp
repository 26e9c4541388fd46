#include "guardian/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "guardian/process.h"

namespace pgdba::guardian {

namespace {

constexpr int64_t kMs = 1'000'000;
// The agent moves the deadline by a plain store, and poll() does not count the time of a suspended host: look this
// often.
constexpr int64_t kSlice = 50 * kMs;
// A logger ends by itself once the last writer of its pipe is gone, and then has written everything: give it this long.
constexpr int64_t kLoggerGrace = 100 * kMs;

sigset_t signals_while_waiting;  // set once by prepare_signals()

void nothing(int) {}

// Waits until a signal arrives (a child ended, the agent wants us) or the time is over.
void nap(int64_t ns) {
  timespec timeout{};
  ns = std::max<int64_t>(ns, 0);
  timeout.tv_sec = ns / 1'000'000'000;
  timeout.tv_nsec = ns % 1'000'000'000;
  ppoll(nullptr, 0, &timeout, &signals_while_waiting);
}

// Collects ended children. True once there is no child left at all: then no descendant lives, because those of an ended
// child become ours (child subreaper).
bool reap(Page& page) {
  for (;;) {
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid == 0) return false;
    if (pid < 0) return errno == ECHILD;
    if (pid == page.postmaster_pid.load() && page.exit_status.load() < 0) page.exit_status.store(status);
  }
}

bool postmaster_ended(const Page& page) {
  return page.exit_status.load() >= 0;
}

// PostgreSQL writes the id of its shared memory segment as the last word of line 7.
void learn_shm_id(const Guarded& it) {
  char text[1024];
  if (it.page->shm_id.load() >= 0 || read_small(it.postmaster_pid_file, text, sizeof text) <= 0) return;
  if (std::strtol(text, nullptr, 10) != it.page->postmaster_pid.load()) return;
  const char* line = text;
  for (int i = 1; i < 7; ++i) {
    line = std::strchr(line, '\n');
    if (line == nullptr) return;
    ++line;
  }
  const char* end = std::strchr(line, '\n');
  if (end == nullptr) return;  // not written to its end
  char* after = nullptr;
  std::strtoul(line, &after, 10);
  if (after == line || after >= end) return;
  const char* id = after;
  long value = std::strtol(id, &after, 10);
  if (after != id) it.page->shm_id.store(static_cast<int32_t>(value));
}

bool segment_in_use(int id) {
  if (id < 0) return false;
  shmid_ds segment{};
  if (shmctl(id, IPC_STAT, &segment) != 0) return false;
  return segment.shm_nattch > 0;
}

bool is_logger(pid_t pid) {
  // "postgres: logger" or "postgres: <cluster>: logger", then blanks. A backend's title ends with what it is doing.
  char path[32];
  char text[512];
  std::snprintf(path, sizeof path, "/proc/%d/cmdline", static_cast<int>(pid));
  if (read_small(path, text, sizeof text) <= 0) return false;
  size_t length = std::strlen(text);
  while (length > 0 && text[length - 1] == ' ') --length;
  return length >= 16 && std::strncmp(text, "postgres: ", 10) == 0 && std::strncmp(text + length - 6, "logger", 6) == 0;
}

void kill_children_of(pid_t parent, bool spare_logger) {
  static pid_t pids[8192];
  int count = std::min(children_of(parent, pids, 8192), 8192);
  for (int i = 0; i < count; ++i) {
    if (spare_logger && is_logger(pids[i])) continue;
    kill(pids[i], SIGKILL);
  }
}

[[noreturn]] void become_postmaster(const Guarded& it) {
  // From here on the kernel ends PostgreSQL when the guardian dies. If it has died already, nobody would ever know.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != it.guardian) _exit(127);
  setsid();
  int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  dup2(it.log, 1);
  dup2(it.log, 2);
  // Ignored signals would stay ignored across exec, down to archive_command.
  for (int signal = 1; signal < 32; ++signal) std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv(it.postmaster[0], it.postmaster);
  it.page->exec_errno.store(errno);
  _exit(127);
}

}  // namespace

void prepare_signals() {
  struct sigaction action {};
  action.sa_handler = nothing;
  sigaction(SIGCHLD, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  sigfillset(&signals_while_waiting);
  sigdelset(&signals_while_waiting, SIGCHLD);
  sigdelset(&signals_while_waiting, SIGUSR1);
}

bool wait_for_go(const Guarded& it) {
  Page& page = *it.page;
  for (;;) {
    if (!is_alive(page.agent_pid, page.agent_start)) return false;
    int64_t deadline = page.deadline_ns.load();
    if (deadline != 0 && boot_now_ns() >= deadline) {
      page.killed_by_deadline.store(1);
      return false;
    }
    Command command = page.command.load();
    if (command == Command::go) return true;
    if (command != Command::none) return false;
    nap(20 * kMs);
  }
}

bool start_postmaster(const Guarded& it) {
  Page& page = *it.page;
  pid_t pid = fork();
  if (pid == 0) become_postmaster(it);
  if (pid < 0) {
    page.exec_errno.store(errno);
    return false;
  }
  page.postmaster_start.store(start_time_of(pid));
  page.postmaster_pid.store(pid);
  page.state.store(State::running);
  return true;
}

void watch(const Guarded& it) {
  Page& page = *it.page;
  bool told = false;
  for (;;) {
    reap(page);
    if (postmaster_ended(page)) return;
    learn_shm_id(it);
    int64_t now = boot_now_ns();
    int64_t until = now + kSlice;
    int64_t deadline = page.deadline_ns.load();
    if (deadline != 0) {
      if (now >= deadline) {
        page.told_to_stop.store(1);
        page.killed_by_deadline.store(1);
        return;
      }
      until = std::min(until, deadline);
    }
    Command command = page.command.load();
    if (command == Command::kill) {
      page.told_to_stop.store(1);
      return;
    }
    if (command == Command::stop_fast) {
      page.told_to_stop.store(1);
      int64_t end = page.fast_until_ns.load();
      if (now >= end) return;
      if (!told) kill(page.postmaster_pid.load(), SIGINT);
      told = true;
      until = std::min(until, end);
    }
    nap(until - now);
  }
}

void kill_everything(const Guarded& it) {
  Page& page = *it.page;
  page.killing_since_ns.store(boot_now_ns());
  page.state.store(State::killing);
  pid_t postmaster = page.postmaster_pid.load();
  // Ended by itself it has been reaped, and its pid may be somebody else's by now.
  if (!postmaster_ended(page)) {
    kill(postmaster, SIGKILL);
    kill_children_of(postmaster, true);
  }
  learn_shm_id(it);
  int64_t spare_until = page.killing_since_ns.load() + kLoggerGrace;
  while (!reap(page)) {
    int64_t now = boot_now_ns();
    kill_children_of(it.guardian, now < spare_until);
    nap(now < spare_until ? 1 * kMs : 10 * kMs);  // longer only where the kernel itself cannot end a process (disk)
  }
  while (segment_in_use(page.shm_id.load())) nap(1 * kMs);
  // A left-over postmaster.pid stops the next start when its pid belongs to somebody else by then. It is ours and
  // everybody it speaks of is dead.
  char text[64];
  if (read_small(it.postmaster_pid_file, text, sizeof text) > 0 && std::strtol(text, nullptr, 10) == postmaster) {
    unlink(it.postmaster_pid_file);
  }
}

void finish(const Guarded& it) {
  Page& page = *it.page;
  int file = openat(it.data_dir, "standby.signal", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || fsync(file) != 0 || fsync(it.data_dir) != 0) page.signal_file_errno.store(errno);
  if (file >= 0) close(file);
  page.all_dead_ns.store(boot_now_ns());
  page.state.store(State::all_dead);
  // Last, because the log may be on the disk that does not answer.
  if (page.postmaster_pid.load() == 0) return;
  const char* why = page.killed_by_deadline.load() != 0 ? "the deadline of the leader lock was over"
                    : page.told_to_stop.load() != 0     ? "its agent asked for it"
                                                        : "it ended by itself";
  char line[256];
  int length = std::snprintf(line, sizeof line, "pgdba guardian: PostgreSQL (postmaster %d) is all dead: %s\n",
                             page.postmaster_pid.load(), why);
  (void)!write(2, line, static_cast<size_t>(std::min<int>(length, sizeof line - 1)));
}

}  // namespace pgdba::guardian
