// The transactions that take the leader lock. Each compares all that its argument rests on and writes leader, term,
// sync and the new timeline at once (W6), under a lease that was just kept alive (W14).
//
//   take-over    voters of 4.4: q + 1 active promises, own position >= all of them
//   return       the former leader with its own data: nobody else can have led since, for the term and sync say so
//   switchover   the candidate named by the stopped old leader, having flushed its shutdown record (7, S1)
//   race         asynchronous mode: by lease, as Patroni does, after the wait of L3
//   bootstrap    the winner of `initialize`, after initdb
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using model::PgConfig;
using model::Promise;

// PostgreSQL takes the first number for which it knows no history file. Numbers that etcd or our own files know are
// taken, so that no two nodes ever write records under one number (R1).
uint32_t Core::Impl::next_timeline() const {
  uint32_t newest = running() ? pg().answers->timeline : pg().wal_end ? pg().wal_end->timeline : 0;
  if (pg().control) newest = std::max(newest, pg().control->timeline);
  if (!pg().timeline_starts.empty()) newest = std::max(newest, pg().timeline_starts.rbegin()->first);
  if (rules.r1_unique_timelines && !c().timelines.empty()) newest = std::max(newest, c().timelines.rbegin()->first);
  return newest + 1;
}

model::SyncState Core::Impl::sync_after(const std::string& old_leader) const {
  model::SyncState next = c().sync ? c().sync->value : model::SyncState{};
  next.leader = self.name;
  if (!old_leader.empty()) next.standbys.insert(old_leader);
  next.standbys.erase(self.name);
  if (next.standbys.empty()) next.quorum = 0;
  return next;
}

void Core::Impl::take_lock(Txn txn, const std::string& cause, std::optional<uint32_t> new_timeline,
                           std::optional<model::SyncState> new_sync, const std::string& why, bool same_primary) {
  if (!dcs_ready()) return;
  if (acquire_uncertain) {
    d.state += "; the last attempt to take the lock has no answer yet";
    return;
  }
  if (!lease.spare_fresh(now, b)) {
    d.state += "; waiting for etcd to keep the lease alive";
    wake(now + 20ms);
    return;
  }
  txn.compares.push_back(unchanged(KeyKind::term, c().term));
  txn.compares.push_back(unchanged(KeyKind::config, c().config));
  model::TermRecord term;
  term.term = std::max(newest_term, c().term ? c().term->value.term : 0) + (same_primary ? 0 : 1);
  term.leader = self.name;
  term.from = c().term ? c().term->value.leader : "";
  term.cause = cause;
  // After a reset of etcd the term that it shows is an older one than the one remembered here.
  const auto& known = c().term && !(etcd_reset_at && remembered.term) ? c().term : remembered.term;
  term.timeline = new_timeline.value_or(known ? known->value.timeline : 1);
  txn.puts.push_back(Write{Key{KeyKind::leader, {}}, Value{self.name}, lease.id()});
  txn.puts.push_back(Write{Key{KeyKind::term, {}}, Value{term}, 0});
  if (new_timeline) {
    Key key{KeyKind::timeline, fmt::format("{}", *new_timeline)};
    if (rules.r1_unique_timelines) txn.compares.push_back(Compare{key, Compare::What::create, 0});
    model::TimelineRecord record{term.term, self.name, fmt::format("{}/{}", self.run_id, ++nonces), 0, {}};
    if (auto at = own_position()) {
      record.parent = at->timeline;
      record.begins = at->lsn;
    }
    txn.puts.push_back(Write{key, Value{record}, 0});
  }
  if (new_sync) {
    if (rules.w6_takeover_writes_sync) txn.puts.push_back(Write{Key{KeyKind::sync, {}}, Value{*new_sync}, 0});
  }
  lease.taking();
  acquire_over = c().leader ? c().leader->mod : 0;
  emit(std::move(txn), fmt::format("{}, term {}", why, term.term), TxnFor::acquire);
}

