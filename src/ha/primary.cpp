// The owner of the lock: become primary, open the gate, keep the sync set, keep the books.
//
// Invariant: PostgreSQL leaves recovery only while the lock is proved and with an SSN in force under which nobody may
// acknowledge what the next election could miss (W7): the placeholder, until a commit was seen to wait (Y3). Clients are
// let in only when n members of the sync set have flushed the end of our WAL, or etcd says "leader only" (G4).
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;
using model::PgConfig;
using model::PgProcess;
using model::SyncNames;

void Core::Impl::own_lock() {
  if (v->freeze_record) {
    if (local_ready()) emit(ClearFreezeRecord{}, "this member leads now");
    return;
  }
  fz.reset();
  if (c().term && c().term->value.leader == self.name && c().term->value.cause == kOnlyKeys && !(running() && !pg().answers->in_recovery)) {
    d.state = "the keys are in etcd again; our own WAL may be incomplete: letting the lock go";
    return release_lock(d.state);
  }
  if (give_way()) return;
  // A PANIC on the way down (the shutdown checkpoint is when fsync errors surface): what the disk holds proves nothing, so
  // it is no planned stop any more (H4).
  if (led && stopped() && untrue_end()) planned_stop = restart_stopped = false;
  if (led && planned_stop && (stopped() || pg().wal_end)) return pass_lock();
  // Only a postmaster that has led in this tenure is started again as it was: what a voter was asked for before it took
  // the lock must not make it write on its old timeline (R1).
  bool restarting = restart_request && restart_stopped;
  if (crashed || (led && stopped() && local_ready() && !restarting)) return handle_crash();
  if (led && stopped() && restarting) return start_as_primary("restart requested");
  if (running() && !pg().answers->in_recovery && !promote_given && !led) {
    // It came up as a primary (return, bootstrap).
    led = true;
    led_incarnation = pg().incarnation;
  }
  if (running()) silent_since = {};
  if (running() && !pg().answers->in_recovery) {
    if (!led) {
      led = true;
      led_incarnation = pg().incarnation;
    }
    d.state = fmt::format("no action. I am ({}), the leader with the lock", self.name);
    if (switchover_duty()) return;
    return lead();
  }
  // The agent before this one was about to promote it.
  if (led && running()) led = false;
  if (led && !stopped()) {
    d.state = planned_stop ? "stopping for a switchover" : "starting as a primary";
    observe(10ms);
    silent();
    return;
  }
  become_primary();
}

