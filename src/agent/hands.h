// Carries out the core's actions: each in a task of its own with a deadline, and one completion whatever happens.
//
// An etcd write without an answer is `unknown` and is never sent again from here; a cancelled action has unwound (its
// child process is dead) before its completion is given.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "agent/dynamic.h"
#include "agent/lanes.h"
#include "agent/local_pg.h"
#include "agent/peers.h"
#include "dcs/cluster_watch.h"
#include "dcs/store.h"
#include "ha/view.h"
#include "net/loop.h"

namespace pgdba::agent {

// Ids from here on are the agent's own, not the core's: files rendered again after a change of parameters.
inline constexpr ha::ActionId kOwnActions = ha::ActionId{1} << 62;

class AgentHands final : public Hands {
 public:
  struct Parts {
    net::Loop& loop;
    dcs::Store& store;
    dcs::ClusterWatch& watch;
    LocalPg& local;
    Peers& peers;
    std::string prefix;
    const Dynamic& dynamic;
  };
  explicit AgentHands(Parts parts) : it_(std::move(parts)) {}

  void start(const ha::Action& action, Finished finished) override;
  void at_once(const ha::Action& action) override;
  void cancel(ha::ActionId id) override;
  void stop_at_once() override { it_.local.kill(); }

  // The lease time in force; every wait for etcd is a part of it.
  void set_ttl(Duration ttl) { ttl_ = ttl; }

  // Results that are part of the next view.
  std::map<std::string, ha::Peer> peers;
  std::optional<ha::UpstreamHistory> upstream;
  // Memory lane, for the agent.
  std::function<void(const ha::Answer&)> on_answer;
  std::function<void(int)> on_exit;

 private:
  Task<void> run(ha::Action action, Finished finished);
  Task<void> perform(ha::Action action, std::shared_ptr<std::optional<ha::Completion>> result);
  Task<ha::Completion> lease_or_dcs(ha::Body body);
  Task<ha::Completion> probe(ha::Body body);
  Task<ha::Completion> write(dcs::Txn txn, BootTime deadline);

  Parts it_;
  Duration ttl_ = 30s;
  std::map<ha::ActionId, net::Job*> running_;
  std::set<ha::ActionId> cancelled_;
};

}  // namespace pgdba::agent
