// The pooling core of one worker: sessions, pools and who may use which server when.
//
// A machine without I/O. Events come in as calls (bytes, connections made and lost, a tick), effects go out through Host in
// the order in which they must happen. Between two calls no decision is pending: what can be lent is lent.
//
// Invariants: a server is lent to one client at a time and returns to its pool only when it owes nothing and is outside a
// transaction; no byte of a client is lost, doubled or given to another one; what has been sent to a server is never sent
// again to another one; a server of an older term than the newest known is never lent.
//
// The caller sets now() at the start of each round, hands over events, and ends the round with tidy(), which frees what
// died in it. tick() about three times a second carries out limits in time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pool/batch.h"
#include "pool/conn.h"
#include "pool/directory.h"
#include "pool/host.h"
#include "pool/share.h"
#include "wire/pg_startup.h"

namespace pgdba::pool {

// May a server connection be opened? One ledger for all workers, so that limits are exact.
class Ledger {
 public:
  virtual ~Ledger() = default;
  // Counts one more server of this pool, unless it has `limit` (0: any number) or the database or user has too many.
  enum class Verdict : uint8_t { taken, pool_full, others_full };
  virtual Verdict take_server(const Pool& pool, int limit) = 0;
  virtual void give_server(const Pool& pool) = 0;
  // What the workers know of each other's part of this pool; null: there is only one worker.
  virtual PoolShare* share(const Pool& pool) = 0;
  virtual void drop_share(const Pool& pool) { static_cast<void>(pool); }  // of a pool that had one, and goes
};

// Why a connection ends, as its peer reads it.
struct Farewell {
  std::string_view sqlstate = "08P01";
  std::string_view text;
  std::string_view severity = "FATAL";
  std::string_view reason = {};  // for the log, where the peer reads nothing
};

// Whether servers of a route may be lent. Fixed routes are always open.
struct RouteState {
  bool open = true;
  uint64_t term = 0;        // the number of the leadership known (follow.h); servers of an older one are closed
  Moment fresh_until = 0;   // beyond it this is too old to lend on; 0: does not age
  std::string why;          // closed: what it waits for
};

class Core {
 public:
  // `worker`: this one's number, from 0.
  Core(Host& host, Directory& directory, Ledger& ledger, const Settings& settings, StatementTable::Digest digest, size_t worker = 0);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void set_now(Moment now) { now_ = now; }
  [[nodiscard]] Moment now() const { return now_; }

  // Clients. A connection begins with accept(); bytes of the login go to the login, then to the relay.
  Client& accept(void* socket);
  // A client of the pooler itself: it has no socket, and is in already.
  Client& open_own(Pool& pool);
  // There is no room for another connection: the one that has taken longest to log in goes. False: all are in.
  bool drop_oldest_login();
  void client_input(Client& client, std::string_view bytes);
  void client_gone(Client& client);
  void tls_ready(Client& client);                                     // after Host::start_tls()
  void secret_found(Client& client, std::optional<Secret> secret);    // after Directory::secret_of() was pending

  // Servers, after Host::connect().
  void server_connected(Server& server);
  void server_input(Server& server, std::string_view bytes);
  void server_lost(Server& server, std::string_view why);

  // Somebody wants the query of the client with this key to end; `ask_others`: it may be another worker's client.
  void cancel(const wire::CancelKey& key, bool ask_others = true, Client* requester = nullptr);
  // Host::send_cancel() is done, or has failed.
  void cancel_sent(Server& server);
  // Host::cancel_at_peer() is done for the requester with this id, or has failed.
  void peer_cancelled(uint64_t requester);

  // Host::derive_scram_keys() is done.
  void derived(Conn& for_whom, const Result<wire::ScramKeys>& keys);

  // News of the cluster. Servers of an older term are closed at once, whoever has them; when the route is open, the queues
  // are served.
  void set_route(Route route, RouteState state);
  // Closes the idle servers of this route that are not to be kept; the others as soon as they are free.
  void retire(Route route, const std::function<bool(const Server&)>& keep, std::string_view why);
  [[nodiscard]] const RouteState& route(Route route) const { return routes_[static_cast<size_t>(route)]; }
  [[nodiscard]] bool is_open(Route which) const {
    const RouteState& state = route(which);
    return state.open && (state.fresh_until == 0 || now_ < state.fresh_until);
  }
  struct Load {
    int lent = 0, waiting = 0;
  };
  [[nodiscard]] Load load(Route route) const;

  // Between workers. give_away() takes an idle server out of this pool, for another worker; null: there is none. adopt()
  // puts it into this worker's pool of the same name; `welcome` is what that pool knew.
  std::optional<Transfer> give_away(std::string_view database, std::string_view user);
  void adopt(Transfer transfer, Pool& pool);
  // The other worker that was asked has none.
  void refused(Pool& pool);

  // What the shell held for this connection has left.
  void drained(Conn& conn);