// Only who has begun the newest timeline, and stopped on it, may go on writing on it. Whoever took the lock and was never
// promoted ends on an older one, which another member may have led further: it begins a timeline as everybody else does.
bool Core::Impl::at_rest_on_own_timeline() const {
  const auto& term = c().term && !etcd_reset_at ? c().term : remembered.term;
  const auto& timelines = etcd_reset_at ? remembered.timelines : c().timelines;
  if (!stopped() || !pg().wal_end || !term || pg().wal_end->timeline != term->value.timeline) return false;
  auto record = timelines.find(pg().wal_end->timeline);
  return record == timelines.end() || record->second.value.node == self.name;
}

void Core::Impl::try_takeover(const model::Keyed<Promise>& mine) {
  std::string why;
  if (!election_wanted(why) && c().leader && c().leader->value != mine.value.leader) return;
  if (!c().sync || c().sync->value.standbys.empty() || !i_am_voter()) return;
  if (c().leader && (c().sync->value.leader != c().leader->value || switchover_open())) return;
  const model::SyncState& s = c().sync->value;

  std::vector<std::pair<std::string, const model::Keyed<Promise>*>> counted;
  for (const auto& [name, promise] : c().promises) {
    // One of another term is about to be withdrawn; in a restored etcd its voter may be streaming again (W13).
    const bool of_this_term = promise.value.term == (c().term ? c().term->value.term : 0);
    if (promise.value.state == Promise::State::active && of_this_term && s.standbys.contains(name)) counted.emplace_back(name, &promise);
  }
  int needed = s.quorum + 1;
  if (!rules.w5_quorum_from_key) needed = static_cast<int>(s.standbys.size()) - std::max(1, config().synchronous_node_count) + 1;
  if (static_cast<int>(counted.size()) < needed) {
    d.state += fmt::format("; {} of {} promises", counted.size(), needed);
    return;
  }

  // Somebody who is ahead and may lead leads. One who may not lead hands us its WAL first (W8).
  int rank = 0;
  std::string ahead;
  for (const auto& [name, promise] : counted) {
    if (name == self.name) continue;
    const model::Position& theirs = promise->value.position;
    if (theirs > mine.value.position) {
      if (promise->value.may_lead) {
        d.state += fmt::format("; {} is ahead", name);
        return;
      }
      ahead = name;
    } else if (promise->value.may_lead && theirs == mine.value.position) {
      auto member = c().members.find(name);
      int priority = member == c().members.end() ? 1 : member->second.value.tags.failover_priority;
      if (priority > self.tags.failover_priority || (priority == self.tags.failover_priority && name < self.name)) ++rank;
    }
  }
  if (!ahead.empty() && rules.w8_not_behind_nofailover) {
    const Promise& theirs = c().promises.at(ahead).value;
    auto member = c().members.find(ahead);
    if (member == c().members.end()) return;
    d.state += fmt::format("; fetching the rest from {}, which may not lead", ahead);
    if (stopped()) return start_frozen();
    // Streaming from a frozen standby releases no commit: only a primary counts acknowledgements.
    bool reached = running() && pg().answers->flush_lsn >= theirs.position.lsn;
    PgConfig want = standby_config(reached ? PgConfig::Upstream::frozen : PgConfig::Upstream::member);
    if (reached) {
      want.freeze_nonce = fz->nonce + "-w8";
    } else {
      want.upstream_member = ahead;
      want.upstream_conn_url = member->second.value.conn_url;
    }
    if (!configured(want, "W8: the WAL of a frozen voter that may not lead") || !reached) return;
    auto position = own_position();
    if (pg().answers->frozen_nonce != want.freeze_nonce || !position || !dcs_ready()) return;
    Promise renewed = mine.value;
    renewed.position = *position;
    emit(Txn{{Compare{Key{KeyKind::promise, self.name}, Compare::What::mod, mine.mod}, unchanged(KeyKind::leader, c().leader)},
             {Write{Key{KeyKind::promise, self.name}, Value{renewed}, 0}},
             {}},
         fmt::format("caught up with {}", ahead), TxnFor::other);
    return;
  }
  if (fz->candidate_since == BootTime{}) fz->candidate_since = now;
  if (now < fz->candidate_since + rank * b.rank_step) {
    wake(fz->candidate_since + rank * b.rank_step);
    return;
  }

  Txn txn;
  txn.compares.push_back(unchanged(KeyKind::leader, c().leader));
  txn.compares.push_back(unchanged(KeyKind::sync, c().sync));
  if (rules.w1_compare_promises) {
    for (const auto& [name, promise] : counted) {
      txn.compares.push_back(Compare{Key{KeyKind::promise, name}, Compare::What::mod, promise->mod});
      Promise consumed = promise->value;
      consumed.state = Promise::State::consumed;
      txn.puts.push_back(Write{Key{KeyKind::promise, name}, Value{consumed}, 0});
    }
  }
  take_lock(std::move(txn), "failover", next_timeline(), sync_after(s.leader),
            fmt::format("{} promises of {} needed, none ahead of {}", counted.size(), needed, format_lsn(mine.value.position.lsn)));
}

