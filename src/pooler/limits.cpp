#include "pooler/limits.h"

#include <utility>

namespace pgdba::pooler {

namespace {

bool full(const std::map<std::string, int>& counts, const std::string& name, int limit) {
  if (limit <= 0) return false;
  auto found = counts.find(name);
  return found != counts.end() && found->second >= limit;
}

void drop(std::map<std::string, int>& counts, const std::string& name) {
  auto found = counts.find(name);
  if (found != counts.end() && --found->second <= 0) counts.erase(found);
}

}  // namespace

void Limits::configure(const pool::Settings& settings) {
  std::lock_guard lock(mutex_);
  settings_ = settings;
}

Limits::Verdict Limits::take_server(const pool::Pool& pool, int limit) {
  std::lock_guard lock(mutex_);
  const pool::Database& database = *pool.database;
  const pool::User* own = pool.user_settings;
  Shared& shared = pools_[{database.name, pool.user}];
  if (limit > 0 && shared.servers >= limit) return Verdict::pool_full;
  const int user_limit = own != nullptr && own->max_connections ? *own->max_connections : settings_.max_user_connections;
  if (full(servers_of_database_, database.name, database.max_connections.value_or(settings_.max_db_connections)) ||
      full(servers_of_user_, pool.user, user_limit)) {
    return Verdict::others_full;
  }
  ++shared.servers;
  if (shared.share) shared.share->servers = shared.servers;
  ++servers_of_database_[database.name];
  ++servers_of_user_[pool.user];
  return Verdict::taken;
}

void Limits::give_server(const pool::Pool& pool) { give_server(pool.database->name, pool.user); }

void Limits::give_server(const std::string& database, const std::string& user) {
  std::lock_guard lock(mutex_);
  auto found = pools_.find({database, user});
  Shared& shared = found->second;
  --shared.servers;
  // Without a share nobody points at it.
  if (shared.share) shared.share->servers = shared.servers;
  else if (shared.servers <= 0) pools_.erase(found);
  drop(servers_of_database_, database);
  drop(servers_of_user_, user);
}

pool::PoolShare* Limits::share(const pool::Pool& pool) {
  if (workers_ <= 1) return nullptr;
  std::lock_guard lock(mutex_);
  Shared& shared = pools_[{pool.database->name, pool.user}];
  if (!shared.share) {
    shared.share = std::make_unique<pool::PoolShare>();
    shared.share->workers = workers_;
  }
  ++shared.pools;
  return shared.share.get();
}

void Limits::drop_share(const pool::Pool& pool) {
  std::lock_guard lock(mutex_);
  auto found = pools_.find({pool.database->name, pool.user});
  if (--found->second.pools > 0) return;
  found->second.share.reset();
  if (found->second.servers <= 0) pools_.erase(found);
}

std::string Limits::take_client(const pool::Client& client, const pool::Database& database) {
  std::lock_guard lock(mutex_);
  if (!closed_.empty()) return closed_;
  if (settings_.max_client_conn > 0 && clients_ >= settings_.max_client_conn) {
    return "no more connections allowed (max_client_conn)";
  }
  if (full(clients_of_database_, database.name, database.max_client_connections.value_or(settings_.max_db_client_connections))) {
    return "client connections exceeded (max_db_client_connections)";
  }
  const int user_limit = client.user != nullptr && client.user->max_client_connections ? *client.user->max_client_connections
                                                                                        : settings_.max_user_client_connections;
  if (full(clients_of_user_, client.user_name, user_limit)) {
    return "client connections exceeded (max_user_client_connections)";
  }
  ++clients_;
  ++clients_of_database_[database.name];
  ++clients_of_user_[client.user_name];
  return "";
}

void Limits::give_client(const pool::Client& client, const pool::Database& database) {
  std::lock_guard lock(mutex_);
  --clients_;
  drop(clients_of_database_, database.name);
  drop(clients_of_user_, client.user_name);
}

void Limits::close(std::string why) {
  std::lock_guard lock(mutex_);
  closed_ = std::move(why);
}

int Limits::clients() const {
  std::lock_guard lock(mutex_);
  return clients_;
}

}  // namespace pgdba::pooler
