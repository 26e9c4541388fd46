// Suspicion, freeze, promise, unfreeze: sections 4.1 to 4.3 and 4.5 of the design.
//
// Invariant: while an active promise of ours may be in etcd, or may still land there, this member's PostgreSQL
// acknowledges nobody and cannot start to, whoever starts it. So the order is: durable record, frozen files, proof that
// the walreceiver is gone, position, promise; and back: withdrawn by compare-and-swap (or seen consumed), then the record
// goes, then streaming.
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using model::PgConfig;
using model::Promise;

// The leader that we should stream from does not feed us. Evidence is a connection that ended and ports that refuse, or an
// address that is gone, twice, at least suspect_gap apart. A silent peer is not dead: then the lease decides.
void Core::Impl::watch_leader() {
  std::string leader = leader_name();
  model::Term term = c().term ? c().term->value.term : 0;
  auto mine = c().suspects.find(self.name);
  bool streams_now = running() && pg().answers->streaming_from == leader;
  if (doubt.term != term) {
    doubt = Doubt{};
    doubt.term = term;
  }
  if (streams_now || leader.empty()) {
    doubt.failed = 0;
  } else if (present() && pg().control) {
    observe(100ms);
    auto peer = v->peers.find(leader);
    if (peer != v->peers.end() && peer->second.answered_at > doubt.last_probe) {
      const Peer& p = peer->second;
      doubt.last_probe = p.answered_at;
      using Port = Peer::Port;
      bool refused = p.pg_port == Port::refused && p.api_port == Port::refused;
      bool gone = p.pg_port == Port::unreachable && p.api_port == Port::unreachable;
      if (!refused && !gone) {
        doubt.failed = 0;
      } else if (doubt.failed == 0 || p.asked_at >= doubt.last_failed + b.suspect_gap) {
        ++doubt.failed;
        doubt.last_failed = p.asked_at;
        doubt.evidence = refused ? "replication ended, both ports refuse" : "replication ended, the address is unreachable";
      }
    }
    probe(leader, b.suspect_gap);
  }
  if (!dcs_ready()) return;
  bool suspect = doubt.failed >= 2;
  if (suspect && (mine == c().suspects.end() || mine->second.value.term != term)) {
    emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, c().leader ? c().leader->mod : 0}},
             {Write{Key{KeyKind::suspect, self.name}, Value{model::Suspicion{term, leader, doubt.evidence}}, lease.id()}},
             {}},
         fmt::format("{} of term {}: {}", leader, term, doubt.evidence), TxnFor::suspicion);
  } else if (!suspect && mine != c().suspects.end()) {
    emit(Txn{{}, {}, {Key{KeyKind::suspect, self.name}}}, "the leader is not suspected any more", TxnFor::suspicion);
  }
}

// q + 1 voters suspect the leader of this term at one time (a suspicion that ends is deleted, and it is leased); or the
// leader's own agent says that its postgres is dead.
bool Core::Impl::suspected_enough() const {
  if (!c().leader || !c().term || !c().sync) return false;
  int count = 0;
  for (const auto& [name, key] : c().suspects) {
    if (key.value.term != c().term->value.term || key.value.leader != c().leader->value) continue;
    if (name == c().leader->value) return true;
    if (c().sync->value.standbys.contains(name)) ++count;
  }
  return count >= (rules.w12_suspect_before_freeze ? c().sync->value.quorum + 1 : 1);
}

bool Core::Impl::switchover_open() const {
  if (!c().switchover || !c().leader || !c().term) return false;
  const model::Switchover& s = c().switchover->value;
  if (s.state != model::Switchover::State::draining && s.state != model::Switchover::State::stopped) return false;
  if (s.from != c().leader->value || s.term != c().term->value.term) return false;
  return now < switchover_seen.second + std::chrono::milliseconds(s.hold_ms);
}

bool Core::Impl::election_wanted(std::string& why) const {
  if (!sync_wanted() || !sync_active() || paused() || !i_am_voter() || etcd_reset_at) return false;
  const model::SyncState& s = c().sync->value;
  if (s.standbys.empty() || (c().leader && s.leader != c().leader->value)) return false;
  if (!c().leader) {
    why = "no member owns the leader lock";
    return true;
  }
  if (c().leader->value == self.name) return false;
  if (c().intents.contains(c().leader->value) || switchover_open()) return false;
  model::Term term = c().term ? c().term->value.term : 0;
  auto vain = frozen_in_vain.find(term);
  if (rules.w12_suspect_before_freeze && vain != frozen_in_vain.end() && now < vain->second + b.ttl) return false;
  if (!suspected_enough()) return false;
  why = fmt::format("enough voters suspect {}", c().leader->value);
  return true;
}

