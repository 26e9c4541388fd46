// A simulated pooler: src/pool's core, the real one, on links, clocks and an etcd that are made up.
//
// Stands where src/pooler/worker.cpp and directory.cpp stand in the process: sockets are Streams, the addresses of servers and
// what may be lent come from PoolerFollow. One worker. What it must never do is checked where bytes leave for a server: a
// client's bytes go to no server of an older term than the newest it has heard of, and none is lent on an old view or while a
// switchover drains. It can be stopped for a while, and killed: then it is born again and knows nothing.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pool/core.h"
#include "pooler_follow.h"
#include "stream.h"

namespace pgdba::sim {

class World;

class SimPooler : public pool::Host, public pool::Directory, public pool::Ledger {
 public:
  SimPooler(World& world, int number, const pool::Settings& settings);
  ~SimPooler() override;
  void start();
  // A connection of a client has arrived. False: refused.
  bool accept(const std::shared_ptr<Stream>& stream);
  void etcd_event() { follow_.etcd_event(); }
  void freeze(Duration length);
  void thaw();
  void kill(Duration back_after);
  void slow_watch(Duration lag, Time until) { follow_.slow_watch(lag, until); }
  [[nodiscard]] int place() const { return place_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string summary() const;

  // pool::Host
  bool send(pool::Conn& to, std::span<const pool::Slice> bytes) override;
  void want_input(pool::Conn& of, bool wanted) override;
  void close(pool::Conn& conn) override;
  void connect(pool::Server& server) override;
  void send_cancel(pool::Server& server) override;
  void derive_scram_keys(pool::Conn&, std::string_view, const wire::ScramChallenge&) override {}
  void start_tls(pool::Client&) override {}
  std::string server_certificate_digest(const pool::Server&) override { return {}; }
  void console_begins(pool::Client&) override {}
  size_t console_input(pool::Client&, std::string_view bytes) override { return bytes.size(); }
  void cancel_elsewhere(const wire::CancelKey&) override {}
  void ask_worker(pool::Pool&, size_t) override {}
  void give_to_worker(size_t, pool::Transfer) override {}
  void random(std::span<uint8_t> bytes) override;
  void log(pool::LogLevel level, const pool::Conn* about, std::string_view text) override;

  // pool::Directory
  pool::Tls tls_policy(const pool::Client&) override { return pool::Tls::refuse; }
  std::string may_begin(const pool::Client&) override { return {}; }
  pool::Database* database(std::string_view name) override;
  const pool::User* settings_of(std::string_view) override { return nullptr; }
  pool::Method method_for(const pool::Client&, std::string_view, std::string_view) override { return pool::Method::trust; }
  Lookup secret_of(pool::Client&, std::string_view, std::string_view) override { return {.pending = false, .secret = Secret("x")}; }
  wire::ScramVerifier mock(std::string_view) override { return {}; }
  bool mostly_scram() override { return false; }
  std::string certificate_digest(const pool::Client&) override { return {}; }
  void remember(std::string_view, const pool::KnownKeys&) override {}
  pool::Credentials credentials(const pool::Pool&) override { return {}; }
  std::string verify_query(const pool::Pool&) override;
  std::string judge(const pool::Server& server, const std::vector<std::optional<std::string>>& row) override;
  std::string may_use_console(const pool::Client&, bool) override { return "not allowed"; }
  std::string admit_client(const pool::Client&, const pool::Database&) override { return {}; }
  void forget_client(const pool::Client&, const pool::Database&) override {}

  // pool::Ledger
  Verdict take_server(const pool::Pool& pool, int limit) override;
  void give_server(const pool::Pool& pool) override;
  pool::PoolShare* share(const pool::Pool&) override { return nullptr; }

 private:
  struct Socket {
    std::shared_ptr<Stream> stream;
    int side = 0;
    pool::Conn* conn = nullptr;
    bool connecting = false;
    bool wanted = true;
    bool ended = false;
    std::deque<std::string> inbox;
    pool::Moment lent_at = -1;  // the lending that was judged last
  };
  void born();
  // Runs `fn` in the core's time, when the process runs.
  void round(Events::Fn fn);
  void later(Duration delay, Events::Fn fn);
  void listen(Socket& socket, uint64_t id);
  void feed(uint64_t id);
  void watch_backlog(uint64_t id, int looks);
  void ticks();
  void news();
  void judge_bytes(const pool::Server& server, Socket& socket);
  std::string target_of(const pool::Pool& pool);

  World& world_;
  const std::string name_;
  const int place_;
  const pool::Settings settings_;
  Process process_;
  PoolerFollow follow_;
  pool::Database primary_, readers_;
  std::unique_ptr<pool::Core> core_;
  std::map<uint64_t, Socket> sockets_;  // by the connection's id
  std::vector<std::pair<std::shared_ptr<Stream>, int>> unseen_;  // open, with our side; the process has not looked at them yet
  std::map<const pool::Pool*, int> taken_;
  uint64_t newest_term_ = 0;  // the number of the newest leadership of this life
  size_t next_replica_ = 0;
};

}  // namespace pgdba::sim
