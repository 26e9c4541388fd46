// The owner of the lock whose postgres died (section 5): hand over to a member that has all of our WAL, else let the
// voters elect, else restart in place. In this order, for a hand-over is faster than crash recovery and as safe.
//
// Invariant: nothing is handed over or restarted before every process of the dead postmaster is gone (G1), and nothing is
// restarted while a hand-over of ours may still land (H2).
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using State = model::Switchover::State;

// Whether the lock may be handed to this member, as far as etcd tells.
bool Core::Impl::heir(const std::string& name, const model::Member& member) const {
  if (name == self.name || !member.tags.may_lead() || member.leaving_sync) return false;
  return !sync_active() || !sync_wanted() || c().sync->value.standbys.contains(name);
}

// What postgres left on the disk may lack what it acknowledged (H4).
bool Core::Impl::untrue_end() const { return rules.h4_not_behind_voters && (pg().novote || pg().exit_after_panic); }

// An owner that cannot serve keeps everybody else from it: a disk that is gone or hangs, files that cannot be written, a
// server that does not start. While somebody else may lead, the lock is let go after a while, and not taken back at once.
//
// Invariant: in quorum mode that needs no proof about our postgres, for the next leader is elected by voters that no longer
// confirm anything to it; otherwise every process of it must be gone (G1).
bool Core::Impl::give_way() {
  const bool stops = std::ranges::any_of(pending, [](const auto& p) {
    const auto* stop = std::get_if<StopPg>(&p.second.body);
    return stop != nullptr && stop->mode == StopPg::Mode::fast;  // it has a budget of its own
  });
  if ((running() && !pg().answers->in_recovery) || stops) {
    unable = {};
    return false;
  }
  if (unable.first == BootTime{} || unable.first < tenure_since) unable = {now, now, {}};
  // Recovery, and reading how far our WAL goes, may take long; what follows has its time of its own. Attempts that fail at
  // once do not.
  const bool recovers = pg().process == model::PgProcess::starting || under_way<StartPg>() || under_way<MeasureWal>();
  if (recovers && unable.recovering == BootTime{}) unable.recovering = now;
  if (!recovers && unable.recovering != BootTime{}) {
    if (now > unable.recovering + 1s) unable.since = now;
    unable.recovering = {};
  }
  const BootTime at_last = unable.first + std::max(config().primary_start_timeout, 2 * b.ttl);
  const BootTime until = recovers ? at_last : std::min(at_last, unable.since + std::max<Duration>(2 * b.ttl, 10s));
  if (now < until) {
    wake(until);
    return false;
  }
  const bool voters = sync_wanted() && sync_active() && !c().sync->value.standbys.empty();
  const bool heirs = std::ranges::any_of(c().members, [&](const auto& m) { return heir(m.first, m.second.value); });
  if (!heirs || !(voters || (stopped() && pg().all_dead))) return false;
  if (!abort_switchover("this member cannot serve")) return true;
  d.state = "this member cannot serve: letting the lock go";
  stand_back_until = now + std::max<Duration>(3 * b.ttl, 15s);
  release_lock(d.state);
  return true;
}

// Alive and silent: stopped by a signal, or on a disk that does not answer. While it is, nobody can write, and the agent
// that renews the lock keeps everybody else from it. So it is killed, and then it is a crash like any other.
void Core::Impl::silent() {
  if (pg().process != model::PgProcess::running || !pg().query_timed_out) {
    silent_since = {};
    return;
  }
  if (silent_since == BootTime{}) silent_since = pg().measured_at;
  d.state = "postgres runs and does not answer";
  if (now >= silent_since + b.silence) return stop_now("postgres has answered nothing for nearly the lease time");
  wake(silent_since + b.silence);
}