  void tick();
  void tidy();

  // The pool for this entry and identity; made when it is new.
  Pool& pool_for(Database& database, const std::string& server_user, const User* user);
  Pool* find_pool(std::string_view database, std::string_view user);  // null: there is none
  [[nodiscard]] const std::vector<std::unique_ptr<Pool>>& pools() const { return pools_; }
  [[nodiscard]] ParameterSpace& parameters() { return parameters_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }

  void close_client(Client& client, const Farewell& farewell);
  void close_server(Server& server, std::string_view why);

  // shutdown.cpp. Nothing is lent while paused. Closes those that wait for a server; all, also those that have one.
  void pause_all(bool paused);
  void close_waiting(const Farewell& farewell);
  void close_all_clients(const Farewell& farewell);
  // A pool that nobody uses: no client, no server, nothing asked of another worker. True: it is gone.
  bool drop_pool(Pool& pool);
  // Closes the server now when nobody has it, else when it comes back.
  void retire(Server& server, std::string_view why);
  // What an administrator may order (admin.cpp). `database` empty: all of them. A paused database lends no server; the ones
  // it has are closed as they are released.
  void pause(std::string_view database);
  bool resume(std::string_view database);  // false: was not paused
  void kill(std::string_view database);    // also closes its clients and servers at once
  void reconnect(std::string_view database);
  // The id as people see it: PgBouncer's has 31 bits.
  static uint64_t shown_id(const Conn& conn) { return conn.id & 0x7fffffff; }
  bool kill_client(uint64_t shown_id);     // false: there is none
  void set_disabled(std::string_view database, bool disabled);  // refuses new clients
  [[nodiscard]] bool paused(std::string_view database) const;   // itself, not because everything is
  [[nodiscard]] bool disabled(std::string_view database) const { return disabled_.contains(database); }
  struct Remaining {
    int servers = 0;  // all that are there
    int marked = 0;   // to be closed when they are released
  };
  [[nodiscard]] Remaining remaining(std::string_view database) const;
  // Called whenever a server connection has ended; must not call back.
  void watch_servers(std::function<void()> gone) { server_gone_ = std::move(gone); }
  [[nodiscard]] const ClientList& clients() const { return clients_; }

 private:
  friend struct CoreTest;

  // core.cpp
  size_t idle_input(Client& client, std::string_view in);
  Farewell farewell_of(const Server& server) const;
  void send(Conn& to, std::string_view bytes);
  void send_error(Client& client, std::string_view severity, std::string_view sqlstate, std::string_view text);
  std::string nonce();
  void want_input(Conn& conn, bool wanted);
  uint64_t new_id();
  void pace(Conn& source, const Conn& sink);
  static void keep(Conn& conn, std::string& joined, std::string_view bytes, size_t done);

  // cancel.cpp
  void cancel_requested(Client& requester, wire::CancelKey key);
  void cancel_waiting(Client& client);
  void cancel_server(Server& server, Client* requester);
  void wait_for_cancel(Client& requester);
  void end_cancels(uint64_t server_id);
  void tick_cancels();
  uint64_t new_cancel_key();

  // client_login.cpp
  size_t client_login_input(Client& client, std::string_view in);
  bool first_packet(Client& client, const wire::FirstPacket& packet, size_t more);
  void read_startup(Client& client, const wire::FirstPacket& packet);
  bool login_begins(Client& client);
  bool ask_for_proof(Client& client);
  void on_password_message(Client& client, std::string_view body);
  void derive(Client& client, std::string_view password);
  [[nodiscard]] bool is_right(const Client& client, std::string_view password, const wire::ScramKeys& keys) const;
  void begin_with_keys(Client& client, const wire::ScramKeys& keys);
  void begin_scram(Client& client, bool may_succeed);
  void wrong_password(Client& client, std::string_view detail);
  void login_proved(Client& client);

  // welcome.cpp: what a client is told of the server.
  void admit(Client& client, Pool& pool);
  void welcome_newcomers(Pool& pool);
  void welcome_client(Client& client, std::string bytes);
  void say_welcome(Client& client, std::string bytes);
  void new_welcome(Server& server);
  void refresh_welcome(Client& client);
  void on_untracked(Server& server, std::string_view name, std::string_view value);
  bool fails_fast(const Pool& pool) const;
  void fail_fast(Client& client);

  // replication.cpp: connections with a server of their own.
  void admit_replication(Client& client, Pool& pool);
  void open_replication(Pool& pool);
  void replication_accepted(Server& server);

  // server_login.cpp
  size_t server_login_input(Server& server, std::string_view in);
  void on_authentication(Server& server, std::string_view body);
  void answer_challenge(Server& server, const wire::ScramKeys& keys);
  void logged_in(Server& server);
  void accepted(Server& server);
  bool moving(const Pool& pool, const Failure& failure) const;
  void login_failed(Server& server, Failure failure);

