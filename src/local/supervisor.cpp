#include "local/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <map>
#include <set>

#include "local/files.h"
#include "local/spawn.h"

namespace pgdba::local {

namespace {

constexpr Duration kTick = 10s;
constexpr int64_t kFirstBackoffMs = 200;
constexpr int64_t kLastBackoffMs = 5000;
constexpr Duration kHealthy = 10s;

BootTime boot_now() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return BootTime(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

WallTime wall_now() {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

BootTime started_at(const ProcessId& id) {
  static const uint64_t hertz = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  return BootTime(std::chrono::nanoseconds(id.start_ticks * (1000000000u / hertz)));
}

std::string describe_exit(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("exited with {}", WEXITSTATUS(status));
}

struct Watched {
  Spec spec;
  Want want = Want::up;
  ProcessId id;  // pid 0: not running
  Fd pidfd;
  bool child = false;  // ours to reap
  BootTime next_start{};
  Exits exits;
};

class Supervisor {
 public:
  Supervisor(const std::string& folder, std::string log) : files_(folder), log_(std::move(log)) {}
  int run();

 private:
  void say(std::string_view level, const std::string& text);
  bool prepare();
  void read_specs();
  void adopt(Watched& watched);
  void start_due();
  void start(Watched& watched);
  void reap();
  void look_at_pidfds();
  void died(Watched& watched, const std::string& how);
  void watch(Watched& watched);
  void rotate();
  int wait_ms() const;

  Supervised files_;
  std::string log_;
  Fd lock_, epoll_, inotify_, signals_;
  std::map<std::string, Watched> processes_;
  BootTime next_tick_{};
  bool end_ = false;
};

void Supervisor::say(std::string_view level, const std::string& text) {
  std::string line = fmt::format("{} {} supervisor: {}\n", format_utc(wall_now()), level, text);
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) errno = 0;  // nobody is left to tell
}

bool Supervisor::prepare() {
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&mask, signal);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  // A guardian whose agent died, and what an abandoned container's process 1 would never reap, come to us.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  signals_ = Fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!epoll_.open() || !signals_.open() || !inotify_.open()) return false;
  if (::inotify_add_watch(inotify_.get(), files_.folder().c_str(), IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF) < 0)
    return false;
  for (const Fd* fd : {&signals_, &inotify_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd->get();
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd->get(), &event) != 0) return false;
  }
  return true;
}

void Supervisor::read_specs() {
  std::vector<std::string> names = files_.names();
  std::erase_if(processes_, [&](const auto& entry) { return std::ranges::find(names, entry.first) == names.end(); });
  for (const std::string& name : names) {
    auto spec = files_.read_spec(name);
    if (!spec) {
      say("ERROR", spec.error().text);
      continue;
    }
    Want want = files_.read_want(name);
    auto [at, is_new] = processes_.try_emplace(name);
    Watched& watched = at->second;
    watched.spec = std::move(*spec);
    if (is_new) {
      watched.want = want;
      watched.exits = files_.read_exits(name);
      watched.exits.next.reset();
      watched.exits.backoff_ms = 0;
      adopt(watched);
    } else if (watched.want != want) {
      watched.want = want;
      // Somebody asked: neither the back-off nor the count of what happened before is kept.
      watched.next_start = BootTime{};
      watched.exits = want == Want::up ? Exits{} : watched.exits;
      watched.exits.next.reset();
      if (auto done = files_.write_exits(name, watched.exits); !done) say("ERROR", done.error().text);
    } else if (watched.exits.restarts > 0 && !exists(files_.file(name, "exits"))) {
      watched.next_start = BootTime{};
      watched.exits = {};
    }
  }
}

void Supervisor::adopt(Watched& watched) {
  auto id = files_.running(watched.spec.name);
  if (!id) return;
  auto fd = open_pidfd(*id);
  if (!fd) return;
  watched.id = *id;
  watched.pidfd = std::move(*fd);
  watched.child = false;
  watch(watched);
  say("INFO", fmt::format("{} runs as process {}: adopted", watched.spec.name, id->pid));
}

void Supervisor::watch(Watched& watched) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = watched.pidfd.get();
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched.pidfd.get(), &event);
}

