// One node's agent: observe → decide → act, on one thread.
//
// Everything that may change the decision wakes step(): a key of etcd, a reading of PostgreSQL, the end of an action, an
// operator's request, the time that the core asked for. step() takes one consistent View, asks ha::Core, hands the actions
// to the lanes and logs what changed. Nothing here decides.
//
// Order of calls: prepare(), then run() as a task; stop_requested() and reload() from signals.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/action_log.h"
#include "agent/dynamic.h"
#include "agent/hands.h"
#include "agent/lanes.h"
#include "agent/local_pg.h"
#include "agent/peers.h"
#include "agent/planned_restart.h"
#include "agent/rest/api.h"
#include "agent/rest/node.h"
#include "conf/agent_settings.h"
#include "dcs/cluster_watch.h"
#include "dcs/store.h"
#include "ha/core.h"
#include "net/http_server.h"
#include "net/loop.h"

namespace pgdba::agent {

class Agent final : public rest::Node {
 public:
  struct Parts {
    net::Loop& loop;
    dcs::Store& store;
    conf::AgentSettings settings;
    std::string prefix;       // of the cluster's keys
    std::string run_id;
    std::shared_ptr<net::TlsContext> peer_tls;  // for https peers; may be empty
  };
  explicit Agent(Parts parts);
  ~Agent() override;

  // Folders, programs, what an earlier agent left. Blocking, some 50 ms. Errors are for the operator.
  Result<void> prepare();
  // Until the core says so, or cannot_start() is filled. The exit code.
  Task<int> run();

  void stop_requested();  // SIGTERM; again: do not wait for clients
  void set_reload(std::function<Result<conf::AgentSettings>()> read) { read_settings_ = std::move(read); }

  // rest::Node
  [[nodiscard]] BootTime now() const override { return loop_.now(); }
  [[nodiscard]] WallTime wall() const override { return loop_.wall_now(); }
  [[nodiscard]] const conf::AgentSettings& settings() const override { return settings_; }
  [[nodiscard]] wire::NodeStatus status() const override;
  [[nodiscard]] const model::ClusterView* cluster() const override { return watch_.view(); }
  [[nodiscard]] bool cluster_fresh() const override;
  [[nodiscard]] bool believes_leader() const override;
  [[nodiscard]] Lsn leader_lsn() const override;
  [[nodiscard]] const model::DynamicConfig& dynamic() const override { return dynamic_.in_force(); }
  [[nodiscard]] Duration late() const override;
  [[nodiscard]] std::vector<wire::OwnMetric> metrics() const override;
  Task<Result<dcs::TxnResult>> write(dcs::Txn txn, BootTime deadline) override;
  Task<bool> changed(BootTime deadline) override { return changed_.wait_until(deadline); }
  Task<Result<wire::NodeStatus>> ask(std::string api_url, BootTime deadline) override;
  Task<Result<ha::Answer>> operate(ha::Request::Kind kind, bool force, BootTime deadline) override;
  [[nodiscard]] bool restart_planned() const override { return planned_.has_value(); }
  void plan_restart(std::optional<PlannedRestart> plan) override;
  Result<void> reload() override;

 private:
  void step();
  ha::View take_view();
  void follow_plan();
  void note_cluster();
  void render_files();
  Task<Result<void>> refuse_duplicate();
  Task<Result<void>> serve();
  net::HttpServerOptions server_options() const;

  net::Loop& loop_;
  dcs::Store& store_;
  conf::AgentSettings settings_;
  std::string prefix_;
  net::Event wake_;
  net::Event changed_;       // for REST requests that wait for an effect
  LocalPg local_;
  dcs::ClusterWatch watch_;
  Peers peers_;
  Dynamic dynamic_;
  AgentHands hands_;
  Lanes lanes_;
  std::string run_id_;
  std::optional<ha::Core> core_;  // from the moment at which run() knows the configuration
  rest::Api api_;
  std::unique_ptr<net::HttpServer> server_;
  ActionLog log_;

  BootTime next_step_{};
  std::vector<ha::Request> requests_;
  std::map<uint64_t, std::optional<ha::Answer>> answers_;  // of those that a REST request waits for
  uint64_t next_request_ = 1;
  std::optional<PlannedRestart> planned_;
  ha::ActionId next_own_action_ = kOwnActions;
  bool render_wanted_ = false;  // a rendering is queued or under way: it will take the newest inputs
  std::optional<int> exit_code_;
  uint64_t steps_ = 0;
  uint64_t actions_ = 0;
  BootTime burst_since_{};
  int burst_ = 0;
  std::map<std::string, std::string> members_told_;  // conn_urls as the observer knows them
  std::map<std::string, model::Revision> unreadable_told_;
  std::function<Result<conf::AgentSettings>()> read_settings_;
};

}  // namespace pgdba::agent
