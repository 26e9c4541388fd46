// A member that does not own the lock: wait, follow, clone, rewind (section 8).
//
// Invariant: PostgreSQL streams only onto WAL that is an ancestor of the leader's (R1, R3), and a data directory is
// rewound or wiped only when this member is out of the sync set (W9) and n others hold the leader's promotion LSN (R2).
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::PgConfig;
using model::PgProcess;

void Core::Impl::no_leader() {
  leave_sync = false;
  observe(100ms);
  bool initialized = c().initialize && !c().initialize->value.empty();
  bool ours = c().initialize && bootstrap_lease != 0 && c().initialize->lease == bootstrap_lease;
  if (!initialized && (pg().data != model::DataDir::present || ours || pg().pristine)) return bootstrap();
  if (!initialized) {
    d.state = "etcd holds no trace of this cluster, but this data directory does, and this agent does not remember who led: "
              "start the agents beside the old etcd data, or remove the data directories that are to go";
    if (stopped()) start_standby(d.state);
    return;
  }
  if (!present()) {
    d.state = "waiting for a leader to clone from";
    return;
  }
  if (of_another_cluster()) {
    if (!pg().pristine) return refuse_foreign_data();
    d.state = "another member made the cluster first: waiting for a leader to clone from";
    return;
  }
  if (!sync_wanted() || !sync_active()) {
    if (c().term && c().term->value.leader == self.name && stopped()) return try_return();
    return race();
  }
  if (c().sync->value.leader == self.name) return try_return();
  if (!rules.l3_frozen_voters_always && i_am_voter()) return race();
  // The leader has listed us and is gone before we have read of it, or had the time to take the mark away.
  if (pg().novote && c().sync->value.standbys.contains(self.name) && caught_up() && local_ready()) {
    emit(ClearNovote{}, "confirmed by the last leader");
  }
  std::string why;
  if (election_wanted(why)) return begin_freeze(why);
  d.state = c().sync->value.standbys.empty() ? fmt::format("no leader: only {} may lead", c().sync->value.leader)
                                             : "no leader: waiting for the voters";
  if (stopped()) start_standby("no leader yet");
}

bool Core::Impl::of_another_cluster() const {
  return present() && c().initialize && !c().initialize->value.empty() && c().initialize->value != fmt::format("{}", pg().control->system_id);
}

void Core::Impl::refuse_foreign_data() {
  emit(Exit{1}, fmt::format("system ID mismatch: this data directory has {}, the cluster {}", pg().control->system_id, c().initialize->value));
  exiting = true;
}

// Serves reads and answers positions while nobody leads. Nothing streams in.
void Core::Impl::start_standby(const std::string& why) {
  d.state = why;
  if (!present() || !stopped() || !local_ready()) return;
  if (!pg().all_dead && rules.g1_all_dead) return;
  if (!configured(standby_config(PgConfig::Upstream::none), why)) return;
  if (may_start()) emit(StartPg{false}, why);
}

