// The dynamic configuration: what every member of the cluster reads from the `config` key.
//
// Typed, with Patroni's defaults; unknown keys stay in the raw JSON (wire/ keeps it) and are ignored here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/names.h"

namespace pgdba::model {

struct Timings {
  Duration ttl = 30s;            // lease of the leader lock
  Duration loop_wait = 10s;      // longest pause between two cycles when nothing happens
  Duration retry_timeout = 10s;  // budget of one logical etcd operation
};

struct DynamicConfig {
  Timings timings;
  uint64_t maximum_lag_on_failover = 1048576;  // bytes
  int64_t maximum_lag_on_syncnode = -1;        // bytes; not positive: no limit
  int max_timelines_history = 0;               // 0: all
  Duration primary_start_timeout = 300s;
  Duration primary_stop_timeout = 0s;
  SyncMode synchronous_mode = SyncMode::off;
  bool synchronous_mode_strict = false;
  int synchronous_node_count = 1;
  bool failsafe_mode = false;
  bool pause = false;
  bool check_timeline = false;
  Duration member_slots_ttl = 1800s;

  struct Postgresql {
    bool use_pg_rewind = false;
    bool use_slots = true;
    std::map<std::string, std::string> parameters;  // GUC name to value as PostgreSQL text
    std::vector<std::string> pg_hba;                // lines; empty: not configured
    std::vector<std::string> pg_ident;
    bool operator==(const Postgresql&) const = default;
  } postgresql;

  bool operator==(const DynamicConfig& other) const;
};

// Patroni's rule loop_wait + 2 * retry_timeout <= ttl, applied to values that break it, and the lower bounds:
// ttl 2 s (20 s when a member without pgdba's field is in the cluster), loop_wait 1 s, retry_timeout 3 s — below
// ttl 20 s the two are scaled with ttl (loop_wait = ttl / 3, retry_timeout = ttl / 3), since Patroni's minima no longer fit.
Timings adjust(Timings wanted, bool patroni_members);

}  // namespace pgdba::model
