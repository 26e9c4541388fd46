#include "pooler/listeners.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace pgdba::pooler {

namespace {

constexpr int kDeferSeconds = 45;  // as long as PgBouncer lets the kernel keep a client that says nothing
constexpr int kFirstInherited = 3;

void set(int fd, int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof value); }

Result<int> listen_on(const sockaddr* address, socklen_t size, const std::string& text, const conf::PoolerSettings& settings, bool reuse_port) {
  const int fd = ::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(Errc::unavailable, "cannot listen on " + text + ": " + std::strerror(errno));
  if (address->sa_family != AF_UNIX) {
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (reuse_port) set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (address->sa_family == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (settings.tcp_defer_accept) set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, kDeferSeconds);
  }
  if (::bind(fd, address, size) != 0 || ::listen(fd, std::max(1, settings.listen_backlog)) != 0) {
    const std::string why = std::strerror(errno);
    ::close(fd);
    return fail(Errc::unavailable, "cannot listen on " + text + ": " + why);
  }
  return fd;
}

// A group by name or number; -1: there is none.
long find_group(const std::string& name) {
  long number = -1;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size()) return number;
  const group* found = ::getgrnam(name.c_str());
  return found == nullptr ? -1 : static_cast<long>(found->gr_gid);
}

}  // namespace

void set_tcp_options(int fd, const conf::PoolerSettings& settings) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (settings.tcp_socket_buffer > 0) {
    set(fd, SOL_SOCKET, SO_SNDBUF, settings.tcp_socket_buffer);
    set(fd, SOL_SOCKET, SO_RCVBUF, settings.tcp_socket_buffer);
  }
  if (settings.tcp_keepalive) {
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (settings.tcp_keepcnt > 0) set(fd, IPPROTO_TCP, TCP_KEEPCNT, settings.tcp_keepcnt);
    if (settings.tcp_keepidle > 0) set(fd, IPPROTO_TCP, TCP_KEEPIDLE, settings.tcp_keepidle);
    if (settings.tcp_keepintvl > 0) set(fd, IPPROTO_TCP, TCP_KEEPINTVL, settings.tcp_keepintvl);
  }
  if (settings.tcp_user_timeout > 0) set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, settings.tcp_user_timeout);
}

Listeners::~Listeners() {
  if (!unix_path_.empty()) ::unlink(unix_path_.c_str());
}

Result<void> Listeners::open(const conf::PoolerSettings& settings, std::vector<std::string>& warnings) {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid != nullptr && count != nullptr && std::atol(pid) == ::getpid() && std::atol(count) > 0) {
    const bool all = inherit(static_cast<size_t>(std::atol(count)));
    ::unsetenv("LISTEN_PID");
    ::unsetenv("LISTEN_FDS");
    if (!all) warnings.emplace_back("some of the descriptors in LISTEN_FDS are no listening stream sockets, and are left alone");
    if (sockets_.empty()) return fail(Errc::unavailable, "none of the descriptors in LISTEN_FDS is a listening socket");
    return {};
  }
  if (auto opened = open_tcp(settings, warnings); !opened) return opened;
  if (auto opened = open_unix(settings); !opened) return opened;
  if (sockets_.empty()) return fail(Errc::invalid, "nothing to listen on: listen_addr and unix_socket_dir are both empty");
  return {};
}

void Listeners::set_defer_accept(bool on) {
  for (const Socket& socket : sockets_) {
    if (socket.tcp) set(socket.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, on ? kDeferSeconds : 0);
  }
}

bool Listeners::inherit(size_t count) {
  bool all = true;
  for (size_t i = 0; i < count; ++i) {
    const int fd = kFirstInherited + static_cast<int>(i);
    int listening = 0, type = 0, domain = 0;
    socklen_t size = sizeof listening;
    ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
    size = sizeof type;
    ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    size = sizeof domain;
    ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    if (listening == 0 || type != SOCK_STREAM) {
      all = false;
      continue;
    }
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    sockets_.push_back({fd, fmt::format("descriptor {} of the service manager", fd), domain != AF_UNIX, 0, true});
  }
  return all;
}

