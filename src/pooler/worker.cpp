#include "pooler/worker.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <utility>

#include "net/log.h"
#include "pooler/console/console.h"
#include "pooler/digest.h"
#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/listeners.h"
#include "pooler/log_line.h"
#include "pooler/resolver.h"
#include "wire/pg_startup.h"

namespace pgdba::pooler {

namespace {

constexpr size_t kBuffer = 65536;
constexpr int kRounds = 8;                    // reads of one socket in a row, so that a fast one starves nobody
constexpr int kHandshakes = 1;                // TLS steps in one round: each may take a millisecond from those who are in
constexpr int64_t kTick = 333'000;            // microseconds
constexpr int64_t kLinger = 5'000'000;        // for the last bytes of a connection that ends
constexpr int64_t kCancelPatience = 10'000'000;
constexpr int64_t kAcceptPause = 5'000'000;   // without descriptors
constexpr size_t kMostCancels = 256;          // beyond it none is passed on to a peer: anybody may send one

int64_t clock_us() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// `text` is an IP address or the folder of a unix socket ("@name": abstract).
bool make_address(const std::string& text, int port, Address& address) {
  if (!text.empty() && (text[0] == '/' || text[0] == '@')) {
    auto* name = reinterpret_cast<sockaddr_un*>(&address.storage);
    const std::string path = text + "/.s.PGSQL." + std::to_string(port);
    if (path.size() >= sizeof name->sun_path) return false;
    name->sun_family = AF_UNIX;
    std::memcpy(name->sun_path, path.c_str(), path.size() + 1);
    if (text[0] == '@') name->sun_path[0] = 0;
    address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (text[0] == '@' ? 0 : 1));
    return true;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v4;
    return true;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v6;
    return true;
  }
  return false;
}

}  // namespace

Worker::Worker(ClientDirectory& directory, Limits& limits, Resolver& resolver, const std::vector<std::unique_ptr<Worker>>& colleagues, size_t number)
    : directory_(directory),
      limits_(limits),
      resolver_(resolver),
      colleagues_(colleagues),
      number_(number),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wakeup_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      core_(*this, directory, limits, directory.settings(), statement_digest, number),
      helpers_(4),
      buffer_(kBuffer) {
  add(*new Socket(Kind::wakeup, wakeup_));
  core_.set_now(clock_us());
}

Worker::~Worker() {
  helpers_.close();
  for (Socket* socket : sockets_) delete socket;
  ::close(epoll_);
}

void Worker::add(Socket& socket) {
  sockets_.insert(&socket);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  if (socket.kind != Kind::listener && socket.kind != Kind::wakeup) event.events |= EPOLLOUT;
  event.data.ptr = &socket;
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket.fd, &event);
}

void Worker::listen(int fd, bool tcp, bool shared) {
  auto* socket = new Socket(Kind::listener, fd);
  socket->tcp = tcp;
  socket->shared = shared;
  listeners_.push_back(socket);
  add(*socket);
}

void Worker::stop_listening_tcp() {
  for (Socket* socket : listeners_) {
    if (socket->tcp) bury(*socket);
  }
  std::erase_if(listeners_, [](const Socket* socket) { return socket->dead; });
}

// By a posted call, so that what was posted before is done.
void Worker::stop(std::string farewell) {
  post([this, farewell = std::move(farewell)] {
    core_.close_all_clients({.text = farewell});
    stopping_ = true;
  });
}

void Worker::post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wakeup_, &one, sizeof one);
}

void Worker::run_posted() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wakeup_, &count, sizeof count);
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (const auto& each : work) each();
}

void Worker::run() {
  std::array<epoll_event, 256> events;
  int64_t next_tick = clock_us() + kTick;
  while (!stopping_) {
    int64_t now = clock_us();
    const int64_t wait_us = again_.empty() ? std::max<int64_t>(0, next_tick - now) : 0;
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), static_cast<int>((wait_us + 999) / 1000));
    now = clock_us();
    core_.set_now(now);
    handshakes_ = 0;
    for (int i = 0; i < count; ++i) {
      auto& socket = *static_cast<Socket*>(events[static_cast<size_t>(i)].data.ptr);
      if (!socket.dead && !socket.leaving) on_event(socket, events[static_cast<size_t>(i)].events);
    }
    if (!again_.empty()) {
      std::vector<Socket*> again;
      again.swap(again_);
      for (Socket* socket : again) {
        socket->queued = false;
        if (socket->dead || socket->leaving || socket->closing) continue;
        if (socket->kind == Kind::listener) accept_clients(*socket);
        else if (socket->wanted) read(*socket);
      }
    }
    if (now >= next_tick) {
      next_tick = now + kTick;
      core_.tick();
      directory_.tick(now);
      if (console_ != nullptr) console_->tick(*this);
      expire();
    }
    if (!departures_.empty()) depart();
    core_.tidy();
    for (Socket* socket : graves_) delete socket;
    graves_.clear();
  }
}

