// What is new in a view: the ends of actions, and what etcd says.
//
// Invariant: a write without an answer counts as one that may still land, until a reading that was asked for after it shows
// otherwise; and what an etcd says that has lost what it said before counts for nothing until the last leader has written
// the keys again (W13).
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;

void Core::Impl::absorb() {
  for (const Completion& done : v->completed) {
    auto it = pending.find(done.id);
    if (it == pending.end()) continue;
    Pending was = std::move(it->second);
    pending.erase(it);
    bool ok = done.outcome == Completion::Outcome::done;
    switch (was.lane) {
      case Lane::lease:
        lease.completed(done, b);
        break;
      case Lane::dcs:
        absorb_txn(done, was);
        break;
      case Lane::local:
        local_done_at = std::max({local_done_at, done.answered_at, was.at});
        if (std::holds_alternative<ProbeSync>(was.body)) sync.probe_done(ok && done.succeeded);
        if (std::holds_alternative<CreateUsers>(was.body) && ok) users_done = true;
        if (std::holds_alternative<SyncSlots>(was.body) && !ok) slots_given.clear();
        if (std::holds_alternative<Promote>(was.body) && done.outcome == Completion::Outcome::dropped) promote_given = false;
        if (std::holds_alternative<StopPg>(was.body) && ok) {
          may_write = false;
          if (restart_request) restart_stopped = true;
        }
        if (std::holds_alternative<StartPg>(was.body) && done.outcome != Completion::Outcome::dropped) started(ok, done.text);
        if (std::holds_alternative<MeasureWal>(was.body) && done.outcome == Completion::Outcome::failed) {
          measure_retry_at = now + 1s;
          measure_problem = done.text;
        }
        if (std::holds_alternative<MarkNovote>(was.body) && !ok) mark_retry_at = now + 1s;
        if (std::holds_alternative<Clone>(was.body) || std::holds_alternative<Rewind>(was.body)) {
          trust_term = ok ? job_term : -1;
          if (!ok) clone_retry_at = now + 1s;
        }
        if (std::holds_alternative<Rewind>(was.body)) {
          if (failed_rewinds.term != job_term || ok) failed_rewinds = {job_term, 0, {}};
          if (!ok) failed_rewinds = {job_term, failed_rewinds.count + 1, now};
        }
        if (std::holds_alternative<Clone>(was.body) && reinit_request) {
          emit(Answer{*reinit_request, ok, ok ? "reinitialized" : "reinitialize failed: " + done.text}, "clone ended");
          reinit_request.reset();
          reinit_go = false;
        }
        break;
      case Lane::probe:
        if (std::holds_alternative<Checkpoint>(was.body)) {
          checkpoint_done = checkpoint_done || ok;
          checkpoint_asked = checkpoint_done;
          switchover_checkpointed = true;
        }
        break;
      case Lane::memory:
        break;
    }
  }
}

// The lock is ours from now on: nothing that was under way in an earlier tenure counts.
void Core::Impl::begin_tenure(model::Revision leader_mod, model::Term term, Era era) {
  lease.acquired(leader_mod, term, now, b, era);
  acquire_late.reset();
  // Only in pause does a primary go on without the lock, and get it again (restore_cluster).
  const bool serving = running() && !pg().answers->in_recovery;
  sync.restart(serving ? SyncDuty::Postmaster::same : SyncDuty::Postmaster::fresh);
  bump_sync = bump_sync || serving;
  led = promote_given = crashed = handover_tried = election_asked = planned_stop = promotion_failed = false;
  offer_uncertain = false;  // it compares the revision of the leader key, which is another one now
  checkpoint_done = checkpoint_asked = users_done = false;
  streams.clear();
  slots_given.clear();
  slots_at = {};
  pooler_auth_at = {};
  active_empty = false;
  tenure_since = now;
  fz.reset();
}

