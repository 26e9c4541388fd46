#include "conf/effective.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace pgdba::conf {

namespace {

using Parameters = std::map<std::string, std::string>;

constexpr int64_t kMegabyte = 1024 * 1024;
constexpr int64_t kSegment = 16 * kMegabyte;

// One row per setting that all members must agree on, with Patroni's default and bounds.
struct Controlled {
  std::string_view name;
  std::string_view fallback;
  enum class Type { integer, boolean, wal_level } type;
  int64_t low = 0;
};
constexpr int64_t kMost = 262143;  // PostgreSQL's MAX_BACKENDS, which bounds all of them
constexpr Controlled kControlled[] = {
    {"max_connections", "100", Controlled::Type::integer, 25},
    {"max_locks_per_transaction", "64", Controlled::Type::integer, 32},
    {"max_worker_processes", "8", Controlled::Type::integer, 2},
    {"max_prepared_transactions", "0", Controlled::Type::integer, 0},
    {"max_wal_senders", "10", Controlled::Type::integer, 3},
    {"max_replication_slots", "10", Controlled::Type::integer, 4},
    {"wal_level", "replica", Controlled::Type::wal_level},
    {"track_commit_timestamp", "off", Controlled::Type::boolean},
    {"wal_log_hints", "on", Controlled::Type::boolean},
};
// Fixed, whoever asks for something else.
constexpr std::pair<std::string_view, std::string_view> kForced[] = {{"hot_standby", "on"},
                                                                     {"restart_after_crash", "off"}};
constexpr std::string_view kFromAgent[] = {"listen_addresses", "port", "cluster_name"};
constexpr std::string_view kWalKeep[] = {"wal_keep_size", "wal_keep_segments"};
constexpr std::string_view kRecovery[] = {"restore_command", "archive_cleanup_command", "recovery_end_command",
                                          "recovery_min_apply_delay"};
// Also recovery settings, but of the agent alone.
constexpr std::string_view kRecoveryOfAgent[] = {"primary_conninfo", "primary_slot_name", "promote_trigger_file",
                                                 "trigger_file",     "standby_mode",      "pause_at_recovery_target"};

bool is_recovery_of_agent(std::string_view name) {
  return name.starts_with("recovery_target") || std::ranges::find(kRecoveryOfAgent, name) != std::end(kRecoveryOfAgent);
}

const Controlled* find_controlled(std::string_view name) {
  auto found = std::ranges::find(kControlled, name, &Controlled::name);
  return found == std::end(kControlled) ? nullptr : found;
}

const std::pair<std::string_view, std::string_view>* find_forced(std::string_view name) {
  auto found = std::ranges::find(kForced, name, [](const auto& row) { return row.first; });
  return found == std::end(kForced) ? nullptr : found;
}

// The value as it goes to PostgreSQL; nullopt when it is out of bounds.
std::optional<std::string> accepted(const Controlled& row, const std::string& value) {
  if (row.type == Controlled::Type::boolean) {
    auto on = parse_bool(trim(value));
    return on ? std::optional<std::string>(*on ? "on" : "off") : std::nullopt;
  }
  if (row.type == Controlled::Type::wal_level) {
    std::string level = lower(trim(value));
    if (level == "hot_standby" || level == "replica") return "replica";
    return level == "logical" ? std::optional(level) : std::nullopt;
  }
  auto number = parse_int(trim(value));
  if (!number || *number < row.low || *number > kMost) return std::nullopt;
  return fmt::format("{}", *number);
}

std::string bounds(const Controlled& row) {
  if (row.type == Controlled::Type::boolean) return "on or off";
  if (row.type == Controlled::Type::wal_level) return "replica or logical";
  return fmt::format("a whole number from {} to {}", row.low, kMost);
}

class Builder {
 public:
  Builder(const Parameters& local, const Parameters& dynamic) {
    add(dynamic);
    add(local);
  }

  void controlled(const Parameters& dynamic) {
    for (const Controlled& row : kControlled) {
      auto found = dynamic.find(std::string(row.name));
      auto value = found == dynamic.end() ? std::optional(std::string(row.fallback)) : accepted(row, found->second);
      if (!value) warn(row.name, bounds(row), found->second, row.fallback);
      out_.parameters[std::string(row.name)] = value.value_or(std::string(row.fallback));
    }
    for (auto [name, value] : kForced) {
      auto found = dynamic.find(std::string(name));
      if (found != dynamic.end() && parse_bool(found->second) != parse_bool(value))
        warn(name, value, found->second, value);
      out_.parameters[std::string(name)] = value;
    }
  }