void Core::Impl::follow() {
  leave_sync = false;
  const std::string leader = leader_name();
  d.state = fmt::format("no action. I am ({}), a secondary, and following a leader ({})", self.name, leader);
  if (of_another_cluster()) {
    if (!pg().pristine) return refuse_foreign_data();
    // Our initdb lost the race: its lease ended, and another member has made the cluster since.
    const std::string why = "another member made the cluster first, and nothing was ever written here";
    d.state = why;
    if (stopped() && pg().all_dead) return clone(why);
    if (local_ready() && pg().process == PgProcess::running) emit(StopPg{StopPg::Mode::fast, b.fast_stop}, why);
    return;
  }
  auto member = c().members.find(leader);
  // It may be a reading that failed: only an empty directory, or one that a mark calls half-made, is replaced unasked.
  const bool unreadable = pg().data == model::DataDir::present && !pg().control;
  if (unreadable && !reinit_request) {
    d.state = fmt::format("pg_control cannot be read ({}): this data directory is left alone; pgdba cluster reinit {} makes it anew", pg().unusable_why, self.name);
    observe(100ms);
    return;
  }
  if (!present() && !unreadable) {
    if (pg().data == model::DataDir::unusable) return rejoin(pg().unusable_why, true);
    return clone("an empty data directory");
  }
  if (sync_active() && sync_wanted()) {
    std::string why;
    if (election_wanted(why) && local_ready() && dcs_ready()) return begin_freeze(why);
    watch_leader();
  }
  if (reinit_request) {
    // Until the others can spare this data it goes on following: they may be waiting for its confirmation.
    std::string waiting;
    if (may_replace(true, waiting)) return rejoin("reinitialize requested", true);
    const model::Term term = c().term ? c().term->value.term : 0;
    leave_sync = !sync_wanted() || (member != c().members.end() && member->second.value.ready_term >= term);
    d.state = "reinitialize requested: " + waiting;
    if (unreadable || (stopped() && !dcs_ready())) return;  // stopped for it, and an answer of etcd is under way: no start in between
  }
  if (c().switchover && c().switchover->value.to == self.name && c().switchover->value.state == model::Switchover::State::stopped &&
      c().switchover->value.from == leader && c().term && c().switchover->value.term == c().term->value.term) {
    return try_switchover_end();
  }
  if (c().switchover && c().switchover->value.to == self.name && c().switchover->value.state == model::Switchover::State::draining) observe(20ms);
  if (restart_request && !stopped()) {
    if (local_ready() && !restart_stopped) emit(StopPg{StopPg::Mode::fast, 60s}, "restart requested");
    return;
  }
  if (member == c().members.end()) {
    d.state = fmt::format("waiting for the member key of {}", leader);
    if (stopped()) start_standby("the leader's address is not known yet");
    return;
  }
  if (!local_ready() || pg().process == PgProcess::starting || pg().process == PgProcess::stopping) {
    observe(50ms);
    return;
  }
  if (stopped() && !pg().all_dead && rules.g1_all_dead) return;

  // On the right leader and streaming: nothing but the small duties.
  const model::Term term = c().term ? c().term->value.term : 0;
  PgConfig want = standby_config(PgConfig::Upstream::member);
  want.upstream_member = leader;
  want.upstream_conn_url = member->second.value.conn_url;
  uint32_t leader_timeline = c().term ? c().term->value.timeline : 0;
  bool streams_here = running() && pg().answers->streaming_from == leader;
  // What a former primary shows is on the new leader then; that no later election loses it needs n others as well, which
  // the leader says by its own gate (G4).
  const bool kept = !sync_wanted() || member->second.value.ready_term >= term || !member->second.value.runs_pgdba();
  if (streams_here && kept && pg().answers->streaming_timeline >= leader_timeline) want.gate_closed = false;
  // The next primary must have closed its gate before it is promoted (G4), and the proof of that takes a new connection:
  // while the old primary still drains it costs nobody time.
  if (switchover_open() && c().switchover->value.to == self.name && rules.g4_gate) want.gate_closed = true;
  bool same_upstream = pg().on_disk.upstream == PgConfig::Upstream::member && pg().on_disk.upstream_member == leader &&
                       pg().on_disk.upstream_conn_url == want.upstream_conn_url;
  // A leader that returned under its name began a timeline, perhaps: our walreceiver follows by itself, so the nonce of the
  // timeline is recorded behind it. etcd has one record for a number, so it is the right one.
  auto leads_on = c().timelines.find(leader_timeline);
  auto known_here = pg().timeline_nonces.find(leader_timeline);
  bool recorded = leads_on == c().timelines.end() ||
                  (known_here != pg().timeline_nonces.end() && known_here->second == leads_on->second.value.nonce);
  if (running() && same_upstream && streams_here && !recorded && known_here == pg().timeline_nonces.end() &&
      pg().answers->streaming_timeline == leader_timeline) {
    emit(RecordTimeline{leader_timeline, leads_on->second.value.nonce}, fmt::format("{} returned in term {}", leader, term));
    return;
  }
  if (running() && same_upstream && streams_here && recorded) {
    trust_term = -1;
    if (!configured(want, "streams on the leader's timeline: clients may read")) return;
    if (!pg().novote) return;
    const bool listed = sync_active() && c().sync->value.standbys.contains(self.name);
    if (!sync_wanted() || (self.tags.nosync && !listed)) {
      emit(ClearNovote{}, "never to vote");
    } else if (caught_up() && listed) {
      emit(ClearNovote{}, "confirmed by the leader");
    }
    return;
  }

  // Somewhere else, or stopped: does our WAL fit?
  observe(50ms);
  // A former primary lets nobody in yet (G4), and libpq asks no further host when it is rejected; a port that refuses it
  // passes over. So it starts when the new leader is open, unless it is needed for that.
  const long helpers = std::ranges::count_if(c().members, [&](const auto& m) {
    return m.first != self.name && m.first != leader && m.second.value.state == model::PgState::running;
  });
  const BootTime until = leader_seen_first(term) + 1500ms;
  if (stopped() && pg().on_disk.gate_closed && sync_wanted() && member->second.value.runs_pgdba() && member->second.value.ready_term < term &&
      helpers >= sync_node_count() && now < until) {
    d.state = fmt::format("waiting until {} is open: a client that asks here first goes on to it", leader);
    return wake(until);
  }
  if (stopped() && !pg().wal_end && !trusted()) {
    measure("does our WAL fit the leader's?");
    return;
  }
  std::string why;
  switch (fit(why)) {
    case Fit::unknown: {
      d.state = why;
      ask_history(leader, member->second.value, term);
      // A leader that is no primary after a while may be waiting for the word of its voters (H4), and a stopped server has
      // no position to tell.
      const model::Member& m = member->second.value;
      const BootTime patience = leader_seen_first(term) + 3s;
      if (!stopped() || (m.role == model::Role::primary && m.term >= term)) return;
      if (now < patience) return wake(patience);
      return start_standby(why);
    }
    case Fit::rewind:
      return mend(why, true);
    case Fit::clone:
      return mend(why, false);
    case Fit::fits:
      break;
  }
  for (const auto& [timeline, record] : c().timelines) {
    bool in_history = v->upstream && (timeline == v->upstream->timeline || v->upstream->ends.contains(timeline));
    auto known = pg().timeline_nonces.find(timeline);
    if (in_history && (known == pg().timeline_nonces.end() || known->second != record.value.nonce)) {
      emit(RecordTimeline{timeline, record.value.nonce}, fmt::format("following {} of term {}", leader, term));
      return;
    }
  }
  if (!configured(want, fmt::format("following {} of term {}", leader, term))) return;
  if (stopped() && may_start()) emit(StartPg{false}, fmt::format("following {}", leader));
}