// A disk can lose the end of its WAL (a PANIC on fsync, a cache that lied, H4). After an unclean end the former leader
// believes itself only on the word of q + 1 voters that they have no more: each acknowledged write is on one of them.
//
// A voter without data gives its word, too: a data directory in the sync set is never emptied by us (W9), so its disk was
// lost. Either that is the only fault, and then our own WAL is whole; or both disks lost the same write, which nobody
// can bring back. Without this one lost disk and one power loss would stop the cluster for ever.
bool Core::Impl::own_wal_is_whole() {
  if (!rules.h4_not_behind_voters) return true;
  auto fresh = [&](const std::string& name) {
    auto peer = v->peers.find(name);
    return peer != v->peers.end() && peer->second.api_answered && peer->second.asked_at >= stopped_since ? &peer->second : nullptr;
  };
  // Nobody else has anything left: what is here is the most that there is, also after a PANIC.
  const bool only_copy = sync_active() && !c().sync->value.standbys.empty() && c().sync->value.leader == self.name &&
                         std::ranges::all_of(c().sync->value.standbys, [&](const std::string& name) {
                           probe(name, 300ms);
                           const Peer* peer = fresh(name);
                           return peer != nullptr && peer->no_data;
                         });
  if (only_copy) return true;
  if (pg().novote) {  // durable: until a leader lists this member again
    start_standby("our WAL may be incomplete: the voters decide");
    return false;
  }
  bool clean = pg().control && (pg().control->state == model::ControlState::shut_down ||
                                pg().control->state == model::ControlState::shut_down_in_recovery);
  if (stopped() && clean) return true;
  // By the term in which its timeline was begun, then by LSN: an old primary may have run further on a timeline that was
  // left. One that etcd does not know counts as new.
  const model::Position end = stopped() ? position_on(pg().wal_end->timeline, pg().wal_end->lsn)
                                        : position_on(pg().answers->timeline, pg().answers->flush_lsn);
  // Elected and never promoted: nothing was written in our term, and here is still all that was promised. Whoever has
  // more had it from before, and the voters did without it.
  auto mine = c().promises.find(self.name);
  if (mine != c().promises.end() && c().term->value.cause == "failover" && mine->second.value.term < c().term->value.term &&
      !pg().timeline_starts.contains(c().term->value.timeline) && end >= mine->second.value.position) {
    return true;
  }
  // Only voters count as words; but whoever is known to have more is heard.
  int needed = sync_active() && !c().sync->value.standbys.empty() ? c().sync->value.quorum + 1 : 0;
  std::set<std::string> others;
  if (sync_active()) others = c().sync->value.standbys;
  for (const auto& [name, member] : c().members) {
    if (name != self.name) others.insert(name);
  }
  int words = 0;
  for (const std::string& name : others) {
    probe(name, 300ms);
    std::optional<model::Position> theirs;
    auto promise = c().promises.find(name);
    if (promise != c().promises.end() && promise->second.value.state == Promise::State::active) theirs = promise->second.value.position;
    const Peer* peer = fresh(name);
    if (peer != nullptr && peer->position) theirs = std::max(theirs.value_or(model::Position{}), position_on(peer->timeline, *peer->position));
    bool voter = sync_active() && c().sync->value.standbys.contains(name);
    if (voter && !theirs && peer != nullptr && peer->no_data) ++words;
    auto asked = v->peers.find(name);
    if ((asked == v->peers.end() || asked->second.asked_at < stopped_since) && !theirs && !voter) {
      d.state = fmt::format("the lock was mine; asking {} for its position", name);
      return false;
    }
    if (!theirs) continue;
    if (*theirs > end) {
      d.state = fmt::format("{} has more WAL than this disk: the voters decide", name);
      if (stopped() && local_ready() && !pg().novote) emit(MarkNovote{}, d.state);
      return false;
    }
    if (voter) ++words;
  }
  if (words >= needed) return true;
  d.state = fmt::format("the lock was mine; {} of {} voters say that they have no more WAL than this disk", words, needed);
  return false;
}

