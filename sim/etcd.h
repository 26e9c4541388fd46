// etcd as this system sees it: one linearizable store with revisions and leases.
//
// Requests arrive through the network and may be held here while etcd has no leader, so a transaction can be applied
// long after its sender gave up, or was restarted. Watchers read a log of changes at their own pace.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "etcd_keys.h"
#include "events.h"
#include "model/cluster.h"

namespace pgdba::sim {

class World;

struct EtcdRequest {
  enum class Kind { txn, keep_alive, grant, revoke, read };
  Kind kind = Kind::read;
  ha::Txn txn;
  model::LeaseId lease = 0;
  Duration ttl{};
  std::string who;  // for the trace
};

struct EtcdAnswer {
  bool error = false;      // refused as a whole (a put under a dead lease): certainly without effect
  bool succeeded = false;  // txn: the compares held
  model::Revision revision = 0;
  uint64_t raft_term = 0;
  uint64_t cluster_id = 0;
  uint64_t generation = 0;  // of the store: rises when it is wiped or restored
  size_t log_size = 0;      // changes up to this answer
  model::LeaseId lease = 0;
  Duration ttl{};
  std::shared_ptr<const model::ClusterView> view;  // read
};

class Etcd {
 public:
  explicit Etcd(World& world);
  using Reply = std::function<void(const EtcdAnswer&)>;

  // A request that has arrived. Answered at once, or when etcd has a leader again.
  void handle(EtcdRequest request, Reply reply);

  // Faults. A stall ends with a new etcd leader, which gives every lease its whole ttl again.
  void begin_stall();
  void end_stall();
  void wipe();
  void take_snapshot();
  void restore();
  // Member `name` gets its keepalives from a deposed leader until `until` (L1); compare-only reads come from its memory.
  void lie_to(int member, Time until);
  struct Lie {
    Time until{};
    uint64_t raft_term = 0;
    std::shared_ptr<const model::ClusterView> memory;
  };
  [[nodiscard]] const Lie* lie_for(int member) const;
  void stop_lying() { lies_.clear(); }
  // The next request that matches is held back: it is applied `delay` after it came, unanswered meanwhile.
  struct Hold {
    std::function<bool(const EtcdRequest&)> match;
    Duration delay{};
    std::function<void()> caught;
  };
  void hold(Hold hold) { holds_.push_back(std::move(hold)); }
  void release_holds() { holds_.clear(); }
  // No key under this lease can end before then, except by an operator's hand. Nothing is known of a lease of nobody's.
  [[nodiscard]] std::optional<Time> guaranteed_until(model::LeaseId lease) const;
  // As granted; nothing: there is no such lease.
  [[nodiscard]] std::optional<Duration> ttl_of(model::LeaseId lease) const;
  // An operator's hand.
  void delete_key(const model::Key& key);
  void put(const model::Key& key, const ha::Value& value);
  void put_pooler(const std::string& id, const model::PoolerRecord& record);
  // Under a lease, if the key's mod revision is still `expected`. False: it is not, or the lease has ended.
  bool put_pooler(const std::string& id, const model::PoolerRecord& record, model::LeaseId lease, model::Revision expected);
  void put_config(const model::DynamicConfig& config);
  void revoke(model::LeaseId lease);

  [[nodiscard]] const model::ClusterView& state() const { return state_; }
  [[nodiscard]] bool available() const { return stalls_ == 0; }
  [[nodiscard]] uint64_t generation() const { return generation_; }
  [[nodiscard]] size_t log_size() const { return log_.size(); }
  void apply(size_t entry, model::ClusterView& view) const { log_[entry](view); }
  // As committed; nullptr: no such term.
  [[nodiscard]] const model::TermRecord* term_record(model::Term term) const;

 private:
  struct Lease {
    Duration ttl{};
    Time expires{};
  };
  EtcdAnswer apply(const EtcdRequest& request);
  void apply_txn(const EtcdRequest& request, EtcdAnswer& answer);
  [[nodiscard]] bool holds(const ha::Compare& compare) const;
  void commit(const Change& change);
  void watch_lease(model::LeaseId lease);
  void expire(model::LeaseId lease);
  void drop_lease(model::LeaseId lease);
  void rearm();
  void changed();

  World& world_;
  model::ClusterView state_;
  std::map<model::LeaseId, Lease> leases_;
  std::vector<Change> log_;
  uint64_t generation_ = 1;
  int stalls_ = 0;
  std::vector<std::pair<EtcdRequest, Reply>> waiting_;
  std::map<int, Lie> lies_;
  struct Snapshot {
    model::ClusterView state;
    std::map<model::LeaseId, Lease> leases;
  };
  std::optional<Snapshot> snapshot_;
  model::LeaseId next_lease_ = 1000;
  std::vector<model::TermRecord> terms_;  // by number, as committed
  std::vector<Hold> holds_;
  std::map<model::LeaseId, Time> guaranteed_;
};

}  // namespace pgdba::sim
