// Which client gets which server, and what happens to a server between two clients.
#include <algorithm>

#include "pool/core.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {

// The client has something to send and no server.
void Core::request_server(Client& client) {
  Pool& pool = *client.pool;
  client.request_at = now_;
  client.notified = false;
  if (pool.waiting.empty() && lend(pool, client)) return;
  if (pool.failure && fails_fast(pool)) return fail_fast(client);
  client.state = ClientState::waiting;
  pool.waiting.push_back(client);
  want_input(client, false);
  publish(pool);
  open_servers(pool);
}

void Core::want_input(Conn& conn, bool wanted) {
  if (conn.input_wanted == wanted) return;
  conn.input_wanted = wanted;
  host_.want_input(conn, wanted);
}

void Core::set_route(Route which, RouteState state) {
  RouteState& known = routes_[static_cast<size_t>(which)];
  const bool newer = state.term > known.term;
  if (state.term < known.term) state.open = false;  // news of the past: nobody is lent on it
  state.term = std::max(state.term, known.term);
  known = std::move(state);
  for (size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = *pools_[i];
    if (pool.database->route != which) continue;
    if (newer) {
      pool.failure.reset();  // what failed with the old leader says nothing about the new one
      std::vector<Server*> old;
      for (ServerList* list : {&pool.idle, &pool.lent, &pool.busy, &pool.arriving}) {
        for (Server& server : *list) {
          if (server.term < known.term && settings_.rules.newest_term_only) old.push_back(&server);
        }
      }
      for (Server* server : old) close_server(*server, "the primary has moved");
    }
    serve_queue(pool);
    open_servers(pool);
    resume_sessions(pool);
  }
}

// A session keeps its server between two transactions. While the primary moves it begins nothing new there: the switchover
// would wait for it, and cut it off at the end of its patience.
bool Core::session_waits(Client& client, std::string_view in) {
  if (in.empty() || in[0] == wire::frontend::terminate || !held(*client.pool)) return false;
  const Server& server = *client.server;
  if (client.pass != 0 || client.replication || server.status != 'I' || server.copying) return false;
  want_input(client, false);
  if (client.queue.is_linked()) return true;
  client.request_at = now_;
  client.notified = false;
  client.pool->sessions.push_back(client);
  return true;
}

// The primary has stayed where it was; a session whose server has gone has ended with it.
void Core::resume_sessions(Pool& pool) {
  while (!pool.sessions.empty() && !held(pool)) {
    Client& client = pool.sessions.front();
    client.queue.unlink();
    resume(client);
  }
}

Core::Load Core::load(Route which) const {
  Load load;
  for (const auto& pool : pools_) {
    if (pool->database->route != which) continue;
    for (const Server& server : pool->lent) {
      // A replication connection is in flight for ever, and a session keeps its server while it does nothing: neither is waited for.
      const bool rests = pool->mode == PoolMode::session && server.requests.empty() && server.status == 'I' && !server.copying &&
                         server.chore == Chore::none;
      load.lent += server.replication || rests ? 0 : 1;
    }
    load.waiting += static_cast<int>(pool->waiting.size() + pool->sessions.size());
  }
  return load;
}

// Gives the client an idle server. False: there is none, or it needs attention first and the client waits for it.
bool Core::lend(Pool& pool, Client& client) {
  if (!may_lend(pool)) return false;
  while (!pool.idle.empty()) {
    Server& server = settings_.server_round_robin ? pool.idle.back() : pool.idle.front();
    if (server.close_when_free) {
      close_server(server, server.close_reason);
      continue;
    }
    if (settings_.server_check_query && now_ - server.since > settings_.server_check_delay.count()) {
      start_chore(server, Chore::check, *settings_.server_check_query);
      // It comes back to the queue when it has answered. The others have been idle for longer, or else are at hand.
      if (!settings_.server_round_robin) return false;
      continue;
    }
    if (server.term < route(pool.database->route).term && settings_.rules.newest_term_only) {
      close_server(server, "the primary has moved");
      continue;
    }
    link(server, client);
    return true;
  }
  return false;
}

void Core::link(Server& server, Client& client) {
  Pool& pool = *server.pool;
  client.state = ClientState::active;
  client.server = &server;
  server.client = &client;
  server.used = true;
  move(server, ServerState::active, pool.lent);
  ++pool.stats.assignments;
  pool.stats.wait_us += static_cast<uint64_t>(now_ - client.request_at);
  if (client.welcome_version != pool.welcome_version) [[unlikely]] refresh_welcome(client);
  if (server.parameters != client.parameters && settings_.rules.own_parameters) {
    const std::string sql = parameters_.set_query(server.parameters, client.parameters);
    if (!sql.empty()) {
      want_input(client, false);
      start_chore(server, Chore::parameters, sql);
      return;
    }
  }
  pace(client, server);
  pace(server, client);
}