void Worker::on_event(Socket& socket, uint32_t events) {
  switch (socket.kind) {
    case Kind::listener: accept_clients(socket); return;
    case Kind::wakeup: run_posted(); return;
    case Kind::http: return;
    case Kind::canceller: on_canceller(socket, events); return;
    case Kind::client:
    case Kind::server: break;
  }
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.hung_up = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) socket.broken = socket.broken || (events & EPOLLERR) != 0;
  if (socket.connecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) on_connected(socket);
    if (socket.dead || socket.connecting) return;
  }
  if ((events & EPOLLOUT) != 0 && !socket.out.empty() && socket.flush()) {
    if (socket.closing) {
      bury(socket);
      return;
    }
    core_.drained(*socket.conn);
  }
  if (socket.dead) return;
  if (socket.closing) {
    if (socket.hung_up || socket.broken) bury(socket);
    return;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) return;
  socket.readable = true;
  if (socket.wanted) {
    read(socket);
  } else if (socket.hung_up && socket.conn != nullptr) {
    // It waits and has gone away: nobody is to wait for it.
    gone(socket, "client unexpected eof");
  }
}

void Worker::read(Socket& socket) {
  if (socket.handshake) {
    if (++handshakes_ > kHandshakes) return look_again(socket);
    negotiate(socket);
    if (socket.dead || socket.handshake || socket.closing || !socket.wanted) return;
  }
  for (int round = 0; round < kRounds; ++round) {
    size_t got = 0;
    const Read result = socket.receive(buffer_.data(), buffer_.size(), got);
    if (result == Read::nothing) {
      socket.readable = false;
      return;
    }
    if (result == Read::closed) {
      gone(socket, socket.kind == Kind::client ? "client unexpected eof" : "server conn crashed?");
      return;
    }
    const bool all = socket.took_all(got, buffer_.size()) && !socket.hung_up;
    if (all) socket.readable = false;
    deliver(socket, {buffer_.data(), got});
    if (socket.dead || socket.closing || all) return;
    if (!socket.wanted || socket.handshake) return;  // `readable` stays: it goes on where it stopped
  }
  look_again(socket);
}

void Worker::deliver(Socket& socket, std::string_view bytes) {
  if (socket.kind == Kind::client) core_.client_input(static_cast<pool::Client&>(*socket.conn), bytes);
  else core_.server_input(static_cast<pool::Server&>(*socket.conn), bytes);
}

void Worker::look_again(Socket& socket) {
  if (socket.queued) return;
  socket.queued = true;
  again_.push_back(&socket);
}

// The other side has gone.
void Worker::gone(Socket& socket, std::string_view why) {
  pool::Conn* conn = socket.conn;
  socket.broken = true;
  if (conn == nullptr) {
    if (auto cancelled = cancels_.find(&socket); cancelled != cancels_.end()) {
      const Cancel cancel = cancelled->second;  // a copy: what follows may begin another one
      cancels_.erase(cancelled);
      if (cancel.peer) core_.peer_cancelled(cancel.id);
      else if (auto* waiting = alive(cancel.id)) core_.cancel_sent(static_cast<pool::Server&>(*waiting));
    }
    bury(socket);
    return;
  }
  if (socket.kind == Kind::client) core_.client_gone(static_cast<pool::Client&>(*conn));
  else core_.server_lost(static_cast<pool::Server&>(*conn), why);
}

void Worker::bury(Socket& socket) {
  if (socket.dead) return;
  socket.dead = true;
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket.fd, nullptr);
  if (socket.conn != nullptr) socket.conn->socket = nullptr;
  socket.conn = nullptr;
  sockets_.erase(&socket);
  graves_.push_back(&socket);
}

