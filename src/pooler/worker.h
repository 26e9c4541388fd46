// One thread of the pooler: its sockets, its part of the pooling core, one epoll.
//
// Carries out what the core asks (pool/host.h) and reports what happens. Nothing here decides who gets which server.
// Invariant: the thread never waits but in epoll_wait; names are looked up and passwords hashed by helper threads, whose
// answers come in through post().
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "conf/ip_range.h"
#include "net/helpers.h"
#include "pool/core.h"
#include "pooler/loop/socket.h"

namespace pgdba::conf {
struct PeerEntry;
}

namespace pgdba::pooler {

// Where a server connection goes.
struct Target {
  std::string host;  // a name, an address, or the folder of a unix socket
  int port = 5432;
  std::string member;   // of the cluster; empty where there is none
  uint64_t term = 0;    // of the leader when it was chosen
};

class ClientDirectory;
class Console;
class Limits;
class Resolver;
class ProcessControl;

class Worker : public pool::Host {
 public:
  // `colleagues`: all workers, this one among them at `number`; filled before any of them runs.
  Worker(ClientDirectory& directory, Limits& limits, Resolver& resolver, const std::vector<std::unique_ptr<Worker>>& colleagues, size_t number);
  ~Worker() override;

  // A listening socket, non-blocking; owned from now on. `shared`: its clients are given to all workers in turn.
  void listen(int fd, bool tcp, bool shared);
  void stop_listening_tcp();  // the console stays within reach, by the unix socket
  void run();    // until stop()
  void stop(std::string farewell);  // from any thread; clients read it
  void post(std::function<void()> work);  // from any thread: runs on this one

  [[nodiscard]] pool::Core& core() { return core_; }
  [[nodiscard]] const Limits& limits() const { return limits_; }
  [[nodiscard]] const Resolver& resolver() const { return resolver_; }
  [[nodiscard]] ClientDirectory& directory() { return directory_; }
  [[nodiscard]] size_t number() const { return number_; }

  // Before run(). Without a console its clients are closed; without a process it cannot reload, set or shut down.
  void use_console(Console* console) { console_ = console; }
  void use_process(ProcessControl* process) { process_ = process; }
  [[nodiscard]] ProcessControl* process() const { return process_; }
  // Slow work on a helper thread; `done` then runs on this worker's.
  void help(std::function<void()> work, std::function<void()> done);

  // For the directory. The peer's address; size 0: a unix socket. The system's user on the other end of a unix socket.
  conf::IpAddress peer_of(const pool::Client& client) const;
  std::string peer_user(const pool::Client& client) const;
  const TlsStream* tls_of(const pool::Conn& conn) const;  // null: it is not encrypted
  // The process on the other end of a unix socket.
  struct PeerProcess {
    int64_t pid = 0;
    uint32_t uid = 0;
  };
  std::optional<PeerProcess> peer_process(const pool::Conn& conn) const;
  [[nodiscard]] const Socket* socket(const pool::Conn& conn) const { return socket_of(conn); }
  std::string admit(const pool::Client& client, const pool::Database& database);
  void forget(const pool::Client& client, const pool::Database& database);
  // The login ends with these words.
  void refuse(const pool::Client& client, std::string_view why);
  // A client that waits for the answer to a question of the directory, by which it is found again if it still is there.
  void remember(pool::Client& client) { waiting_[client.id] = &client; }
  // Gives a client of our own something to say, in the next round.
  void later(pool::Client& own, std::string request);
  // The question is answered: our own client goes, in the next round, and the one that waited goes on.
  // `problem`: it is refused with that instead.
  void finish_own(pool::Client* own, uint64_t waiting, std::optional<Secret> secret, std::string problem = {});
  // What suspect_leader() calls, on this worker's thread. Before run().
  void on_suspicion(std::function<void()> look) { look_ = std::move(look); }
  // Servers at an address that this name does not have any more end as they are released.
  void retire_vanished(const std::string& name, const std::vector<std::string>& addresses);

