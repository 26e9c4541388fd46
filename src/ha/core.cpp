#include "ha/core.h"

#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using model::PgConfig;
using model::PgProcess;

Core::Core(Self self, Rules rules) : impl_(std::make_unique<Impl>(std::move(self), rules)) {}
Core::~Core() = default;
Decision Core::step(const View& view) { return impl_->step(view); }
void Core::set_self(Self self) {
  self.name = impl_->self.name;
  self.run_id = impl_->self.run_id;
  impl_->self = std::move(self);
}

Core::Standing Core::standing(BootTime now) const {
  Standing s;
  s.deadline = impl_->lease.deadline();
  s.leader = impl_->lease.owns_lock() && s.deadline && now < *s.deadline;
  s.term = impl_->newest_term;
  s.frozen = impl_->fz.has_value();
  s.role = impl_->last_member.role;
  return s;
}

ActionId Core::Impl::emit(Body body, std::string reason, TxnFor purpose) {
  ActionId id = next_id++;
  Lane lane = lane_of(body);
  if (lane != Lane::memory) pending[id] = Pending{lane, body, purpose, now};
  d.actions.push_back(Action{id, std::move(body), std::move(reason)});
  return id;
}

bool Core::Impl::lane_idle(Lane lane) const {
  return std::ranges::none_of(pending, [&](const auto& p) { return p.second.lane == lane; });
}

bool Core::Impl::local_ready() const { return lane_idle(Lane::local) && pg().measured_at >= local_done_at; }

bool Core::Impl::dcs_ready() const {
  return lane_idle(Lane::dcs) && c().revision >= seen_at_least && c().as_of >= read_after;
}

Decision Core::Impl::step(const View& view) {
  v = &view;
  now = view.now;
  d = Decision{};
  d.wake_at = now + std::min<Duration>(b.ttl / 3, 10s);
  d.observe_every = std::clamp<Duration>(b.ttl / 8, 250ms, 1s);
  if (exiting) return std::move(d);
  if (first) begin();
  if (!stopped()) {
    if (first || stopped_since != BootTime{}) started_since = now;
    stopped_since = {};
  } else if (stopped_since == BootTime{}) {
    stopped_since = now;
  }
  absorb();
  if (view.cluster) note_cluster();
  if (auto body = lease.next(now, b)) lease.sent(emit(*body, "lease"), *body);
  if (!fence()) decide();
  arm();
  wake(lease.wake_at(b));
  if (auto deadline = lease.deadline(); deadline && may_write) wake(*deadline - b.stop_budget);
  if (d.wake_at <= now) d.wake_at = now + 5ms;
  first = false;
  return std::move(d);
}

// An agent that starts beside a running PostgreSQL goes on with the lease, revision and term of the guardian's page: the
// proof that follows compares MOD and LEASE, so that a lock of another life is never taken for ours (L5).
void Core::Impl::begin() {
  newest_term = v->page.term;
  if (stopped() || !v->page.guardian_alive) return;
  if (v->page.deadline || v->page.leader_mod != 0) {
    may_write = true;
    may_write_incarnation = pg().incarnation;
    page_armed = v->page.deadline.has_value();
    page_deadline = v->page.deadline;
    by_name = !rules.l5_readopt_by_lease;
    if (by_name) return;
    lease.adopt(v->page);
    led = true;
    led_incarnation = pg().incarnation;
    bump_sync = true;
    sync.restart(SyncDuty::Postmaster::same);
    tenure_since = now;
  }
}

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
  if (c().switchover && switchover_seen.first != c().switchover->mod) switchover_seen = {c().switchover->mod, now};
}

bool Core::Impl::owner() const {
  return v->cluster && lease.owns_lock() && c().leader && c().leader->value == self.name && c().leader->mod == lease.lock_mod();
}

void Core::Impl::stop_now(const std::string& why) {
  for (const auto& [id, p] : pending) {
    auto* stop = std::get_if<StopPg>(&p.body);
    if (stop && stop->mode == StopPg::Mode::immediate) return;
  }
  emit(StopPg{StopPg::Mode::immediate, {}}, why);
}

