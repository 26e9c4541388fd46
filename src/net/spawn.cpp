#include "net/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace pgdba::net {
namespace {

constexpr size_t stack_bytes = 64 * 1024;

// What the child reads and writes. It shares our memory until it executes the program, and we stand still meanwhile.
struct ChildContext {
  const SpawnPlan* plan = nullptr;
  char* const* argv = nullptr;
  char* const* env = nullptr;
  pid_t parent = 0;
  const char* failed_step = nullptr;
  int error = 0;
};

void close_from(unsigned first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);  // kernels before 5.9
  unsigned last = limit.rlim_cur > 65536 ? 65536 : static_cast<unsigned>(limit.rlim_cur);
  for (unsigned fd = first; fd < last; ++fd) close(static_cast<int>(fd));
}

// Only system calls from here on; setuid and its kin raw, because glibc's would signal our threads.
int child_main(void* argument) {
  ChildContext& context = *static_cast<ChildContext*>(argument);
  const SpawnPlan& plan = *context.plan;
  auto failed = [&](const char* step) {
    context.failed_step = step;
    context.error = errno;
    _exit(127);
  };

  struct sigaction fallback{};
  fallback.sa_handler = SIG_DFL;
  for (int signal = 1; signal < _NSIG; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &fallback, nullptr);
  }
  if (plan.own_session) {
    if (setsid() < 0) failed("start a session");
  } else if (plan.own_group) {
    if (setpgid(0, 0) != 0) failed("make a process group");
  }
  if (plan.switch_user) {
    if (syscall(SYS_setgroups, plan.groups.size(), plan.groups.data()) != 0) failed("set groups");
    if (syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) != 0) failed("set group id");
    if (syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) != 0) failed("set user id");
  }
  if (plan.umask) umask(*plan.umask);
  if (!plan.cwd.empty() && chdir(plan.cwd.c_str()) != 0) failed("enter the working directory");
  if (dup2(plan.in.get(), 0) < 0) failed("set stdin");
  if (plan.out && (dup2(plan.out.get(), 1) < 0 || dup2(plan.out.get(), 2) < 0)) failed("set stdout");
  close_from(3);
  if (plan.parent_death_signal != 0) {
    // After the change of user, which clears it.
    if (prctl(PR_SET_PDEATHSIG, plan.parent_death_signal) != 0) failed("set the parent death signal");
    if (getppid() != context.parent) _exit(127);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(plan.path.c_str(), context.argv, context.env);
  failed("execute");
  return 127;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// dup2() onto 0 to 2 must not overwrite its own source.
Result<void> above_stdio(Fd& fd) {
  if (!fd || fd.get() > 2) return {};
  Fd moved(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!moved) return fail(Errc::unavailable, fmt::format("cannot duplicate a descriptor: {}", strerror(errno)));
  fd = std::move(moved);
  return {};
}

Errc errc_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return Errc::not_found;
    case EACCES:
    case EPERM: return Errc::denied;
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE: return Errc::unavailable;
    default: return Errc::invalid;
  }
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

int Fd::release() { return std::exchange(fd_, -1); }

Result<Spawned> spawn(SpawnPlan plan) {
  for (Fd* fd : {&plan.in, &plan.out}) {
    if (auto moved = above_stdio(*fd); !moved) return tl::unexpected(moved.error());
  }
  auto argv = pointers(plan.argv);
  auto env = pointers(plan.env);
  ChildContext context{&plan, argv.data(), env.data(), getpid(), nullptr, 0};

  void* stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return fail(Errc::unavailable, "no memory for a child's stack");
  // No handler of ours may run in the child on our memory.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
  pid_t pid = clone(child_main, static_cast<char*>(stack) + stack_bytes, flags, &context, &pidfd);
  int clone_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  munmap(stack, stack_bytes);

  if (pid < 0) return fail(Errc::unavailable, fmt::format("cannot start {}: {}", plan.path, strerror(clone_error)));
  Fd owned(pidfd);
  if (context.failed_step != nullptr) {
    waitpid(pid, nullptr, 0);
    return fail(errc_of(context.error),
                fmt::format("cannot start {}: {}: {}", plan.path, context.failed_step, strerror(context.error)));
  }
  return Spawned{pid, std::move(owned)};
}

}  // namespace pgdba::net
