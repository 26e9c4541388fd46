// Which settings PostgreSQL runs with: local ones, the dynamic configuration, and what the agent decides itself
// (patroni.md 6.6 and 7.1, point 3).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/agent_settings.h"
#include "model/config.h"

namespace pgdba::conf {

// A setting that the cluster must agree on or that the agent owns: local values are ignored, and the value goes to the
// command line of postgres so that no file can change it (wal_keep_size and wal_keep_segments go to the file).
bool is_controlled(std::string_view parameter);
bool goes_to_command_line(std::string_view parameter);

struct EffectiveParameters {
  std::map<std::string, std::string> parameters;  // GUC, lower case, to value as PostgreSQL text, unquoted
  // What the user wants for recovery (restore_command, recovery_min_apply_delay, …), kept apart because a frozen member
  // must not have it. Never primary_conninfo, primary_slot_name or a recovery target: those are the agent's.
  std::map<std::string, std::string> recovery;
  std::vector<std::string> warnings;  // values out of bounds that were replaced by the default
};

// `version_num`: 150020. Includes listen_addresses, port and cluster_name, and what ha.md asks of every member:
// restart_after_crash off (H3) and wal_retrieve_retry_interval of at most 200 ms (4.3). synchronous_standby_names is in
// it only while synchronous_mode is off; otherwise the caller sets it.
EffectiveParameters effective_parameters(const AgentSettings& local, const model::DynamicConfig& dynamic,
                                         int version_num);

// The lines of pg_hba.conf and pg_ident.conf: a local list hides the dynamic one; nullopt: leave the file alone.
std::optional<std::vector<std::string>> effective_pg_hba(const AgentSettings& local,
                                                         const model::DynamicConfig& dynamic);
std::optional<std::vector<std::string>> effective_pg_ident(const AgentSettings& local,
                                                           const model::DynamicConfig& dynamic);
bool effective_use_pg_rewind(const AgentSettings& local, const model::DynamicConfig& dynamic);

}  // namespace pgdba::conf
