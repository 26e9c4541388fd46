#include "etcd.h"

#include <fmt/format.h>

#include "world.h"

namespace pgdba::sim {

Etcd::Etcd(World& world) : world_(world) {
  state_.cluster_id = 7000;
  state_.raft_term = 2;
  state_.revision = 1;
}

void Etcd::handle(EtcdRequest request, Reply reply) {
  for (auto hold = holds_.begin(); hold != holds_.end(); ++hold) {
    if (!hold->match(request)) continue;
    Hold caught = std::move(*hold);
    holds_.erase(hold);
    world_.note("etcd: a request of {} is late by {} ms", request.who, to_ms(caught.delay));
    world_.events.after(caught.delay, [this, request = std::move(request), reply = std::move(reply)]() mutable { handle(std::move(request), std::move(reply)); });
    if (caught.caught) caught.caught();
    return;
  }
  if (stalls_ > 0) {
    waiting_.emplace_back(std::move(request), std::move(reply));
    return;
  }
  size_t before = log_.size();
  EtcdAnswer answer = apply(request);
  if (log_.size() != before) changed();
  reply(answer);
}

EtcdAnswer Etcd::apply(const EtcdRequest& request) {
  EtcdAnswer answer;
  switch (request.kind) {
    case EtcdRequest::Kind::txn: apply_txn(request, answer); break;
    case EtcdRequest::Kind::keep_alive: {
      auto found = leases_.find(request.lease);
      answer.lease = request.lease;
      if (found != leases_.end()) {
        found->second.expires = world_.events.now() + found->second.ttl;
        guaranteed_[request.lease] = found->second.expires;
        answer.ttl = found->second.ttl;
      }
      break;
    }
    case EtcdRequest::Kind::grant: {
      // etcd counts whole seconds.
      Duration ttl = std::chrono::ceil<std::chrono::seconds>(request.ttl);
      answer.lease = next_lease_++;
      answer.ttl = ttl;
      leases_[answer.lease] = {ttl, world_.events.now() + ttl};
      guaranteed_[answer.lease] = world_.events.now() + ttl;
      watch_lease(answer.lease);
      break;
    }
    case EtcdRequest::Kind::revoke: expire(request.lease); break;
    case EtcdRequest::Kind::read: answer.view = std::make_shared<const model::ClusterView>(state_); break;
  }
  answer.revision = state_.revision;
  answer.raft_term = state_.raft_term;
  answer.cluster_id = state_.cluster_id;
  answer.generation = generation_;
  answer.log_size = log_.size();
  return answer;
}

bool Etcd::holds(const ha::Compare& compare) const {
  KeyMeta meta = meta_of(state_, compare.key);
  switch (compare.what) {
    case ha::Compare::What::mod: return meta.mod == compare.value;
    case ha::Compare::What::create: return meta.create == compare.value;
    case ha::Compare::What::lease: break;
  }
  return meta.lease == compare.value;
}

void Etcd::apply_txn(const EtcdRequest& request, EtcdAnswer& answer) {
  for (const ha::Compare& compare : request.txn.compares) {
    if (!holds(compare)) {
      world_.note("etcd: {}: refused, {} is another", request.who, describe(compare.key));
      return;
    }
  }
  for (const ha::Write& write : request.txn.puts) {
    if (write.lease != 0 && !leases_.contains(write.lease)) {
      world_.note("etcd: {}: lease not found", request.who);
      answer.error = true;
      return;
    }
  }
  answer.succeeded = true;
  model::Revision revision = state_.revision + 1;
  for (const model::Key& key : request.txn.deletes) {
    if (meta_of(state_, key).mod == 0) continue;
    world_.note("etcd: {}: delete {}", request.who, describe(key));
    commit(make_delete(key, revision));
  }
  for (const ha::Write& write : request.txn.puts) {
    if (const auto* value = std::get_if<ha::Value>(&write.value)) {
      if (write.key.kind != model::KeyKind::beat && write.key.kind != model::KeyKind::member && write.key.kind != model::KeyKind::status) {
        world_.note("etcd: {}: put {} = {} (revision {})", request.who, describe(write.key), describe(*value), revision);
      }
      commit(make_put(state_, write.key, *value, write.lease, revision));
    } else {
      commit(make_config(state_, world_.bootstrap_config(), revision));
    }
  }
}

void Etcd::commit(const Change& change) {
  change(state_);
  log_.push_back(change);
}

void Etcd::changed() {
  if (state_.term) {
    const model::TermRecord& record = state_.term->value;
    auto term = static_cast<size_t>(record.term);
    const bool fresh = term + 1 > terms_.size();
    if (fresh) world_.checkers.on_term(record, terms_.empty() ? "" : terms_.back().leader);
    if (fresh) terms_.resize(term + 1);
    terms_[term] = record;
  }
  world_.etcd_changed();
}

const model::TermRecord* Etcd::term_record(model::Term term) const {
  auto at = static_cast<size_t>(term);
  return at < terms_.size() && terms_[at].term == term ? &terms_[at] : nullptr;
}

std::optional<Time> Etcd::guaranteed_until(model::LeaseId lease) const {
  auto found = guaranteed_.find(lease);
  return found == guaranteed_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Duration> Etcd::ttl_of(model::LeaseId lease) const {
  auto found = leases_.find(lease);
  return found == leases_.end() ? std::nullopt : std::optional(found->second.ttl);
}

void Etcd::watch_lease(model::LeaseId lease) {
  // etcd looks for expired leases twice a second.
  Duration slack = draw(world_.random, 0ms, 500ms);
  world_.events.at(leases_.at(lease).expires + slack, [this, lease, generation = generation_] {
    auto found = leases_.find(lease);
    if (found == leases_.end() || generation != generation_) return;
    if (stalls_ > 0) return;  // the new leader arms it again
    if (found->second.expires > world_.events.now()) {
      watch_lease(lease);
      return;
    }
    size_t before = log_.size();
    expire(lease);
    if (log_.size() != before) changed();
  });
}

void Etcd::expire(model::LeaseId lease) {
  if (leases_.erase(lease) == 0) return;
  model::Revision revision = state_.revision + 1;
  for (const model::Key& key : keys_of_lease(state_, lease)) {
    world_.note("etcd: lease {} ends: delete {}", lease, describe(key));
    commit(make_delete(key, revision));
  }
}

void Etcd::rearm() {
  for (auto& [id, lease] : leases_) {
    lease.expires = world_.events.now() + lease.ttl;
    guaranteed_[id] = std::max(guaranteed_[id], lease.expires);
    watch_lease(id);
  }
}

void Etcd::begin_stall() { ++stalls_; }

void Etcd::end_stall() {
  if (stalls_ == 0 || --stalls_ > 0) return;
  ++state_.raft_term;
  rearm();
  std::vector<std::pair<EtcdRequest, Reply>> waiting = std::move(waiting_);
  waiting_.clear();
  for (auto& [request, reply] : waiting) {
    // What the old leader had not proposed is lost with it, unanswered.
    if (world_.random.chance(0.4)) continue;
    handle(std::move(request), std::move(reply));
  }
}

void Etcd::wipe() {
  state_ = {};
  state_.cluster_id = 8000 + generation_;
  state_.raft_term = 2;
  state_.revision = 1;
  leases_.clear();
  log_.clear();
  ++generation_;
  world_.etcd_changed();
}

void Etcd::take_snapshot() { snapshot_ = Snapshot{state_, leases_}; }

void Etcd::restore() {
  if (!snapshot_) return;
  state_ = snapshot_->state;
  leases_ = snapshot_->leases;
  // etcdctl snapshot restore makes a new cluster; a copied data directory would keep the id. Both happen.
  if (world_.random.chance(0.5)) {
    state_.cluster_id = 9000 + generation_;
    state_.raft_term = 2;
  }
  log_.clear();
  ++generation_;
  rearm();
  world_.etcd_changed();
}

void Etcd::lie_to(int member, Time until) {
  lies_[member] = Lie{until, state_.raft_term, std::make_shared<const model::ClusterView>(state_)};
}

const Etcd::Lie* Etcd::lie_for(int member) const {
  auto found = lies_.find(member);
  if (found == lies_.end() || found->second.until < world_.events.now()) return nullptr;
  return &found->second;
}

void Etcd::delete_key(const model::Key& key) {
  if (meta_of(state_, key).mod == 0) return;
  commit(make_delete(key, state_.revision + 1));
  changed();
}

void Etcd::put(const model::Key& key, const ha::Value& value) {
  commit(make_put(state_, key, value, 0, state_.revision + 1));
  changed();
}

void Etcd::put_pooler(const std::string& id, const model::PoolerRecord& record) {
  commit(make_pooler(state_, id, record, state_.revision + 1));
  changed();
}

bool Etcd::put_pooler(const std::string& id, const model::PoolerRecord& record, model::LeaseId lease, model::Revision expected) {
  if (!leases_.contains(lease) || meta_of(state_, {model::KeyKind::pooler, id}).mod != expected) return false;
  commit(make_pooler(state_, id, record, state_.revision + 1, lease));
  changed();
  return true;
}

void Etcd::put_config(const model::DynamicConfig& config) {
  commit(make_config(state_, config, state_.revision + 1));
  changed();
}

void Etcd::revoke(model::LeaseId lease) {
  size_t before = log_.size();
  expire(lease);
  if (log_.size() != before) changed();
}

}  // namespace pgdba::sim