void Core::Impl::absorb_txn(const Completion& done, const Pending& was) {
  bool unknown = done.outcome == Completion::Outcome::unknown;
  bool won = done.outcome == Completion::Outcome::done && done.succeeded;
  if (done.outcome == Completion::Outcome::done) {
    if (std::holds_alternative<ReadCluster>(was.body)) return;
    if (won) seen_at_least = std::max(seen_at_least, done.revision);
  }
  if (std::holds_alternative<ReadCluster>(was.body)) return;  // failed: dcs_ready() still wants a fresh view
  if (!won) read_after = std::max(read_after, was.at);
  if (done.outcome == Completion::Outcome::failed) lease.ask_now();
  switch (was.purpose) {
    case TxnFor::acquire:
      if (won) {
        const Txn& txn = std::get<Txn>(was.body);
        model::Term term = 0;
        for (const Write& w : txn.puts) {
          if (w.key.kind != KeyKind::term) continue;
          term = std::get<model::TermRecord>(std::get<Value>(w.value)).term;
        }
        newest_term = std::max(newest_term, term);
        begin_tenure(done.revision, term, done.era);
      }
      if (unknown) acquire_uncertain = true;
      if (unknown) acquire_late = acquire_over;
      break;
    case TxnFor::move_lease:
      if (won) lease.moved(done.revision, b);
      if (unknown) acquire_uncertain = true;
      if (!won && !unknown) lease.move_ended();
      break;
    case TxnFor::switchover:
      if (unknown) offer_uncertain = true;
      if (won) offer_uncertain = false;  // it took the revision that the other one compares
      break;
    case TxnFor::member:
      member_lost = !won;
      if (won) member_mod = done.revision;
      break;
    case TxnFor::promise:
      if (fz && won) fz->promised_at = now;  // it may be consumed before a view shows it active
      if (fz && unknown) fz->uncertain = true;
      if (fz && done.outcome == Completion::Outcome::done && !done.succeeded) fz->promise_sent = false;
      if (fz && done.outcome == Completion::Outcome::failed) fz->promise_sent = false;
      break;
    case TxnFor::withdraw:
      if (won) withdrawn_mod = done.revision;
      break;
    case TxnFor::sync_write:
      if (unknown) bump_sync = true;
      if (won && bump_sync) bump_sync = false;
      break;
    case TxnFor::release:
      if (won) lease.forget_lock();
      break;
    default:
      break;
  }
}

