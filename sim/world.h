// One simulated cluster from its first event to its verdict: everything below it is deterministic in (seed, options, code).
//
// Safety phase: faults come as planned, the checkers judge every acknowledgement and every primary. Liveness phase:
// everything is healed and no fault comes any more; then writes must be accepted (C) and every member must be back in
// (D) within the plan's patience.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "brain.h"
#include "checkers.h"
#include "client.h"
#include "etcd.h"
#include "events.h"
#include "network.h"
#include "node.h"
#include "pool/rules.h"
#include "plan.h"
#include "pooled_client.h"
#include "wal.h"

namespace pgdba::sim {

struct Options {
  ha::Rules rules;
  pool::Rules pool_rules;
  BrainFactory make_core;
  std::string focus;
  bool trace = false;
  bool poolers = true;            // real poolers, where the seed has them
  bool liveness = true;           // judge C and D as well
  std::set<size_t> without;       // faults of the plan to leave out (minimising)
};

struct Verdict {
  std::optional<Violation> violation;
  uint64_t acknowledged = 0;
  uint64_t steps = 0;
  uint64_t events = 0;
  int primaries = 0;      // changes of primary
  Time settled_after{};   // of the liveness phase
  Time longest_gap{};
  size_t faults = 0;
  PooledJournal pooled;   // of the clients that went through real poolers
  bool waits = false;     // ended well, with a cluster that only a person can help (waits_for_a_person)
};

class World {
 public:
  World(uint64_t seed, const Options& options);
  World(Plan plan, Options options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Verdict run();
  // For tests that write their own story: set up, then run to a time.
  void begin();
  void run_until(Time until);

  Options options;
  Plan plan;
  Events events;
  Random random;
  Random pooled_random;  // of the poolers and who goes through them: they disturb nobody else's dice
  Records records;
  Network network;
  Etcd etcd;
  Checkers checkers;
  Clients clients;
  std::unique_ptr<Pooled> pooled;  // null: this seed has no real pooler
  std::vector<std::string> trace;

  [[nodiscard]] Node& node(int index) { return *nodes_[static_cast<size_t>(index)]; }
  [[nodiscard]] const std::string& name(int index) const { return nodes_[static_cast<size_t>(index)]->name; }
  [[nodiscard]] int find(const std::string& name) const;  // -1: no such member
  [[nodiscard]] std::string conn_url(int index) const { return "postgres://" + name(index) + ":5432/postgres"; }
  [[nodiscard]] Duration ttl_now() const;
  [[nodiscard]] model::DynamicConfig bootstrap_config() const;
  [[nodiscard]] Duration watch_delay(int member) const;
  void slow_watch(int member, Duration lag, Time until);
  void make_first_data(Postgres& pg);
  void pg_event(int member);
  void etcd_changed();
  void keep(std::shared_ptr<void> scene) { scenes_.push_back(std::move(scene)); }
  void retire(std::unique_ptr<Shell> shell) { graveyard_.push_back(std::move(shell)); }
  int next_pid() { return ++pids_; }

  [[nodiscard]] int leader() const;  // owner of the leader key, or -1
  [[nodiscard]] bool healing() const { return healing_; }
  // Nothing is missing: C and D hold at this moment. Otherwise says what is missing.
  [[nodiscard]] bool settled(std::string* missing = nullptr);
  // Nobody may lead, and that is right: only a person can decide how to go on, and every member says what is missing.
  [[nodiscard]] bool waits_for_a_person() const;
  // A fault that destroys data may come only when every earlier one is repaired (A speaks of single faults).
  [[nodiscard]] bool may_destroy_data();
  void data_destroyed();
  void etcd_replaced();  // it was wiped, or a snapshot of it restored
  void heal();
  // Runs `then` as soon as `condition` holds, looking every 2 ms; never after `limit`.
  void when(std::function<bool()> condition, std::function<void()> then, Duration limit);

  [[nodiscard]] bool tracing() const { return options.trace; }
  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    if (options.trace) add_note(fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  void add_note(std::string text);
  void cold_start();
  void live(Verdict& verdict);

  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Shell>> graveyard_;
  std::vector<std::shared_ptr<void>> scenes_;
  struct SlowWatch {
    Duration lag{};
    Time until{};
  };
  std::vector<SlowWatch> slow_watches_;
  int pids_ = 100;
  bool healing_ = false;
  bool data_at_risk_ = false;
  model::Revision etcd_replaced_at_ = 0;
};

// In faults.cpp.
void inject(World& world, const Fault& fault);

}  // namespace pgdba::sim