void Supervisor::start_due() {
  for (auto& [name, watched] : processes_) {
    if (watched.want == Want::up && watched.id.pid == 0 && boot_now() >= watched.next_start) start(watched);
  }
}

void Supervisor::start(Watched& watched) {
  const std::string& name = watched.spec.name;
  // Its record may have been written after we read it: by a predecessor that is just being replaced, for example.
  adopt(watched);
  if (watched.id.pid != 0) return;
  auto id = spawn(files_, watched.spec);
  Fd fd = id ? Fd(open_child_pidfd(id->pid)) : Fd();
  if (!id || !fd.open()) {
    say("ERROR", fmt::format("cannot start {}: {}", name, id ? "no pidfd" : id.error().text));
    watched.exits.backoff_ms = next_backoff_ms(watched.exits.backoff_ms, 0s);
    watched.next_start = boot_now() + std::chrono::milliseconds(watched.exits.backoff_ms);
    return;
  }
  watched.id = *id;
  watched.pidfd = std::move(fd);
  watched.child = true;
  watch(watched);
  watched.exits.next.reset();
  say("INFO", fmt::format("started {} as process {}", name, id->pid));
  if (!watched.exits.last.empty()) {
    if (auto done = files_.write_exits(name, watched.exits); !done) say("ERROR", done.error().text);
  }
}

void Supervisor::died(Watched& watched, const std::string& how) {
  const std::string& name = watched.spec.name;
  Duration lived = boot_now() - started_at(watched.id);
  watched.id = {};
  watched.pidfd.reset();
  watched.exits.last = how;
  watched.exits.at = wall_now();
  watched.exits.next.reset();
  // The command that took it down wrote what is wanted before it sent the signal.
  watched.want = files_.read_want(name);
  if (watched.want == Want::up) {
    watched.exits.restarts++;
    watched.exits.backoff_ms = next_backoff_ms(watched.exits.backoff_ms, lived);
    auto delay = std::chrono::milliseconds(watched.exits.backoff_ms);
    watched.next_start = boot_now() + delay;
    watched.exits.next = wall_now() + delay;
    say("WARNING", fmt::format("{} {} after {:.1f} s; restart {} in {:.1f} s", name, how,
                               std::chrono::duration<double>(lived).count(), watched.exits.restarts,
                               std::chrono::duration<double>(delay).count()));
  } else {
    say("INFO", fmt::format("{} {}; it stays down as asked", name, how));
  }
  if (auto done = files_.write_exits(name, watched.exits); !done) say("ERROR", done.error().text);
}

void Supervisor::reap() {
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    for (auto& [name, watched] : processes_) {
      if (watched.child && watched.id.pid == pid) died(watched, describe_exit(status));
    }
  }
}

void Supervisor::look_at_pidfds() {
  for (auto& [name, watched] : processes_) {
    if (watched.id.pid != 0 && !watched.child && !alive(watched.id)) died(watched, "ended");
  }
}

void Supervisor::rotate() {
  // All that lies in the folders of the logs: what PostgreSQL says goes beside what its agent says.
  std::set<std::string> folders = {log_.substr(0, log_.rfind('/'))};
  for (const auto& [name, watched] : processes_) folders.insert(watched.spec.log.substr(0, watched.spec.log.rfind('/')));
  for (const std::string& folder : folders) {
    for (const std::string& name : list_folder(folder)) {
      if (!name.ends_with(".log")) continue;
      if (auto done = rotate_log(folder + "/" + name, kMaxLogBytes); !done) say("ERROR", done.error().text);
    }
  }
}