void Core::Impl::become_primary() {
  observe(20ms);
  if (!local_ready()) {
    d.state = "becoming the primary";
    return;
  }
  if (!c().term || c().term->value.leader != self.name) return;
  const model::TermRecord& term = c().term->value;
  d.state = fmt::format("becoming the primary of term {}", term.term);
  if (promotion_failed && stopped()) return release_lock("the promotion did not finish");
  if (promote_given && promote_incarnation != pg().incarnation) promote_given = false;
  if (pg().process == PgProcess::starting || pg().process == PgProcess::stopping) return;

  auto record = c().timelines.find(term.timeline);
  std::optional<RecordTimeline> note;
  if (record != c().timelines.end() && record->second.value.term == term.term) {
    auto known = pg().timeline_nonces.find(term.timeline);
    if (known == pg().timeline_nonces.end() || known->second != record->second.value.nonce) note = {term.timeline, record->second.value.nonce};
  }
  const bool to_promote = running() && pg().answers->in_recovery;
  if (note && !to_promote) {
    emit(*note, "our timeline from now on");
    return;
  }
  const bool begins_timeline = begins_a_timeline();
  if (begins_timeline && stopped()) {
    // A promotion that was cut short may have begun the timeline already: a second one would begin another, which nobody
    // has recorded (R1).
    if (!pg().wal_end) {
      measure("has our timeline begun?");
      return;
    }
    if (pg().wal_end->timeline == term.timeline) return start_as_primary("its timeline has begun");
    if (pg().timeline_starts.contains(term.timeline)) return release_lock("the promotion was cut short in the middle");
  }
  if (begins_timeline && running() && pg().answers->in_recovery && !promote_given && pg().timeline_starts.contains(term.timeline)) {
    emit(StopPg{StopPg::Mode::fast, b.fast_stop}, "its timeline has begun, in a promotion that was cut short");
    return;
  }
  if (stopped() && !begins_timeline) return start_as_primary(term.cause == "bootstrap" ? "first start" : "the former leader returns");

  if (!begins_timeline) {  // the lock was taken for a data directory at rest, but somebody started it as a standby
    if (pg().process == PgProcess::running) emit(StopPg{StopPg::Mode::fast, b.fast_stop}, "to be started as a primary on its own timeline");
    return;
  }
  PgConfig want = standby_config(PgConfig::Upstream::none);
  if (!rules.w7_ssn_before_promotion) want.sync_names = {};
  want.gate_closed = rules.g4_gate;
  want.term = term.term;
  if (!running()) {
    if (!configured(want, "before promotion: nobody may acknowledge yet")) return;
    if (stopped() && may_start()) emit(StartPg{false}, "to be promoted");
    return;
  }
  if (promote_given) {
    d.state = "promoting";
    if (now >= promote_since + std::max<Duration>(b.ttl, 5s)) {
      promotion_failed = true;
      stop_now("the promotion did not finish");
    }
    return;
  }
  if (!may_become_primary()) return;
  // One after the other in the local lane, with no reading in between: the promotion itself sees to it that the
  // configuration is in force (W7), and when one fails those behind it are dropped.
  if (note) emit(*note, "our timeline from now on");
  give_slots();  // whoever has seen the term already streams from here
  if (!loaded_is(want)) emit(ApplyConfig{want}, "before promotion: nobody may acknowledge yet");
  std::vector<uint32_t> taken;
  for (uint32_t t = pg().answers->timeline + 1; rules.r1_unique_timelines && t < term.timeline; ++t) {
    if (!pg().timeline_starts.contains(t)) taken.push_back(t);
  }
  if (!taken.empty()) emit(SkipTimelines{taken}, "numbers that other nodes have used");
  promote_given = true;
  promote_incarnation = pg().incarnation;
  promote_since = now;
  emit(Promote{want, rules.r1_unique_timelines ? term.timeline : 0}, fmt::format("leader of term {}", term.term));
}

// The term of this member began with the promise of a timeline of its own.
bool Core::Impl::begins_a_timeline() const {
  if (!c().term || c().term->value.cause == "bootstrap") return false;
  auto record = c().timelines.find(c().term->value.timeline);
  return record != c().timelines.end() && record->second.value.term == c().term->value.term;
}

bool Core::Impl::may_become_primary() {
  if (lease.deadline() && now < *lease.deadline() - b.stop_budget) return true;
  d.state += ": waiting for the proof of the lock";
  return false;
}

void Core::Impl::start_as_primary(const std::string& why) {
  d.state = "starting as a primary";
  observe(20ms);
  if (!may_become_primary() || !local_ready() || pg().process != PgProcess::stopped) return;
  if (!pg().all_dead && rules.g1_all_dead) return;
  if (!may_start()) return;
  PgConfig want = standby_config(PgConfig::Upstream::none);
  want.gate_closed = rules.g4_gate;
  want.term = newest_term;
  if (sync_active() && c().sync->value.standbys.empty() && !config().synchronous_mode_strict) want.sync_names = {};
  if (!sync_wanted()) want.sync_names = {};
  if (!configured(want, why)) return;
  led = true;
  crashed = planned_stop = false;
  sync.restart(SyncDuty::Postmaster::fresh);
  emit(StartPg{true}, why);
}

