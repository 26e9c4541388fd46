// Planned change of primary, and the shutdown of an agent (section 7).
//
// Invariant: after our primary was stopped for a switchover, either the candidate takes the lock in a transaction that
// compares the switchover key, or we set that key to `aborted` by compare-and-swap first and only then start again (S1).
// Order: checks, CHECKPOINT while traffic flows, publish, poolers drain, fast stop (only if it fits the time that
// poolers hold, S3), shutdown LSN, the candidate takes the lock.
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using State = model::Switchover::State;

std::string Core::Impl::pick_candidate(const std::string& wanted, std::string& refusal) {
  std::string best;
  uint64_t best_lag = 0;
  if (!wanted.empty() && !c().members.contains(wanted)) {
    refusal = "candidate does not exist";
    return {};
  }
  bool sync_only = sync_wanted() && sync_active() && !c().sync->value.standbys.empty();
  for (const auto& [name, member] : c().members) {
    if (name == self.name || (!wanted.empty() && name != wanted)) continue;
    const model::Member& m = member.value;
    auto rows = pg().answers ? pg().answers->replication : std::vector<model::ReplicationRow>{};
    auto row = std::ranges::find_if(rows, [&](const auto& r) { return r.application_name == name && r.state == "streaming"; });
    std::string why;
    if (!m.tags.may_lead()) {
      why = "may not lead (nofailover)";
    } else if (!m.runs_pgdba()) {
      why = "runs Patroni";
    } else if (sync_only && wanted.empty() && !c().sync->value.standbys.contains(name)) {
      why = "is not synchronous";
    } else if (m.leaving_sync) {
      why = "is about to stop or to be re-made";
    } else if (row == rows.end()) {
      why = "does not stream from the leader";
    } else if (uint64_t lag = lag_bytes(pg().answers->insert_lsn, row->flush); lag > config().maximum_lag_on_failover) {
      why = fmt::format("lags {} bytes behind, more than maximum_lag_on_failover = {}", lag, config().maximum_lag_on_failover);
    } else if (best.empty() || lag < best_lag) {
      best = name;
      best_lag = lag;
    }
    if (!why.empty()) refusal = fmt::format("{} {}", name, why);
  }
  if (best.empty() && refusal.empty()) refusal = "cluster does not have members except leader";
  return best;
}

void Core::Impl::clear_failover_key(const std::string& why) {
  if (!c().failover || !c().failover->value.present() || !dcs_ready()) return;
  emit(Txn{{Compare{Key{KeyKind::failover, {}}, Compare::What::mod, c().failover->mod}},
           {Write{Key{KeyKind::failover, {}}, Value{model::FailoverRequest{}}, 0}},
           {}},
       why, TxnFor::upkeep);
}

