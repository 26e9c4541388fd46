#include "net/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/text.h"
#include "net/asio_util.h"
#include "net/spawn.h"

extern char** environ;

namespace pgdba::net {
namespace {

std::vector<std::string> environment(const ProcessSpec& spec) {
  std::vector<std::string> out;
  auto replaced = [&](std::string_view name) {
    for (const auto& [key, value] : spec.env) {
      if (key == name) return true;
    }
    return false;
  };
  if (!spec.clean_env) {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      std::string_view text = *entry;
      if (!replaced(text.substr(0, text.find('=')))) out.emplace_back(text);
    }
  }
  for (const auto& [key, value] : spec.env) {
    if (!value.empty()) out.push_back(key + "=" + value);
  }
  return out;
}

Result<std::string> find_program(const std::string& name) {
  if (name.empty()) return fail(Errc::invalid, "no program given");
  if (name.find('/') != std::string::npos) return name;
  const char* path = getenv("PATH");
  for (const std::string& dir : split(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
    std::string candidate = (dir.empty() ? "." : dir) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return fail(Errc::not_found, fmt::format("cannot start {}: not found in PATH", name));
}

Error system_error(Errc code, std::string_view what, int error) {
  return Error{code, fmt::format("{}: {}", what, strerror(error))};
}

int pidfd_open(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

Result<void> pidfd_signal(int pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return {};
  return tl::unexpected(
      system_error(errno == ESRCH ? Errc::not_found : Errc::denied, "cannot send a signal", errno));
}

bool readable_now(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

}  // namespace

std::string ExitStatus::describe() const {
  if (code) return fmt::format("exited with code {}", *code);
  if (!signal) return "is running";
  const char* name = sigabbrev_np(*signal);
  return fmt::format("was killed by signal {} (SIG{})", *signal, name != nullptr ? name : "?");
}

Result<RunAs> find_user(const std::string& name) {
  std::array<char, 16384> buffer;
  passwd entry{};
  passwd* found = nullptr;
  getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) return fail(Errc::not_found, fmt::format("there is no user {}", name));
  int count = 64;
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (getgrouplist(name.c_str(), found->pw_gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<size_t>(count));
    getgrouplist(name.c_str(), found->pw_gid, groups.data(), &count);
  }
  groups.resize(static_cast<size_t>(count));
  return RunAs{found->pw_uid, found->pw_gid, std::move(groups), found->pw_dir};
}

// ---- Process

struct Process::Impl {
  Impl(Loop& l, Spawned child, size_t limit)
      : loop(l),
        pid(child.pid),
        capture_bytes(limit),
        pidfd(l.context(), child.pidfd.release()),
        pipe(l.context()),
        ended(l) {}
  // The child is reaped only here: until then neither its pid nor its group can belong to anybody else.
  ~Impl() {
    siginfo_t info{};
    waitid(P_PIDFD, static_cast<id_t>(pidfd.native_handle()), &info, WEXITED | WNOHANG);
  }

  Loop& loop;
  pid_t pid;
  uint64_t start_time = 0;
  bool group = false;
  bool detached = false;
  size_t capture_bytes;
  asio::posix::stream_descriptor pidfd;
  asio::posix::stream_descriptor pipe;
  std::string output;
  bool truncated = false;
  std::optional<ExitStatus> status;
  bool finished = false;  // ended and its output read
  Event ended;

  std::optional<ExitStatus> look() const {
    siginfo_t info{};
    int fd = const_cast<asio::posix::stream_descriptor&>(pidfd).native_handle();
    if (waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED | WNOWAIT | WNOHANG) != 0) return std::nullopt;
    if (info.si_pid == 0) return std::nullopt;
    if (info.si_code == CLD_EXITED) return ExitStatus{info.si_status, std::nullopt};
    return ExitStatus{std::nullopt, info.si_status};
  }

  static Task<void> read_output(std::shared_ptr<Impl> self) {
    std::array<char, 8192> buffer;
    while (true) {
      auto [ec, size] = co_await self->pipe.async_read_some(asio::buffer(buffer), as_result);
      if (ec) break;
      self->output.append(buffer.data(), size);
      if (self->output.size() > self->capture_bytes) {
        self->output.erase(0, self->output.size() - self->capture_bytes);
        self->truncated = true;
      }
    }
  }

  static Task<void> watch(std::shared_ptr<Impl> self) {
    Job reader;
    if (self->pipe.is_open()) reader = self->loop.start(read_output(self), "process output");
    while (!(self->status = self->look())) {
      co_await self->pidfd.async_wait(asio::posix::stream_descriptor::wait_read, as_result);
      co_await checkpoint();
    }
    // Its own children may hold the pipe open for ever.
    co_await self->loop.run_until(reader.join(), self->loop.after(100ms));
    co_await reader.stop();
    self->finished = true;
    self->ended.notify();
  }
};

Result<std::unique_ptr<Process>> Process::start(Loop& loop, ProcessSpec spec) {
  SpawnPlan plan;
  auto path = find_program(spec.argv.empty() ? std::string() : spec.argv[0]);
  if (!path) return tl::unexpected(path.error());
  plan.path = std::move(*path);
  plan.env = environment(spec);
  plan.argv = std::move(spec.argv);
  plan.cwd = std::move(spec.cwd);
  plan.own_group = spec.own_group;
  plan.own_session = spec.own_session;
  plan.parent_death_signal = spec.parent_death_signal;
  plan.umask = spec.umask;
  if (spec.run_as) {
    plan.switch_user = true;
    plan.uid = spec.run_as->uid;
    plan.gid = spec.run_as->gid;
    plan.groups = spec.run_as->groups;
  }
  plan.in = Fd(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!plan.in) return tl::unexpected(system_error(Errc::unavailable, "cannot open /dev/null", errno));
  Fd read_end;
  switch (spec.output) {
    case ProcessSpec::Output::inherit: break;
    case ProcessSpec::Output::discard: plan.out = Fd(fcntl(plan.in.get(), F_DUPFD_CLOEXEC, 3)); break;
    case ProcessSpec::Output::append:
      plan.out = Fd(open(spec.append_to.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
      if (!plan.out) return tl::unexpected(system_error(Errc::invalid, "cannot write " + spec.append_to, errno));
      break;
    case ProcessSpec::Output::capture: {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(system_error(Errc::unavailable, "no pipe", errno));
      read_end = Fd(ends[0]);
      plan.out = Fd(ends[1]);
      break;
    }
  }
  auto child = spawn(std::move(plan));
  if (!child) return tl::unexpected(child.error());
  auto impl = std::make_shared<Impl>(loop, std::move(*child), spec.capture_bytes);
  impl->group = spec.own_group || spec.own_session;
  impl->start_time = process_start_time(impl->pid).value_or(0);
  if (read_end) impl->pipe.assign(read_end.release());
  loop.spawn(Impl::watch(impl), "process watch");
  return std::unique_ptr<Process>(new Process(std::move(impl)));
}

Process::~Process() {
  if (impl_->detached || impl_->look()) return;
  if (impl_->group) {
    (void)kill_group(SIGKILL);
  } else {
    (void)signal(SIGKILL);
  }
}

pid_t Process::pid() const { return impl_->pid; }
uint64_t Process::start_time() const { return impl_->start_time; }
std::optional<ExitStatus> Process::status() const { return impl_->look(); }
const std::string& Process::output() const { return impl_->output; }
bool Process::output_truncated() const { return impl_->truncated; }
void Process::detach() { impl_->detached = true; }

Task<Result<ExitStatus>> Process::wait(BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  while (!impl->finished) {
    if (!co_await impl->ended.wait_until(deadline) && !impl->finished) {
      co_return fail(Errc::timeout, fmt::format("process {} still runs", impl->pid));
    }
  }
  co_return *impl->status;
}

Result<void> Process::signal(int signal) {
  if (impl_->look()) return fail(Errc::not_found, fmt::format("process {} has ended", impl_->pid));
  return pidfd_signal(impl_->pidfd.native_handle(), signal);
}

Result<void> Process::kill_group(int signal) {
  if (!impl_->group) return fail(Errc::bug, "the process has no group of its own");
  if (kill(-impl_->pid, signal) == 0) return {};
  return tl::unexpected(system_error(errno == ESRCH ? Errc::not_found : Errc::denied, "cannot signal a group", errno));
}

Task<Result<ProcessResult>> run_process(Loop& loop, ProcessSpec spec, BootTime deadline) {
  std::string name = spec.argv.empty() ? "" : spec.argv[0];
  auto process = Process::start(loop, std::move(spec));
  if (!process) co_return tl::unexpected(process.error());
  auto status = co_await (*process)->wait(deadline);
  if (status) co_return ProcessResult{*status, (*process)->output()};
  if (auto killed = (*process)->kill_group(SIGKILL); !killed) (void)(*process)->signal(SIGKILL);
  (void)co_await (*process)->wait(loop.after(2s));
  std::string_view tail = trim((*process)->output());
  if (tail.size() > 500) tail.remove_prefix(tail.size() - 500);
  co_return fail(Errc::timeout, fmt::format("{} did not end in time and was killed{}{}", name,
                                         tail.empty() ? "" : ": ", tail));
}

// ---- ProcessWatch

Result<uint64_t> process_start_time(pid_t pid) {
  auto gone = [&] { return fail(Errc::not_found, fmt::format("there is no process {}", pid)); };
  Fd file(open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return gone();
  std::array<char, 4096> buffer;
  ssize_t size = read(file.get(), buffer.data(), buffer.size());
  if (size <= 0) return gone();
  std::string_view text(buffer.data(), static_cast<size_t>(size));
  // The name in brackets may hold anything, also ")": the last one ends it.
  size_t bracket = text.rfind(')');
  if (bracket == std::string_view::npos) return gone();
  std::vector<std::string> fields = split(trim(text.substr(bracket + 1)), ' ');  // from field 3, the state
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return gone();
  auto value = parse_int(fields[19]);
  if (!value) return gone();
  return static_cast<uint64_t>(*value);
}

struct ProcessWatch::Impl {
  Impl(Loop& loop, pid_t p, int fd) : pid(p), pidfd(loop.context(), fd), ended(loop) {}
  pid_t pid;
  asio::posix::stream_descriptor pidfd;
  Event ended;
  Job job;

  bool alive() { return !readable_now(pidfd.native_handle()); }

  static Task<void> watch(std::shared_ptr<Impl> self) {
    while (self->alive()) {
      co_await self->pidfd.async_wait(asio::posix::stream_descriptor::wait_read, as_result);
      co_await checkpoint();
    }
    self->ended.notify();
  }
};

Result<std::unique_ptr<ProcessWatch>> ProcessWatch::open(Loop& loop, pid_t pid, std::optional<uint64_t> start_time) {
  int fd = pid > 0 ? pidfd_open(pid) : -1;
  if (fd < 0) return fail(Errc::not_found, fmt::format("there is no process {}", pid));
  auto impl = std::make_shared<Impl>(loop, pid, fd);
  auto now = process_start_time(pid);
  if (!now || (start_time && *now != *start_time)) {
    return fail(Errc::not_found, fmt::format("process {} is gone{}", pid, now ? ", another one has its number" : ""));
  }
  impl->job = loop.start(Impl::watch(impl), "process watch");
  return std::unique_ptr<ProcessWatch>(new ProcessWatch(std::move(impl)));
}

ProcessWatch::~ProcessWatch() { impl_->job.cancel(); }

pid_t ProcessWatch::pid() const { return impl_->pid; }
bool ProcessWatch::alive() const { return impl_->alive(); }

Task<bool> ProcessWatch::exited(BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  while (impl->alive()) {
    if (!co_await impl->ended.wait_until(deadline)) co_return !impl->alive();
  }
  co_return true;
}

Result<void> ProcessWatch::signal(int signal) {
  if (!impl_->alive()) return fail(Errc::not_found, fmt::format("process {} has ended", impl_->pid));
  return pidfd_signal(impl_->pidfd.native_handle(), signal);
}

}  // namespace pgdba::net