// A client that waited has its server now: what it said meanwhile goes there.
void Core::resume(Client& client) {
  if (client.dead || client.server == nullptr || client.server->chore != Chore::none) return;
  pace(client, *client.server);
  std::string held;
  held.swap(client.held);
  const size_t done = forward_requests(client, held);
  if (!client.dead && done < held.size()) client.held.assign(held, done);
}

// Its server is ready, and must not be lent any more: the view has become too old meanwhile, or a switchover drains. Nothing
// that the client said has left, so it waits as before, and first of all.
void Core::wait_again(Client& client) {
  Server& server = *client.server;
  Pool& pool = *server.pool;
  unlink(server);
  client.state = ClientState::waiting;
  want_input(client, false);
  pool.waiting.push_front(client);
  publish(pool);
  release(server);
}

void Core::unlink(Server& server) {
  Client* client = server.client;
  if (client == nullptr) return;
  server.cut_off = client->pass != 0;
  client->server = nullptr;
  client->state = ClientState::idle;
  server.client = nullptr;
  server.cancel_again = false;
  server.forgets = server.stalled = false;
  want_input(*client, true);
  want_input(server, true);
}

// A server that owes nothing comes back from its client.
void Core::release(Server& server) {
  unlink(server);
  if (server.being_canceled) {  // the cancel on its way to it would hit the next client, or our reset
    move(server, ServerState::busy, server.pool->busy);
    return;
  }
  let_go(server);
}

void Core::let_go(Server& server) {
  if (server.close_when_free || server.pool->database->server_lifetime.value_or(settings_.server_lifetime).count() == 0) {
    close_server(server, server.close_reason.empty() ? "server lifetime over" : server.close_reason);
    return;
  }
  const bool reset = server.pool->mode == PoolMode::session || settings_.server_reset_query_always;
  if (reset && !settings_.server_reset_query.empty()) {
    start_chore(server, Chore::reset, settings_.server_reset_query);
    return;
  }
  now_free(server);
}

void Core::now_free(Server& server) {
  Pool& pool = *server.pool;
  move(server, ServerState::idle, pool.idle);
  publish(pool);  // before the others' sides are looked at, see share.h
  if (!hand_over(pool) && !pool.waiting.empty()) serve_queue(pool);
}

void Core::serve_queue(Pool& pool) {
  // A client that leaves at once gives its server back in here: the loop around goes on with it.
  if (pool.serving) return;
  pool.serving = true;
  while (!pool.waiting.empty()) {
    Client& client = pool.waiting.front();
    if (!lend(pool, client)) break;
    pool.waiting.pop_front();
    publish(pool);
    resume(client);
  }
  pool.serving = false;
  publish(pool);
}

// In front of `list`: the server used last is the one used next.
void Core::move(Server& server, ServerState state, ServerList& list) {
  server.list.unlink();
  server.state = state;
  server.since = now_;
  list.push_front(server);
}

int Core::pool_size(const Pool& pool) const {
  if (pool.user_settings != nullptr && pool.user_settings->pool_size) return *pool.user_settings->pool_size;
  if (pool.database->pool_size) return *pool.database->pool_size;
  return settings_.default_pool_size;
}

int Core::reserve_size(const Pool& pool) const {
  if (pool.user_settings != nullptr && pool.user_settings->reserve_pool_size) return *pool.user_settings->reserve_pool_size;
  if (pool.database->reserve_pool_size) return *pool.database->reserve_pool_size;
  return settings_.reserve_pool_size;
}

// After a failure it takes a while to the next attempt. In a cluster a failure is a matter of moments: somebody is about to be
// found who takes over.
bool Core::too_early(const Pool& pool) const {
  if (!pool.failure) return false;
  const Micros retry = pool.database->route == Route::fixed ? settings_.server_login_retry : settings_.cluster_login_retry;
  return now_ - pool.failure->at < retry.count();
}

// As many connections at once as there are clients without one, up to a cap, within all limits.
void Core::open_servers(Pool& pool, bool may_ask) {
  if (!pool.replicas.empty()) open_replication(pool);
  if (!may_lend(pool) || (pool.waiting.empty() && pool.newcomers.empty())) return;
  if (may_ask && ask_others(pool)) return;
  if (too_early(pool)) return;
  // A queue before a full pool is the everyday case under load: known without the ledger's lock, and without a look at everybody
  // who waits.
  const int size = pool_size(pool);
  if (size > 0 && (pool.share == nullptr ? pool.servers : pool.share->servers.load()) >= size) return open_reserve(pool, size);
  int at_once = pool.failure ? 1 : settings_.connects_at_once;
  // A server that is busy comes back in a moment.
  int wanted = -static_cast<int>(pool.busy.size());
  for (const ClientQueue* queue : {&pool.waiting, &pool.newcomers}) {
    for (auto client = queue->begin(); client != queue->end() && wanted < at_once; ++client) ++wanted;
  }
  for (const Server& server : pool.arriving) {
    if (server.replication) ++wanted, ++at_once;  // is for nobody else
  }
  while (pool.connecting < std::min(wanted, at_once)) {
    const Ledger::Verdict verdict = launch(pool, size, Evict::others);
    if (verdict == Ledger::Verdict::taken) continue;
    if (verdict == Ledger::Verdict::pool_full) open_reserve(pool, size);
    return;
  }
}

