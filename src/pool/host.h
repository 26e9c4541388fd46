// What the pooling core asks of the world: sockets, helpers for slow work, addresses. The shell (pooler/) implements it
// with epoll, the tests with scripts, the simulator with its network.
//
// Invariant of send(): bytes leave in the order of the calls, each once. The core never calls back into itself from here:
// an implementation only does or notes things; what follows from them comes as a later event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "wire/pg_startup.h"
#include "wire/scram.h"

namespace pgdba::pool {

struct Conn;
struct Client;
struct Server;
struct Pool;
struct Transfer;
class Core;

struct Slice {
  const char* data = nullptr;
  size_t size = 0;
};

enum class LogLevel : uint8_t { debug, info, warning, error };

class Host {
 public:
  virtual ~Host() = default;

  // All the bytes are taken. False: not all have left yet; Core::drained(to) follows when they have.
  virtual bool send(Conn& to, std::span<const Slice> bytes) = 0;
  // Whether bytes that arrive on `of` are read and handed over; already read ones are not held back. A server's end comes behind them all.
  virtual void want_input(Conn& of, bool wanted) = 0;
  // What was sent still leaves (for a bounded time); nothing of this connection is reported any more.
  virtual void close(Conn& conn) = 0;
  // Connects, with TLS as the target says. Core::server_connected() or server_lost() follows.
  virtual void connect(Server& server) = 0;
  // Sends CancelRequest with this server's key over a connection of its own; Core::cancel_sent() follows.
  virtual void send_cancel(Server& server) = 0;
  // Slow hashing on a helper thread (SCRAM: 4,096 rounds take milliseconds). Core::derived() follows.
  virtual void derive_scram_keys(Conn& for_whom, std::string_view password, const wire::ScramChallenge& challenge) = 0;
  // TLS from the next byte on; Core::tls_ready() follows, or the client is gone.
  virtual void start_tls(Client& client) = 0;
  // For channel binding (tls-server-end-point); empty: no TLS.
  virtual std::string server_certificate_digest(const Server& server) = 0;
  // The client is in and speaks to the console from now on; its bytes go there.
  virtual void console_begins(Client& client) = 0;
  virtual size_t console_input(Client& client, std::string_view bytes) = 0;
  // A cancel request with a key of none of our clients: another worker may have it.
  virtual void cancel_elsewhere(const wire::CancelKey& key) = 0;
  // The same, and the requester waits: Core::peer_cancelled() follows when all workers are done with it. False: there are no
  // others, or nobody can wait.
  virtual bool cancel_for(Client& requester, const wire::CancelKey& key) {
    static_cast<void>(requester), static_cast<void>(key);
    return false;
  }
  // A cancel request with a key of the peer with this number; Core::peer_cancelled() follows, whatever becomes of it.
  virtual void cancel_at_peer(Client& requester, int peer, const wire::CancelKey& key) {
    static_cast<void>(requester), static_cast<void>(peer), static_cast<void>(key);
  }
  // "ADDRESS:PORT", or "unix(PID):PORT".
  virtual std::string peer_text(const Client& client) {
    static_cast<void>(client);
    return {};
  }
  // A server of the primary says that it is none, or cannot be reached: the cluster is worth a look.
  virtual void suspect_leader() {}
  // Another worker has an idle server for this pool: ask it to give one away. Core::adopt() or refused() follows.
  virtual void ask_worker(Pool& pool, size_t worker) = 0;
  // This idle server of ours is for a client of another worker.
  virtual void give_to_worker(size_t worker, Transfer transfer) = 0;
  // Fills `bytes` with random bytes fit for nonces and cancel keys.
  virtual void random(std::span<uint8_t> bytes) = 0;
  virtual void log(LogLevel level, const Conn* about, std::string_view text) = 0;
};

}  // namespace pgdba::pool