void Core::Impl::lead() {
  if (!pg().loaded) {
    observe(50ms);
    return;
  }
  if (restart_request && !restart_stopped) {
    if (local_ready()) emit(StopPg{StopPg::Mode::fast, 60s}, "restart requested");
    return;
  }
  if (led_incarnation != pg().incarnation) {
    led_incarnation = pg().incarnation;
    sync.restart(SyncDuty::Postmaster::fresh);
  }
  crashed = false;
  PgConfig want = pg().on_disk;
  // The files may be somebody else's by now, or their reading may have failed. Names that etcd does not allow are never put
  // in force because of what they seem to say (Y1): one reload with an empty list releases every commit that waits.
  if (sync_wanted() && want.sync_names != pg().loaded->sync_names &&
      !(sync_active() && sync_invariant(c().sync->value, want.sync_names))) {
    want.sync_names = pg().loaded->sync_names;
  }
  want.upstream = PgConfig::Upstream::none;
  want.upstream_member.clear();
  want.upstream_conn_url.clear();
  want.freeze_nonce.clear();
  want.term = newest_term;

  const bool ready = local_ready();
  bool before = want.sync_names == pg().on_disk.sync_names;
  keep_sync(want);
  bool names_change = before && want.sync_names != pg().on_disk.sync_names;

  // The gate, once open, stays open as long as this postmaster lives.
  bool leader_only = sync_active() && c().sync->value.leader == self.name && c().sync->value.standbys.empty() &&
                     pg().loaded->sync_names.kind == SyncNames::Kind::none;
  bool open = !sync_wanted() || leader_only || sync.confirmed_since_start() || !rules.g4_gate;
  if (open) want.gate_closed = false;
  if (want.gate_closed) observe(10ms);

  if (!loaded_is(want)) {
    observe(20ms);
    if (ready) {
      if (names_change) sync.names_changing(pg().loaded->sync_names, want.sync_names);
      emit(ApplyConfig{want}, names_change ? "synchronous_standby_names" : want.gate_closed ? "leader" : "clients may come in");
      if (names_change) emit(WriteWal{}, "something to confirm the new list by");
    }
  }
  housekeeping();
}

// Members that are, or a moment ago were, fit to be synchronous: streaming, caught up, not leaving. Best first.
std::vector<std::string> Core::Impl::active_members() {
  Duration grace = std::clamp<Duration>(b.ttl / 2, 1s, 5s);
  for (const model::ReplicationRow& row : pg().answers->replication) {
    if (row.state != "streaming" || !c().members.contains(row.application_name)) continue;
    Stream& stream = streams[row.application_name];
    if (now > stream.last_streaming + grace) {  // a new stretch: it must reach what was written before it came
      stream.caught_up = false;
      stream.join_at = pg().answers->flush_lsn;  // the insert position is ahead of it until somebody writes again
    }
    stream.last_streaming = now;
    if (row.flush >= stream.join_at) stream.caught_up = true;
  }
  std::vector<std::string> active, gone;
  for (const auto& [name, stream] : streams) {
    auto member = c().members.find(name);
    if (member == c().members.end() || name == self.name) continue;
    const model::Member& m = member->second.value;
    if (m.leaving_sync) gone.push_back(name);  // its data is about to be other data, which has to catch up first (W9)
    if (m.tags.nosync || m.leaving_sync || now > stream.last_streaming + grace || !stream.caught_up) continue;
    active.push_back(name);
  }
  for (const std::string& name : gone) streams.erase(name);
  if (config().synchronous_mode == model::SyncMode::priority) {
    auto listed = [&](const std::string& name) { return sync_active() && c().sync->value.standbys.contains(name); };
    std::ranges::stable_sort(active, [&](const std::string& x, const std::string& y) { return listed(x) && !listed(y); });
  }
  if (active.empty() && !active_empty) active_since_empty = now;
  active_empty = active.empty();
  return active;
}

