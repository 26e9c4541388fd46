// The settings that the pooling core acts on, as plain values. Durations in microseconds; 0 means what pgbouncer.ini's 0
// means there (mostly: no limit). pooler/ makes them from conf/'s; one object per database, user and process, whose address
// stays the same over a reload.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/secret.h"
#include "pool/rules.h"

namespace pgdba::pool {

using Micros = std::chrono::microseconds;
using namespace std::chrono_literals;

enum class PoolMode : uint8_t { session, transaction, statement };

struct Settings {
  PoolMode pool_mode = PoolMode::session;
  int max_client_conn = 100;
  int default_pool_size = 20;
  int min_pool_size = 0;
  int reserve_pool_size = 0;
  Micros reserve_pool_timeout = 5s;
  int max_db_connections = 0;
  int max_db_client_connections = 0;
  int max_user_connections = 0;
  int max_user_client_connections = 0;
  bool server_round_robin = false;
  size_t max_prepared_statements = 200;
  std::string server_reset_query = "DISCARD ALL";
  bool server_reset_query_always = false;
  Micros server_check_delay = 30s;
  std::optional<std::string> server_check_query = "";  // nothing: no check; empty: an empty query
  Micros server_lifetime = 3600s;
  Micros server_idle_timeout = 600s;
  Micros server_connect_timeout = 15s;
  Micros server_login_retry = 15s;
  Micros cluster_login_retry = 20ms;   // where the server is found through a cluster
  Micros failover_hold_timeout = 30s;
  Micros client_login_timeout = 60s;
  Micros query_timeout = 0s;
  Micros query_wait_timeout = 120s;
  Micros query_wait_notify = 5s;
  Micros cancel_wait_timeout = 10s;
  Micros client_idle_timeout = 0s;
  Micros idle_transaction_timeout = 0s;
  Micros transaction_timeout = 0s;
  uint32_t max_packet_size = 0x7fffffff;
  bool disable_pqexec = false;
  bool server_fast_close = false;
  bool application_name_add_host = false;
  std::string login_notify_message;
  int peer_id = 0;           // in cancel keys; 0: no peers
  int connects_at_once = 4;  // per pool
  Rules rules;
  std::vector<std::string> tracked;                     // parameters that follow the client, beside the five of PgBouncer
  std::vector<std::string> ignored_startup_parameters;  // may hold "options"
};

enum class Route : uint8_t { fixed, primary, replica, any };

// An entry of [databases], or one that "*" made.
struct Database {
  std::string name;
  std::string server_name;  // dbname on the server
  Route route = Route::fixed;
  std::optional<std::string> forced_user;
  Secret forced_password;
  std::optional<PoolMode> pool_mode;
  std::optional<int> pool_size, min_pool_size, reserve_pool_size, max_connections, max_client_connections;
  std::optional<Micros> server_lifetime, query_wait_timeout;
  std::string connect_query;
  std::vector<std::pair<std::string, std::string>> startup;  // client_encoding and the like, for servers
  bool automatic = false;                                    // made by "*"
};

struct User {
  std::string name;
  std::optional<PoolMode> pool_mode;
  std::optional<int> pool_size, reserve_pool_size, max_connections, max_client_connections;
  std::optional<Micros> query_timeout, idle_transaction_timeout, transaction_timeout, client_idle_timeout, query_wait_timeout;
};

}  // namespace pgdba::pool