void Worker::accept_clients(Socket& listener) {
  if (accept_again_at_ != 0) return;
  for (int i = 0; i < 256; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int fd = ::accept4(listener.fd, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
      log::warning("pooler", "accept failed: {}; no new clients for {} s", std::strerror(errno), kAcceptPause / 1'000'000);
      accept_again_at_ = core_.now() + kAcceptPause;
      return;
    }
    if (listener.shared && colleagues_.size() > 1) {
      Worker* other = colleagues_[next_colleague_++ % colleagues_.size()].get();
      if (other != this) {
        other->post([other, fd, peer] { other->welcome(fd, peer); });
        continue;
      }
    }
    welcome(fd, peer);
  }
  look_again(listener);
}

void Worker::welcome(int fd, const sockaddr_storage& peer) {
  auto* socket = new Socket(Kind::client, fd);
  socket->peer = ip_of(peer);
  socket->peer_port = port_of(peer);
  if (peer.ss_family != AF_UNIX) set_tcp_options(fd, directory_.loaded().config.settings);
  pool::Client& client = core_.accept(socket);
  socket->conn = &client;
  add(*socket);
}

bool Worker::send(pool::Conn& to, std::span<const pool::Slice> bytes) {
  Socket* socket = socket_of(to);
  if (socket != nullptr) return socket->send(bytes);
  if (to.is_client && static_cast<pool::Client&>(to).own) {
    for (const pool::Slice& slice : bytes) directory_.own_output(static_cast<pool::Client&>(to), {slice.data, slice.size});
  }
  return true;
}

void Worker::want_input(pool::Conn& of, bool wanted) {
  Socket* socket = socket_of(of);
  if (socket == nullptr) return;
  socket->wanted = wanted;
  if (wanted && socket->readable) look_again(*socket);
}

void Worker::close(pool::Conn& conn) {
  waiting_.erase(conn.id);
  if (conn.is_client && console_ != nullptr && static_cast<pool::Client&>(conn).state == pool::ClientState::console) {
    console_->closed(*this, static_cast<pool::Client&>(conn));
  }
  if (conn.is_client && static_cast<pool::Client&>(conn).own) {
    if (auto proxy = proxies_.find(&conn); proxy != proxies_.end()) {
      const std::function<void()> ended = std::move(proxy->second);
      proxies_.erase(proxy);
      ended();
    } else {
      directory_.own_closed(static_cast<pool::Client&>(conn));
    }
  }
  Socket* socket = socket_of(conn);
  if (socket == nullptr) return;
  conn.socket = nullptr;
  socket->conn = nullptr;
  socket->say_goodbye();
  if (socket->out.empty() || socket->broken || socket->connecting) {
    bury(*socket);
    return;
  }
  socket->closing = true;
  socket->deadline = core_.now() + kLinger;
}

void Worker::expire() {
  if (accept_again_at_ != 0 && core_.now() >= accept_again_at_) {
    accept_again_at_ = 0;
    for (Socket* listener : listeners_) look_again(*listener);
  }
  directory_.drop_unused(core_.now());
  std::vector<Socket*> late;
  for (Socket* socket : sockets_) {
    if (socket->deadline != 0 && core_.now() > socket->deadline) late.push_back(socket);
  }
  for (Socket* socket : late) {
    gone(*socket, "connect timeout");
  }
}

pool::Conn* Worker::alive(uint64_t id) {
  auto found = waiting_.find(id);
  if (found == waiting_.end()) return nullptr;
  pool::Conn* conn = found->second;
  waiting_.erase(found);
  return conn;
}

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

