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
  d.observe_every = std::clamp<Duration>(b.ttl / 6, 250ms, 1s);
  if (exiting) return std::move(d);
  if (first) begin();
  if (!stopped()) {
    if (first || stopped_since != BootTime{}) started_since = now;
    stopped_since = {};
  } else if (stopped_since == BootTime{}) {
    stopped_since = now;
  }
  absorb();
  if (view.cluster) {
    note_cluster();
    note_switching();
  }
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

// Without an answer the files tell. A running primary has standby.signal again (G2), so pg_control has a word, too: a server
// that recovers says so there from its first moment on.
bool Core::Impl::may_be_a_primary() const {
  return !pg().standby_signal || (pg().query_timed_out && pg().control && pg().control->state == model::ControlState::in_production);
}

// What must not go on, whatever else is under way. True: nothing else is decided in this step.
bool Core::Impl::fence() {
  if (stopped()) {
    // A reading that is older than the start of a primary must not disarm its guardian.
    if (local_ready()) may_write = false;
  } else if (pg().answers ? !pg().answers->in_recovery : may_be_a_primary()) {
    may_write = true;
    may_write_incarnation = pg().incarnation;
  }
  if (v->cluster && paused()) return false;
  // Started by hand behind our back, with the files of a server at rest (G2), or its guardian was killed and the kernel is
  // about to end it. What nobody can end in time is not steered, it is stopped; then it is ours to start.
  if (v->cluster && pg().process == PgProcess::running && !pg().guardian_alive) {
    stop_now("no guardian watches this PostgreSQL");
    d.state = "stopping a PostgreSQL that somebody else has started";
    return true;
  }
  if (!may_write || by_name) return false;
  if (rules.w11_stop_at_other_owner && v->cluster && c().revision >= seen_at_least && c().leader && c().leader->value != self.name) {
    // One that has written its shutdown record ends by itself.
    const bool over = planned_stop && pg().process == PgProcess::stopping && pg().wal_end;
    if (!over) stop_now(fmt::format("{} owns the leader lock", c().leader->value));
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
  const bool idle = v->cluster && paused();
  bool starting_primary = false;
  for (const Action& a : d.actions) {
    auto* start = std::get_if<StartPg>(&a.body);
    starting_primary = starting_primary || (start && start->as_primary) || std::holds_alternative<Promote>(a.body);
  }
  bool want = (may_write || starting_primary) && lease.owns_lock() && lease.deadline() && !idle;
  if (want && (!page_armed || page_deadline != lease.deadline())) {
    page_armed = true;
    page_deadline = lease.deadline();
    ActionId id = next_id++;
    SetDeadline set{lease.deadline(), lease.id(), lease.lock_mod(), newest_term};
    d.actions.insert(d.actions.begin(), Action{id, set, "the lock is proved until then"});
  } else if (page_armed && (idle || (!may_write && !starting_primary))) {
    page_armed = false;
    page_deadline.reset();
    emit(SetDeadline{}, idle ? "paused" : "not a primary");
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
  if (paused()) return decide_paused();
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
  unable = {};
  // The pause went with the etcd that held it, and nobody can end what no key says. Its primary serves on; whoever led last
  // writes the keys again, and the configuration with them.
  if (etcd_reset_at && !c().config && (!c().leader || c().leader->value == self.name)) return restore_cluster();
  d.state = owner() ? fmt::format("PAUSE: no action. I am ({}), the leader with the lock", self.name)
                    : fmt::format("PAUSE: no action. I am ({})", self.name);
  if (owner() && running() && !pg().answers->in_recovery) {
    led = true;
    led_incarnation = pg().incarnation;
    if (switchover_duty()) return;
    if (sync_active() || !c().config) lead();
  }
}

void Core::Impl::requests() {
  // Whoever asked for it has given up waiting, and nothing was stopped for it.
  const auto still_asked = [&](const Request& r) { return restart_request == r.id; };
  if (restart_request && !restart_stopped && !under_way<StopPg>() && std::ranges::none_of(v->requests, still_asked)) restart_request.reset();
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

void Core::Impl::measure(const std::string& why) {
  if (now < measure_retry_at) {
    d.state = "our WAL cannot be read: " + measure_problem;
    return wake(measure_retry_at);
  }
  emit(MeasureWal{}, why);
}

bool Core::Impl::may_start() {
  // With the next start nobody sees the PANIC any more: first the mark (H4).
  const bool unmarked = rules.h4_not_behind_voters && pg().exit_after_panic && !pg().novote;
  if (now >= start_retry_at && !unmarked) return true;
  wake(unmarked ? mark_retry_at : start_retry_at);
  return false;
}

}  // namespace pgdba::ha
