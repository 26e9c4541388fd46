// What GET /patroni, the health checks and the metrics say about this node: from the agent's memory alone, so that a
// thousand clients cost no query and no wait.
#pragma once

#include <optional>
#include <string>

#include "base/version.h"
#include "ha/action.h"
#include "ha/core.h"
#include "model/cluster.h"
#include "model/local.h"
#include "wire/patroni_rest.h"

namespace pgdba::agent {

struct StatusInput {
  const model::LocalPg* pg = nullptr;            // never null
  const model::ClusterView* cluster = nullptr;   // nullptr: never read
  bool cluster_fresh = false;                    // younger than ttl
  const ha::Action* local_action = nullptr;      // what the local lane is doing
  ha::Core::Standing standing;
  BootTime now{};
  WallTime wall{};
  std::string scope;
  std::string name;
  model::Tags tags;  // as configured
};

// Patroni's word for what PostgreSQL is doing; nullopt: it should be running but did not answer.
std::optional<model::PgState> pg_state(const model::LocalPg& pg, const ha::Action* local_action);

// The member's position by term, as its answers and history files give it; nullopt: none (W4, R1).
std::optional<model::Position> local_position(const model::LocalPg& pg, const model::ClusterView* cluster);

wire::NodeStatus make_status(const StatusInput& in);

// The greater of status.optime and what the walreceiver heard; invalid: not known.
Lsn leader_lsn(const model::LocalPg& pg, const model::ClusterView* cluster);

}  // namespace pgdba::agent
