// What happens by time: three times a second.
#include <algorithm>
#include <string>

#include "pool/client_login.h"
#include "pool/core.h"

namespace pgdba::pool {

namespace {

bool over(Moment since, Moment now, Micros limit) { return limit.count() > 0 && now - since > limit.count(); }

}  // namespace

void Core::tick() {
  // An entry with a forced user and min_pool_size has servers before it has clients.
  for (Database* database : directory_.filled()) {
    if (database->forced_user) pool_for(*database, *database->forced_user, directory_.settings_of(*database->forced_user));
  }
  for (size_t i = 0; i < pools_.size(); ++i) tick_pool(*pools_[i]);  // a pool may be added meanwhile
  tick_clients();
  tick_cancels();
  if (now_ - swept_at_ > 10'000'000) {
    swept_at_ = now_;
    statements_.sweep();
    parameters_.sweep();
  }
}

void Core::tick_pool(Pool& pool) {
  tick_queues(pool);
  tick_servers(pool);
  tick_lent(pool);
  publish(pool);
  open_servers(pool);
  const int least = min_size(pool);
  if (pool.servers < least && pool.connecting == 0 && may_lend(pool) && !too_early(pool) &&
      (pool.clients > 0 || pool.database->forced_user)) {
    launch(pool, least, Evict::no);
  }
}

// The queues are in order of arrival, so that the head decides.
void Core::tick_queues(Pool& pool) {
  const Micros wait_limit = pool.user_settings != nullptr && pool.user_settings->query_wait_timeout
                                ? *pool.user_settings->query_wait_timeout
                                : pool.database->query_wait_timeout.value_or(settings_.query_wait_timeout);
  const bool moves = pool.database->route != Route::fixed && held(pool);
  const RouteState& state = route(pool.database->route);
  const std::string why = !moves ? "" : state.why.empty() ? "the cluster has not been heard of for too long" : state.why;
  // Both limits count while the primary moves; the one that ends first gives its name.
  const Micros hold = settings_.failover_hold_timeout;
  const bool hold_ends_first = moves && hold.count() > 0 && (wait_limit.count() == 0 || hold <= wait_limit);
  for (ClientQueue* queue : {&pool.waiting, &pool.sessions, &pool.newcomers, &pool.replicas}) {
    const bool is_in = queue == &pool.waiting || queue == &pool.sessions;
    while (hold_ends_first && !queue->empty() && over(queue->front().request_at, now_, hold)) {
      // Nothing of the statement has left, and its session ends here: a broken connection, which drivers open again. At login
      // 57P03 says more: libpq goes on to the next host of its list for nothing else.
      const std::string text = "no primary is available: " + why + " (failover_hold_timeout)";
      close_client(queue->front(), {.sqlstate = is_in ? "08006" : "57P03", .text = text});
    }
    while (!queue->empty() && over(queue->front().request_at, now_, wait_limit)) {
      close_client(queue->front(), {.text = "query_wait_timeout"});
    }
    while (!is_in && !queue->empty() && over(queue->front().connected_at, now_, settings_.client_login_timeout)) {
      close_client(queue->front(), {.text = "client_login_timeout (server down)"});
    }
  }
  for (ClientQueue* queue : {&pool.waiting, &pool.sessions}) {
    // A user's own query_timeout counts for what runs, the general one for what waits, too; as in PgBouncer.
    while (!queue->empty() && over(queue->front().request_at, now_, settings_.query_timeout)) {
      close_client(queue->front(), {.text = "query_timeout"});
    }
    for (Client& client : *queue) {
      if (!over(client.request_at, now_, settings_.query_wait_notify)) break;
      if (client.notified || client.own) continue;
      client.notified = true;
      if (moves) {
        const auto most = std::chrono::duration_cast<std::chrono::seconds>(hold_ends_first ? hold : wait_limit).count();
        send_error(client, "NOTICE", "00000", "the primary is being moved (" + why + "): the statement waits for it" +
                                                  (most == 0 ? std::string() : ", at most " + std::to_string(most) + " s"));
      } else {
        send_error(client, "NOTICE", "00000", "No server connection available in postgres backend, client being queued");
      }
    }
  }
}

// Servers that nobody has: their time may be over.
void Core::tick_servers(Pool& pool) {
  const Micros lifetime = pool.database->server_lifetime.value_or(settings_.server_lifetime);
  const int size = pool_size(pool);
  const Micros spread = lifetime / std::max(1, size);  // so that not all end at once
  std::vector<Server*> ending;
  int ended = 0;
  int too_many = size == 0 ? 0 : pool.servers - size - reserve_size(pool);
  for (Server& server : pool.idle) {
    if (server.close_when_free || pool.paused || paused_) {
      ending.push_back(&server);
    } else if (over(server.since, now_, settings_.server_idle_timeout) && pool.servers - static_cast<int>(ending.size()) > min_size(pool)) {
      server.close_reason = "server idle timeout";
      ending.push_back(&server);
    } else if (over(server.connected_at, now_, lifetime) && ended == 0 && now_ - pool.lifetime_ended_at >= spread.count()) {
      server.close_reason = "server lifetime over";
      pool.lifetime_ended_at = now_;
      ++ended;
      ending.push_back(&server);
    } else if (too_many > 0) {
      server.close_reason = "too many servers in the pool";
      --too_many;
      ending.push_back(&server);
    }
  }
  for (Server& server : pool.arriving) {
    if (over(server.connected_at, now_, settings_.server_connect_timeout)) {
      server.close_reason = "connect timeout";
      ending.push_back(&server);
    }
  }
  // A question of ours that nobody answers. A reset may take its time.
  for (Server& server : pool.busy) {
    if (server.chore != Chore::none && server.chore != Chore::reset && over(server.since, now_, settings_.server_connect_timeout)) {
      server.close_reason = "server does not answer";
      ending.push_back(&server);
    }
  }
  for (Server* server : ending) {
    if (server->dead) continue;
    if (server->login || server->state == ServerState::connecting || server->state == ServerState::login) {
      login_failed(*server, {.text = server->close_reason, .sqlstate = "08006", .at = now_, .from_server = false});
    } else {
      close_server(*server, server->close_reason.empty() ? "pooler is paused" : server->close_reason);
    }
  }
}

int Core::min_size(const Pool& pool) const {
  const int wanted = pool.database->min_pool_size.value_or(settings_.min_pool_size);
  const int most = pool_size(pool);
  return most == 0 ? wanted : std::min(wanted, most);
}

// Limits on what runs. A user's own settings go before the process'.
void Core::tick_lent(Pool& pool) {
  std::vector<std::pair<Client*, std::string_view>> over_time;
  for (Server& server : pool.lent) {
    Client* client = server.client;
    // An obsolete one: a replication connection may last for ever, and a session as well.
    const bool owes = !server.requests.empty() || server.status != 'I' || server.copying || server.chore != Chore::none;
    const bool obsolete = server.replication || (settings_.server_fast_close && pool.mode == PoolMode::session && !owes);
    if (server.close_when_free && obsolete && client != nullptr) {
      over_time.emplace_back(client, server.close_reason.empty() ? "database configuration changed" : std::string_view(server.close_reason));
      continue;
    }
    if (client == nullptr || client->own) continue;
    const User* user = client->user;
    const Micros query = user != nullptr && user->query_timeout ? *user->query_timeout : settings_.query_timeout;
    const Micros idle = user != nullptr && user->idle_transaction_timeout ? *user->idle_transaction_timeout : settings_.idle_transaction_timeout;
    const Micros whole = user != nullptr && user->transaction_timeout ? *user->transaction_timeout : settings_.transaction_timeout;
    if (!server.requests.empty() && over(client->request_at, now_, query)) {
      over_time.emplace_back(client, "query timeout");
    } else if (server.requests.empty() && server.status != 'I' && over(std::max(client->input_at, server.since), now_, idle)) {
      over_time.emplace_back(client, "idle transaction timeout");
    } else if ((server.status != 'I' || !server.requests.empty()) && over(client->transaction_at, now_, whole)) {
      over_time.emplace_back(client, "transaction timeout");
    }
  }
  for (auto& [client, why] : over_time) {
    const std::string text(why);  // may be a server's that ends now
    close_client(*client, {.text = text});
  }
}

void Core::tick_clients() {
  if (settings_.client_idle_timeout.count() == 0 && settings_.client_login_timeout.count() == 0) return;
  for (auto at = clients_.begin(); at != clients_.end();) {
    Client& client = *at;
    ++at;  // closing takes it out of the list
    if (client.state == ClientState::login) {
      if (over(client.connected_at, now_, settings_.client_login_timeout)) close_client(client, {.text = "client_login_timeout"});
      continue;
    }
    const Micros idle = client.user != nullptr && client.user->client_idle_timeout ? *client.user->client_idle_timeout
                                                                                     : settings_.client_idle_timeout;
    if (client.state == ClientState::idle && over(client.input_at, now_, idle)) {
      close_client(client, {.text = "client_idle_timeout"});
    }
  }
}

}  // namespace pgdba::pool