  // PostgreSQL 13 replaced wal_keep_segments (of 16 MB) by wal_keep_size; either one is taken for the other.
  void wal_keep(const Parameters& dynamic, int version_num) {
    int64_t bytes = 8 * kSegment;
    if (auto segments = dynamic.find("wal_keep_segments"); segments != dynamic.end()) {
      auto number = parse_int(trim(segments->second));
      if (number && *number >= 1 && *number <= INT32_MAX / 16)
        bytes = *number * kSegment;
      else
        warn(segments->first, "a whole number from 1 on", segments->second, "8");
    }
    if (auto size = dynamic.find("wal_keep_size"); size != dynamic.end()) {
      auto number = parse_bytes(size->second, kMegabyte);
      if (number && *number >= kSegment && *number <= INT32_MAX * kMegabyte)
        bytes = *number;
      else
        warn(size->first, "16MB or more", size->second, fmt::format("{}MB", bytes / kMegabyte));
    }
    if (version_num >= 130000)
      out_.parameters["wal_keep_size"] = fmt::format("{}MB", bytes / kMegabyte);
    else
      out_.parameters["wal_keep_segments"] = fmt::format("{}", std::max<int64_t>(1, bytes / kSegment));
  }

  // A freeze waits until the startup process asks for the next segment (ha.md 4.3): that must be soon.
  void retry_interval() {
    constexpr Duration most = 200ms;
    std::string& value = out_.parameters["wal_retrieve_retry_interval"];
    auto wanted = parse_duration(value, 1ms);
    if (!wanted || *wanted < 1ms || *wanted > most) {
      if (!value.empty()) warn("wal_retrieve_retry_interval", "at most 200ms, which elections rely on", value, "200ms");
      value = "200ms";
    }
  }

  void set(std::string_view name, std::string value) { out_.parameters[std::string(name)] = std::move(value); }
  void remove(const std::string& name) { out_.parameters.erase(name); }
  EffectiveParameters take() { return std::move(out_); }

 private:
  void add(const Parameters& parameters) {
    for (const auto& [given, value] : parameters) {
      std::string name = lower(given);
      if (is_controlled(name) || is_recovery_of_agent(name)) continue;
      bool recovery = std::ranges::find(kRecovery, name) != std::end(kRecovery);
      (recovery ? out_.recovery : out_.parameters)[name] = value;
    }
  }

  void warn(std::string_view name, std::string_view wanted, std::string_view got, std::string_view instead) {
    out_.warnings.push_back(fmt::format("postgresql.parameters.{}: expected {}, got \"{}\"; {} is used", name, wanted,
                                        got.substr(0, 60), instead));
  }

  EffectiveParameters out_;
};

}  // namespace

bool is_controlled(std::string_view parameter) {
  return find_controlled(parameter) || find_forced(parameter) ||
         std::ranges::find(kFromAgent, parameter) != std::end(kFromAgent) ||
         std::ranges::find(kWalKeep, parameter) != std::end(kWalKeep);
}

bool goes_to_command_line(std::string_view parameter) {
  return is_controlled(parameter) && std::ranges::find(kWalKeep, parameter) == std::end(kWalKeep);
}

EffectiveParameters effective_parameters(const AgentSettings& local, const model::DynamicConfig& dynamic,
                                         int version_num) {
  Parameters wanted;
  for (const auto& [name, value] : dynamic.postgresql.parameters) wanted[lower(name)] = value;
  Builder builder(local.postgresql.parameters, wanted);
  builder.controlled(wanted);
  builder.wal_keep(wanted, version_num);
  builder.retry_interval();
  if (dynamic.synchronous_mode != model::SyncMode::off) builder.remove("synchronous_standby_names");
  builder.set("listen_addresses", join(local.postgresql.listen_addresses, ","));
  builder.set("port", fmt::format("{}", local.postgresql.port));
  builder.set("cluster_name", local.scope);
  return builder.take();
}

std::optional<std::vector<std::string>> effective_pg_hba(const AgentSettings& local,
                                                         const model::DynamicConfig& dynamic) {
  if (local.postgresql.pg_hba) return local.postgresql.pg_hba;
  if (dynamic.postgresql.pg_hba.empty()) return std::nullopt;
  return dynamic.postgresql.pg_hba;
}

std::optional<std::vector<std::string>> effective_pg_ident(const AgentSettings& local,
                                                           const model::DynamicConfig& dynamic) {
  if (local.postgresql.pg_ident) return local.postgresql.pg_ident;
  if (dynamic.postgresql.pg_ident.empty()) return std::nullopt;
  return dynamic.postgresql.pg_ident;
}

bool effective_use_pg_rewind(const AgentSettings& local, const model::DynamicConfig& dynamic) {
  return local.postgresql.use_pg_rewind.value_or(dynamic.postgresql.use_pg_rewind);
}

}  // namespace pgdba::conf
