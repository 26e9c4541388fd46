#include "local/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace pgdba::local {

namespace {

// Runs in the child and does not return. The parent has one thread, so memory may be allocated here.
[[noreturn]] void become(const Spec& spec, const Identity& identity, const Supervised* files) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::umask(077);
  int log = ::open(spec.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  int null = ::open("/dev/null", O_RDWR);
  if (null < 0) ::_exit(126);
  ::dup2(null, STDIN_FILENO);
  ::dup2(log >= 0 ? log : null, STDOUT_FILENO);
  ::dup2(log >= 0 ? log : null, STDERR_FILENO);
  ::syscall(SYS_close_range, 3U, ~0U, 0U);
  auto give_up = [&](std::string_view what) {
    std::string text = errno_text(fmt::format("cannot start {}: {}", spec.name, what)) + "\n";
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) errno = 0;
    ::_exit(127);
  };
  if (::chdir(spec.folder.c_str()) != 0) give_up(spec.folder);
  if (files) {
    if (auto done = files->write_own_run(spec.name); !done) give_up(done.error().text);
  }
  std::vector<std::string> environment = spec.variables;
  environment.push_back("PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
  environment.push_back("HOME=" + identity.home);
  environment.push_back("USER=" + identity.user);
  environment.push_back("LANG=C.UTF-8");
  if (files) environment.push_back(node_marker(spec.folder));
  std::vector<char*> argv, envp;
  bool self = spec.argv.front() == "self";
  std::vector<std::string> arguments = spec.argv;
  if (self) arguments.front() = "pgdba";
  for (std::string& argument : arguments) argv.push_back(argument.data());
  for (std::string& variable : environment) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::execve(self ? "/proc/self/exe" : spec.argv.front().c_str(), argv.data(), envp.data());
  give_up(spec.argv.front());
  ::_exit(127);
}

}  // namespace

int open_child_pidfd(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

Result<ProcessId> spawn(const Supervised& files, const Spec& spec) {
  Identity identity = current_identity();
  pid_t pid = ::fork();
  if (pid < 0) return tl::unexpected(errno_error("fork"));
  if (pid == 0) {
    ::setsid();
    become(spec, identity, &files);
  }
  auto stat = read_stat(pid);
  return stat ? stat->id : ProcessId{pid, 0};
}

Result<void> spawn_detached(const Spec& spec, const Identity& identity) {
  pid_t pid = ::fork();
  if (pid < 0) return tl::unexpected(errno_error("fork"));
  if (pid == 0) {
    ::setsid();
    pid_t inner = ::fork();
    if (inner != 0) ::_exit(inner < 0 ? 1 : 0);
    if (!become_for_good(identity)) ::_exit(126);
    become(spec, identity, nullptr);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(Errc::invalid, "fork failed");
  return {};
}

}  // namespace pgdba::local
