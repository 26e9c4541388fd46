#include "conf/pooler_rules.h"

#include <algorithm>

namespace pgdba::conf {

namespace {

int32_t limit(int32_t value) {
  return std::max(value, 0);
}

const UserEntry& user_or_empty(const PoolerConfig& config, std::string_view name) {
  static const UserEntry kEmpty;
  const UserEntry* found = find_user(config, name);
  return found != nullptr ? *found : kEmpty;
}

}  // namespace

const DatabaseEntry* find_database(const PoolerConfig& config, std::string_view name) {
  auto found = std::ranges::find(config.databases, name, &DatabaseEntry::name);
  return found != config.databases.end() && !found->is_template() ? &*found : nullptr;
}

const DatabaseEntry* find_template(const PoolerConfig& config) {
  auto found = std::ranges::find_if(config.databases, &DatabaseEntry::is_template);
  return found != config.databases.end() ? &*found : nullptr;
}

const UserEntry* find_user(const PoolerConfig& config, std::string_view name) {
  auto found = std::ranges::find(config.users, name, &UserEntry::name);
  return found != config.users.end() ? &*found : nullptr;
}

PoolRules pool_rules(const PoolerConfig& config, const DatabaseEntry& database, std::string_view requested,
                     std::string_view login_user) {
  const PoolerSettings& global = config.settings;
  PoolRules out;
  out.server_user = database.user.value_or(std::string(login_user));
  out.server_dbname = database.dbname.value_or(std::string(requested));
  const UserEntry& user = user_or_empty(config, out.server_user);
  auto mode = user.pool_mode ? user.pool_mode : database.pool_mode;
  auto size = user.pool_size ? user.pool_size : database.pool_size;
  auto reserve = user.reserve_pool_size ? user.reserve_pool_size : database.reserve_pool_size;
  out.pool_mode = mode.value_or(global.pool_mode);
  out.pool_size = limit(size.value_or(global.default_pool_size));
  out.min_pool_size = limit(database.min_pool_size.value_or(global.min_pool_size));
  out.reserve_pool_size = limit(reserve.value_or(global.reserve_pool_size));
  out.max_db_connections = limit(database.max_db_connections.value_or(global.max_db_connections));
  out.max_user_connections = limit(user.max_user_connections.value_or(global.max_user_connections));
  out.server_lifetime = database.server_lifetime.value_or(global.server_lifetime);
  out.auth_user = database.auth_user.value_or(global.auth_user);
  out.auth_query = database.auth_query.value_or(global.auth_query);
  out.auth_dbname = database.auth_dbname.value_or(global.auth_dbname);
  return out;
}

ClientRules client_rules(const PoolerConfig& config, const DatabaseEntry& database, std::string_view login_user) {
  const PoolerSettings& global = config.settings;
  const UserEntry& user = user_or_empty(config, login_user);
  ClientRules out;
  out.max_db_client_connections = limit(database.max_db_client_connections.value_or(global.max_db_client_connections));
  out.max_user_client_connections =
      limit(user.max_user_client_connections.value_or(global.max_user_client_connections));
  out.query_timeout = user.query_timeout.value_or(global.query_timeout);
  auto wait = user.query_wait_timeout ? user.query_wait_timeout : database.query_wait_timeout;
  out.query_wait_timeout = wait.value_or(global.query_wait_timeout);
  out.idle_transaction_timeout = user.idle_transaction_timeout.value_or(global.idle_transaction_timeout);
  out.transaction_timeout = user.transaction_timeout.value_or(global.transaction_timeout);
  out.client_idle_timeout = user.client_idle_timeout.value_or(global.client_idle_timeout);
  return out;
}

bool needs_reconnect(const DatabaseEntry& before, const DatabaseEntry& after) {
  return before.dbname != after.dbname || before.hosts != after.hosts || before.port != after.port ||
         before.user != after.user || before.connect_query != after.connect_query ||
         before.auth_dbname != after.auth_dbname || before.auth_query != after.auth_query ||
         before.load_balance_hosts != after.load_balance_hosts || before.role != after.role;
}

}  // namespace pgdba::conf
