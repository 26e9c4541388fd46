// What one line of [databases], [users] or [peers] says: a name and a connection string, typed.
//
// An override that is not given is nullopt, and the global setting counts (conf/pooler_rules.h). As in PgBouncer a
// negative size, a limit of 0 or less and a time of 0 are the same as not given. Numbers are decimal here, unlike in
// [pgbouncer]. Parsers give every mistake as a sentence without a place; no password is ever in one.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/secret.h"
#include "conf/pooler_settings.h"

namespace pgdba::conf {

enum class LoadBalanceHosts { round_robin, disable };
enum class Role { primary, replica, any };

// The largest names that PgBouncer takes.
constexpr size_t kMaxDatabaseName = 63;
constexpr size_t kMaxUserName = 127;

struct DatabaseEntry {
  std::string name;                   // "*": the template for names that are not listed
  std::optional<std::string> dbname;  // on the server; the name that the client asked for if not given
  std::vector<std::string> hosts;     // names, addresses, "/dir" or "@abstract"; empty: the default unix socket
  uint16_t port = 5432;
  std::optional<std::string> user;  // forced: all clients share its pool
  std::optional<Secret> password;
  std::optional<std::string> auth_user;
  std::optional<std::string> auth_query;
  std::optional<std::string> auth_dbname;
  std::optional<int32_t> pool_size;
  std::optional<int32_t> min_pool_size;
  std::optional<int32_t> reserve_pool_size;
  std::optional<PoolMode> pool_mode;
  std::optional<int32_t> max_db_connections;
  std::optional<int32_t> max_db_client_connections;
  std::optional<microseconds> server_lifetime;
  std::optional<microseconds> query_wait_timeout;
  LoadBalanceHosts load_balance_hosts = LoadBalanceHosts::round_robin;
  std::optional<std::string> connect_query;
  std::optional<std::string> client_encoding;
  std::optional<std::string> datestyle;
  std::optional<std::string> timezone;
  std::optional<std::string> application_name;
  std::optional<Role> role;        // ours: which member of the cluster to connect to
  std::optional<int64_t> max_lag;  // ours, bytes: a replica that is further behind is passed over

  [[nodiscard]] bool is_template() const { return name == "*"; }
  bool operator==(const DatabaseEntry&) const = default;
};

struct UserEntry {
  std::string name;
  std::optional<PoolMode> pool_mode;
  std::optional<int32_t> pool_size;
  std::optional<int32_t> reserve_pool_size;
  std::optional<int32_t> max_user_connections;
  std::optional<int32_t> max_user_client_connections;
  std::optional<microseconds> query_timeout;
  std::optional<microseconds> query_wait_timeout;
  std::optional<microseconds> idle_transaction_timeout;
  std::optional<microseconds> transaction_timeout;
  std::optional<microseconds> client_idle_timeout;
  bool operator==(const UserEntry&) const = default;
};

struct PeerEntry {
  int32_t id = 0;  // 1 to 16383
  std::string host;
  uint16_t port = 6432;
  std::optional<int32_t> pool_size;
  bool operator==(const PeerEntry&) const = default;
};

// "key=value key='it''s'": the pairs in order. nullopt: a key without '=', an empty value, a quote without its end.
using Pairs = std::vector<std::pair<std::string, std::string>>;
std::optional<Pairs> parse_pairs(std::string_view text);

template <class Entry>
struct EntryReading {
  Entry entry;
  std::vector<std::string> errors;
};
EntryReading<DatabaseEntry> parse_database_entry(std::string_view name, std::string_view text);
EntryReading<UserEntry> parse_user_entry(std::string_view name, std::string_view text);
EntryReading<PeerEntry> parse_peer_entry(std::string_view id, std::string_view text);

}  // namespace pgdba::conf
