#include "conf/pooler_entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "base/text.h"
#include "base/units.h"
#include "conf/pooler_values.h"

namespace pgdba::conf {

namespace {

constexpr const char* kPairs = ": expected key=value with a blank between two of them, and no empty value";

// For "did you mean"; what each does is below.
constexpr auto kDatabaseKeys = std::to_array<std::string_view>(
    {"dbname", "host", "port", "user", "password", "auth_user", "auth_query", "auth_dbname", "connect_query", "client_encoding", "datestyle",
     "timezone", "application_name", "pool_size", "min_pool_size", "reserve_pool_size", "pool_mode", "max_db_connections",
     "max_db_client_connections", "server_lifetime", "query_wait_timeout", "load_balance_hosts", "role", "max_lag"});
constexpr auto kUserKeys = std::to_array<std::string_view>(
    {"pool_mode", "pool_size", "reserve_pool_size", "max_user_connections", "max_user_client_connections", "query_timeout",
     "query_wait_timeout", "idle_transaction_timeout", "transaction_timeout", "client_idle_timeout"});
constexpr auto kPeerKeys = std::to_array<std::string_view>({"host", "port", "pool_size"});

bool blank(char c) {
  return c == ' ' || c == '\t';
}

// Reads values for one entry and collects what is wrong with them.
class Values {
 public:
  // `keys`: all that there are, for "did you mean".
  Values(std::string_view owner, std::string_view unknown, std::span<const std::string_view> keys, std::vector<std::string>& errors)
      : owner_(owner), unknown_(unknown), keys_(keys), errors_(errors) {}