void Core::Impl::handle_crash() {
  if (!crashed) {
    crashed = true;
    crashed_at = now;
    handover_tried = election_asked = false;
  }
  d.state = "postgres ended unexpectedly";
  observe(20ms);
  if (!stopped()) {  // it came back: restart in place under way
    if (running()) crashed = false;
    return;
  }
  if (!pg().all_dead && rules.g1_all_dead) {
    d.state = "waiting until every process of the dead postmaster is gone";
    return;
  }
  if (!local_ready() || !dcs_ready()) return;
  if (!pg().wal_end) {
    measure("how far our WAL goes");
    for (const auto& [name, member] : c().members) {
      if (heir(name, member.value)) probe(name, 150ms);  // while that is read
    }
    return;
  }
  if (paused()) return;
  bool ours_open = c().switchover && c().switchover->value.from == self.name && c().switchover->value.state == State::stopped &&
                   c().switchover->value.term == newest_term;
  if (ours_open && now < switchover_seen.second + 1200ms) {
    d.state = fmt::format("waiting for {} to take over", c().switchover->value.to);
    return;
  }
  // After a PANIC on the WAL (novote) our end of it proves nothing: no hand-over by position, only the voters.
  if (!handover_tried && !ours_open && !untrue_end()) {
    std::vector<std::string> candidates;
    bool waiting = false;
    for (const auto& [name, member] : c().members) {
      if (!heir(name, member.value)) continue;
      probe(name, 50ms);
      auto peer = v->peers.find(name);
      if (peer == v->peers.end() || peer->second.asked_at < crashed_at) {
        waiting = true;
        continue;
      }
      if (!peer->second.api_answered || !peer->second.running || peer->second.is_primary || !peer->second.position) continue;
      bool covers = *peer->second.position >= pg().wal_end->lsn && peer->second.timeline == pg().wal_end->timeline;
      if (covers || !rules.h1_handover_covers_end) {
        candidates.push_back(name);
      } else {
        waiting = true;  // it may still be writing what it has received
      }
    }
    if (candidates.empty() && waiting && now < crashed_at + 500ms) {
      wake(now + 50ms);
      return;
    }
    if (!candidates.empty()) {
      auto better = [&](const std::string& x, const std::string& y) {
        return c().members.at(x).value.tags.failover_priority > c().members.at(y).value.tags.failover_priority;
      };
      std::ranges::stable_sort(candidates, better);
      handover_tried = true;
      model::Switchover s;
      s.state = State::stopped;
      s.from = self.name;
      s.to = candidates.front();
      s.term = newest_term;
      s.handover = true;
      s.hold_ms = 1500;
      s.shutdown_lsn = pg().wal_end->lsn;
      emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()},
                Compare{Key{KeyKind::switchover, {}}, Compare::What::mod, c().switchover ? c().switchover->mod : 0}},
               {Write{Key{KeyKind::switchover, {}}, Value{s}, 0}},
               {}},
           fmt::format("postgres died at {}; {} has it all", format_lsn(pg().wal_end->lsn), s.to), TxnFor::switchover);
      return;
    }
  }
  if (!abort_switchover("the candidate did not take over")) return;

  // Voters that are not far enough behind a common end elect among themselves; our own word counts as enough suspicion.
  bool voters = sync_active() && sync_wanted() && !c().sync->value.standbys.empty();
  if (voters && !election_asked) {
    election_asked = true;
    emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()}},
             {Write{Key{KeyKind::suspect, self.name},
                    Value{model::Suspicion{newest_term, self.name, "its own agent: postgres died, every process is gone"}}, lease.id()}},
             {}},
         "the voters may elect", TxnFor::suspicion);
    return;
  }
  if (voters && now < crashed_at + 3s) {
    d.state = "waiting for the voters";
    wake(crashed_at + 3s);
    return;
  }
  restart_in_place("nobody took over");
}

bool Core::Impl::abort_switchover(const std::string& why) {
  if (!rules.h2_cancel_before_restart || !rules.s1_abort_by_cas) return true;
  bool open = c().switchover && c().switchover->value.from == self.name &&
              (c().switchover->value.state == State::draining || c().switchover->value.state == State::stopped);
  // An offer without an answer may still land: writing over the revision that it compares settles it (H2).
  if (!open && !offer_uncertain) return true;
  if (!dcs_ready()) return false;
  model::Switchover aborted;
  if (open) aborted = c().switchover->value;
  aborted.from = self.name;
  if (!open) aborted.term = newest_term;
  aborted.state = State::aborted;
  aborted.reason = why;
  emit(Txn{{Compare{Key{KeyKind::switchover, {}}, Compare::What::mod, c().switchover ? c().switchover->mod : 0},
            Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()}},
           {Write{Key{KeyKind::switchover, {}}, Value{aborted}, 0}},
           {}},
       why, TxnFor::switchover);
  return false;
}

// On the same timeline, so only when our WAL is whole: not behind any voter, and never after a PANIC on the WAL (H4).
void Core::Impl::restart_in_place(const std::string& why) {
  if (rules.h4_not_behind_voters) {
    bool behind = false;
    for (const auto& [name, peer] : v->peers) {
      bool counts = !sync_active() || c().sync->value.standbys.contains(name);
      if (counts && peer.position && position_on(peer.timeline, *peer.position) > position_on(pg().wal_end->timeline, pg().wal_end->lsn)) behind = true;
    }
    if (behind || untrue_end()) {
      d.state = behind ? "a voter has more WAL than this disk: letting the lock go" : "postgres ended with a PANIC on its WAL: letting the lock go";
      return release_lock(d.state);
    }
  }
  auto mine = c().suspects.find(self.name);
  if (mine != c().suspects.end()) {
    if (dcs_ready()) emit(Txn{{}, {}, {Key{KeyKind::suspect, self.name}}}, "restarting in place", TxnFor::suspicion);
    return;
  }
  // An agent before this one was about to promote it: as it is, it would go on writing on the timeline before (R1).
  if (rules.r1_unique_timelines && begins_a_timeline() && pg().wal_end && pg().wal_end->timeline != c().term->value.timeline) {
    led = crashed = false;
    return become_primary();
  }
  start_as_primary(why);
}

}  // namespace pgdba::ha