  // relay_client.cpp: requests of a client that has a server.
  size_t forward_requests(Client& client, std::string_view in);
  enum class Step : uint8_t { passed, taken, incomplete, lost };
  bool names_in_doubt(const Server& server) const;
  Step rewrite_parse(Client& client, std::string_view message);
  Step rewrite_bind(Client& client, std::string_view message, size_t whole);
  Step rewrite_target(Client& client, std::string_view message);
  void make_sure_of(Server& server, const StatementRef& statement);
  void emit_fakes(Client& client);
  void flush_to_server(Server& server);
  void flush_to_client(Client& client);
  static void note_ending(Server& server, Ending ending);
  static void note_parse(Server& server, bool unnamed, Ending ending);
  static void note_parse(Server& server, std::string_view message);
  static void note_bind(Server& server, bool unnamed_portal, Ending ending);
  static void note_bind(Server& server, std::string_view message);
  static Ending ending_of_execute(const Server& server, std::string_view message);

  // relay_server.cpp: answers.
  size_t forward_responses(Server& server, std::string_view in);
  size_t idle_responses(Server& server, std::string_view in);
  size_t chore_responses(Server& server, std::string_view in);
  void send_batch(Client& client);
  void undo(Server& server, const std::vector<Undo>& undone);
  void already_exists(Client& client, std::string_view name, std::string_view body);
  void on_error(Server& server, std::string_view body, bool duplicate);
  void on_parameter(Server& server, std::string_view body);
  void on_complete_tag(Server& server, std::string_view body);

  // assign.cpp: who gets which server.
  void request_server(Client& client);
  bool may_lend(const Pool& pool) const { return !pool.paused && !paused_ && !held(pool); }
  bool lend(Pool& pool, Client& client);
  void link(Server& server, Client& client);
  void unlink(Server& server);
  void resume(Client& client);
  void wait_again(Client& client);
  void release(Server& server);
  void let_go(Server& server);
  void now_free(Server& server);
  void serve_queue(Pool& pool);
  void open_servers(Pool& pool, bool may_ask = true);
  void open_reserve(Pool& pool, int size);
  // Nobody is known to whom this route leads, or what is known is too old.
  bool held(const Pool& pool) const {
    const RouteState& state = route(pool.database->route);
    return !state.open || (state.fresh_until != 0 && now_ >= state.fresh_until && settings_.rules.fresh_view_only);
  }
  bool session_waits(Client& client, std::string_view in);
  void resume_sessions(Pool& pool);
  bool too_early(const Pool& pool) const;
  enum class Evict : uint8_t { no, others, ours_too };
  Ledger::Verdict launch(Pool& pool, int limit, Evict evict, Client* dedicated = nullptr);
  bool evict_for(const Pool& pool);
  void start_chore(Server& server, Chore chore, std::string_view sql);
  void chore_done(Server& server);
  void chore_failed(Server& server, std::string_view error_body);
  void move(Server& server, ServerState state, ServerList& list);
  int pool_size(const Pool& pool) const;
  int reserve_size(const Pool& pool) const;
  int min_size(const Pool& pool) const;

  // between_workers.cpp
  void publish(Pool& pool) {
    if (pool.share == nullptr) return;
    const bool waits = !pool.waiting.empty() || !pool.newcomers.empty() || pool.shown_waiting;
    if (waits || pool.shown_idle != (!pool.idle.empty() && may_lend(pool))) publish_change(pool);
  }
  void publish_change(Pool& pool);
  bool hand_over(Pool& pool);
  bool ask_others(Pool& pool);
  Transfer take_out(Server& server);

  // admin.cpp
  void let_go(Pool& pool, std::string_view why);

  // maintain.cpp
  void tick_pool(Pool& pool);
  void tick_lent(Pool& pool);
  void tick_clients();
  void tick_queues(Pool& pool);
  void tick_servers(Pool& pool);

  Host& host_;
  Directory& directory_;
  Ledger& ledger_;
  const Settings& settings_;
  StatementTable statements_;
  ParameterSpace parameters_;
  std::vector<std::unique_ptr<Pool>> pools_;
  ClientList clients_;
  std::unordered_map<uint64_t, Client*> keys_;  // of clients that may be cancelled
  ClientQueue logins_;     // who has not logged in yet, oldest first
  ClientQueue cancelers_;  // who asked for a cancel that has not ended
  Batch batch_;    // towards the server or client at hand
  Batch answers_;  // made-up answers to the client whose requests are at hand
  std::array<RouteState, 4> routes_;
  bool paused_ = false;
  std::set<std::string, std::less<>> paused_databases_, disabled_;
  std::function<void()> server_gone_;
  Moment now_ = 0;
  Moment swept_at_ = 0;
  const size_t worker_;
  uint64_t next_id_ = 1;
  std::vector<Conn*> dead_;
};

}  // namespace pgdba::pool