void Core::Impl::keep_sync(PgConfig& want) {
  if (!sync_wanted() && !sync_active() && pg().loaded->sync_names.kind == SyncNames::Kind::none) return;
  if (!dcs_ready() || !local_ready()) {
    observe(20ms);
    return;
  }
  if (pg().on_disk.sync_names != pg().loaded->sync_names) {  // either may be in force somewhere: nothing is decided between
    observe(20ms);
    return;
  }
  std::vector<Compare> unchanged;
  if (rules.w6_takeover_writes_sync) unchanged.push_back(Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()});
  // A member that has seen etcd replaced asks whether `sync` is what this leader means: the answer is to write it (W13).
  for (const auto& [name, member] : c().members) {
    if (member.value.etcd_reset && c().sync && member.mod > c().sync->mod) bump_sync = true;
  }
  auto sync_unchanged = Compare{Key{KeyKind::sync, {}}, Compare::What::mod, c().sync ? c().sync->mod : 0};
  unchanged.push_back(sync_unchanged);
  if (bump_sync && rules.y4_restart_unconfirmed) {
    if (!c().sync) {
      bump_sync = false;
      return;
    }
    emit(Txn{unchanged, {Write{Key{KeyKind::sync, {}}, Value{c().sync->value}, 0}}, {}},
         "writes without an answer must not land any more", TxnFor::sync_write);
    sync.restart(SyncDuty::Postmaster::same);
    return;
  }
  SyncInput in;
  in.mode = config().synchronous_mode;
  in.strict = config().synchronous_mode_strict;
  in.node_count = sync_node_count();
  in.self = self.name;
  if (c().sync) in.sync = c().sync->value;
  in.loaded = pg().loaded->sync_names;
  in.insert_lsn = pg().answers->insert_lsn;
  in.rows = pg().answers->replication;
  in.active = active_members();
  for (const auto& [name, member] : c().members) {
    in.leaving = in.leaving || (member.value.leaving_sync && in.sync && in.sync->standbys.contains(name));
  }
  BootTime empty_since = std::max(active_since_empty, tenure_since);
  in.may_degrade = !in.active.empty() || now >= empty_since + b.ttl;
  if (!in.may_degrade) wake(empty_since + b.ttl);

  SyncStep step = sync.next(in);
  // A walsender that has read a new list releases waiting commits only at its standby's next reply. Without new WAL that
  // one comes after wal_receiver_status_interval (10 s), and while everybody waits there is no new WAL.
  bool confirmed_before = sync_confirmed;
  sync_confirmed = sync.confirmed();
  if (sync_confirmed && !confirmed_before && in.loaded.kind != SyncNames::Kind::none) {
    emit(WriteWal{}, "wakes the commits that wait");
  }
  switch (step.what) {
    case SyncStep::What::nothing:
      break;
    case SyncStep::What::wait:
      observe(50ms);
      break;
    case SyncStep::What::set_names:
      want.sync_names = step.names;
      break;
    case SyncStep::What::write_sync:
      if (step.sync.leader.empty()) {
        emit(Txn{unchanged, {}, {Key{KeyKind::sync, {}}}}, step.reason, TxnFor::sync_write);
      } else {
        emit(Txn{unchanged, {Write{Key{KeyKind::sync, {}}, Value{step.sync}, 0}}, {}}, step.reason, TxnFor::sync_write);
      }
      observe(20ms);
      break;
    case SyncStep::What::probe:
      emit(ProbeSync{}, step.reason);
      break;
    case SyncStep::What::write_wal:
      observe(20ms);
      if (now >= wal_written_at + 200ms) {
        wal_written_at = now;
        emit(WriteWal{}, step.reason);
      }
      wake(now + 20ms);
      break;
  }
}

void Core::Impl::end_doubles() {
  if (!rules.w9_no_clone_of_voter) return;
  std::map<std::string, int> newest;
  for (const model::ReplicationRow& row : pg().answers->replication) {
    if (!c().members.contains(row.application_name)) continue;
    auto [it, is_new] = newest.try_emplace(row.application_name, row.pid);
    if (is_new) continue;
    int older = std::min(it->second, row.pid);
    it->second = std::max(it->second, row.pid);
    emit(EndWalsender{older, row.application_name + " is connected twice"}, "one connection for one member");
    return;
  }
}

// True when they are being brought in order now.
bool Core::Impl::give_slots() {
  std::vector<std::string> others;
  for (const auto& [name, member] : c().members) {
    if (name != self.name) others.push_back(name);
  }
  if (now < slots_at + (others == slots_given ? Duration(60s) : slots_given.empty() ? Duration(1s) : Duration(0))) return false;
  slots_given = others;
  slots_at = now;
  if (!config().postgresql.use_slots) return false;
  emit(SyncSlots{others}, "one slot for each other member");
  return true;
}