// Our WAL went elsewhere. It is rewound where that is allowed and works, and given up only where the settings say so.
void Core::Impl::mend(const std::string& why, bool rewindable) {
  const bool use_pg_rewind = self.use_pg_rewind.value_or(config().postgresql.use_pg_rewind);
  const bool rewind = rewindable && use_pg_rewind;
  const bool fails = failed_rewinds.term == (c().term ? c().term->value.term : 0) && failed_rewinds.count >= 3;
  if (rewind && !fails) return rejoin(why, false);
  const bool may_clone = use_pg_rewind && self.remove_data_on_rewind_failure;
  if (may_clone || (!rewind && self.remove_data_on_diverged_timelines)) return rejoin(why, true);
  if (rewind) {  // the source may be another one, or keep more WAL, by and by
    clone_retry_at = std::max(clone_retry_at, failed_rewinds.at + 10s);
    rejoin(why, false);
  }
  observe(1s);
  d.state = fmt::format("{}: {}, and {} is off, so this data directory is left alone; pgdba cluster reinit {} makes it anew", why,
                        rewind ? "pg_rewind fails" : rewindable ? "use_pg_rewind is off" : "pg_rewind cannot help",
                        use_pg_rewind ? "remove_data_directory_on_rewind_failure" : "remove_data_directory_on_diverged_timelines", self.name);
}

// The leader's own record of the timeline that it is about to begin shows that our WAL is an ancestor of it (R3): so we
// stream from the leader while it is still promoted, and are there when it can write. Once it says that it is a primary
// and we do not stream, its history decides.
bool Core::Impl::before_fork(const std::string& leader, model::Term term) const {
  auto member = c().members.find(leader);
  if (etcd_reset_at || !c().term || term != newest_term || member == c().members.end()) return false;
  auto record = c().timelines.find(c().term->value.timeline);
  if (record == c().timelines.end() || record->second.value.term != term || record->second.value.node != leader) return false;
  const bool primary = member->second.value.role == model::Role::primary && member->second.value.term >= term;
  if (primary && pg().answers->streaming_from != leader) return false;
  const uint32_t parent = record->second.value.parent;
  return parent != 0 && pg().answers->wal_exhausted && pg().answers->timeline == parent && term_of(parent) &&
         pg().answers->flush_lsn <= record->second.value.begins;
}

// A leader that runs pgdba says in its member key when it is out of recovery. Before that a connection costs it a process
// and is no use.
void Core::Impl::ask_history(const std::string& leader, const model::Member& member, model::Term term) {
  const bool told = !member.runs_pgdba() || (member.role == model::Role::primary && member.term >= term);
  const Duration every = told ? 50ms : 500ms;
  const BootTime next = std::max(history_asked, told ? BootTime{} : leader_seen_first(term)) + every;
  if (now < next) return wake(next);
  if (under_way<FetchHistory>()) return;
  history_asked = now;
  emit(FetchHistory{leader, member.conn_url}, "the leader's timeline and history");
  wake(now + every);
}

