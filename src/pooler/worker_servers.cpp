// A worker's way to servers: names, connections, TLS on both sides.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <utility>

#include "pooler/address.h"
#include "pooler/directory.h"
#include "pooler/listeners.h"
#include "pooler/log_line.h"
#include "pooler/resolver.h"
#include "pooler/worker.h"
#include "wire/pg_startup.h"

namespace pgdba::pooler {

void Worker::connect(pool::Server& server) {
  waiting_[server.id] = &server;
  const uint64_t id = server.id;
  Result<Target> target = directory_.target_of(*server.pool);
  if (!target) {
    // Not from within the call of the core.
    post([this, id, why = target.error()] {
      auto* conn = alive(id);
      if (conn == nullptr) return;
      auto& lost = static_cast<pool::Server&>(*conn);
      pool::Pool& pool = *lost.pool;
      core_.server_lost(lost, why.text);
      if (why.code != Errc::not_found) return;
      // It has left the file: nobody who waits here will ever get a server.
      for (pool::ClientQueue* queue : {&pool.waiting, &pool.newcomers}) {
        while (!queue->empty()) core_.close_client(queue->front(), {.text = why.text});
      }
    });
    return;
  }
  server.member = target->member;
  server.term = target->term;
  server.config = directory_.loaded().number;
  server.address = target->host + ":" + std::to_string(target->port);
  Address ready;
  if (make_address(target->host, target->port, ready)) {
    post([this, id, host = target->host, port = target->port] { connect_to(id, host, {host}, port, ""); });
    return;
  }
  resolver_.resolve(target->host, [this, id, host = target->host, port = target->port](Resolver::Answer answer) {
    post([this, id, host, port, answer = std::move(answer)] { connect_to(id, host, answer.addresses, port, answer.problem); });
  });
}

void Worker::connect_to(uint64_t server_id, const std::string& host, const std::vector<std::string>& addresses, int port,
                        const std::string& problem) {
  pool::Conn* conn = alive(server_id);
  if (conn == nullptr) return;
  auto& server = static_cast<pool::Server&>(*conn);
  Address address;
  if (addresses.empty() || !make_address(addresses.front(), port, address)) {
    core_.server_lost(server, "the name of its host is not known: " + problem);
    return;
  }
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    core_.server_lost(server, std::string("no socket: ") + std::strerror(errno));
    return;
  }
  if (address.storage.ss_family != AF_UNIX) set_tcp_options(fd, directory_.loaded().config.settings);
  auto* socket = new Socket(Kind::server, fd);
  socket->conn = &server;
  server.socket = socket;
  socket->connecting = true;
  const auto& context = directory_.loaded().tls.servers;
  if (context != nullptr && address.storage.ss_family != AF_UNIX) ask_for_tls(*socket, context, host);
  const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size);
  if (result != 0 && errno != EINPROGRESS && errno != EAGAIN) {
    const std::string why = std::string("connect failed: ") + std::strerror(errno);
    sockets_.insert(socket);
    core_.server_lost(server, why);
    return;
  }
  add(*socket);  // its first event says that it is connected, also when it is already
}

void Worker::on_connected(Socket& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    gone(socket, std::string("connect failed: ") + std::strerror(error));
    return;
  }
  socket.connecting = false;
  if (socket.handshake) socket.flush();
  else core_.server_connected(static_cast<pool::Server&>(*socket.conn));
}

void Worker::start_tls(pool::Client& client) {
  Socket* socket = socket_of(client);
  socket->tls = std::make_unique<TlsStream>(directory_.loaded().tls.clients, socket->fd);
  socket->handshake = true;
  look_again(*socket);  // not from within the core's call
}

// The request for it leaves first, in plain text.
void Worker::ask_for_tls(Socket& socket, const std::shared_ptr<const TlsContext>& context, const std::string& host) {
  socket.tls = std::make_unique<TlsStream>(context, socket.fd, host);
  socket.handshake = socket.asking = true;
  wire::append_ssl_request(socket.out);
}

// Goes as far as the bytes that are there allow.
void Worker::negotiate(Socket& socket) {
  const bool of_client = socket.kind == Kind::client;
  if (socket.asking) {
    switch (socket.tls_answer()) {
      case TlsAnswer::none_yet: return;
      case TlsAnswer::closed: gone(socket, "server closed the connection when it was asked for TLS"); return;
      case TlsAnswer::garbage: gone(socket, "server answered the request for TLS with something else"); return;
      case TlsAnswer::yes: socket.asking = false; break;
      case TlsAnswer::no:
        if (socket.tls->context()->mode >= conf::SslMode::require) {
          gone(socket, "server does not do TLS, and server_tls_sslmode demands it");
          return;
        }
        socket.asking = socket.handshake = false;
        socket.tls.reset();
        if (socket.conn != nullptr) core_.server_connected(static_cast<pool::Server&>(*socket.conn));
        return;
    }
  }
  if (of_client && !socket.conn->held.empty()) socket.tls->began_at_once(std::exchange(socket.conn->held, {}));
  switch (socket.shake_hands()) {
    case TlsStream::Step::more: return;
    case TlsStream::Step::failed: {
      const std::string why = "TLS handshake failed: " + socket.tls->problem();
      if (of_client) log(pool::LogLevel::warning, socket.conn, why);
      gone(socket, why);
      return;
    }
    case TlsStream::Step::done: break;
  }
  socket.handshake = false;
  if (of_client) core_.tls_ready(static_cast<pool::Client&>(*socket.conn));
  else if (socket.conn != nullptr) core_.server_connected(static_cast<pool::Server&>(*socket.conn));
}

std::string Worker::server_certificate_digest(const pool::Server& server) {
  const TlsStream* tls = tls_of(server);
  return tls == nullptr ? std::string() : tls->peer_digest();
}

void Worker::retire_vanished(const std::string& name, const std::vector<std::string>& addresses) {
  std::vector<pool::Server*> gone;
  for (const auto& pool : core_.pools()) {
    for (pool::ServerList* list : {&pool->idle, &pool->lent, &pool->busy, &pool->arriving}) {
      for (pool::Server& server : *list) {
        if (server.address.substr(0, server.address.rfind(':')) != name || socket_of(server) == nullptr) continue;
        sockaddr_storage peer{};
        socklen_t size = sizeof peer;
        if (::getpeername(socket_of(server)->fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
        if (std::ranges::find(addresses, text_of(peer)) == addresses.end()) gone.push_back(&server);
      }
    }
  }
  for (pool::Server* server : gone) core_.retire(*server, "server DNS name changed");
}

}  // namespace pgdba::pooler