bool Core::Impl::switchover_duty() {
  bool ours = c().switchover && c().switchover->value.from == self.name && c().switchover->value.term == newest_term &&
              c().switchover->value.state == State::draining;
  if (ours) {
    const model::Switchover& s = c().switchover->value;
    d.state = fmt::format("switchover to {}: draining", s.to);
    observe(20ms);
    if (!dcs_ready()) return true;
    if (switchover_since == BootTime{}) {  // published by an agent before us: nobody knows what it waited for
      abort_switchover("the agent that had begun it is gone");
      return true;
    }
    std::string refusal;
    if (pick_candidate(s.to, refusal).empty()) {
      if (abort_switchover(refusal)) return false;
      return true;
    }
    const bool grace_over = now >= switchover_since + b.switchover_grace;
    if (auto waits_for = undrained_pooler(grace_over)) {
      if (grace_over) abort_switchover(fmt::format("transactions were still open after the grace, through pooler {}", *waits_for));
      wake(switchover_since + b.switchover_grace);
      return true;
    }
    if (now + b.fast_stop >= switchover_since + std::chrono::milliseconds(s.hold_ms)) {
      abort_switchover("too late to stop within the time that poolers hold");
      return true;
    }
    if (!local_ready()) return true;
    planned_stop = true;
    passing_since = {};
    emit(StopPg{StopPg::Mode::fast, b.fast_stop}, fmt::format("switchover to {}", s.to));
    return true;
  }
  if (dcs_ready()) switchover_since = {};  // not while what we have just published is not in the view yet
  if (!c().failover || !c().failover->value.present()) {
    switchover_checkpointed = false;
    refused_request.clear();
    return false;
  }
  const model::FailoverRequest& r = c().failover->value;
  if (!dcs_ready()) return false;
  if (!r.leader.empty() && r.leader != self.name) {
    clear_failover_key(fmt::format("the request names {} as leader, which is {}", r.leader, self.name));
    return false;
  }
  if (r.candidate == self.name) {
    clear_failover_key("I am already the leader");
    return false;
  }
  if (r.scheduled_at) {
    if (config().pause) return false;
    if (*r.scheduled_at > v->wall) {
      wake(now + std::min<Duration>(std::chrono::duration_cast<Duration>(*r.scheduled_at - v->wall), 1s));
      return false;
    }
    if (v->wall - *r.scheduled_at > std::chrono::seconds(15) + b.ttl) {
      clear_failover_key("the scheduled time has passed long ago");
      return false;
    }
  }
  // How far the candidates are is judged by a reading that is newer than the request: on an older one a leader stopped for a
  // candidate that was 20 MB behind.
  if (pg().measured_at < failover_seen.second) {
    observe(10ms);
    return false;
  }
  std::string refusal;
  std::string candidate;
  if (config().pause && r.candidate.empty()) {
    refusal = "switchover is possible only to a specific candidate in a paused state";
  } else {
    candidate = pick_candidate(r.candidate, refusal);
  }
  if (candidate.empty()) {
    // With the reason, for whoever asked: REST tells it.
    model::Switchover refused;
    refused.state = State::aborted;
    refused.refused = true;
    refused.from = self.name;
    refused.to = r.candidate;
    refused.term = newest_term;
    refused.reason = refusal;
    emit(Txn{{Compare{Key{KeyKind::failover, {}}, Compare::What::mod, c().failover->mod},
              Compare{Key{KeyKind::switchover, {}}, Compare::What::mod, c().switchover ? c().switchover->mod : 0}},
             {Write{Key{KeyKind::failover, {}}, Value{model::FailoverRequest{}}, 0}, Write{Key{KeyKind::switchover, {}}, Value{refused}, 0}},
             {}},
         "switchover refused: " + refusal, TxnFor::upkeep);
    return false;
  }
  if (!switchover_checkpointed) {
    if (!under_way<Checkpoint>()) emit(Checkpoint{}, "before the switchover, while traffic flows");
    return false;
  }
  begin_switchover(candidate, true);
  return true;
}

// In pause nothing is done by itself, but a switchover, restart or reinitialization is a person's order, and half of one is
// an outage: while it is on its way, those who have a part in it act as if there were no pause. In a switchover these are the
// old leader and the candidate from its publication on, and after the take-over everybody who is not yet on the new timeline:
// the new primary needs its standbys. It is over when this member serves as the primary, or streams from it. Records of etcd
// and our own timeline say so, so that an agent which was restarted in between goes on with it; of one whose take-over came
// before the pause, only for a while.
void Core::Impl::note_switching() {
  if (!config().pause || !c().term) {
    switching = false;
    return;
  }
  constexpr Duration kAWhile = 60s;
  const model::TermRecord& t = c().term->value;
  const bool is_open = c().switchover && c().switchover->value.term == t.term && c().switchover->value.from == t.leader &&
                       (c().switchover->value.state == State::draining || c().switchover->value.state == State::stopped);
  bool part = is_open && (c().switchover->value.from == self.name || c().switchover->value.to == self.name);
  if (t.cause == "switchover" || t.cause == "handover") {
    const bool fresh = c().config->mod < c().term->mod || now < leader_seen_first(t.term) + kAWhile;
    // Stopped, pg_control tells of the last checkpoint only; the history file comes with the timeline.
    const bool on_it = running() ? pg().answers->timeline >= t.timeline
                                 : !present() || pg().control->timeline >= t.timeline || pg().timeline_starts.contains(t.timeline);
    const bool named = t.leader == self.name || t.from == self.name;
    part = part || (fresh && !on_it && (named || (running() && pg().answers->in_recovery)));
  }
  if (restart_request && c().leader) part = true;
  if (reinit_request && c().leader && c().leader->value != self.name) part = true;
  if (part) {
    switching = true;
    return;
  }
  if (!switching || !running() || !pg().loaded || pg().loaded->gate_closed || !local_ready()) return;
  // Nobody leads any more, and nothing of the order is left to do: the pause holds.
  if (!c().leader && pg().answers->in_recovery && !v->freeze_record && !fz) switching = false;
  const bool leads = owner() && !pg().answers->in_recovery;
  const bool follows = c().leader && c().leader->value != self.name && pg().answers->streaming_from == c().leader->value &&
                       pg().answers->streaming_timeline >= t.timeline && !v->freeze_record && !fz;
  if (leads || follows) switching = false;
}

