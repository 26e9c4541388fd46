// Which of the settings of a user, a database and the whole pooler counts.
//
// A user's own setting comes first, then the database's, then the global one. Where a database forces a user, that
// user's entry decides how the pool behaves, and the entry of the user who logged in decides what the client may do.
// In the results a limit of 0 is none, and never negative.
#pragma once

#include "conf/pooler_ini.h"

namespace pgdba::conf {

// Null when there is none. find_database() does not give the template, find_template() gives nothing else.
const DatabaseEntry* find_database(const PoolerConfig& config, std::string_view name);
const DatabaseEntry* find_template(const PoolerConfig& config);
const UserEntry* find_user(const PoolerConfig& config, std::string_view name);

// For the servers of one pool.
struct PoolRules {
  std::string server_user;    // the pool belongs to; the forced one, if any
  std::string server_dbname;  // the database on the server
  PoolMode pool_mode{};       // replication connections are always in session mode
  int32_t pool_size = 0;      // 0: no limit
  int32_t min_pool_size = 0;
  int32_t reserve_pool_size = 0;  // 0: no reserve
  int32_t max_db_connections = 0;
  int32_t max_user_connections = 0;  // of server_user, over all databases
  microseconds server_lifetime{};
  std::string auth_user;  // empty: no auth_query
  std::string auth_query;
  std::string auth_dbname;  // empty: the database of the pool
};
// `requested` is the database name of the client, which differs from the entry's for the template.
PoolRules pool_rules(const PoolerConfig& config, const DatabaseEntry& database, std::string_view requested,
                     std::string_view login_user);

// For one client. A timeout of 0 is none.
struct ClientRules {
  int32_t max_db_client_connections = 0;
  int32_t max_user_client_connections = 0;
  microseconds query_timeout{};
  microseconds query_wait_timeout{};
  microseconds idle_transaction_timeout{};
  microseconds transaction_timeout{};
  microseconds client_idle_timeout{};
};
ClientRules client_rules(const PoolerConfig& config, const DatabaseEntry& database, std::string_view login_user);

// A reload that changes one of these closes the database's server connections as they are released.
bool needs_reconnect(const DatabaseEntry& before, const DatabaseEntry& after);

}  // namespace pgdba::conf