// What must not go on, whatever else is under way. True: nothing else is decided in this step.
bool Core::Impl::fence() {
  if (stopped()) {
    // A reading that is older than the start of a primary must not disarm its guardian.
    if (local_ready()) may_write = false;
  } else if (pg().answers ? !pg().answers->in_recovery : !pg().standby_signal) {  // without an answer the files tell (G2)
    may_write = true;
    may_write_incarnation = pg().incarnation;
  }
  if (v->cluster && config().pause) return false;
  // Started by hand behind our back, with the files of a server at rest (G2), or its guardian was killed and the kernel is
  // about to end it. What nobody can end in time is not steered, it is stopped; then it is ours to start.
  if (v->cluster && pg().process == PgProcess::running && !pg().guardian_alive) {
    stop_now("no guardian watches this PostgreSQL");
    d.state = "stopping a PostgreSQL that somebody else has started";
    return true;
  }
  if (!may_write || by_name) return false;
  if (rules.w11_stop_at_other_owner && v->cluster && c().revision >= seen_at_least && c().leader && c().leader->value != self.name) {
    stop_now(fmt::format("{} owns the leader lock", c().leader->value));
    lease.forget_lock();
    d.state = "demoting: another member owns the leader lock";
    return true;
  }
  if (lease.lost()) {
    stop_now("the leader lock is lost");
    lease.forget_lock();
    d.state = "demoting: the leader lock is lost";
    return true;
  }
  if (!lease.owns_lock() || !lease.deadline() || now >= *lease.deadline() - b.stop_budget) {
    stop_now(lease.owns_lock() ? "the leader lock could not be proved in time" : "a primary without the leader lock");
    d.state = "demoting: the leader lock is not proved";
    return true;
  }
  return false;
}

// The guardian must know every deadline before PostgreSQL can acknowledge under it, and none on a standby.
void Core::Impl::arm() {
  bool paused = v->cluster && config().pause;
  bool starting_primary = false;
  for (const Action& a : d.actions) {
    auto* start = std::get_if<StartPg>(&a.body);
    starting_primary = starting_primary || (start && start->as_primary) || std::holds_alternative<Promote>(a.body);
  }
  bool want = (may_write || starting_primary) && lease.owns_lock() && lease.deadline() && !paused;
  if (want && (!page_armed || page_deadline != lease.deadline())) {
    page_armed = true;
    page_deadline = lease.deadline();
    ActionId id = next_id++;
    SetDeadline set{lease.deadline(), lease.id(), lease.lock_mod(), newest_term};
    d.actions.insert(d.actions.begin(), Action{id, set, "the lock is proved until then"});
  } else if (page_armed && (paused || (!may_write && !starting_primary))) {
    page_armed = false;
    page_deadline.reset();
    emit(SetDeadline{}, paused ? "paused" : "not a primary");
  }
  if (starting_primary) {
    may_write = true;
    may_write_incarnation = 0;
  }
}

