// What the REST routes may see of the agent, and what they may ask of it. The only way from rest/ into the agent, so that
// routes can be tested against a page of fakes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/planned_restart.h"
#include "base/error.h"
#include "base/time.h"
#include "conf/agent_settings.h"
#include "dcs/store.h"
#include "ha/view.h"
#include "model/cluster.h"
#include "net/task.h"
#include "wire/patroni_rest.h"

namespace pgdba::agent::rest {

class Node {
 public:
  virtual ~Node() = default;

  // All from memory, as of now.
  [[nodiscard]] virtual BootTime now() const = 0;
  [[nodiscard]] virtual WallTime wall() const = 0;
  [[nodiscard]] virtual const conf::AgentSettings& settings() const = 0;
  [[nodiscard]] virtual wire::NodeStatus status() const = 0;
  [[nodiscard]] virtual const model::ClusterView* cluster() const = 0;  // nullptr: never read
  [[nodiscard]] virtual bool cluster_fresh() const = 0;                 // younger than ttl
  [[nodiscard]] virtual bool believes_leader() const = 0;               // the lock is proved until some future moment
  [[nodiscard]] virtual Lsn leader_lsn() const = 0;
  [[nodiscard]] virtual const model::DynamicConfig& dynamic() const = 0;  // in force, adjusted
  [[nodiscard]] virtual Duration late() const = 0;  // how far the loop is behind the time planned for its next step
  [[nodiscard]] virtual std::vector<wire::OwnMetric> metrics() const = 0;

  // `operations` hold key names below the cluster's prefix. One transaction, never repeated. After success cluster() has it,
  // unless the watch is late.
  virtual Task<Result<dcs::TxnResult>> write(dcs::Txn txn, BootTime deadline) = 0;
  // Until the cluster view or the agent's state has changed; false: the deadline passed first.
  virtual Task<bool> changed(BootTime deadline) = 0;
  // GET /patroni of another member.
  virtual Task<Result<wire::NodeStatus>> ask(std::string api_url, BootTime deadline) = 0;
  // An operator's request to the core and its answer. Errc::timeout: none yet; a restart is dropped then, unless postgres is
  // being stopped for it already.
  virtual Task<Result<ha::Answer>> operate(ha::Request::Kind kind, bool force, BootTime deadline) = 0;
  // A scheduled restart; at most one.
  [[nodiscard]] virtual bool restart_planned() const = 0;
  virtual void plan_restart(std::optional<PlannedRestart> plan) = 0;
  virtual Result<void> reload() = 0;  // as SIGHUP; an error: what was in force stays
};

}  // namespace pgdba::agent::rest