// The pool is full: those who have waited for long enough get servers of the reserve, one each.
void Core::open_reserve(Pool& pool, int size) {
  const int reserve = reserve_size(pool);
  const int64_t patience = settings_.reserve_pool_timeout.count();
  if (reserve <= 0 || patience <= 0) return;
  int entitled = 0;
  for (const Client& client : pool.waiting) {
    if (now_ - client.request_at < patience || ++entitled == settings_.connects_at_once) break;
  }
  while (pool.connecting < entitled && launch(pool, size + reserve, Evict::others) == Ledger::Verdict::taken) {
    host_.log(LogLevel::warning, &pool.waiting.front(), "taking connection from reserve_pool");
  }
}

// `limit`: how many servers the pool may have, over all workers; 0: any number. `dedicated`: the one client that it is for.
Ledger::Verdict Core::launch(Pool& pool, int limit, Evict evict, Client* dedicated) {
  Ledger::Verdict verdict = ledger_.take_server(pool, limit);
  if (verdict == Ledger::Verdict::others_full && evict != Evict::no && evict_for(pool)) verdict = ledger_.take_server(pool, limit);
  if (verdict != Ledger::Verdict::taken && evict == Evict::ours_too && !pool.idle.empty()) {
    close_server(pool.idle.back(), "evicted");
    verdict = ledger_.take_server(pool, limit);
  }
  if (verdict != Ledger::Verdict::taken) return verdict;
  auto* server = new Server;  // tidy() deletes it
  server->id = new_id();
  server->pool = &pool;
  server->connected_at = now_;
  server->parameters = parameters_.empty();
  if (dedicated != nullptr) {
    server->replication = true;
    server->client = dedicated;
    dedicated->server = server;
  }
  ++pool.servers;
  ++pool.connecting;
  move(*server, ServerState::connecting, pool.arriving);
  host_.connect(*server);
  return verdict;
}

// Closes the server that has been idle longest in another pool of the same database or user.
bool Core::evict_for(const Pool& pool) {
  Server* oldest = nullptr;
  for (const auto& other : pools_) {
    if (other.get() == &pool || other->idle.empty()) continue;
    if (other->database != pool.database && other->user != pool.user) continue;
    Server& candidate = other->idle.back();
    if (oldest == nullptr || candidate.since < oldest->since) oldest = &candidate;
  }
  if (oldest == nullptr) return false;
  close_server(*oldest, "evicted");
  return true;
}

void Core::start_chore(Server& server, Chore chore, std::string_view sql) {
  server.chore = chore;
  if (server.client == nullptr) move(server, ServerState::busy, server.pool->busy);
  std::string message;
  wire::append_query(message, sql);
  const Slice slice{message.data(), message.size()};
  server.backlog = !host_.send(server, {&slice, 1});
}

void Core::chore_done(Server& server) {
  const Chore chore = server.chore;
  server.chore = Chore::none;
  if (chore == Chore::parameters) {
    Client& client = *server.client;
    client.parameters = parameters_.overlay(client.parameters, server.parameters);
    if (held(*server.pool)) wait_again(client);
    else resume(client);
    return;
  }
  if (chore == Chore::verify) {
    if (std::string why = directory_.judge(server, server.row); !why.empty()) {
      login_failed(server, {.text = std::move(why), .sqlstate = "08006", .at = now_});
      return;
    }
    server.row.clear();
    accepted(server);
    return;
  }
  if (chore == Chore::check) server.used = false;
  if (server.close_when_free) {
    close_server(server, server.close_reason);
    return;
  }
  now_free(server);
}

void Core::chore_failed(Server& server, std::string_view error_body) {
  std::string why = "housekeeping failed";
  if (auto fields = wire::parse_error_response(error_body)) why += ": " + std::string(fields->message);
  if (server.login) {
    login_failed(server, {.text = why, .sqlstate = "08006", .at = now_});
    return;
  }
  if (Client* client = server.client; client != nullptr) {
    // Its own words, not those for a server that is lost; and it goes first, or it would be told twice.
    server.client = nullptr;
    client->server = nullptr;
    close_client(*client, {.text = "invalid server parameter"});
  }
  close_server(server, why);
}

}  // namespace pgdba::pool
