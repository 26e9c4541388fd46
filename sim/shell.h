// The stand-in for agent/: takes views, asks the core, carries its actions out lane by lane in the simulated world,
// and reports each completion once.
//
// One Shell is one life of an agent process. Whatever it scheduled dies with the process (Process::run); what it asked
// others to do goes on (requests at etcd, the postmaster, the guardian).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "brain.h"
#include "etcd.h"
#include "events.h"
#include "ha/view.h"

namespace pgdba::sim {

class World;
class Node;
struct Connection;

class Shell {
 public:
  Shell(World& world, Node& node);
  void start();
  // The process is about to end: a job under way leaves an unusable data directory.
  void interrupted();
  void postgres_event();
  void etcd_event();
  void request(ha::Request::Kind kind);
  void fail_job();

  // Since when its view shows that another member owns the leader key.
  [[nodiscard]] std::optional<Time> other_owner_since() const { return other_owner_since_; }
  [[nodiscard]] const std::string& state() const { return state_; }
  [[nodiscard]] const ha::View& view() const { return view_; }
  [[nodiscard]] std::string summary() const;  // for people: what is under way
  [[nodiscard]] uint64_t steps() const { return steps_; }

 private:
  struct LaneState {
    std::deque<ha::Action> queue;
    bool busy = false;
    uint64_t turn = 0;  // of the action under way: an overtaken action's events are ignored
    ha::Action now;
  };
  using Fill = std::function<void(ha::Completion&)>;

  // shell.cpp
  void run(Duration delay, std::function<void()> fn);  // later, in this process
  void poke();
  void step();
  void schedule_wake(BootTime at);
  void observe_after(Duration delay);
  void observe();
  void enqueue(ha::Action action);
  void next(ha::Lane lane);
  void finish(ha::Lane lane, uint64_t turn, ha::Completion::Outcome outcome, const Fill& fill = {});
  void report(const ha::Action& action, ha::Completion::Outcome outcome, const Fill& fill = {});
  void judge_freeze();
  void drop_queue(ha::Lane lane);
  void memory(const ha::Action& action);
  void overtake(std::string_view why);
  void probe(const ha::Action& action, const ha::ProbePeer& peer);
  void fetch(const ha::Action& action, const ha::FetchHistory& history);
  // shell_dcs.cpp
  struct Asked {
    ha::Completion::Outcome outcome = ha::Completion::Outcome::unknown;
    BootTime sent_at{};
    BootTime answered_at{};
    EtcdAnswer answer;
  };
  void ask(EtcdRequest request, Duration timeout, std::function<void(const Asked&)> then);
  void lease_action(uint64_t turn, const ha::Action& action);
  void dcs_action(uint64_t turn, const ha::Action& action);
  void refresh();
  void read_now();
  void install(const Asked& asked);
  void apply_watch(size_t target, uint64_t generation);
  void schedule_watch();
  void proved(BootTime sent_at, uint64_t generation, size_t log_size);
  // shell_local.cpp
  void local_action(uint64_t turn, const ha::Action& action);
  void local_simple(uint64_t turn, Duration needed, std::function<bool()> effect);
  void start_pg(uint64_t turn, bool as_primary);
  void promote(uint64_t turn, const ha::Promote& promote, int tries);
  void stop_pg(uint64_t turn, const ha::StopPg& stop);
  void clone(uint64_t turn, const ha::Clone& clone);
  void rewind(uint64_t turn, const ha::Rewind& rewind);
  void init_db(uint64_t turn);
  void break_job();

  World& world_;
  Node& node_;
  uint64_t life_ = 0;
  std::unique_ptr<Brain> core_;
  ha::View view_;
  std::vector<ha::Completion> completed_;
  std::vector<ha::Completion> local_completed_;  // reported with the next observation
  LaneState lanes_[3];  // lease, dcs, local
  std::string state_;
  std::optional<Time> other_owner_since_;
  uint64_t steps_ = 0;
  bool poked_ = false;
  uint64_t wake_ = 0;
  Duration observe_every_ = 100ms;
  bool observing_ = false;
  uint64_t observation_ = 0;
  uint64_t started_observation_ = 0;
  uint64_t next_request_ = 1;
  // our copy of the cluster's keys
  bool have_view_ = false;
  model::ClusterView cluster_;
  uint64_t generation_ = 0;
  size_t watched_ = 0;       // changes of the log applied
  bool watch_due_ = false;
  struct Proof {
    BootTime sent_at{};
    size_t log_size = 0;
  };
  std::vector<Proof> proofs_;
  // the job under way in the local lane
  enum class Job { none, init, clone, rewind } job_ = Job::none;
  std::shared_ptr<Connection> clone_connection_;
  uint64_t server_life_ = 0;  // of the server that the local action under way talks to; 0: none
};

}  // namespace pgdba::sim