void Core::Impl::note_cluster() {
  if (c().config && c().config->mod != last_config_mod) {
    last_config = c().config->value;
    last_config_mod = c().config->mod;
  }
  bool patroni = std::ranges::any_of(c().members, [](const auto& m) { return !m.second.value.runs_pgdba(); });
  b = budgets_for(model::adjust(config().timings, patroni).ttl);
  if (rules.w13_etcd_reset) {
    bool reset = (cluster_id && *cluster_id != c().cluster_id) || c().revision < newest_revision || c().raft_term < raft_term;
    // Emptied by hand (patronictl remove, etcdctl del --prefix): the same etcd, and as little left of the cluster.
    bool emptied = !etcd_reset_at && remembered.initialize && remembered.term && !c().initialize && !c().term;
    if (reset || emptied) {
      etcd_reset_at = c().revision;
      reset_since = now;
      seen_at_least = 0;
      acquire_late.reset();
      member_mod = 0;
      if (owner() || lease.lock_mod() > c().revision) lease.forget_lock();
      lease.forget_answers();
    }
  }
  bool newer_term = c().term && (!remembered.term || c().term->value.term >= remembered.term->value.term);
  if (!etcd_reset_at && newer_term && newest_revision != c().revision) {
    remembered.term = c().term;
    remembered.sync = c().sync;
    if (remembered.timelines.size() != c().timelines.size()) remembered.timelines = c().timelines;
    remembered.initialize = c().initialize;
    for (const auto& [name, member] : c().members) remembered_members.insert(name);
  }
  cluster_id = c().cluster_id;
  raft_term = c().raft_term;
  newest_revision = c().revision;
  // Every term seen anywhere: a restored etcd may know an older one than its members (W13).
  if (c().term) newest_term = std::max(newest_term, c().term->value.term);
  for (const auto& [name, member] : c().members) newest_term = std::max(newest_term, member.value.term);
  if (!c().timelines.empty()) newest_term = std::max(newest_term, c().timelines.rbegin()->second.value.term);
  for (const auto& [name, promise] : c().promises) newest_term = std::max(newest_term, promise.value.term);
  newest_term = std::max(newest_term, pg().on_disk.term);
  // A data directory that knows later timelines than etcd does: each was begun in a term of its own that etcd has lost.
  if (rules.w13_etcd_reset && !pg().timeline_nonces.empty()) {
    const bool any = !c().timelines.empty();
    const uint32_t known = any ? c().timelines.rbegin()->first : 0;
    const uint32_t here = pg().timeline_nonces.rbegin()->first;
    if (here > known) newest_term = std::max(newest_term, (any ? c().timelines.rbegin()->second.value.term : 0) + (here - known));
  }
  if (!pg().timeline_starts.empty() && c().as_of > pg().measured_at && !c().timelines.contains(pg().timeline_starts.rbegin()->first)) {
    foreign_timeline = pg().timeline_starts.rbegin()->first;
  }
  if (v->freeze_record) newest_term = std::max(newest_term, v->freeze_record->term);
  if (model::Term term = c().term ? c().term->value.term : 0; term_seen.first != term) term_seen = {term, now};
  if (c().leader) leader_seen_at = now;
  if (etcd_reset_at && c().leader) {
    // Rewritten by the leader: with the lock, or after it had seen our member key say so (a leader may not have noticed
    // the reset; it answers by rewriting `sync`, and its beat after that proves its lock in this etcd).
    const model::Revision rewritten = c().sync ? c().sync->mod : sync_wanted() ? 0 : c().leader->mod;
    const model::Revision beaten = c().beat ? c().beat->mod : 0;
    auto own = c().members.find(self.name);
    const bool told = own != c().members.end() && own->second.value.etcd_reset && own->second.mod > *etcd_reset_at;
    const bool with_lock = c().leader->mod > *etcd_reset_at && rewritten > *etcd_reset_at;
    const bool asked = told && (!c().sync || rewritten > own->second.mod) && beaten > std::max(rewritten, own->second.mod);
    if (with_lock || asked) etcd_reset_at.reset();
  } else if (etcd_reset_at && c().term && c().term->mod > *etcd_reset_at && c().term->value.term >= newest_term) {
    // It was rewritten so, and the lock is gone again; or let go at once (kOnlyKeys).
    if (c().sync && c().sync->mod > *etcd_reset_at) etcd_reset_at.reset();
  }
  // The watch may show our own move before its answer comes. The lease is ours alone, so what it holds is ours.
  if (c().leader && lease.move_to() != 0 && c().leader->value == self.name && c().leader->lease == lease.move_to()) {
    lease.moved(c().leader->mod, b);
  }
  // An acquisition without an answer: the view tells, at once or later. What is newer than the key that it compared, and
  // under our lease, was written by it. (A restored etcd may show a lock of before under the same lease.)
  if (acquire_uncertain && c().as_of >= read_after) {
    acquire_uncertain = false;
    lease.move_ended();
  }
  const bool landed = acquire_late && c().leader && c().leader->mod > *acquire_late && c().leader->value == self.name &&
                      c().leader->lease == lease.id() && lease.id() != 0;
  const bool may_lead = present() && (!pg().novote || (c().term && c().term->value.cause == kOnlyKeys));
  if (landed && may_lead && !acquire_uncertain && lane_idle(Lane::dcs) && !lease.owns_lock()) {
    begin_tenure(c().leader->mod, c().term ? c().term->value.term : 0, {c().cluster_id, c().raft_term});
  }
  if (c().failover && failover_seen.first != c().failover->mod) failover_seen = {c().failover->mod, now};
  if (c().switchover && switchover_seen.first != c().switchover->mod) switchover_seen = {c().switchover->mod, now};
}

}  // namespace pgdba::ha