// What an open leader keeps in order beside: users, pooler's role, slots, checkpoint after promotion, status, history.
void Core::Impl::housekeeping() {
  if (local_ready()) {
    if (!users_done && c().term && c().term->value.cause == "bootstrap") {
      emit(CreateUsers{}, "after the first start");
    } else if (give_slots()) {
    } else if (pg().loaded && !pg().loaded->gate_closed) {
      // Somebody's function in its place may not let itself be replaced: asking twice a second would fill the logs.
      if (!pg().answers->pooler_auth_present && now >= std::max(tenure_since + 1s, pooler_auth_at + 10s)) {
        pooler_auth_at = now;
        emit(EnsurePoolerAuth{}, "the pooler's role or function is missing or not as it should be");
      }
    }
  }
  // Not while clients wait: it has the disk and the checkpointer to itself for its time.
  const bool serves = (pg().loaded && !pg().loaded->gate_closed) || now >= tenure_since + 3s;
  if (serves && !checkpoint_done && !checkpoint_asked && !under_way<Checkpoint>()) {
    checkpoint_asked = true;
    emit(Checkpoint{}, "after promotion, so that pg_rewind sees the new timeline");
  }
  if (local_ready()) end_doubles();
  if (pg().novote && pg().loaded && !pg().loaded->gate_closed && local_ready()) emit(ClearNovote{}, "this member leads: its data is the cluster's");
  if (!dcs_ready()) return;

  std::string system_id = pg().control ? fmt::format("{}", pg().control->system_id) : "";
  if (!system_id.empty() && (!c().initialize || c().initialize->value.empty())) {
    emit(Txn{{Compare{Key{KeyKind::leader, {}}, Compare::What::mod, lease.lock_mod()}},
             {Write{Key{KeyKind::initialize, {}}, Value{system_id}, 0}},
             {}},
         "the system identifier was missing", TxnFor::upkeep);
    return;
  }
  if (!c().config) {
    emit(Txn{{Compare{Key{KeyKind::config, {}}, Compare::What::create, 0}}, {Write{Key{KeyKind::config, {}}, PutBootstrapConfig{}, 0}}, {}},
         "the dynamic configuration was missing", TxnFor::upkeep);
    return;
  }
  uint32_t timeline = pg().answers->timeline;
  uint32_t last = c().history && !c().history->value.empty() ? c().history->value.back().timeline : 0;
  if (timeline > 1 && last + 1 != timeline && pg().timeline_starts.contains(timeline)) {
    std::vector<model::HistoryLine> lines;
    std::map<uint32_t, model::HistoryLine> old;
    if (c().history) {
      for (const model::HistoryLine& line : c().history->value) old[line.timeline] = line;
    }
    for (auto it = pg().timeline_starts.begin(); it != pg().timeline_starts.end(); ++it) {
      auto next = std::next(it);
      if (next == pg().timeline_starts.end() || next->first > timeline) break;
      model::HistoryLine line{it->first, next->second, "no recovery target specified", "", ""};
      auto known = old.find(it->first);
      if (known != old.end() && known->second.switch_lsn == line.switch_lsn) line = known->second;
      if (next->first == timeline && line.new_leader.empty()) {
        line.timestamp = format_utc_offset(v->wall);
        line.new_leader = self.name;
      }
      lines.push_back(line);
    }
    int keep = config().max_timelines_history;
    if (keep > 0 && lines.size() > static_cast<size_t>(keep)) lines.erase(lines.begin(), lines.end() - keep);
    if (!lines.empty() && (!c().history || lines != c().history->value)) {
      emit(Txn{{}, {Write{Key{KeyKind::history, {}}, Value{lines}, 0}}, {}}, "history of timelines", TxnFor::upkeep);
      return;
    }
  }
  if (now >= status_at + std::clamp<Duration>(b.ttl / 3, 1s, 10s)) {
    model::Status status;
    status.optime = pg().answers->flush_lsn;
    for (const std::string& name : slots_given) {
      auto member = c().members.find(name);
      if (member == c().members.end() || !member->second.value.receive_lsn) continue;
      status.slots[model::slot_name(name)] = *member->second.value.receive_lsn;
      status.retain_slots.push_back(model::slot_name(name));
    }
    status.slots[model::slot_name(self.name)] = status.optime;
    status.retain_slots.push_back(model::slot_name(self.name));
    std::ranges::sort(status.retain_slots);
    status_at = now;
    if (!c().status || !(c().status->value == status)) {
      emit(Txn{{}, {Write{Key{KeyKind::status, {}}, Value{status}, 0}}, {}}, "status", TxnFor::status);
    }
  }
}

}  // namespace pgdba::ha
