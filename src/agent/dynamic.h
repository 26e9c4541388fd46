// The dynamic configuration in force, and what PostgreSQL's files get from it (patroni.md 3.13, 6.6, 6.7, 7.1).
//
// Invariant: only parameters, hba and ident lines go this way. What the core decides (upstream, sync names, gate, term)
// is never touched: the files are rendered again from what is in force on disk at that moment.
//
// Order of calls: load() before the first action, take() with each new view, run() as a task.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/local_pg.h"
#include "conf/agent_settings.h"
#include "model/cluster.h"
#include "model/config.h"
#include "net/loop.h"

namespace pgdba::agent {

class Dynamic {
 public:
  // `render` asks for the files to be rendered again (through the local lane).
  Dynamic(net::Loop& loop, LocalPg& local, const conf::AgentSettings& settings, std::function<void()> render);
  Dynamic(const Dynamic&) = delete;
  Dynamic& operator=(const Dynamic&) = delete;

  // Before etcd was read: patroni.dynamic.json of an earlier life, else bootstrap.dcs. Not checked by the postgres program
  // yet (run() does, and so does pg/ before it writes them): an agent that is restarted beside a primary has the lease to
  // renew first.
  void load();
  void take(const model::ClusterView& view);
  void reload(const conf::AgentSettings& settings);  // the local file changed
  Task<void> run();

  // With Patroni's bounds applied to the timings.
  [[nodiscard]] const model::DynamicConfig& in_force() const { return in_force_; }
  // As it was wanted, and its text: what the leader writes when etcd has none.
  [[nodiscard]] const model::DynamicConfig& wanted() const { return wanted_; }
  [[nodiscard]] const std::string& json() const { return json_; }

 private:
  Task<bool> compute_inputs();  // true: they differ from those before
  Task<void> keep_copy();
  void set(const model::DynamicConfig& config, std::string json, bool patroni_members);

  net::Loop& loop_;
  LocalPg& local_;
  conf::AgentSettings settings_;
  std::function<void()> render_;
  net::Event changed_;
  model::DynamicConfig wanted_;
  model::DynamicConfig in_force_;
  std::string json_;
  std::string copied_;       // what patroni.dynamic.json holds
  bool patroni_members_ = false;
  std::optional<pg::FileInputs> inputs_before_check_;
  std::vector<std::string> warned_;
};

// The whole of pg::FileInputs but the check by the postgres program.
pg::FileInputs file_inputs(const conf::AgentSettings& local, const model::DynamicConfig& dynamic, int version, std::vector<std::string>& warnings);

}  // namespace pgdba::agent