void Core::Impl::begin_switchover(const std::string& candidate, bool by_failover_key) {
  model::Switchover s;
  s.state = State::draining;
  s.from = self.name;
  s.to = candidate;
  s.term = newest_term;
  s.hold_ms = to_ms(b.switchover_grace + b.fast_stop + 2s);
  switchover_poolers.clear();
  for (const auto& [id, pooler] : c().poolers) switchover_poolers.insert(id);
  switchover_since = now;
  switchover_checkpointed = false;
  std::vector<Compare> compares = {Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()},
                                   Compare{Key{KeyKind::switchover, {}}, Compare::What::mod, c().switchover ? c().switchover->mod : 0}};
  if (by_failover_key) compares.push_back(Compare{Key{KeyKind::failover, {}}, Compare::What::mod, c().failover->mod});
  emit(Txn{compares, {Write{Key{KeyKind::switchover, {}}, Value{s}, 0}}, {}}, fmt::format("switchover to {}", candidate), TxnFor::switchover);
}

// One that was registered at publication, is not gone with its lease and has not said that it is drained. After the grace one
// that has said nothing at all since the publication is not counted: a pooler that lives says within milliseconds that it
// holds, and the key of one that was killed stays until its lease ends, which may be long after.
std::optional<std::string> Core::Impl::undrained_pooler(bool grace_over) {
  for (const std::string& id : switchover_poolers) {
    auto pooler = c().poolers.find(id);
    if (pooler == c().poolers.end()) continue;
    const bool answered = pooler->second.mod > c().switchover->mod;
    const bool drained = answered && pooler->second.value.state == model::PoolerRecord::State::drained;
    if (!drained && (answered || !grace_over)) return id;
  }
  return std::nullopt;
}

