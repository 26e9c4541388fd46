// The field's words for roles and states, spelled as Patroni spells them where bytes leave the process.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pgdba::model {

// The `role` of a member key and of GET /patroni.
enum class Role { uninitialized, primary, replica, standby_leader, demoted, promoted };
std::string_view to_string(Role role);
std::optional<Role> parse_role(std::string_view text);  // accepts the old word "master" for primary

// The `state` of a member key; the number is the value of the metric patroni_postgres_state.
enum class PgState {
  initdb = 0,             // "initializing new cluster"
  initdb_failed = 1,      // "initdb failed"
  custom_bootstrap = 2,   // "running custom bootstrap script"
  custom_bootstrap_failed = 3,
  creating_replica = 4,
  running = 5,
  starting = 6,
  bootstrap_starting = 7,  // "starting after custom bootstrap"
  start_failed = 8,
  restarting = 9,
  restart_failed = 10,
  stopping = 11,
  stopped = 12,
  stop_failed = 13,
  crashed = 14,
};
std::string_view to_string(PgState state);
std::optional<PgState> parse_pg_state(std::string_view text);

enum class SyncMode { off, priority, quorum };

// The name that keeps commits waiting when nobody may acknowledge them; no member may bear it.
inline constexpr std::string_view kSyncPlaceholder = "__patroni_strict_sync_replica_placeholder__";

// Replication slot name of a member, by Patroni's rule: lower case, '-' and '.' become '_', anything else outside
// [a-z0-9_] becomes 'u' and its code point in at least four decimal digits, cut to 63 bytes.
std::string slot_name(std::string_view member);

}  // namespace pgdba::model
