#include "net/port.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/text.h"
#include "net/asio_util.h"
#include "net/spawn.h"

namespace pgdba::net {
namespace {

using Tcp = asio::ip::tcp;

Task<void> connect_once(Tcp::socket& socket, Tcp::endpoint endpoint, error_code& out) {
  auto [ec] = co_await socket.async_connect(endpoint, as_result);
  out = ec;
}

Probe meaning(const error_code& ec) {
  if (!ec) return Probe::accepted;
  if (ec == asio::error::connection_refused) return Probe::refused;
  if (ec == asio::error::connection_reset) return Probe::refused;
  if (ec == asio::error::timed_out || ec == asio::error::operation_aborted) return Probe::timeout;
  return Probe::unreachable;
}

// One bind attempt. EAFNOSUPPORT and the like (no IPv6 here) do not count as taken.
bool can_bind(const sockaddr* address, socklen_t size, int family) {
  Fd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return true;
  int on = 1;
  if (family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  // Servers bind with SO_REUSEADDR, so a connection in TIME_WAIT must not count as a listener either.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), address, size) != 0) return errno != EADDRINUSE && errno != EACCES;
  // With SO_REUSEADDR only listening tells whether another listener has the port.
  return listen(fd.get(), 1) == 0;
}

struct Listener {
  uint64_t inode = 0;
  uid_t uid = 0;
  std::string address;
};

std::string kernel_address(std::string_view hex) {
  std::array<unsigned char, 16> bytes{};
  for (size_t i = 0; i + 1 < hex.size() && i / 2 < bytes.size(); i += 2) {
    bytes[i / 2] = static_cast<unsigned char>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  // Words of four bytes in the host's order; we run on little-endian hosts as well as others.
  for (size_t word = 0; word < hex.size() / 8; ++word) {
    uint32_t value = 0;
    for (size_t k = 0; k < 4; ++k) value = value << 8 | bytes[word * 4 + k];
    memcpy(&bytes[word * 4], &value, 4);
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(hex.size() == 8 ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
  return text.data();
}

std::optional<Listener> find_listener(const char* file, uint16_t port) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::vector<std::string> fields;
    for (const std::string& field : split(trim(line), ' ')) {
      if (!field.empty()) fields.push_back(field);
    }
    constexpr const char* listening = "0A";
    if (fields.size() < 10 || fields[3] != listening) continue;
    size_t colon = fields[1].find(':');
    if (colon == std::string::npos || fields[1].substr(colon + 1) != fmt::format("{:04X}", port)) continue;
    auto uid = parse_int(fields[7]);
    auto inode = parse_int(fields[9]);
    if (!uid || !inode) continue;
    return Listener{static_cast<uint64_t>(*inode), static_cast<uid_t>(*uid), kernel_address(fields[1].substr(0, colon))};
  }
  return std::nullopt;
}

struct Directory {
  explicit Directory(const std::string& path) : handle(opendir(path.c_str())) {}
  ~Directory() {
    if (handle != nullptr) closedir(handle);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const dirent* next() { return handle != nullptr ? readdir(handle) : nullptr; }
  DIR* handle;
};

std::optional<pid_t> find_owner(uint64_t inode) {
  std::string wanted = fmt::format("socket:[{}]", inode);
  std::optional<pid_t> found;
  Directory processes("/proc");
  while (const dirent* process = processes.next()) {
    auto pid = parse_int(process->d_name);
    if (!pid) continue;
    Directory descriptors(fmt::format("/proc/{}/fd", *pid));
    while (const dirent* entry = descriptors.next()) {
      std::array<char, 64> target{};
      std::string path = fmt::format("/proc/{}/fd/{}", *pid, entry->d_name);
      ssize_t size = readlink(path.c_str(), target.data(), target.size() - 1);
      // Children inherit a listener: the oldest process that has it is the one to name.
      if (size > 0 && wanted == target.data() && (!found || *pid < *found)) found = static_cast<pid_t>(*pid);
    }
  }
  return found;
}

}  // namespace

std::string_view to_string(Probe probe) {
  switch (probe) {
    case Probe::accepted: return "accepted";
    case Probe::refused: return "refused";
    case Probe::unreachable: return "unreachable";
    case Probe::timeout: return "timeout";
  }
  return "?";
}

Task<Probe> probe_tcp(Loop& loop, std::string host, uint16_t port, BootTime deadline) {
  auto addresses = co_await resolve(loop, host, deadline);
  if (!addresses) co_return Probe::unreachable;
  Probe worst = Probe::unreachable;
  for (size_t i = 0; i < addresses->size(); ++i) {
    error_code bad;
    Tcp::endpoint endpoint(asio::ip::make_address((*addresses)[i], bad), port);
    Tcp::socket socket(loop.context());
    error_code ec = asio::error::timed_out;
    BootTime now = boot_now();
    BootTime limit = now + (deadline - now) / static_cast<int64_t>(addresses->size() - i);
    co_await loop.run_until(connect_once(socket, endpoint, ec), limit);
    Probe probe = meaning(ec);
    if (probe == Probe::accepted) co_return probe;
    // A silent address outweighs a refusing one: it could be the one that is alive.
    if (i == 0 || probe == Probe::timeout || (probe == Probe::refused && worst == Probe::unreachable)) worst = probe;
  }
  co_return worst;
}

bool port_is_free(const std::string& address, uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  auto free4 = [&] { return can_bind(reinterpret_cast<sockaddr*>(&v4), sizeof v4, AF_INET); };
  auto free6 = [&] { return can_bind(reinterpret_cast<sockaddr*>(&v6), sizeof v6, AF_INET6); };
  if (address.empty() || address == "*") return free4() && free6();
  if (address == "localhost") {
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return free4();
  }
  if (inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) return free4();
  if (inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) return free6();
  return free4();  // a name: the strictest guess without asking a name server
}

Result<uint16_t> pick_free_port() {
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return fail(Errc::unavailable, fmt::format("no free port: {}", strerror(errno)));
  }
  return ntohs(address.sin_port);
}

std::optional<PortHolder> port_holder(uint16_t port) {
  auto listener = find_listener("/proc/net/tcp", port);
  if (!listener) listener = find_listener("/proc/net/tcp6", port);
  if (!listener) return std::nullopt;
  PortHolder out;
  out.uid = listener->uid;
  out.address = listener->address;
  out.pid = find_owner(listener->inode);
  if (out.pid) {
    std::ifstream comm(fmt::format("/proc/{}/comm", *out.pid));
    std::getline(comm, out.program);
  }
  return out;
}

}  // namespace pgdba::net
