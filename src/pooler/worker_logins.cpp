// What logins need of a worker: who is on the other end, and slow answers that come back by post.
#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>

#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

std::string Worker::peer_text(const pool::Client& client) {
  const Socket* socket = socket_of(client);
  if (socket == nullptr) return "unix";
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(socket->fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "unknown";
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return text + (":" + std::to_string(ntohs(v4.sin_port)));
  }
  if (peer.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(socket->fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return "unix";
  return "unix(" + std::to_string(who.pid) + "):" + std::to_string(directory_.loaded().config.settings.listen_port);
}

void Worker::derive_scram_keys(pool::Conn& for_whom, std::string_view password, const wire::ScramChallenge& challenge) {
  const uint64_t id = for_whom.id;
  waiting_[id] = &for_whom;
  auto keys = std::make_shared<Result<wire::ScramKeys>>(fail(Errc::cancelled, "not computed"));
  helpers_.submit([keys, challenge, secret = Secret(std::string(password))] { *keys = wire::scram_keys(secret.reveal(), challenge); },
                  [this, id, keys] {
                    post([this, id, keys] {
                      if (auto* conn = alive(id)) core_.derived(*conn, *keys);
                    });
                  });
}

conf::IpAddress Worker::peer_of(const pool::Client& client) const {
  const Socket* socket = socket_of(client);
  return socket == nullptr ? conf::IpAddress{} : socket->peer;
}

std::optional<Worker::PeerProcess> Worker::peer_process(const pool::Conn& conn) const {
  const Socket* socket = socket_of(conn);
  ucred who{};
  socklen_t size = sizeof who;
  if (socket == nullptr || socket->peer.size != 0) return std::nullopt;
  if (::getsockopt(socket->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return std::nullopt;
  return PeerProcess{who.pid, who.uid};
}

std::string Worker::peer_user(const pool::Client& client) const {
  const std::optional<PeerProcess> who = peer_process(client);
  if (!who) return {};
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> buffer;
  if (::getpwuid_r(who->uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return {};
  return entry.pw_name;
}

const TlsStream* Worker::tls_of(const pool::Conn& conn) const {
  const Socket* socket = socket_of(conn);
  return socket == nullptr || socket->handshake ? nullptr : socket->tls.get();
}

void Worker::refuse(const pool::Client& client, std::string_view why) {
  if (Socket* socket = socket_of(client)) core_.close_client(static_cast<pool::Client&>(*socket->conn), {.sqlstate = "28000", .text = why});
}

std::string Worker::admit(const pool::Client& client, const pool::Database& database) { return limits_.take_client(client, database); }

void Worker::forget(const pool::Client& client, const pool::Database& database) { limits_.give_client(client, database); }

void Worker::later(pool::Client& own, std::string request) {
  const uint64_t id = own.id;
  waiting_[id] = &own;
  post([this, id, request = std::move(request)] {
    if (auto* conn = alive(id)) core_.client_input(static_cast<pool::Client&>(*conn), request);
  });
}

void Worker::finish_own(pool::Client* own, uint64_t waiting, std::optional<Secret> secret, std::string problem) {
  uint64_t own_id = 0;
  if (own != nullptr) {
    own_id = own->id;
    waiting_[own_id] = own;
  }
  post([this, own_id, waiting, secret = std::move(secret), problem = std::move(problem)] {
    if (auto* conn = alive(own_id)) core_.client_gone(static_cast<pool::Client&>(*conn));
    auto* conn = alive(waiting);
    if (conn == nullptr) return;
    if (problem.empty()) core_.secret_found(static_cast<pool::Client&>(*conn), secret);
    else core_.close_client(static_cast<pool::Client&>(*conn), {.sqlstate = "08006", .text = problem});
  });
}

}  // namespace pgdba::pooler
