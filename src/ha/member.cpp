// What this member knows of its own data, asks of others, wants its files to say, and publishes of itself.
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using model::PgConfig;
using model::PgProcess;

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
  m.scheduled_restart = v->scheduled_restart;
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