  // pool::Host
  bool send(pool::Conn& to, std::span<const pool::Slice> bytes) override;
  void want_input(pool::Conn& of, bool wanted) override;
  void close(pool::Conn& conn) override;
  void connect(pool::Server& server) override;
  void send_cancel(pool::Server& server) override;
  void derive_scram_keys(pool::Conn& for_whom, std::string_view password, const wire::ScramChallenge& challenge) override;
  void start_tls(pool::Client& client) override;
  std::string server_certificate_digest(const pool::Server& server) override;
  void console_begins(pool::Client& client) override;
  size_t console_input(pool::Client& client, std::string_view bytes) override;
  void cancel_elsewhere(const wire::CancelKey& key) override;
  bool cancel_for(pool::Client& requester, const wire::CancelKey& key) override;
  void cancel_at_peer(pool::Client& requester, int peer, const wire::CancelKey& key) override;
  std::string peer_text(const pool::Client& client) override;
  void suspect_leader() override;
  void ask_worker(pool::Pool& pool, size_t worker) override;
  void give_to_worker(size_t worker, pool::Transfer transfer) override;
  void random(std::span<uint8_t> bytes) override;
  void log(pool::LogLevel level, const pool::Conn* about, std::string_view text) override;

 private:
  void on_event(Socket& socket, uint32_t events);
  void accept_clients(Socket& listener);
  void welcome(int fd, const sockaddr_storage& peer);
  void read(Socket& socket);
  void deliver(Socket& socket, std::string_view bytes);
  void gone(Socket& socket, std::string_view why);
  void look_again(Socket& socket);
  void bury(Socket& socket);
  void add(Socket& socket);
  void on_connected(Socket& socket);
  void connect_to(uint64_t server_id, const std::string& host, const std::vector<std::string>& addresses, int port,
                  const std::string& problem);
  void ask_for_tls(Socket& socket, const std::shared_ptr<const TlsContext>& context, const std::string& host);
  void negotiate(Socket& socket);
  void on_canceller(Socket& socket, uint32_t events);
  Socket* socket_of(const pool::Conn& conn) const { return static_cast<Socket*>(conn.socket); }
  pool::Conn* alive(uint64_t id);
  void expire();
  void depart();
  void take_over(pool::Transfer transfer, Socket* socket);
  void run_posted();

  ClientDirectory& directory_;
  Limits& limits_;
  Resolver& resolver_;
  const std::vector<std::unique_ptr<Worker>>& colleagues_;
  const size_t number_;
  Console* console_ = nullptr;
  ProcessControl* process_ = nullptr;
  int epoll_;
  int wakeup_;
  pool::Core core_;
  net::Helpers helpers_;
  std::vector<char> buffer_;
  std::vector<Socket*> again_;   // became wanted, or have more than one round's share
  std::vector<Socket*> graves_;
  int handshakes_ = 0;           // steps of them in this round
  // Leave for another worker at the end of the round, when nothing of this round points at them any more.
  struct Departure {
    Worker* to = nullptr;
    Socket* socket = nullptr;
    pool::Transfer transfer;
  };
  std::vector<Departure> departures_;
  std::unordered_set<Socket*> sockets_;
  std::unordered_map<uint64_t, pool::Conn*> waiting_;   // connections that a helper works for
  struct Cancel {
    uint64_t id = 0;    // of the server that it is for, or of the client that asked
    int peer = 0;       // the peer's number, if it goes to one
    bool sent = false;
    std::string request;
  };
  std::unordered_map<Socket*, Cancel> cancels_;          // what the cancellers are for
  void pass_to_peer(uint64_t requester, const wire::CancelKey& key, const conf::PeerEntry& entry);
  bool begin_cancel(const sockaddr_storage& address, unsigned size, const wire::CancelKey& key, Cancel cancel, const Socket* like);
  // Clients of our own that stand for a requester of another worker: what to do when they have ended.
  std::unordered_map<const pool::Conn*, std::function<void()>> proxies_;
  std::function<void()> look_;
  std::vector<Socket*> listeners_;
  size_t next_colleague_ = 0;    // gets the next client of a shared listener
  int64_t accept_again_at_ = 0;  // there was no descriptor left for another client; 0: there is
  std::array<uint8_t, 4096> random_{};
  size_t random_left_ = 0;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace pgdba::pooler
