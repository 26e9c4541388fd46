#include "pooler/worker.h"

#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/log.h"
#include "pooler/console/console.h"
#include "pooler/digest.h"
#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/listeners.h"
#include "pooler/log_line.h"
#include "wire/pg_startup.h"

namespace pgdba::pooler {

namespace {

constexpr size_t kBuffer = 65536;
constexpr int kRounds = 8;                    // reads of one socket in a row, so that a fast one starves nobody
constexpr int kHandshakes = 1;                // TLS steps in one round: each may take a millisecond from those who are in
constexpr int64_t kTick = 333'000;            // microseconds
constexpr int64_t kLinger = 5'000'000;        // for the last bytes of a connection that ends
constexpr int64_t kAcceptPause = 5'000'000;   // without descriptors

int64_t clock_us() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
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
  // Room to send: to see a connection made; to clients it is of interest only once something did not fit (Socket::await_room).
  socket.epoll = epoll_;
  socket.room_awaited = socket.connecting || !socket.out.empty();
  if (socket.room_awaited) event.events |= EPOLLOUT;
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
  } else if (socket.hung_up && socket.kind == Kind::client) {
    // It waits and has gone away: nobody is to wait for it. What a server said last is read first, when its client has room.
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
    if (!socket.wanted && socket.hung_up && socket.kind == Kind::client && static_cast<pool::Client&>(*socket.conn).server == nullptr) {
      return gone(socket, "client unexpected eof");  // what it waits for is for nobody
    }
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
      if (cancel.peer != 0) {
        limits_.peers.give(cancel.peer, cancel.sent);
        core_.peer_cancelled(cancel.id);
      } else if (auto* waiting = alive(cancel.id)) {
        core_.cancel_sent(static_cast<pool::Server&>(*waiting));
      }
    }
    bury(socket);
    return;
  }
  if (socket.kind == Kind::client) core_.client_gone(static_cast<pool::Client&>(*conn));
  else core_.server_lost(static_cast<pool::Server&>(*conn), why);
}

void Worker::bury(Socket& socket) {
  if (socket.dead) return;
  socket.dead = true;  // epoll forgets it when it is closed, at the end of this round
  if (socket.kind == Kind::client) limits_.disconnected();
  if (socket.conn != nullptr) socket.conn->socket = nullptr;
  socket.conn = nullptr;
  sockets_.erase(&socket);
  if (socket.queued) std::erase(again_, &socket);  // it would be looked at in the next round, when it is no more
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
  limits_.connected();
  // Its first message is mostly there by now: read before epoll is told, it needs no event of its own.
  sockets_.insert(socket);
  read(*socket);
  if (!socket->dead) add(*socket);
  if (limits_.too_many_logins()) core_.drop_oldest_login();
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

void Worker::suspect_leader() {
  if (look_) look_();
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

void Worker::random(std::span<uint8_t> bytes) {
  for (uint8_t& byte : bytes) {
    if (random_left_ == 0) {
      while (::getrandom(random_.data(), random_.size(), 0) != static_cast<ssize_t>(random_.size())) {}
      random_left_ = random_.size();
    }
    byte = std::exchange(random_[--random_left_], uint8_t{0});
  }
}

void Worker::log(pool::LogLevel level, const pool::Conn* about, std::string_view text) {
  const Socket* socket = about == nullptr ? nullptr : socket_of(*about);
  log_line(level, about, socket, text, directory_.loaded().config.settings, core_.now());
}

}  // namespace pgdba::pooler