// An acquisition lists its predecessor by name alone, whatever a PANIC has left of its data: that a member is listed proves
// nothing before it has streamed again what it may have confirmed once (H4).
bool Core::Impl::caught_up() {
  if (!rules.h4_not_behind_voters) return true;
  const model::Term term = c().term ? c().term->value.term : 0;
  if (catch_up.started != started_since || catch_up.term != term) {
    if (!c().leader) return false;
    const auto& up = v->upstream;
    const BootTime since = std::max(started_since, leader_seen_first(term));
    if (!up || up->from != leader_name() || up->in_recovery || (up->term != 0 && up->term != term) || up->asked_at < since) {
      ask_history(leader_name(), c().members.at(leader_name()).value, term);
      return false;
    }
    catch_up = {started_since, term, up->flush_lsn};
  }
  return running() && pg().answers->flush_lsn >= catch_up.end;
}

Core::Impl::Fit Core::Impl::fit(std::string& why) {
  const std::string leader = leader_name();
  const model::Term term = c().term ? c().term->value.term : 0;
  if (running() && before_fork(leader, term)) return Fit::fits;
  const auto& up = v->upstream;
  if (!up || up->from != leader || up->in_recovery || (up->term != 0 && up->term != term) || up->asked_at < leader_seen_first(term)) {
    why = fmt::format("waiting for {} to become the primary of term {}", leader, term);
    return Fit::unknown;
  }
  if (trusted()) return Fit::fits;
  uint32_t timeline = 0;
  Lsn end;
  if (stopped()) {
    timeline = pg().wal_end->timeline;
    end = pg().wal_end->lsn;
  } else {
    if (!running() || (!pg().answers->wal_exhausted && rules.w4_position_after_freeze)) {
      why = "waiting until PostgreSQL has read all of its own WAL";
      return Fit::unknown;
    }
    timeline = pg().answers->timeline;
    end = pg().answers->flush_lsn;
  }
  auto recorded = c().timelines.find(timeline);
  if (rules.r1_unique_timelines && recorded != c().timelines.end() && !term_of(timeline)) {
    if (note_streamed_timeline()) {
      why = fmt::format("noting that timeline {} came by streaming", timeline);
      return Fit::unknown;
    }
    why = fmt::format("our timeline {} is not the one that etcd knows by this number", timeline);
    return Fit::clone;
  }
  if (!rules.r3_rewind_past_fork) return Fit::fits;
  if (timeline == up->timeline) {
    if (!stopped() && !pg().answers->streaming_from.empty()) return Fit::fits;
    if (end <= up->flush_lsn || up->flush_lsn == Lsn{}) return Fit::fits;
    // The answer may be older than our reading: believe only one that was asked for after this end was seen.
    if (ahead_seen.first != end) ahead_seen = {end, now};
    if (up->asked_at <= ahead_seen.second) {
      why = "asking the leader again how far it is";
      return Fit::unknown;
    }
    why = fmt::format("our WAL ends at {}, past the leader's {} on the same timeline", format_lsn(end), format_lsn(up->flush_lsn));
    return Fit::clone;
  }
  auto left = up->ends.find(timeline);
  if (left == up->ends.end() || timeline > up->timeline) {
    why = fmt::format("our timeline {} is not in the leader's history", timeline);
    return Fit::rewind;
  }
  if (end > left->second) {
    why = fmt::format("our WAL ends at {} on timeline {}, past the fork at {}", format_lsn(end), timeline, format_lsn(left->second));
    return Fit::rewind;
  }
  return Fit::fits;
}