int Supervisor::wait_ms() const {
  BootTime next = next_tick_;
  for (const auto& [name, watched] : processes_) {
    if (watched.want == Want::up && watched.id.pid == 0) next = std::min(next, watched.next_start);
  }
  return static_cast<int>(std::clamp<int64_t>(to_ms(next - boot_now()) + 1, 0, to_ms(kTick)));
}

int Supervisor::run() {
  lock_ = Fd(::open(files_.lock_file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.open()) return 1;
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) return 3;
  if (!prepare()) {
    say("ERROR", errno_text("cannot set up"));
    return 1;
  }
  if (auto done = files_.write_own_run(Supervised::supervisor); !done) {
    say("ERROR", done.error().text);
    return 1;
  }
  say("INFO", fmt::format("watching {} as process {}", files_.folder(), ::getpid()));
  read_specs();
  next_tick_ = boot_now() + kTick;
  while (!end_) {
    start_due();
    epoll_event events[16];
    int n = ::epoll_wait(epoll_.get(), events, 16, wait_ms());
    for (int i = 0; i < n; ++i) {
      char buffer[4096];
      if (events[i].data.fd == signals_.get()) {
        signalfd_siginfo info{};
        while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
          if (info.ssi_signo != SIGCHLD) end_ = true;
        }
      } else if (events[i].data.fd == inotify_.get()) {
        while (::read(inotify_.get(), buffer, sizeof buffer) > 0) {
        }
        if (!exists(files_.folder())) end_ = true;  // purged under our feet
        if (!end_) read_specs();
      }
    }
    reap();
    look_at_pidfds();
    if (boot_now() >= next_tick_) {
      next_tick_ = boot_now() + kTick;
      rotate();
    }
  }
  say("INFO", "ends; what it started goes on");
  return 0;
}

}  // namespace

int64_t next_backoff_ms(int64_t last_ms, Duration lived) {
  if (last_ms == 0 || lived >= kHealthy) return kFirstBackoffMs;
  return std::min(last_ms * 2, kLastBackoffMs);
}

Result<void> rotate_log(const std::string& path, int64_t limit) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.open())
    return errno == ENOENT ? Result<void>{} : Result<void>(tl::unexpected(errno_error("cannot open " + path)));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || info.st_size <= limit) return {};
  // The writers hold the file open, so it is copied and emptied; they append, so they go on at its new end. What they
  // write between the copy and the cut is lost: log lines only, and far fewer than are thrown away on purpose.
  Fd copy(::open((path + ".1").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!copy.open()) return tl::unexpected(errno_error("cannot create " + path + ".1"));
  ::off_t offset = std::max<::off_t>(0, info.st_size - limit * 2);
  char buffer[65536];
  for (;;) {
    ssize_t n = ::pread(fd.get(), buffer, sizeof buffer, offset);
    if (n <= 0) break;
    if (::write(copy.get(), buffer, static_cast<size_t>(n)) != n)
      return tl::unexpected(errno_error("cannot write " + path + ".1"));
    offset += n;
  }
  if (::ftruncate(fd.get(), 0) != 0) return tl::unexpected(errno_error("cannot empty " + path));
  return {};
}

int supervisor_main(const std::string& folder, const std::string& log) {
  return Supervisor(folder, log).run();
}

Result<ProcessId> start_supervisor(const Supervised& supervised, const std::string& log, const Identity& identity,
                                   const std::string& program) {
  Spec spec;
  spec.name = Supervised::supervisor;
  spec.argv = {program.empty() ? "self" : program, "supervisor", supervised.folder(), log};
  spec.folder = "/";
  spec.log = log;
  auto done = spawn_detached(spec, identity);
  if (!done) return tl::unexpected(done.error());
  for (BootTime give_up = boot_now() + 5s; boot_now() < give_up;) {
    if (auto id = supervised.running(Supervised::supervisor)) return *id;
    timespec nap{0, 2000000};
    ::nanosleep(&nap, nullptr);
  }
  return fail(Errc::timeout, "the supervisor did not start; its log is " + log);
}

}  // namespace pgdba::local
