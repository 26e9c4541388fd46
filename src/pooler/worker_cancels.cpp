// Cancel requests on their way: to the server, to other workers, to peers.
#include <algorithm>
#include <cerrno>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "net/log.h"
#include "pooler/address.h"
#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/resolver.h"
#include "pooler/worker.h"
#include "wire/pg_startup.h"

namespace pgdba::pooler {

namespace {

constexpr int64_t kCancelPatience = 10'000'000;  // microseconds

}  // namespace

void Worker::send_cancel(pool::Server& server) {
  // Its peer, whatever that is by now: the key says which backend is meant. Encrypted if the connection is.
  Socket* socket = socket_of(server);
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  waiting_[server.id] = &server;
  if (socket != nullptr && ::getpeername(socket->fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 &&
      begin_cancel(peer, size, server.key, {.id = server.id, .peer = 0, .sent = false, .request = {}}, socket)) {
    return;
  }
  post([this, id = server.id] {
    if (auto* conn = alive(id)) core_.cancel_sent(static_cast<pool::Server&>(*conn));
  });
}

void Worker::on_canceller(Socket& socket, uint32_t events) {
  const bool before = socket.connecting || socket.handshake;
  if (socket.connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) socket.connecting = false;
  if (!socket.connecting) {
    socket.flush();
    if (socket.handshake) negotiate(socket);
    if (socket.dead) return;
    if (before && !socket.handshake) {
      Cancel& cancel = cancels_[&socket];
      const pool::Slice slice{cancel.request.data(), cancel.request.size()};
      socket.send({&slice, 1});
      cancel.sent = true;
      if (cancel.peer != 0) limits_.peers.sent(cancel.peer);
    }
  }
  // The server closes when it has read it.
  if (socket.broken || (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) gone(socket, "");
}

// A connection that carries the request and nothing else; gone() follows when it has ended. `like`: encrypted as that one is.
bool Worker::begin_cancel(const sockaddr_storage& address, unsigned size, const wire::CancelKey& key, Cancel cancel, const Socket* like) {
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  auto* canceller = new Socket(Kind::canceller, fd);
  canceller->connecting = true;
  canceller->deadline = core_.now() + kCancelPatience;
  if (like != nullptr && like->tls != nullptr) ask_for_tls(*canceller, like->tls->context(), like->tls->host());
  wire::append_cancel_request(cancel.request, key);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 && errno != EINPROGRESS) {
    delete canceller;
    return false;
  }
  cancels_[canceller] = std::move(cancel);
  add(*canceller);
  return true;
}

bool Worker::cancel_for(pool::Client& requester, const wire::CancelKey& key) {
  if (colleagues_.size() <= 1) return false;
  auto missing = std::make_shared<std::atomic<size_t>>(colleagues_.size() - 1);
  const std::function<void()> ended = [this, id = requester.id, missing] {
    if (missing->fetch_sub(1) == 1) post([this, id] { core_.peer_cancelled(id); });
  };
  for (const auto& colleague : colleagues_) {
    if (colleague.get() == this) continue;
    colleague->post([other = colleague.get(), key, ended] {
      pool::Client& proxy = other->core_.accept(nullptr);
      proxy.own = true;
      other->proxies_[&proxy] = ended;
      other->core_.cancel(key, false, &proxy);
    });
  }
  return true;
}

void Worker::cancel_at_peer(pool::Client& requester, int peer, const wire::CancelKey& key) {
  const uint64_t id = requester.id;
  const Loaded& loaded = directory_.loaded();
  const auto& peers = loaded.config.peers;
  auto found = std::find_if(peers.begin(), peers.end(), [&](const conf::PeerEntry& each) { return each.id == peer; });
  if (found == peers.end()) {
    log::warning("pooler", "could not find peer to forward request to: peer_id={}", peer);
    post([this, id] { core_.peer_cancelled(id); });
    return;
  }
  waiting_[id] = &requester;
  const auto begin = [this, id, key, entry = *found] {
    // Whoever asked has gone, or has waited for cancel_wait_timeout.
    if (alive(id) == nullptr) limits_.peers.give(entry.id, false);
    else pass_to_peer(id, key, entry);
  };
  switch (limits_.peers.take(peer, found->pool_size.value_or(loaded.config.settings.default_pool_size), [this, begin] { post(begin); })) {
    case PeerPools::Verdict::go: post(begin); return;
    case PeerPools::Verdict::wait: return;
    case PeerPools::Verdict::refused: break;
  }
  log::warning("pooler", "a cancel request is dropped, so many wait for their turn: peer_id={}", peer);
  post([this, id] { core_.peer_cancelled(id); });
}

// Its turn has come; gone() gives the place back.
void Worker::pass_to_peer(uint64_t requester, const wire::CancelKey& key, const conf::PeerEntry& entry) {
  const auto forward = [this, requester, key, id = entry.id, port = entry.port](const std::vector<std::string>& addresses) {
    Address address;
    if (!addresses.empty() && make_address(addresses.front(), port, address) &&
        begin_cancel(address.storage, address.size, key, {.id = requester, .peer = id, .sent = false, .request = {}}, nullptr)) {
      return;
    }
    limits_.peers.give(id, false);
    core_.peer_cancelled(requester);
  };
  Address ready;
  if (make_address(entry.host, entry.port, ready)) return forward({entry.host});
  resolver_.resolve(entry.host, [this, forward](Resolver::Answer answer) {
    post([forward, addresses = std::move(answer.addresses)] { forward(addresses); });
  });
}

void Worker::cancel_elsewhere(const wire::CancelKey& key) {
  for (size_t i = 0; i < colleagues_.size(); ++i) {
    if (i == number_) continue;
    colleagues_[i]->post([other = colleagues_[i].get(), key] { other->core_.cancel(key, false); });
  }
}

}  // namespace pgdba::pooler