void Core::Impl::begin_freeze(const std::string& why) {
  if (!local_ready() || note_streamed_timeline()) return;
  withdrawn_mod = 0;
  fz = Freezing{};
  fz->term = c().term ? c().term->value.term : 0;
  fz->leader = c().leader ? c().leader->value : (c().sync ? c().sync->value.leader : "");
  fz->nonce = fmt::format("{}-{}", self.run_id, ++nonces);
  fz->since = now;
  if (running()) {
    if (auto term = term_of(pg().answers->timeline)) {
      fz->early = model::Position{*term, pg().answers->timeline, pg().answers->flush_lsn};
    }
  }
  emit(WriteFreezeRecord{{fz->term, fz->leader, c().cluster_id, fz->nonce}}, why);
  observe(10ms);
}

void Core::Impl::frozen() {
  d.state = fz && !fz->said.empty() ? fz->said : "frozen: this member acknowledges no write";
  observe(20ms);
  if (!dcs_ready() || under_way<ClearFreezeRecord>()) return;
  auto mine = c().promises.find(self.name);
  bool exists = mine != c().promises.end();
  if (exists && mine->second.value.state == Promise::State::active) {
    if (etcd_reset_at && rules.w13_etcd_reset) return withdraw("etcd was wiped or restored");
    return promised(mine->second);
  }
  if (exists && fz && fz->promised_at != BootTime{}) {
    // It was active and is not any more: counted by a take-over, or withdrawn by us.
    return unfreeze(mine->second.value.state == Promise::State::consumed ? "the promise was consumed" : "the promise is withdrawn");
  }
  if (exists && withdrawn_mod != 0 && mine->second.mod == withdrawn_mod) return unfreeze("the promise is withdrawn");
  if (fz && !fz->uncertain) return freezing();
  // A record from before this agent's time, or a promise without an answer: it may still land. Writing `withdrawn` over
  // the revision that it compares settles it, whichever comes first (W2).
  if (rules.w2_withdraw_by_cas) return withdraw(fz ? "the promise had no answer" : "a freeze from before this agent started");
  unfreeze("not promised");
}

void Core::Impl::freezing() {
  if (!v->freeze_record) {
    if (lane_idle(Lane::local)) fz.reset();  // it could not be written
    return;
  }
  std::string why;
  if (!fz->promise_sent && !election_wanted(why)) return unfreeze("the reason to freeze is gone");
  // The last leader's timeline may have come in the moment of the freeze.
  if (!fz->promise_sent && note_streamed_timeline()) return;

  PgConfig want = standby_config(PgConfig::Upstream::frozen);
  want.freeze_nonce = fz->nonce;
  std::optional<model::Position> position;
  if (!configured(want, "frozen: nothing can stream in")) {
    if (!rules.w3_freeze_proof && fz->early) position = fz->early;  // the mutation believes the reload
    if (!position) return;
  } else if (pg().process == model::PgProcess::stopped) {
    if (!pg().all_dead) return;
    position = own_position();
    if (!position) {
      if (!pg().wal_end && local_ready()) measure("position of a stopped voter");
      if (pg().wal_end) d.state = "frozen without a position: its timeline is not the one that etcd knows";
      return;
    }
  } else {
    if (fz->config_at == BootTime{}) fz->config_at = now;
    bool proved = running() && pg().answers->frozen_nonce == fz->nonce;
    if (!rules.w3_freeze_proof) proved = true;
    if (!proved) {
      // No proof in the budget: a stopped postmaster acknowledges nobody either.
      if (now >= fz->config_at + b.freeze_proof && local_ready()) stop_now("the freeze could not be proved in time");
      wake(fz->config_at + b.freeze_proof);
      observe(10ms);
      return;
    }
    position = rules.w4_position_after_freeze ? own_position() : fz->early;
    if (!position) {
      if (now >= fz->config_at + b.freeze_proof && local_ready()) stop_now("the position is not known while it runs");
      return;
    }
  }
  if (fz->promise_sent) return;
  auto mine = c().promises.find(self.name);
  Promise promise{Promise::State::active, fz->term, fz->leader, *position, self.tags.may_lead(), self.run_id};
  fz->promise_sent = true;
  emit(Txn{{Compare{Key{KeyKind::promise, self.name}, Compare::What::mod, mine == c().promises.end() ? 0 : mine->second.mod},
            Compare{Key{KeyKind::leader, {}}, Compare::What::mod, c().leader ? c().leader->mod : 0}},
           {Write{Key{KeyKind::promise, self.name}, Value{promise}, 0}},
           {}},
       fmt::format("frozen at {} on timeline {}", format_lsn(position->lsn), position->timeline), TxnFor::promise);
}