void Core::Impl::decide() {
  if (!v->cluster) {
    d.state = "waiting for etcd";
    return;
  }
  if (!lane_idle(Lane::dcs)) wake(now + 50ms);
  if (lane_idle(Lane::dcs) && c().as_of < read_after) emit(ReadCluster{}, "a write was lost or not answered");
  requests();
  keep_member_key();
  if (exiting) return;
  // What a PANIC leaves on the disk may lack what was acknowledged (H4). The mark is written before anything starts this
  // postgres again, in pause as well: with the next start nobody sees the PANIC any more.
  if (rules.h4_not_behind_voters && stopped() && pg().exit_after_panic && present() && !pg().novote && local_ready() &&
      now >= mark_retry_at) {
    emit(MarkNovote{}, "postgres ended with a PANIC on its WAL");
  }
  if (config().pause) return decide_paused();
  // The guardian ends what a dead postmaster leaves behind; when it died before it was done, we do (G1).
  if (stopped() && !pg().all_dead && local_ready() && now >= std::max(stopped_since, leftovers_at) + 1s) {
    leftovers_at = now;
    stop_now("processes of a dead postmaster are left");
  }
  if (shutdown && shut_down()) return;
  if (lease.move_to() != 0 && owner() && dcs_ready() && lease.may_move()) {
    lease.begin_move();
    emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()}},
             {Write{Key{KeyKind::leader, {}}, Value{self.name}, lease.move_to()}},
             {}},
         "ttl was changed: the same lock under another lease", TxnFor::move_lease);
  }
  // A promise of ours that we are not frozen under: an etcd restored from old, or a record that was lost.
  if (auto mine = c().promises.find(self.name); dcs_ready() && mine != c().promises.end() && !v->freeze_record && !fz &&
                                                mine->second.value.state == model::Promise::State::active) {
    withdraw("an active promise of ours without a freeze");
  }
  if (by_name) {
    // The mutation: whoever it was that took the lock under our name, and whether our lease still holds it.
    if (c().leader && c().leader->value == self.name && !owner()) {
      std::optional<model::SyncState> same;
      if (sync_active()) same = c().sync->value;
      Txn txn;
      txn.compares.push_back(Compare{Key{KeyKind::leader, {}}, Compare::What::mod, c().leader->mod});
      return take_lock(std::move(txn), "return", std::nullopt, same, "the lock bears our name");
    }
    by_name = false;
  }
  if (owner()) return own_lock();
  const bool another = c().leader && c().leader->value != self.name;
  if (another && may_write && !rules.w11_stop_at_other_owner) {
    d.state = "another member owns the leader lock";
    return;
  }
  if (c().revision >= seen_at_least && lease.owns_lock() && (!c().leader || c().leader->mod != lease.lock_mod())) {
    // The key is gone or was rewritten although no proof has failed yet.
    lease.forget_lock();
    if (may_write) return stop_now("the leader key is not ours any more");
  }
  if (!dcs_ready() && lease.owns_lock()) {
    d.state = "took the leader lock";
    return;
  }
  if (v->freeze_record || fz) return frozen();
  if (etcd_reset_at && (!c().leader || c().leader->value == self.name)) return restore_cluster();
  if (!c().leader) return no_leader();
  if (c().leader->value == self.name) return try_return();
  follow();
}

void Core::Impl::decide_paused() {
  // The pause went with the etcd that held it, and nobody can end what no key says. Its primary serves on; whoever led last
  // writes the keys again, and the configuration with them.
  if (etcd_reset_at && !c().config && (!c().leader || c().leader->value == self.name)) return restore_cluster();
  d.state = owner() ? fmt::format("PAUSE: no action. I am ({}), the leader with the lock", self.name)
                    : fmt::format("PAUSE: no action. I am ({})", self.name);
  if (owner() && running() && !pg().answers->in_recovery) {
    led = true;
    led_incarnation = pg().incarnation;
    switchover_duty();
    if (sync_active() || !c().config) lead();
  }
}

void Core::Impl::requests() {
  for (const Request& r : v->requests) {
    switch (r.kind) {
      case Request::Kind::shutdown:
        if (!shutdown) {
          shutdown = r;
          shutdown_since = now;
        }
        shutdown->force = shutdown->force || r.force;
        break;
      case Request::Kind::restart:
        if (restart_request == r.id || restart_answered == r.id) break;  // its answer may not have gone out yet
        if (restart_request) {
          emit(Answer{r.id, false, "restart already in progress"}, "one at a time");
        } else {
          restart_request = r.id;
          restart_stopped = false;
        }
        break;
      case Request::Kind::reinitialize:
        if (reinit_request == r.id) break;
        if (owner() || leader_name() == self.name) {
          emit(Answer{r.id, false, "I am the leader, can not reinitialize"}, "the leader holds the data");
        } else if (!c().leader) {
          emit(Answer{r.id, false, "Cluster has no leader, can not reinitialize"}, "nobody to clone from");
        } else if (reinit_request) {
          emit(Answer{r.id, false, "reinitialize already in progress"}, "one at a time");
        } else {
          reinit_request = r.id;
          reinit_go = false;
        }
        break;
    }
  }
}

// A start has ended. One that fails at once (a port in use, a library that is gone) is not tried in a tight loop.
void Core::Impl::started(bool ok, const std::string& text) {
  failed_starts = ok ? 0 : failed_starts + 1;
  start_retry_at = ok ? BootTime{} : now + std::min<Duration>(5s, 25ms * (1 << std::min(failed_starts, 8)));
  if (!restart_request || !restart_stopped) return;
  emit(Answer{*restart_request, ok, ok ? "restarted successfully" : "restart failed: " + text}, "postgres was stopped and started");
  restart_answered = restart_request;
  restart_request.reset();
  restart_stopped = false;
}

bool Core::Impl::may_start() {
  if (now >= start_retry_at) return true;
  wake(start_retry_at);
  return false;
}

