// The parts of Shell that talk to etcd: the lease and dcs lanes, the watch, the copy of the cluster's keys.
#include <algorithm>

#include "world.h"

namespace pgdba::sim {

using Outcome = ha::Completion::Outcome;

namespace {

Duration dcs_timeout(const World& world) { return std::clamp<Duration>(world.ttl_now() / 3, 300ms, 3s); }

}  // namespace

void Shell::ask(EtcdRequest request, Duration timeout, std::function<void(const Asked&)> then) {
  auto asked = std::make_shared<Asked>();
  asked->sent_at = node_.now();
  request.who = node_.name;
  auto finished = std::make_shared<bool>(false);
  auto end = [this, asked, finished, then = std::move(then)](Outcome outcome) {
    if (*finished) return;
    *finished = true;
    asked->outcome = outcome;
    asked->answered_at = node_.now();
    then(*asked);
  };
  run(timeout, [end] { end(Outcome::unknown); });
  const Etcd::Lie* lie = world_.etcd.lie_for(node_.index);
  bool proof_from_memory = lie != nullptr && request.kind == EtcdRequest::Kind::txn && !world_.options.rules.l1_proof_is_a_write &&
                           request.txn.puts.size() == 1 && request.txn.puts[0].key.kind == model::KeyKind::beat;
  if (lie != nullptr && (request.kind == EtcdRequest::Kind::keep_alive || proof_from_memory)) {
    // The deposed etcd leader answers from memory, and believes itself.
    asked->answer.raft_term = lie->raft_term;
    asked->answer.cluster_id = lie->memory->cluster_id;
    asked->answer.lease = request.lease;
    asked->answer.ttl = std::chrono::ceil<std::chrono::seconds>(world_.ttl_now());
    asked->answer.succeeded = true;
    asked->answer.generation = 0;
    for (const ha::Compare& c : request.txn.compares) {
      KeyMeta meta = meta_of(*lie->memory, c.key);
      int64_t value = c.what == ha::Compare::What::mod ? meta.mod : c.what == ha::Compare::What::create ? meta.create : meta.lease;
      if (value != c.value) asked->answer.succeeded = false;
    }
    run(world_.network.latency() * 2, [end] { end(Outcome::done); });
    return;
  }
  if (lie != nullptr) return;  // to the cut-off member: no answer
  // The request leaves a little after its time was read; a process stopped in between sends it late.
  run(draw(world_.random, 10us, 100us), [this, asked, end, timeout, request = std::move(request)]() mutable {
    int here = node_.index;
    int etcd = world_.network.etcd();
    bool unreachable = world_.network.cut_now(here, etcd) || !world_.etcd.available();
    if (unreachable && world_.random.chance(0.3)) {
      run(world_.network.latency(), [end] { end(Outcome::failed); });
      return;
    }
    if (world_.random.chance(world_.plan.lost_request)) return;
    Duration delay = world_.network.latency();
    if (world_.random.chance(world_.plan.late_request)) delay += draw_skewed(world_.random, timeout / 2, world_.plan.late_max);
    world_.network.send_in(delay, here, etcd, [this, asked, end, here, etcd, life = life_, &agent = node_.agent, request = std::move(request)]() mutable {
      world_.etcd.handle(std::move(request), [this, asked, end, here, etcd, life, &agent](const EtcdAnswer& answer) {
        if (world_.random.chance(world_.plan.lost_answer)) return;
        world_.network.send(etcd, here, [asked, end, life, &agent, answer] {
          agent.run(life, [asked, end, answer] {
            if (asked->outcome != Outcome::unknown) return;
            asked->answer = answer;
            end(answer.error ? Outcome::failed : Outcome::done);
          });
        });
      });
    });
  });
}

void Shell::lease_action(uint64_t turn, const ha::Action& action) {
  EtcdRequest request;
  if (const auto* grant = std::get_if<ha::GrantLease>(&action.body)) {
    request.kind = EtcdRequest::Kind::grant;
    request.ttl = grant->ttl;
  } else if (const auto* keep = std::get_if<ha::KeepAlive>(&action.body)) {
    request.kind = EtcdRequest::Kind::keep_alive;
    request.lease = keep->lease;
  } else if (const auto* prove = std::get_if<ha::ProveLock>(&action.body)) {
    request.kind = EtcdRequest::Kind::txn;
    model::Key leader{model::KeyKind::leader, {}};
    request.txn.compares.push_back({leader, ha::Compare::What::mod, prove->leader_mod});
    request.txn.compares.push_back({leader, ha::Compare::What::lease, prove->lease});
    request.txn.puts.push_back({{model::KeyKind::beat, {}}, ha::Value(prove->beat), 0});
  }
  Duration timeout = std::clamp<Duration>(world_.ttl_now() / 4, 200ms, 2s);
  ask(std::move(request), timeout, [this, turn](const Asked& asked) {
    finish(ha::Lane::lease, turn, asked.outcome, [&asked](ha::Completion& c) {
      c.sent_at = asked.sent_at;
      c.answered_at = asked.answered_at;
      c.succeeded = asked.answer.succeeded;
      c.revision = asked.answer.revision;
      c.lease = asked.answer.lease;
      c.ttl = asked.answer.ttl;
      c.era = {asked.answer.cluster_id, asked.answer.raft_term};
    });
  });
}

void Shell::dcs_action(uint64_t turn, const ha::Action& action) {
  EtcdRequest request;
  bool read = false;
  if (const auto* txn = std::get_if<ha::Txn>(&action.body)) {
    request.kind = EtcdRequest::Kind::txn;
    request.txn = *txn;
  } else if (const auto* revoke = std::get_if<ha::RevokeLease>(&action.body)) {
    request.kind = EtcdRequest::Kind::revoke;
    request.lease = revoke->lease;
  } else {
    request.kind = EtcdRequest::Kind::read;
    read = true;
  }
  ask(std::move(request), dcs_timeout(world_), [this, turn, read](const Asked& asked) {
    if (asked.outcome == Outcome::done) {
      if (read) {
        install(asked);
      } else {
        proved(asked.sent_at, asked.answer.generation, asked.answer.log_size);
      }
    }
    Outcome outcome = asked.outcome;
    if (read && outcome == Outcome::unknown) outcome = Outcome::failed;
    finish(ha::Lane::dcs, turn, outcome, [&asked](ha::Completion& c) {
      c.sent_at = asked.sent_at;
      c.answered_at = asked.answered_at;
      c.succeeded = asked.answer.succeeded;
      c.revision = asked.answer.revision;
      c.era = {asked.answer.cluster_id, asked.answer.raft_term};
    });
  });
}

// ---- the copy of the keys -----------------------------------------------------------------------------------------

// A linearizable reading now and then proves that the watch is current.
void Shell::refresh() {
  read_now();
  run(std::clamp<Duration>(world_.ttl_now() / 6, 200ms, 2s), [this] { refresh(); });
}

void Shell::read_now() {
  EtcdRequest request;
  request.kind = EtcdRequest::Kind::read;
  ask(std::move(request), dcs_timeout(world_), [this](const Asked& asked) {
    if (asked.outcome == Outcome::done) install(asked);
  });
}

void Shell::install(const Asked& asked) {
  const EtcdAnswer& answer = asked.answer;
  if (!answer.view) return;
  if (!have_view_ || answer.generation != generation_) {
    if (have_view_ && answer.generation < generation_) return;  // an old answer
    BootTime as_of = cluster_.as_of;
    cluster_ = *answer.view;
    cluster_.as_of = have_view_ ? as_of : asked.sent_at;
    have_view_ = true;
    generation_ = answer.generation;
    watched_ = answer.log_size;
    proofs_.clear();
    cluster_.as_of = asked.sent_at;
    schedule_watch();
    poke();
    return;
  }
  if (answer.log_size > watched_) {
    BootTime as_of = cluster_.as_of;
    cluster_ = *answer.view;
    cluster_.as_of = as_of;
    watched_ = answer.log_size;
    poke();
  }
  if (answer.raft_term > cluster_.raft_term) cluster_.raft_term = answer.raft_term;
  proved(asked.sent_at, answer.generation, answer.log_size);
}

void Shell::proved(BootTime sent_at, uint64_t generation, size_t log_size) {
  if (!have_view_ || generation != generation_) return;
  if (watched_ >= log_size) {
    cluster_.as_of = std::max(cluster_.as_of, sent_at);
  } else {
    proofs_.push_back({sent_at, log_size});
  }
}

void Shell::etcd_event() { schedule_watch(); }

void Shell::schedule_watch() {
  if (watch_due_ || !have_view_) return;
  if (generation_ == world_.etcd.generation() && watched_ >= world_.etcd.log_size()) return;
  watch_due_ = true;
  Duration lag = draw_skewed(world_.random, 200us, world_.plan.watch_lag) + world_.watch_delay(node_.index);
  run(lag, [this, target = world_.etcd.log_size(), generation = world_.etcd.generation()] {
    watch_due_ = false;
    if (world_.network.cut_now(world_.network.etcd(), node_.index) || world_.etcd.lie_for(node_.index) != nullptr) {
      watch_due_ = true;
      run(100ms, [this] {
        watch_due_ = false;
        schedule_watch();
      });
      return;
    }
    apply_watch(target, generation);
    schedule_watch();
  });
}

void Shell::apply_watch(size_t target, uint64_t generation) {
  if (generation != generation_ || generation != world_.etcd.generation()) {
    // The watch was cancelled; only a new reading tells what is there now.
    read_now();
    watch_due_ = true;
    run(200ms, [this] {
      watch_due_ = false;
      schedule_watch();
    });
    return;
  }
  bool changed = watched_ < target;
  while (watched_ < target) world_.etcd.apply(watched_++, cluster_);
  for (const Proof& proof : proofs_) {
    if (watched_ >= proof.log_size) cluster_.as_of = std::max(cluster_.as_of, proof.sent_at);
  }
  std::erase_if(proofs_, [this](const Proof& p) { return watched_ >= p.log_size; });
  if (changed) poke();
}

}  // namespace pgdba::sim
