#include "pooler/daemon.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pgdba::pooler {

namespace {

// The pid in the file; 0: none. -1: there is no file.
Result<long> read_pid(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return -1;
  if (fd < 0) return fail(Errc::invalid, fmt::format("could not open pidfile '{}': {}", path, std::strerror(errno)));
  std::array<char, 32> text{};
  const ssize_t got = ::read(fd, text.data(), text.size() - 1);
  ::close(fd);
  if (got < 0) return fail(Errc::invalid, fmt::format("could not read pidfile '{}': {}", path, std::strerror(errno)));
  return std::max(0L, std::atol(text.data()));
}

}  // namespace

Result<void> PidFile::check(const std::string& path) {
  auto pid = read_pid(path);
  if (!pid) return tl::unexpected(pid.error());
  // Our own number, from before the machine or the container was started anew, is nobody else.
  if (*pid <= 0 || *pid == ::getpid() || *pid == ::getppid()) return {};
  if (::kill(static_cast<pid_t>(*pid), 0) != 0 && errno == ESRCH) return {};
  return fail(Errc::conflict, fmt::format("pidfile '{}' exists, another instance running?", path));
}

Result<void> PidFile::claim(const std::string& path) {
  if (auto free = check(path); !free) return free;
  const auto why = [&] { return fmt::format("could not write pidfile '{}': {}", path, std::strerror(errno)); };
  ::unlink(path.c_str());
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return fail(Errc::invalid, why());
  const std::string text = fmt::format("{}\n", ::getpid());
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const std::string problem = written ? "" : why();
  ::close(fd);
  path_ = path;
  if (!written) return fail(Errc::invalid, problem);
  return {};
}

PidFile::~PidFile() {
  if (path_.empty()) return;
  auto pid = read_pid(path_);
  if (pid && (*pid == ::getpid() || *pid == 0)) ::unlink(path_.c_str());
}

Background::~Background() {
  if (parent_ >= 0) ::close(parent_);  // without a word: the parent ends with 1
}

Result<void> Background::enter() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(Errc::unavailable, std::string("pipe failed: ") + std::strerror(errno));
  const pid_t child = ::fork();
  if (child < 0) return fail(Errc::unavailable, std::string("fork failed: ") + std::strerror(errno));
  if (child > 0) {
    ::close(ends[1]);
    char word = 0;
    ssize_t got = 0;
    do got = ::read(ends[0], &word, 1);
    while (got < 0 && errno == EINTR);
    ::_exit(got == 1 ? 0 : 1);
  }
  ::close(ends[0]);
  parent_ = ends[1];
  ::setsid();
  // Once more, so that no terminal ever becomes ours.
  const pid_t again = ::fork();
  if (again < 0) return fail(Errc::unavailable, std::string("fork failed: ") + std::strerror(errno));
  if (again > 0) ::_exit(0);
  return {};
}

void Background::ready() {
  if (parent_ < 0) return;
  if (const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    for (int fd : {0, 1, 2}) ::dup2(null, fd);
    ::close(null);
  }
  [[maybe_unused]] const ssize_t written = ::write(parent_, "1", 1);
  ::close(parent_);
  parent_ = -1;
}

Result<void> become(const std::string& user, const std::string& owned) {
  const passwd* found = ::getpwnam(user.c_str());
  if (found == nullptr) return fail(Errc::invalid, fmt::format("there is no user \"{}\" on this machine", user));
  if (::geteuid() != 0) {
    if (found->pw_uid == ::geteuid()) return {};
    return fail(Errc::invalid, fmt::format("only root can switch to user \"{}\"", user));
  }
  if (!owned.empty() && ::chown(owned.c_str(), found->pw_uid, static_cast<gid_t>(-1)) != 0) {
    return fail(Errc::invalid, fmt::format("{} cannot be given to user \"{}\": {}", owned, user, std::strerror(errno)));
  }
  if (::initgroups(user.c_str(), found->pw_gid) != 0 || ::setgid(found->pw_gid) != 0 || ::setuid(found->pw_uid) != 0) {
    return fail(Errc::invalid, fmt::format("cannot switch to user \"{}\": {}", user, std::strerror(errno)));
  }
  if (found->pw_uid != 0 && ::setuid(0) == 0) return fail(Errc::invalid, fmt::format("root was kept after the switch to user \"{}\"", user));
  return {};
}

FileLimit raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return {limit.rlim_cur, limit.rlim_max};
}

void notify_systemd(std::string_view text) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un name{};
  if (path == nullptr || (path[0] != '/' && path[0] != '@') || std::strlen(path) >= sizeof name.sun_path) return;
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path, std::strlen(path));
  if (path[0] == '@') name.sun_path[0] = 0;
  ::sendto(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&name),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path)));
  ::close(fd);
}

}  // namespace pgdba::pooler