  void bad(std::string_view key, std::string_view value, std::string_view wanted) {
    errors_.push_back(
        fmt::format("invalid value \"{}\" for parameter {} of {}: expected {}", shown(value), key, owner_, wanted));
  }
  // A broken quote can make the tail of a password look like a key, so only what looks like one is repeated.
  void unknown(std::string_view key) {
    bool plain =
        key.size() <= 40 && std::ranges::all_of(key, [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
    if (!plain) return errors_.push_back(fmt::format("{} in {}", unknown_, owner_));
    const auto meant = nearest(key, {keys_.begin(), keys_.end()});
    errors_.push_back(fmt::format("{}: {} in {}{}", unknown_, key, owner_, meant ? fmt::format(": did you mean {}?", *meant) : ""));
  }

  // -1 and every other negative number: not given. `least`: what else counts as not given is below it.
  void number(const std::string& key, const std::string& value, std::optional<int32_t>& out, int32_t least = 0) {
    auto parsed = parse_int(value);
    if (!parsed || *parsed > std::numeric_limits<int32_t>::max()) return bad(key, value, "a number");
    if (*parsed >= least) {
      out = static_cast<int32_t>(*parsed);
    } else {
      out.reset();
    }
  }
  void limit(const std::string& key, const std::string& value, std::optional<int32_t>& out) {
    number(key, value, out, 1);
  }
  void time(const std::string& key, const std::string& value, std::optional<microseconds>& out) {
    auto parsed = parse_seconds(value);
    if (!parsed) return bad(key, value, "seconds");
    out = parsed->count() == 0 ? std::nullopt : parsed;
  }
  void port(const std::string& key, const std::string& value, uint16_t& out) {
    auto parsed = parse_int(value);
    if (!parsed || *parsed < 1 || *parsed > 65535) return bad(key, value, "a port");
    out = static_cast<uint16_t>(*parsed);
  }
  void pool_mode(const std::string& key, const std::string& value, std::optional<PoolMode>& out) {
    PoolMode mode{};
    if (read_value(value, mode)) return bad(key, value, "session, transaction or statement");
    out = mode;
  }

 private:
  std::string_view owner_;
  std::string_view unknown_;
  std::span<const std::string_view> keys_;
  std::vector<std::string>& errors_;
};

void read_hosts(Values& values, const std::string& value, DatabaseEntry& entry) {
  entry.hosts.clear();
  for (const std::string& part : split(value, ',')) {
    std::string host(trim(part));
    if (host.empty()) return values.bad("host", value, "hosts with commas between them");
    entry.hosts.push_back(host);
  }
}

void read_load_balance(Values& values, const std::string& value, DatabaseEntry& entry) {
  if (iequals(value, "round-robin")) {
    entry.load_balance_hosts = LoadBalanceHosts::round_robin;
  } else if (iequals(value, "disable")) {
    entry.load_balance_hosts = LoadBalanceHosts::disable;
  } else {
    values.bad("load_balance_hosts", value, "round-robin or disable");
  }
}

void read_role(Values& values, const std::string& value, DatabaseEntry& entry) {
  if (iequals(value, "primary")) {
    entry.role = Role::primary;
  } else if (iequals(value, "replica")) {
    entry.role = Role::replica;
  } else if (iequals(value, "any")) {
    entry.role = Role::any;
  } else {
    values.bad("role", value, "primary, replica or any");
  }
}

void read_max_lag(Values& values, const std::string& value, DatabaseEntry& entry) {
  auto bytes = parse_bytes(value);
  if (!bytes || *bytes < 0) return values.bad("max_lag", value, "bytes, as 16MB");
  entry.max_lag = *bytes;
}

std::optional<std::string>* text_member(DatabaseEntry& entry, std::string_view key) {
  if (key == "dbname") return &entry.dbname;
  if (key == "user") return &entry.user;
  if (key == "auth_user") return &entry.auth_user;
  if (key == "auth_query") return &entry.auth_query;
  if (key == "connect_query") return &entry.connect_query;
  if (key == "client_encoding") return &entry.client_encoding;
  if (key == "datestyle") return &entry.datestyle;
  if (key == "timezone") return &entry.timezone;
  if (key == "application_name") return &entry.application_name;
  return nullptr;
}

void read_database_pair(Values& values, const std::string& key, const std::string& value, DatabaseEntry& entry) {
  if (auto* text = text_member(entry, key)) {
    *text = value;
  } else if (key == "password") {
    entry.password = Secret(value);
  } else if (key == "host") {
    read_hosts(values, value, entry);
  } else if (key == "port") {
    values.port(key, value, entry.port);
  } else if (key == "auth_dbname") {
    if (value == "pgbouncer") return values.bad(key, value, "a database other than the console");
    entry.auth_dbname = value;
  } else if (key == "pool_size") {
    values.number(key, value, entry.pool_size);
  } else if (key == "min_pool_size") {
    values.number(key, value, entry.min_pool_size);
  } else if (key == "reserve_pool_size" || key == "reserve_pool") {
    values.number(key, value, entry.reserve_pool_size);
  } else if (key == "pool_mode") {
    values.pool_mode(key, value, entry.pool_mode);
  } else if (key == "max_db_connections") {
    values.limit(key, value, entry.max_db_connections);
  } else if (key == "max_db_client_connections") {
    values.limit(key, value, entry.max_db_client_connections);
  } else if (key == "server_lifetime") {
    values.time(key, value, entry.server_lifetime);
  } else if (key == "query_wait_timeout") {
    values.time(key, value, entry.query_wait_timeout);
  } else if (key == "load_balance_hosts") {
    read_load_balance(values, value, entry);
  } else if (key == "role") {
    read_role(values, value, entry);
  } else if (key == "max_lag") {
    read_max_lag(values, value, entry);
  } else {
    values.unknown(key);
  }
}

void read_user_pair(Values& values, const std::string& key, const std::string& value, UserEntry& entry) {
  if (key == "pool_mode") {
    values.pool_mode(key, value, entry.pool_mode);
  } else if (key == "pool_size") {
    values.number(key, value, entry.pool_size);
  } else if (key == "reserve_pool_size") {
    values.number(key, value, entry.reserve_pool_size);
  } else if (key == "max_user_connections") {
    values.limit(key, value, entry.max_user_connections);
  } else if (key == "max_user_client_connections") {
    values.limit(key, value, entry.max_user_client_connections);
  } else if (key == "query_timeout") {
    values.time(key, value, entry.query_timeout);
  } else if (key == "query_wait_timeout") {
    values.time(key, value, entry.query_wait_timeout);
  } else if (key == "idle_transaction_timeout") {
    values.time(key, value, entry.idle_transaction_timeout);
  } else if (key == "transaction_timeout") {
    values.time(key, value, entry.transaction_timeout);
  } else if (key == "client_idle_timeout") {
    values.time(key, value, entry.client_idle_timeout);
  } else {
    values.unknown(key);
  }
}

}  // namespace

std::optional<Pairs> parse_pairs(std::string_view text) {
  Pairs out;
  size_t at = 0;
  auto skip_blanks = [&] {
    while (at < text.size() && blank(text[at])) ++at;
  };
  for (skip_blanks(); at < text.size(); skip_blanks()) {
    size_t begin = at;
    while (at < text.size() && text[at] != '=' && !blank(text[at])) ++at;
    std::string key(text.substr(begin, at - begin));
    skip_blanks();
    if (key.empty() || at == text.size() || text[at] != '=') return std::nullopt;
    ++at;
    skip_blanks();
    std::string value;
    if (at < text.size() && text[at] == '\'') {
      for (++at;; ++at) {
        if (at == text.size()) return std::nullopt;
        if (text[at] == '\'') {
          ++at;
          if (at == text.size() || text[at] != '\'') break;
        }
        value += text[at];
      }
      if (at < text.size() && !blank(text[at])) return std::nullopt;
    } else {
      begin = at;
      while (at < text.size() && !blank(text[at])) ++at;
      value = text.substr(begin, at - begin);
    }
    if (value.empty()) return std::nullopt;
    out.emplace_back(std::move(key), std::move(value));
  }
  return out;
}

EntryReading<DatabaseEntry> parse_database_entry(std::string_view name, std::string_view text) {
  EntryReading<DatabaseEntry> out;
  out.entry.name = name;
  if (name == "pgbouncer") {
    out.errors.emplace_back("database name \"pgbouncer\" is reserved");
    return out;
  }
  if (name.size() > kMaxDatabaseName)
    out.errors.push_back(fmt::format("database name \"{}\" is too long", shown(name)));
  std::string owner = fmt::format("database \"{}\"", shown(name));
  auto pairs = parse_pairs(text);
  if (!pairs) {
    out.errors.push_back("syntax error in connection string of " + owner + kPairs);
    return out;
  }
  Values values(owner, "unrecognized connection parameter", kDatabaseKeys, out.errors);
  for (const auto& [key, value] : *pairs) read_database_pair(values, key, value, out.entry);
  return out;
}

EntryReading<UserEntry> parse_user_entry(std::string_view name, std::string_view text) {
  EntryReading<UserEntry> out;
  out.entry.name = name;
  if (name.size() > kMaxUserName) out.errors.push_back(fmt::format("user name \"{}\" is too long", shown(name)));
  std::string owner = fmt::format("user \"{}\"", shown(name));
  auto pairs = parse_pairs(text);
  if (!pairs) {
    out.errors.push_back("syntax error in settings of " + owner + kPairs);
    return out;
  }
  Values values(owner, "unrecognized user parameter", kUserKeys, out.errors);
  for (const auto& [key, value] : *pairs) read_user_pair(values, key, value, out.entry);
  return out;
}

EntryReading<PeerEntry> parse_peer_entry(std::string_view id, std::string_view text) {
  EntryReading<PeerEntry> out;
  std::string owner = fmt::format("peer \"{}\"", shown(id));
  auto number = parse_int(id);
  if (!number || *number < 1 || *number > 16383) {
    out.errors.push_back(owner + " must be a number from 1 to 16383");
  } else {
    out.entry.id = static_cast<int32_t>(*number);
  }
  auto pairs = parse_pairs(text);
  if (!pairs) {
    out.errors.push_back("syntax error in connection string of " + owner + kPairs);
    return out;
  }
  Values values(owner, "unrecognized connection parameter", kPeerKeys, out.errors);
  for (const auto& [key, value] : *pairs) {
    if (key == "host") {
      out.entry.host = value;
    } else if (key == "port") {
      values.port(key, value, out.entry.port);
    } else if (key == "pool_size") {
      values.number(key, value, out.entry.pool_size);
    } else {
      values.unknown(key);
    }
  }
  if (out.entry.host.empty()) out.errors.push_back("host was not provided for " + owner);
  return out;
}

}  // namespace pgdba::conf
