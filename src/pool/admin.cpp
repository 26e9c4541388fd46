// What an administrator orders: PAUSE, RESUME, KILL, RECONNECT, DISABLE.
#include <utility>

#include "pool/client_login.h"
#include "pool/core.h"
#include "pool/server_login.h"

namespace pgdba::pool {

namespace {

bool concerns(const Pool& pool, std::string_view database) {
  return database.empty() || pool.database->name == database;
}

constexpr std::string_view kForced = "admin forced disconnect";

}  // namespace

// Closes what nobody uses, and marks the rest: it is closed as it is released.
void Core::let_go(Pool& pool, std::string_view why) {
  std::vector<Server*> unused;
  for (ServerList* list : {&pool.idle, &pool.arriving}) {
    for (Server& server : *list) unused.push_back(&server);
  }
  for (ServerList* list : {&pool.lent, &pool.busy}) {
    for (Server& server : *list) {
      if (server.login) {  // nobody has had it yet
        unused.push_back(&server);
        continue;
      }
      server.close_when_free = true;
      if (server.close_reason.empty()) server.close_reason = why;
    }
  }
  for (Server* server : unused) close_server(*server, why);
}

void Core::pause(std::string_view database) {
  if (database.empty())
    paused_ = true;
  else
    paused_databases_.emplace(database);
  for (size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = *pools_[i];
    if (!concerns(pool, database)) continue;
    if (!database.empty()) pool.paused = true;
    publish(pool);
    let_go(pool, "pooler is paused");
  }
}

bool Core::resume(std::string_view database) {
  if (database.empty()) {
    if (!std::exchange(paused_, false)) return false;
  } else {
    auto found = paused_databases_.find(database);
    if (found == paused_databases_.end()) return false;
    paused_databases_.erase(found);
  }
  for (size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = *pools_[i];
    if (!concerns(pool, database)) continue;
    if (!database.empty()) pool.paused = false;
    serve_queue(pool);
    open_servers(pool);
  }
  return true;
}

void Core::kill(std::string_view database) {
  pause(database);
  std::vector<Client*> clients;
  for (Client& client : clients_) {
    if (client.pool != nullptr && concerns(*client.pool, database)) clients.push_back(&client);
  }
  for (Client* client : clients) close_client(*client, {.text = kForced});
  for (size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = *pools_[i];
    if (!concerns(pool, database)) continue;
    std::vector<Server*> servers;
    for (ServerList* list : {&pool.idle, &pool.lent, &pool.busy, &pool.arriving}) {
      for (Server& server : *list) servers.push_back(&server);
    }
    for (Server* server : servers) close_server(*server, kForced);
  }
}

void Core::reconnect(std::string_view database) {
  for (size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = *pools_[i];
    if (!concerns(pool, database)) continue;
    pool.reconnected_at = now_;
    pool.failure.reset();
    let_go(pool, "database configuration changed");
  }
}

bool Core::kill_client(uint64_t shown_id) {
  for (Client& client : clients_) {
    if (Core::shown_id(client) != shown_id || client.own) continue;
    close_client(client, {.text = kForced});
    return true;
  }
  return false;
}

void Core::set_disabled(std::string_view database, bool disabled) {
  if (disabled) {
    disabled_.emplace(database);
  } else if (auto found = disabled_.find(database); found != disabled_.end()) {
    disabled_.erase(found);
  }
}

bool Core::paused(std::string_view database) const {
  return database.empty() ? paused_ : paused_databases_.contains(database);
}

Core::Remaining Core::remaining(std::string_view database) const {
  Remaining left;
  for (const auto& pool : pools_) {
    if (!concerns(*pool, database)) continue;
    left.servers += pool->servers;
    for (const ServerList* list : {&pool->idle, &pool->lent, &pool->busy}) {
      for (const Server& server : *list) left.marked += server.close_when_free ? 1 : 0;
    }
  }
  return left;
}

}  // namespace pgdba::pool