Result<void> Listeners::open_tcp(const conf::PoolerSettings& settings, std::vector<std::string>& warnings) {
  const size_t workers = static_cast<size_t>(std::max(1, settings.workers));
  bool any = settings.listen_addr.names.empty();
  for (const std::string& name : settings.listen_addr.names) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    addrinfo* list = nullptr;
    const std::string port = std::to_string(settings.listen_port);
    if (int code = ::getaddrinfo(name == "*" ? nullptr : name.c_str(), port.c_str(), &hints, &list); code != 0) {
      warnings.push_back(fmt::format("listen_addr: {}: {}", name, ::gai_strerror(code)));
      continue;
    }
    for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
      std::array<char, NI_MAXHOST> host{};
      ::getnameinfo(each->ai_addr, each->ai_addrlen, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST);
      const std::string text = each->ai_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port) : fmt::format("{}:{}", host.data(), port);
      if (!settings.so_reuseport && workers > 1) {
        // The workers share the port among themselves. Another process must not come to share it by accident.
        auto alone = listen_on(each->ai_addr, each->ai_addrlen, text, settings, false);
        if (!alone) {
          warnings.push_back(alone.error().text);
          continue;
        }
        ::close(*alone);
      }
      for (size_t worker = 0; worker < workers; ++worker) {
        auto fd = listen_on(each->ai_addr, each->ai_addrlen, text, settings, settings.so_reuseport || workers > 1);
        if (!fd) {
          warnings.push_back(fd.error().text);
          break;
        }
        sockets_.push_back({*fd, text, true, worker, false});
        any = true;
      }
    }
    ::freeaddrinfo(list);
  }
  if (!any) return fail(Errc::unavailable, "none of the addresses in listen_addr can be listened on");
  return {};
}

// A file that nobody answers behind is a dead process'.
Result<void> Listeners::open_unix(const conf::PoolerSettings& settings) {
  if (settings.unix_socket_dir.empty()) return {};
  const std::string path = settings.unix_socket_dir + "/.s.PGSQL." + std::to_string(settings.listen_port);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path) return fail(Errc::invalid, "unix_socket_dir is too long: " + path);
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const bool abstract = path[0] == '@';
  if (abstract) name.sun_path[0] = 0;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  const auto* address = reinterpret_cast<const sockaddr*>(&name);
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // EAGAIN: somebody listens, and is busy.
  const bool answered = ::connect(probe, address, size) == 0 || errno == EAGAIN;
  ::close(probe);
  if (answered) return fail(Errc::conflict, "unix socket is in use, cannot continue");
  if (!abstract) {
    struct stat there{};
    if (::lstat(path.c_str(), &there) == 0 && !S_ISSOCK(there.st_mode)) return fail(Errc::conflict, path + " is there and is no socket");
    ::unlink(path.c_str());
  }
  auto fd = listen_on(address, size, "unix:" + path, settings, false);
  if (!fd) return tl::unexpected(fd.error());
  sockets_.push_back({*fd, "unix:" + path, false, 0, true});
  if (abstract) return {};
  unix_path_ = path;
  if (!settings.unix_socket_group.empty()) {
    const long group = find_group(settings.unix_socket_group);
    if (group < 0) return fail(Errc::invalid, "unix_socket_group: there is no group \"" + settings.unix_socket_group + "\"");
    if (::chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(group)) != 0) {
      return fail(Errc::invalid, fmt::format("unix_socket_group: {} cannot be given to \"{}\": {}", path, settings.unix_socket_group, std::strerror(errno)));
    }
  }
  if (::chmod(path.c_str(), static_cast<mode_t>(settings.unix_socket_mode)) != 0) {
    return fail(Errc::invalid, fmt::format("unix_socket_mode: {}: {}", path, std::strerror(errno)));
  }
  return {};
}

}  // namespace pgdba::pooler