std::optional<model::Term> Core::Impl::term_of(uint32_t timeline) const {
  if (!rules.r1_unique_timelines) return static_cast<model::Term>(timeline);
  auto known = c().timelines.find(timeline);
  auto mine = pg().timeline_nonces.find(timeline);
  if (known == c().timelines.end() || mine == pg().timeline_nonces.end()) return std::nullopt;
  if (known->second.value.nonce != mine->second) return std::nullopt;
  return known->second.value.term;
}

model::Position Core::Impl::position_on(uint32_t timeline, Lsn lsn) const {
  auto known = c().timelines.find(timeline);
  return {known == c().timelines.end() ? newest_term : known->second.value.term, timeline, lsn};
}

// A standby that still streams from the last leader gets the next timeline through it, perhaps before its own agent has
// read of the new term: data without a nonce. Every timeline is recorded in etcd before its first record is written, and
// no number twice, so what was streamed under a recorded number is that timeline, unless etcd has forgotten one: then
// this agent or another one has seen the reset, or data here that etcd certainly did not know.
bool Core::Impl::note_streamed_timeline() {
  if (pg().timeline_starts.empty() || !local_ready() || etcd_reset_at) return false;
  const uint32_t newest = pg().timeline_starts.rbegin()->first;
  auto record = c().timelines.find(newest);
  if (record == c().timelines.end() || pg().timeline_nonces.contains(newest) || foreign_timeline == newest) return false;
  if (record->second.value.node == self.name) return false;  // ours, and yet not noted here: not the one that we began
  for (const auto& [name, member] : c().members) {
    if (member.value.etcd_reset) return false;
  }
  for (const auto& [timeline, nonce] : pg().timeline_nonces) {
    auto known = c().timelines.find(timeline);
    if (known == c().timelines.end() || known->second.value.nonce != nonce) return false;
  }
  emit(RecordTimeline{newest, record->second.value.nonce}, "streamed before it was noted");
  return true;
}

std::optional<model::Position> Core::Impl::own_position() const {
  if (stopped()) {
    if (!pg().wal_end) return std::nullopt;
    auto term = term_of(pg().wal_end->timeline);
    if (!term) return std::nullopt;
    return model::Position{*term, pg().wal_end->timeline, pg().wal_end->lsn};
  }
  if (!running() || (rules.w4_position_after_freeze && pg().answers->in_recovery && !pg().answers->wal_exhausted)) return std::nullopt;
  auto term = term_of(pg().answers->timeline);
  if (!term) return std::nullopt;
  return model::Position{*term, pg().answers->timeline, pg().answers->flush_lsn};
}

bool Core::Impl::i_am_voter() const {
  // Who may not be synchronous is listed by name after it has led: it has what was acknowledged as any former leader has.
  return sync_active() && c().sync->value.standbys.contains(self.name) && present() && !pg().novote;
}

void Core::Impl::probe(const std::string& name, Duration at_most_every) {
  auto member = c().members.find(name);
  if (member == c().members.end() || name == self.name) return;
  for (const auto& [id, p] : pending) {
    auto* probing = std::get_if<ProbePeer>(&p.body);
    if (probing && probing->name == name) return;
  }
  auto known = v->peers.find(name);
  if (known != v->peers.end() && now < known->second.asked_at + at_most_every) {
    wake(known->second.asked_at + at_most_every);
    return;
  }
  emit(ProbePeer{name, member->second.value.conn_url, member->second.value.api_url}, "position and ports");
}

void Core::Impl::probe_all(Duration at_most_every) {
  for (const auto& [name, member] : c().members) probe(name, at_most_every);
}

PgConfig Core::Impl::standby_config(PgConfig::Upstream upstream) const {
  PgConfig want;
  want.upstream = upstream;
  // In synchronous mode no node ever has an empty list, except a leader under "leader only".
  if (sync_wanted()) want.sync_names = {model::SyncNames::Kind::any, 1, {std::string(model::kSyncPlaceholder)}};
  // A former primary may have rows that a rewind will remove: nobody reads them (G4). Others serve on.
  want.gate_closed = pg().on_disk.term != 0 || pg().on_disk.gate_closed;
  if (!rules.g4_gate) want.gate_closed = false;
  want.term = 0;
  return want;
}