// The former leader with its own data. Nobody can have led since: term and sync name it, and the transaction compares both.
void Core::Impl::try_return() {
  d.state = "the lock was mine: returning";
  observe(50ms);
  if (!dcs_ready() || !lane_idle(Lane::local) || paused()) return;
  const bool unfit = pg().novote || !present() || now < stand_back_until;
  if (unfit && c().leader && c().leader->lease == lease.id() && lease.id() != 0 && !may_write) {
    // A lock that landed late, for a member that cannot use it: our own lease would keep it from everybody for ever.
    emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, c().leader->mod}},
             {Write{Key{KeyKind::released, {}}, Value{model::Released{newest_term, self.name}}, 0}},
             {Key{KeyKind::leader, {}}}},
         "the lock bears our name, and this member may not lead", TxnFor::release);
    return;
  }
  if (now < stand_back_until) {
    d.state = "could not serve: leaving the lock to others for a while";
    return wake(stand_back_until);
  }
  bool mine = c().term && (c().term->value.leader == self.name || !rules.w6_takeover_writes_sync) &&
              (!sync_active() || c().sync->value.leader == self.name);
  if (!mine || !present()) return c().leader ? void() : start_standby("no leader yet");
  if (stopped() && !pg().all_dead && rules.g1_all_dead) {
    d.state = "waiting until every process of the last postmaster is gone";
    return;
  }
  if (stopped() && !pg().wal_end) {
    if (local_ready()) measure("is our own WAL complete?");
    return;
  }
  if (!stopped() && pg().process != model::PgProcess::running) return;
  if (!term_of(stopped() ? pg().wal_end->timeline : running() ? pg().answers->timeline : 0)) {
    return start_standby("our timeline is not the one that etcd knows");
  }
  if (!own_wal_is_whole()) return;
  Txn txn;
  txn.compares.push_back(unchanged(KeyKind::leader, c().leader));
  txn.compares.push_back(unchanged(KeyKind::sync, c().sync));
  std::optional<model::SyncState> same;
  if (sync_active()) same = c().sync->value;
  // Stopped, it goes on where it was; a running standby is promoted, which begins a timeline.
  std::optional<uint32_t> timeline;
  if (!stopped() || !at_rest_on_own_timeline()) timeline = next_timeline();
  take_lock(std::move(txn), "return", timeline, same, "the former leader with its own data");
}

// The old leader has stopped and named us; having its whole WAL we take the lock (S1).
void Core::Impl::try_switchover_end() {
  const model::Switchover& s = c().switchover->value;
  d.state = fmt::format("taking over from {} at {}", s.from, format_lsn(s.shutdown_lsn.value_or(Lsn{})));
  observe(10ms);
  if (!dcs_ready() || !running() || !pg().answers->in_recovery || !self.tags.may_lead() || pg().novote) return;
  if (!s.shutdown_lsn || pg().answers->flush_lsn < *s.shutdown_lsn) {
    if (rules.h1_handover_covers_end) return;
  }
  if (!term_of(pg().answers->timeline)) return;
  Txn txn;
  txn.compares.push_back(unchanged(KeyKind::leader, c().leader));
  txn.compares.push_back(unchanged(KeyKind::sync, c().sync));
  if (rules.h2_cancel_before_restart || rules.s1_abort_by_cas) txn.compares.push_back(unchanged(KeyKind::switchover, c().switchover));
  model::Switchover done = s;
  done.state = model::Switchover::State::done;
  txn.puts.push_back(Write{Key{KeyKind::switchover, {}}, Value{done}, 0});
  if (c().failover && c().failover->value.present()) {
    txn.puts.push_back(Write{Key{KeyKind::failover, {}}, Value{model::FailoverRequest{}}, 0});
  }
  std::optional<model::SyncState> sync_next;
  if (sync_active()) sync_next = sync_after(s.from);
  take_lock(std::move(txn), s.handover ? "handover" : "switchover", next_timeline(), sync_next,
            fmt::format("{} stopped at {}, which is flushed here", s.from, format_lsn(*s.shutdown_lsn)));
}

