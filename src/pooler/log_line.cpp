#include "pooler/log_line.h"

#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>

#include "net/log.h"
#include "pool/client_login.h"

namespace pgdba::pooler {

namespace {

constexpr std::string_view kLogin = "login attempt";
constexpr std::string_view kNewServer = "new connection to server";
constexpr std::string_view kClosing = "closing because: ";
constexpr std::string_view kPoolerError = "pooler error: ";

std::string text_of(const conf::IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.size == 4) ::inet_ntop(AF_INET, address.bytes.data(), text.data(), text.size());
  if (address.size == 16) ::inet_ntop(AF_INET6, address.bytes.data(), text.data(), text.size());
  return text.data();
}

std::string host_port(const std::string& host, uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::string unix_peer(const Socket& socket) {
  ucred who{};
  socklen_t size = sizeof who;
  ::getsockopt(socket.fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
  return fmt::format("unix({})", who.pid);
}

// As far as it is known: before the login there is no database and no user.
std::string_view database_of(const pool::Conn& conn) {
  if (!conn.is_client) return static_cast<const pool::Server&>(conn).pool->database->name;
  const auto& client = static_cast<const pool::Client&>(conn);
  if (client.pool != nullptr) return client.pool->database->name;
  return client.login && !client.login->database.empty() ? std::string_view(client.login->database) : "(nodb)";
}

std::string_view user_of(const pool::Conn& conn) {
  if (!conn.is_client) return static_cast<const pool::Server&>(conn).pool->user;
  const std::string& name = static_cast<const pool::Client&>(conn).user_name;
  return name.empty() ? std::string_view("(nouser)") : name;
}

std::string place_of(const pool::Conn& conn, const Socket* socket) {
  if (!conn.is_client) return static_cast<const pool::Server&>(conn).address;
  if (socket == nullptr) return "(self)";
  if (socket->peer.size == 0) return unix_peer(*socket);
  return host_port(text_of(socket->peer), socket->peer_port);
}

std::string tls_of(const Socket* socket) {
  const std::string text = socket == nullptr ? std::string() : socket->tls_text();
  return text.empty() ? "no" : text;
}

}  // namespace

conf::IpAddress ip_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    return conf::ip_from_bytes({reinterpret_cast<const uint8_t*>(&v4), sizeof v4});
  }
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6)) return conf::ip_from_bytes({bytes + 12, 4});
    return conf::ip_from_bytes({bytes, sizeof v6});
  }
  return {};
}

uint16_t port_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

std::string text_of(const sockaddr_storage& address) { return text_of(ip_of(address)); }

void log_line(pool::LogLevel level, const pool::Conn* about, const Socket* socket, std::string_view text,
              const conf::PoolerSettings& settings, int64_t now) {
  if (about == nullptr) {
    switch (level) {
      case pool::LogLevel::debug: return log::debug("pooler", "{}", text);
      case pool::LogLevel::info: return log::info("pooler", "{}", text);
      case pool::LogLevel::warning: return log::warning("pooler", "{}", text);
      case pool::LogLevel::error: return log::error("pooler", "{}", text);
    }
  }
  std::string line(text);
  if (text == kLogin) {
    if (!settings.log_connections) return;
    const auto& client = static_cast<const pool::Client&>(*about);
    line = fmt::format("login attempt: db={} user={} tls={} replication={}", database_of(*about), user_of(*about), tls_of(socket),
                       client.replication ? "yes" : "no");
  } else if (text.starts_with(kNewServer)) {
    if (!settings.log_connections) return;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    line = kNewServer;
    if (socket != nullptr && ::getsockname(socket->fd, reinterpret_cast<sockaddr*>(&own), &size) == 0 && own.ss_family != AF_UNIX) {
      line += " (from " + host_port(text_of(own), port_of(own)) + ")";
    }
    if (socket != nullptr && socket->tls != nullptr) line += " tls=" + tls_of(socket);
  } else if (text.starts_with(kClosing)) {
    if (!settings.log_disconnections) return;
    line += fmt::format(" (age={}s)", about->connected_at == 0 ? 0 : (now - about->connected_at) / 1'000'000);
  } else if (text.starts_with(kPoolerError) && !settings.log_pooler_errors) {
    return;
  }
  line = fmt::format("{}-0x{:x}: {:.200}/{:.200}@{} {}", about->is_client ? 'C' : 'S', about->id, database_of(*about), user_of(*about),
                     place_of(*about, socket), line);
  switch (level) {
    case pool::LogLevel::debug: log::debug("pooler", "{}", line); break;
    case pool::LogLevel::info: log::info("pooler", "{}", line); break;
    case pool::LogLevel::warning: log::warning("pooler", "{}", line); break;
    case pool::LogLevel::error: log::error("pooler", "{}", line); break;
  }
}

}  // namespace pgdba::pooler