bool Core::Impl::may_replace(bool by_clone, std::string& waiting) {
  const std::string leader = leader_name();
  auto member = c().members.find(leader);
  if (member == c().members.end()) {
    waiting = fmt::format("waiting for the member key of {}", leader);
    return false;
  }
  bool listed = sync_active() && c().sync->value.standbys.contains(self.name);
  if (listed && rules.w9_no_clone_of_voter && rules.r2_keep_other_copy) {
    waiting = "waiting until the leader has dropped this member from the sync set";
    return false;
  }
  waiting = "waiting for a fresh view of etcd";
  if (!dcs_ready() || c().as_of + 2 * b.ttl < now) return false;
  const model::Term term = c().term ? c().term->value.term : 0;
  bool leader_ready = member->second.value.ready_term >= term;
  // Who never is synchronous never confirms to the leader: waiting for it would be for ever.
  long others = std::ranges::count_if(c().members, [&](const auto& m) {
    return m.first != self.name && m.first != leader && !m.second.value.tags.nosync;
  });
  bool others_exist = others >= sync_node_count();
  // When etcd says "leader only" and every other member waits likewise, the first by name goes first.
  bool my_turn = sync_active() && c().sync->value.leader == leader && c().sync->value.standbys.empty() && !by_clone &&
                 std::ranges::none_of(c().members, [&](const auto& m) {
                   return m.first < self.name && m.first != leader && m.second.value.leaving_sync;
                 });
  if (rules.r2_keep_other_copy && pg().data == model::DataDir::present && sync_wanted() && others_exist && !leader_ready && !my_turn) {
    waiting = fmt::format("waiting until enough other members hold what {} was promoted with", leader);
    return false;
  }
  return true;
}

// Out of the sync set first, n others must hold what we may destroy, and only then stop, mark and rewind or clone.
void Core::Impl::rejoin(const std::string& why, bool by_clone) {
  const std::string leader = leader_name();
  auto member = c().members.find(leader);
  observe(100ms);
  wake(now + 100ms);
  // A healthy voter that is only asked to be made anew confirms the leader's start first.
  bool leader_ready = member != c().members.end() && member->second.value.ready_term >= (c().term ? c().term->value.term : 0);
  bool streams_here = running() && pg().answers->streaming_from == leader;
  leave_sync = leader_ready || !streams_here || !sync_wanted();
  std::string waiting;
  if (!may_replace(by_clone, waiting)) {
    d.state = fmt::format("{}: {}", why, waiting);
    return;
  }
  if (!by_clone && member->second.value.checkpoint_after_promote_pending) {
    d.state = fmt::format("{}: waiting for the first checkpoint of {}", why, leader);
    return;
  }
  // Nothing whole is destroyed before its source was seen alive: the leader may own the lock and have lost its disk.
  const auto& up = v->upstream;
  const model::Term term = c().term ? c().term->value.term : 0;
  const bool alive = up && up->from == leader && !up->in_recovery && (up->term == 0 || up->term == term) && now <= up->asked_at + b.ttl;
  if (pg().data == model::DataDir::present && !alive) {
    d.state = fmt::format("{}: waiting for {} to answer as the primary", why, leader);
    return ask_history(leader, member->second.value, term);
  }
  if (!local_ready()) {
    d.state = under_way<Clone>() ? fmt::format("cloning from {}", leader) : fmt::format("{}: {}", why, by_clone ? "cloning" : "rewinding");
    return;
  }
  d.state = why;
  if (now < clone_retry_at) return wake(clone_retry_at);
  if (!stopped()) {
    if (pg().process == PgProcess::running) emit(StopPg{StopPg::Mode::fast, b.fast_stop}, why);
    return;
  }
  if (!pg().all_dead && rules.g1_all_dead) return;
  if (pg().data == model::DataDir::present && !pg().novote) {
    emit(MarkNovote{}, why);
    return;
  }
  job_term = c().term ? c().term->value.term : 0;
  if (by_clone) {
    emit(Clone{leader, member->second.value.conn_url}, why);
  } else {
    emit(Rewind{leader, member->second.value.conn_url}, why);
  }
}

void Core::Impl::clone(const std::string& why) {
  auto member = c().members.find(leader_name());
  bool leads = member != c().members.end() && member->second.value.role == model::Role::primary &&
               member->second.value.state == model::PgState::running;
  d.state = fmt::format("waiting until {} can be cloned", leader_name());
  observe(100ms);
  if (!leads || !c().config || !c().initialize || c().initialize->value.empty()) return;
  bool listed = sync_active() && c().sync->value.standbys.contains(self.name);
  if (listed && rules.w9_no_clone_of_voter) {
    d.state = "waiting until the leader has dropped this member from the sync set";
    return;
  }
  if (!local_ready() || !dcs_ready()) return;
  if (now < clone_retry_at) return wake(clone_retry_at);
  d.state = fmt::format("cloning from {}", leader_name());
  job_term = c().term ? c().term->value.term : 0;
  emit(Clone{leader_name(), member->second.value.conn_url}, why);
}

}  // namespace pgdba::ha