// Asynchronous mode, as Patroni: by lease, the healthiest that can be reached. A key that vanished has expired only if it
// was released, or its owner's agent says that it is no primary, or ttl has passed since it was last seen owned (L3).
void Core::Impl::race() {
  d.state = "no leader: racing for the lock";
  observe(50ms);
  if (!dcs_ready() || !running() || !pg().answers->in_recovery || !self.tags.may_lead() || pg().novote) {
    if (stopped()) start_standby("no leader yet");
    if (pg().novote) d.state = "no leader: our WAL may be incomplete after a PANIC; another member has to lead, or a person to decide";
    if (!self.tags.may_lead()) {
      d.state = "no leader: this member may not lead (nofailover); if no other one has data, take the tag from one that has";
    }
    return;
  }
  probe_all(300ms);
  // In quorum mode only the mutation of L3 comes here: an election by positions that were asked for, as soon as the key is
  // gone.
  const bool polled = sync_wanted() && sync_active() && !c().sync->value.standbys.empty();
  int words = 1;
  BootTime vanished = leader_seen_at;
  bool released = c().released && c().term && c().released->mod > c().term->mod;
  bool expired = leader_seen_at != BootTime{} ? now >= leader_seen_at + b.ttl : now >= tenure_since + b.ttl;
  if (leader_seen_at == BootTime{} && tenure_since == BootTime{}) tenure_since = now;
  std::string old = c().term ? c().term->value.leader : "";
  auto old_peer = v->peers.find(old);
  bool resigned = old == self.name || (old_peer != v->peers.end() && old_peer->second.asked_at > vanished &&
                                       old_peer->second.api_answered && !old_peer->second.is_primary);
  if (!released && !expired && !resigned && !polled) {
    wake(leader_seen_at + b.ttl);
    d.state = "no leader: waiting until its lease has certainly ended";
    return;
  }
  if (c().status && lag_bytes(c().status->value.optime, pg().answers->flush_lsn) > config().maximum_lag_on_failover) {
    d.state = "no leader: I lag too far behind";
    return;
  }
  for (const auto& [name, member] : c().members) {
    if (name == self.name || !member.value.tags.may_lead()) continue;
    auto peer = v->peers.find(name);
    if (peer == v->peers.end() || peer->second.answered_at <= vanished) return;  // the probe is under way
    if (!peer->second.api_answered) continue;
    if (polled && peer->second.position && c().sync->value.standbys.contains(name)) ++words;
    if (peer->second.is_primary && !polled) {
      d.state = fmt::format("no leader: {} is still a primary", name);
      return;
    }
    if (peer->second.position && *peer->second.position > pg().answers->flush_lsn && peer->second.timeline >= pg().answers->timeline) {
      d.state = fmt::format("no leader: {} is ahead", name);
      return;
    }
  }
  if (polled && words <= c().sync->value.quorum) return;
  Txn txn;
  txn.compares.push_back(Compare{Key{KeyKind::leader, {}}, Compare::What::create, 0});
  txn.compares.push_back(unchanged(KeyKind::sync, c().sync));
  std::optional<model::SyncState> sync_next;
  if (polled) sync_next = sync_after(c().sync->value.leader);
  take_lock(std::move(txn), "lease", next_timeline(), sync_next, "the healthiest member that answers");
}

void Core::Impl::release_lock(const std::string& why) {
  if (!dcs_ready() || !lease.owns_lock()) return;
  emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()}},
           {Write{Key{KeyKind::released, {}}, Value{model::Released{newest_term, self.name}}, 0}},
           {Key{KeyKind::leader, {}}}},
       why, TxnFor::release);
}

}  // namespace pgdba::ha