void Core::Impl::promised(const model::Keyed<Promise>& mine) {
  if (!fz) {  // an agent that started into it
    fz = Freezing{};
    fz->term = mine.value.term;
    fz->leader = mine.value.leader;
    fz->nonce = v->freeze_record ? v->freeze_record->nonce : "";
    fz->since = now;
  }
  if (fz->promised_at == BootTime{}) fz->promised_at = now;
  fz->uncertain = false;
  d.state = fmt::format("frozen: promised {} to the next leader", format_lsn(mine.value.position.lsn));

  bool newer = c().term && c().term->value.term > mine.value.term;
  if (newer) return withdraw(fmt::format("term {} has a leader by another way", c().term->value.term));
  if (!sync_wanted()) return withdraw("synchronous mode was switched off");
  if (c().leader && c().leader->value == mine.value.leader) {
    auto peer = v->peers.find(mine.value.leader);
    bool answers = peer != v->peers.end() && peer->second.asked_at > fz->promised_at && peer->second.pg_port == Peer::Port::accepted;
    bool beats = c().beat && c().beat->mod > mine.mod;
    if (answers && beats) return withdraw("the leader lives");
    if (now >= fz->promised_at + b.ttl) return withdraw("no take-over within the lease time");
    wake(fz->promised_at + b.ttl);
    probe(mine.value.leader, 200ms);
  }
  if (self.tags.may_lead()) return try_takeover(mine);
  start_frozen();  // somebody who may lead fetches what we are ahead (W8)
  // Each voter says it, so that an operator reads it wherever he looks.
  const bool somebody = std::ranges::any_of(c().promises, [&](const auto& p) {
    return p.second.value.state == Promise::State::active && p.second.value.may_lead && c().sync && c().sync->value.standbys.contains(p.first);
  });
  if (!somebody && c().sync) {
    d.state += fmt::format("; none of the frozen voters may lead (nofailover): bring {} back with its data, or take the tag from one of them",
                           c().sync->value.leader);
  }
  fz->said = d.state;
}

// Nothing can stream in, so the promise stays true; others can stream from here.
void Core::Impl::start_frozen() {
  if (!stopped() || !present() || !local_ready() || (!pg().all_dead && rules.g1_all_dead) || !may_start()) return;
  PgConfig want = standby_config(PgConfig::Upstream::frozen);
  want.freeze_nonce = fz->nonce;
  if (configured(want, "frozen")) emit(StartPg{false}, "frozen voters exchange their WAL");
}

void Core::Impl::withdraw(const std::string& why) {
  if (!dcs_ready()) return;
  auto mine = c().promises.find(self.name);
  model::Revision mod = mine == c().promises.end() ? 0 : mine->second.mod;
  Promise promise;
  if (mine != c().promises.end()) promise = mine->second.value;
  promise.state = Promise::State::withdrawn;
  promise.run_id = self.run_id;
  emit(Txn{{Compare{Key{KeyKind::promise, self.name}, Compare::What::mod, mod}},
           {Write{Key{KeyKind::promise, self.name}, Value{promise}, 0}},
           {}},
       why, TxnFor::withdraw);
  if (fz) fz->uncertain = true;  // only etcd's word ends it
}

void Core::Impl::unfreeze(const std::string& why) {
  if (fz && c().leader && c().term && c().term->value.term == fz->term) frozen_in_vain[fz->term] = now;
  if (v->freeze_record) {
    if (local_ready()) emit(ClearFreezeRecord{}, why);
    if (under_way<ClearFreezeRecord>()) fz.reset();
    return;
  }
  fz.reset();
}

}  // namespace pgdba::ha