bool Core::Impl::loaded_is(const PgConfig& want) const {
  if (stopped()) return pg().on_disk == want;
  return pg().on_disk == want && pg().loaded && *pg().loaded == want;
}

bool Core::Impl::configured(const PgConfig& want, const std::string& why) {
  if (loaded_is(want)) return true;
  observe(20ms);
  if (local_ready()) emit(ApplyConfig{want}, why);
  return false;
}

void Core::Impl::keep_member_key() {
  if (lease.id() == 0) return;
  model::Member m;
  m.conn_url = self.conn_url;
  m.api_url = self.api_url;
  m.version = self.version;
  m.pgdba_version = self.pgdba_version;
  m.tags = self.tags;
  m.term = newest_term;
  m.role = model::Role::replica;
  switch (pg().process) {
    case PgProcess::stopped: m.state = model::PgState::stopped; break;
    case PgProcess::starting: m.state = model::PgState::starting; break;
    case PgProcess::running: m.state = model::PgState::running; break;
    case PgProcess::stopping: m.state = model::PgState::stopping; break;
  }
  if (crashed && stopped()) m.state = model::PgState::crashed;
  // Its roles are not there yet: nobody can clone from it, no client can log in.
  if (owner() && !users_done && c().term && c().term->value.cause == "bootstrap" && m.state == model::PgState::running) {
    m.state = model::PgState::bootstrap_starting;
  }
  if (under_way<InitDb>()) m.state = model::PgState::initdb;
  if (under_way<Clone>()) m.state = model::PgState::creating_replica;
  if (pg().data == model::DataDir::empty) m.role = model::Role::uninitialized;
  if (running()) {
    m.timeline = pg().answers->timeline;
    m.pending_restart = !pg().answers->pending_restart.empty();
    m.pending_restart_reason = pg().answers->pending_restart;
    if (!pg().answers->in_recovery) {
      m.role = owner() ? model::Role::primary : model::Role::demoted;
      m.xlog_location = pg().answers->flush_lsn;
      if (owner() && pg().loaded && !pg().loaded->gate_closed) m.ready_term = newest_term;
      m.checkpoint_after_promote_pending = owner() && !checkpoint_done;
    } else {
      if (promote_given && owner()) m.role = model::Role::promoted;
      if (pg().answers->wal_exhausted) {
        m.xlog_location = pg().answers->flush_lsn;
        m.receive_lsn = pg().answers->flush_lsn;
      }
      m.replay_lsn = pg().answers->replay_lsn;
      if (!pg().answers->streaming_from.empty()) m.replication_state = "streaming";
    }
  }
  m.pause = config().pause;
  m.etcd_reset = etcd_reset_at.has_value();
  m.leaving_sync = shutdown || leave_sync || !present() || under_way<Clone>() || under_way<Rewind>();

  bool lease_changed = last_member_lease != lease.id();
  auto own = c().members.find(self.name);
  // Gone, or overwritten by an older write of ours that landed late.
  bool missing = c().revision >= seen_at_least && (own == c().members.end() || (member_mod != 0 && own->second.mod > member_mod));
  auto shape = [](model::Member x) {  // without what changes all the time
    x.xlog_location = x.replay_lsn = x.receive_lsn = std::nullopt;
    return x;
  };
  bool shape_changed = !(shape(m) == shape(last_member));
  bool due = now >= member_at + std::clamp<Duration>(b.ttl / 3, 1s, 10s) && !(m == last_member);
  // While nobody leads, and after a reset of etcd, what is said here must be known to be new.
  // Also when somebody else has seen etcd replaced, and waits for the word of all.
  const bool asked = own != c().members.end() && std::ranges::any_of(c().members, [&](const auto& other) {
                       return other.second.value.etcd_reset && other.second.mod > own->second.mod;
                     });
  bool word = now >= member_at + 1s && (etcd_reset_at || !c().leader || asked);
  if (!lease_changed && !missing && !shape_changed && !due && !word && !member_lost) return;
  if (!lane_idle(Lane::dcs)) return;
  if ((missing || member_lost) && now < member_at + 200ms && !lease_changed && !shape_changed) return;
  emit(Txn{{}, {Write{Key{KeyKind::member, self.name}, Value{m}, lease.id()}}, {}}, "member key", TxnFor::member);
  last_member = m;
  last_member_lease = lease.id();
  member_at = now;
}

}  // namespace pgdba::ha
