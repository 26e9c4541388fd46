// How a simulated pooler learns who leads: etcd's watch with its delays, proofs that it is current, and this pooler's part in
// a planned switchover. What src/pooler/leader_watch.cpp does with real etcd; the decisions are pool/follow.h, in both.
//
// Invariant: a copy of the keys is as old as its last proof; a wiped or restored etcd is read anew.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "etcd.h"
#include "events.h"
#include "pool/follow.h"

namespace pgdba::sim {

class World;

class PoolerFollow {
 public:
  PoolerFollow(World& world, int place, std::string id, Process& process, std::function<void()> news, std::function<pool::Core::Load()> load)
      : world_(world), place_(place), id_(std::move(id)), process_(process), news_(std::move(news)), load_(std::move(load)) {}
  void start();  // with each life of the process: it knows nothing
  void etcd_event() { schedule_watch(); }
  void slow_watch(Duration lag, Time until) { slow_lag_ = lag, slow_until_ = until; }

  [[nodiscard]] const pool::ClusterState& state() const { return state_; }
  [[nodiscard]] const pool::Leadership& leads() const { return leads_; }
  [[nodiscard]] const std::vector<std::string>& running() const { return running_; }
  [[nodiscard]] uint64_t system_identifier() const { return system_identifier_; }
  [[nodiscard]] Time holding_since() const { return holding_since_; }
  // What is too old about the view for lending on it, by the lease that the lock really has. Nothing: it is not, or the lock is
  // another one by now.
  [[nodiscard]] std::optional<std::string> judge_age() const;
  [[nodiscard]] bool holding() const { return hold_.holding_for() != 0; }
  [[nodiscard]] std::string summary() const;

 private:
  void run(Duration delay, Events::Fn fn);
  // Asks etcd; `then` follows with its answer, or never. Late, lost and repeated as the plan has it.
  void ask(EtcdRequest request, std::function<void(const EtcdAnswer&)> then);
  void refresh();
  void read();
  void prove();
  void install(const EtcdAnswer& answer, Time sent);
  void proved(size_t log_size, Time sent);
  void schedule_watch();
  void tell();
  void teller();
  void registration();
  void write(pool::Part part, int in_flight);
  [[nodiscard]] Duration ttl() const;

  World& world_;
  int place_;
  std::string id_;
  Process& process_;
  std::function<void()> news_;
  std::function<pool::Core::Load()> load_;

  bool have_view_ = false;
  model::ClusterView view_;
  Time as_of_{};
  uint64_t generation_ = 0;
  size_t watched_ = 0;
  bool watch_due_ = false;
  struct Proof {
    Time sent;
    size_t log_size;
  };
  std::vector<Proof> proofs_;
  Duration slow_lag_{};
  Time slow_until_{};

  pool::ClusterState state_;
  pool::Leadership leads_;
  pool::Succession succession_;
  pool::LockTtl lock_ttl_;
  std::vector<std::string> running_;  // replicas that may be read
  uint64_t system_identifier_ = 0;

  pool::SwitchoverHold hold_;
  Time holding_since_{};
  model::LeaseId lease_ = 0;
  Time renewed_{};
  model::Revision written_at_ = 0;
  pool::Part written_ = pool::Part::open;
  uint64_t written_term_ = 0;
  Time busy_until_{};  // a request of the registration is under way
  uint64_t turn_ = 0;
};

}  // namespace pgdba::sim