void Worker::send_cancel(pool::Server& server) {
  // Its peer, whatever that is by now: the key says which backend is meant. Encrypted if the connection is.
  Socket* socket = socket_of(server);
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  waiting_[server.id] = &server;
  if (socket != nullptr && ::getpeername(socket->fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 &&
      begin_cancel(peer, size, server.key, {.id = server.id, .peer = false, .request = {}}, socket)) {
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
      const std::string& request = cancels_[&socket].request;
      const pool::Slice slice{request.data(), request.size()};
      socket.send({&slice, 1});
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
  const auto& peers = directory_.loaded().config.peers;
  auto found = std::find_if(peers.begin(), peers.end(), [&](const conf::PeerEntry& each) { return each.id == peer; });
  if (cancels_.size() >= kMostCancels || found == peers.end()) {
    log::warning("pooler", "could not find peer to forward request to: peer_id={}", peer);
    post([this, id] { core_.peer_cancelled(id); });
    return;
  }
  const auto forward = [this, id, key, port = found->port](const std::vector<std::string>& addresses) {
    Address address;
    const bool sent = !addresses.empty() && make_address(addresses.front(), port, address) &&
                      begin_cancel(address.storage, address.size, key, {.id = id, .peer = true, .request = {}}, nullptr);
    if (!sent) core_.peer_cancelled(id);
  };
  Address ready;
  if (make_address(found->host, found->port, ready)) {
    post([forward, host = found->host] { forward({host}); });
  } else {
    resolver_.resolve(found->host, [this, forward](Resolver::Answer answer) {
      post([forward, addresses = std::move(answer.addresses)] { forward(addresses); });
    });
  }
}

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

void Worker::suspect_leader() {
  if (look_) look_();
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

void Worker::console_begins(pool::Client& client) {
  if (console_ != nullptr) console_->begins(*this, client);
  else core_.client_gone(client);
}

size_t Worker::console_input(pool::Client& client, std::string_view bytes) {
  return console_ != nullptr ? console_->input(*this, client, bytes) : bytes.size();
}

void Worker::help(std::function<void()> work, std::function<void()> done) {
  helpers_.submit(std::move(work), [this, done = std::move(done)] { post(done); });
}

void Worker::ask_worker(pool::Pool& pool, size_t worker) {
  // Pools live as long as their worker. The names are copied: the other worker reads them while we go on.
  colleagues_[worker]->post([this, other = colleagues_[worker].get(), &pool, database = pool.database->name, user = pool.user] {
    if (auto transfer = other->core_.give_away(database, user)) {
      other->give_to_worker(number_, std::move(*transfer));
    } else {
      post([this, &pool] { core_.refused(pool); });
    }
  });
}

void Worker::give_to_worker(size_t worker, pool::Transfer transfer) {
  Socket* socket = socket_of(*transfer.server);
  socket->leaving = true;
  departures_.push_back({colleagues_[worker].get(), socket, std::move(transfer)});
}

void Worker::depart() {
  for (Departure& each : departures_) {
    Socket* socket = each.socket;
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket->fd, nullptr);
    sockets_.erase(socket);
    if (socket->queued) std::erase(again_, socket);
    socket->queued = false;
    each.to->post([to = each.to, socket, transfer = std::move(each.transfer)]() mutable { to->take_over(std::move(transfer), socket); });
  }
  departures_.clear();
}

void Worker::take_over(pool::Transfer transfer, Socket* socket) {
  pool::Pool* pool = directory_.pool_of(transfer.database, transfer.user);
  socket->leaving = false;
  if (pool == nullptr) {  // its database has left the file meanwhile
    limits_.give_server(transfer.database, transfer.user);
    delete transfer.server;
    delete socket;
    return;
  }
  socket->wanted = true;
  if (!directory_.is_current(*transfer.server, *pool)) {  // the other worker has not heard of the reload yet
    transfer.server->close_when_free = true;
    transfer.server->close_reason = "database configuration changed";
  }
  add(*socket);  // reports at once what came meanwhile
  if (socket->readable) look_again(*socket);  // what TLS has read already, it does not
  core_.adopt(std::move(transfer), *pool);
}

void Worker::cancel_elsewhere(const wire::CancelKey& key) {
  for (size_t i = 0; i < colleagues_.size(); ++i) {
    if (i == number_) continue;
    colleagues_[i]->post([other = colleagues_[i].get(), key] { other->core_.cancel(key, false); });
  }
}

void Worker::random(std::span<uint8_t> bytes) {
  for (uint8_t& byte : bytes) {
    if (random_left_ == 0) {
      while (::getrandom(random_.data(), random_.size(), 0) != static_cast<ssize_t>(random_.size())) {}
      random_left_ = random_.size();
    }
    byte = std::exchange(random_[--random_left_], uint8_t{0});
  }
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

void Worker::log(pool::LogLevel level, const pool::Conn* about, std::string_view text) {
  const Socket* socket = about == nullptr ? nullptr : socket_of(*about);
  log_line(level, about, socket, text, directory_.loaded().config.settings, core_.now());
}

}  // namespace pgdba::pooler
