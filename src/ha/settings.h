// What an HA core knows from its start on: who it is, and the budgets of its waits.
#pragma once

#include <optional>
#include <string>

#include "base/time.h"
#include "model/cluster.h"

namespace pgdba::ha {

struct Self {
  std::string name;
  std::string run_id;    // of this agent process; fresh at each start
  std::string conn_url;  // as published in the member key
  std::string api_url;
  std::string version;        // Patroni-compatible, numeric
  std::string pgdba_version;
  model::Tags tags;
  model::DynamicConfig bootstrap_config;  // counts until etcd has shown a configuration
  bool may_bootstrap = true;      // a bootstrap section is configured
  Duration bootstrap_delay{};     // so long, while there is no cluster, it is left to others to make one
  std::optional<bool> use_pg_rewind;  // none: as the dynamic configuration says
  bool remove_data_on_rewind_failure = false;
  bool remove_data_on_diverged_timelines = false;
};

// Derived from the lease time in force; see ha.md section 2 for the arithmetic.
struct Budgets {
  Duration ttl;
  Duration renew_every;   // ttl / 6: a stall of 60 % of ttl still leaves a renewal before the deadline
  Duration margin;        // clock drift and the time between etcd's answer and our reading of it
  Duration stop_budget;   // an immediate stop must be done this long before the deadline
  Duration suspect_gap;   // between the two failed probes of 4.2
  Duration suspect_window;  // q + 1 suspicions must fall within this
  Duration rank_step;     // candidate of rank k waits k times this
  Duration freeze_proof;  // then the postmaster is stopped instead
  Duration switchover_grace;  // poolers and transactions in flight
  Duration fast_stop;     // then an immediate stop
  Duration silence;       // a primary that answers no query for so long is taken for dead; above a stall of 60 % of ttl
};
Budgets budgets_for(Duration ttl);

}  // namespace pgdba::ha