// Our postgres was stopped on purpose. Offer the lock; when nobody takes it, take the offer back and start again, or let
// the lock go when this agent ends.
void Core::Impl::pass_lock() {
  d.state = "stopped for a switchover";
  observe(10ms);
  // It ended with a PANIC: nobody may take over by a position that this disk tells (H4).
  if (stopped() && untrue_end()) {
    if (dcs_ready() && abort_switchover("postgres ended with a PANIC on its WAL")) release_lock("postgres ended with a PANIC on its WAL");
    return;
  }
  // While it is only ending (7.4) nobody can write there any more, and whoever takes the lock has the shutdown record.
  const bool ending = !stopped() && pg().wal_end;
  if (!dcs_ready() || (!ending && (!pg().all_dead || !local_ready()))) return;
  if (!pg().wal_end) {
    measure("end of the shutdown record");
    return;
  }
  bool have = c().switchover && c().switchover->value.from == self.name && c().switchover->value.term == newest_term;
  State state = have ? c().switchover->value.state : State::aborted;
  if (passing_since == BootTime{}) {
    model::Switchover s;
    if (have && state == State::draining) {
      s = c().switchover->value;
    } else {
      // A shutdown: nobody was chosen yet. Whoever streamed last and may lead.
      s.from = self.name;
      s.term = newest_term;
      s.handover = true;
      s.hold_ms = 3000;
      for (const auto& [name, member] : c().members) {
        bool voter = !sync_active() || !sync_wanted() || c().sync->value.standbys.contains(name);
        auto stream = streams.find(name);
        if (name == self.name || !voter || !member.value.tags.may_lead() || member.value.leaving_sync || stream == streams.end()) continue;
        if (now > stream->second.last_streaming + 10s) continue;
        if (s.to.empty() || stream->second.last_streaming > streams[s.to].last_streaming) s.to = name;
      }
    }
    passing_since = now;
    if (!s.to.empty()) {
      s.state = State::stopped;
      s.shutdown_lsn = pg().wal_end->lsn;
      emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()},
                Compare{Key{KeyKind::switchover, {}}, Compare::What::mod, c().switchover ? c().switchover->mod : 0}},
               {Write{Key{KeyKind::switchover, {}}, Value{s}, 0}},
               {}},
           fmt::format("stopped at {}; {} may take the lock", format_lsn(pg().wal_end->lsn), s.to), TxnFor::switchover);
      return;
    }
  }
  bool offered = have && state == State::stopped;
  if (offered && now < passing_since + 3s) {
    d.state = fmt::format("stopped; waiting for {} to take the lock", c().switchover->value.to);
    wake(passing_since + 3s);
    return;
  }
  if (!abort_switchover("the candidate did not take the lock")) return;
  if (c().failover && c().failover->value.present()) return clear_failover_key("the switchover was aborted");
  if (shutdown) return release_lock("this agent ends and nobody could take over");
  start_as_primary("the switchover was aborted");
}

// A stopping agent hands over at once if it leads; a standby leaves the sync set first. True: it has this step.
bool Core::Impl::shut_down() {
  auto leave = [&](const std::string& why) {
    emit(Exit{0}, why);
    exiting = true;
    d.state = "stopped";
    return true;
  };
  // A leader in the middle of a switchover hands over as it would without the pause.
  if (config().pause && !(switching && owner())) return leave("paused: postgres and the lock stay as they are");
  observe(20ms);
  wake(now + 100ms);
  // Whoever waits for etcd here waits for ever. The lease of the lock is over by now, and an agent may die at any time.
  bool etcd_is_away = now >= shutdown_since + 1s && now >= c().as_of + b.ttl;
  if (stopped() && etcd_is_away && local_ready()) return leave("postgres is stopped, and etcd does not answer");
  bool announced = c().intents.contains(self.name) || shutdown->force;
  Duration fast = shutdown->force ? Duration(0) : b.fast_stop;
  if (owner()) {
    if (stopped() || (led && planned_stop && pg().wal_end)) {
      if (!led) {
        release_lock("this agent ends");
        return true;
      }
      planned_stop = true;
      pass_lock();
      return true;
    }
    if (!running() || pg().answers->in_recovery) {  // it was becoming a primary
      if (local_ready()) stop_now("this agent ends");
      return true;
    }
    d.state = "shutting down: handing over";
    if (!announced && dcs_ready() && now < shutdown_since + 500ms) {
      emit(Txn{{}, {Write{Key{KeyKind::intent, self.name}, Value{model::Intent{}}, lease.id()}}, {}}, "stops on purpose", TxnFor::upkeep);
      return true;
    }
    if (!announced && now < shutdown_since + 500ms) return true;
    if (local_ready()) {
      planned_stop = true;
      passing_since = {};
      active_members();
      emit(StopPg{StopPg::Mode::fast, fast}, "this agent ends");
    }
    return true;
  }
  if (stopped()) {
    if (local_ready() && lane_idle(Lane::dcs)) return leave("postgres is stopped");
    if (under_way<Clone>() || under_way<Rewind>() || under_way<InitDb>()) emit(CancelJob{}, "this agent ends");
    return true;
  }
  bool listed = sync_active() && c().sync->value.standbys.contains(self.name) && c().leader;
  if (listed && !shutdown->force && now < shutdown_since + 1s) {
    d.state = "shutting down: leaving the sync set";
    return true;
  }
  if (local_ready()) emit(StopPg{StopPg::Mode::fast, fast}, "this agent ends");
  return true;
}

}  // namespace pgdba::ha
