#include "postgres.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "world.h"

namespace pgdba::sim {

Postgres::Postgres(World& world, int member) : sessions(world, member), world_(world), member_(member) {}

void Postgres::run(Duration delay, std::function<void()> fn) {
  world_.events.after(delay, [this, life = server.life(), fn = std::move(fn)]() mutable { server.run(life, std::move(fn)); });
}

Lsn Postgres::end() const { return dir.wal.empty() ? Lsn{} : world_.records[dir.wal.back()].end; }

uint32_t Postgres::timeline() const { return dir.wal.empty() ? 0 : world_.records[dir.wal.back()].timeline; }

bool Postgres::answers() const {
  return server.runs() && postmaster_ && (phase_ == Phase::primary || phase_ == Phase::recovery || phase_ == Phase::promoting);
}

// ---- life ---------------------------------------------------------------------------------------------------------

void Postgres::start() {
  server.be_born();
  postmaster_ = true;
  ++incarnation_;
  exit_unexpected = false;
  exit_after_panic = false;
  told_to_stop = false;
  measured_ = false;
  dying_at_.reset();
  loaded_ = dir.on_disk;
  obeyed_ = loaded_;
  was_primary_ = false;
  phase_ = Phase::starting;
  exhausted_ = false;
  frozen_nonce_.clear();
  released_ = {};
  checkpointer_busy_until_ = {};  // a new process
  sync_defined_ = !world_.plan.old_minor && loaded_.sync_names.kind != model::SyncNames::Kind::none;
  if (world_.plan.old_minor) run(draw_skewed(world_.random, 1ms, 500ms), [this] { take_sync_flag(); });
  world_.note("{}: postgres starts as {}", world_.name(member_), dir.standby_signal ? "standby" : "PRIMARY");
  bool standby = dir.standby_signal;
  run(draw_skewed(world_.random, 20ms, 600ms), [this, standby] {
    if (standby) {
      enter_recovery();
    } else {
      become_primary();
    }
  });
}

void Postgres::enter_recovery() {
  phase_ = Phase::recovery;
  dir.control = model::ControlState::in_archive_recovery;
  replayed_ = std::min(dir.checkpoint + 1, dir.wal.size());
  Duration needed = world_.random.chance(world_.plan.slow_exhaust) ? draw_skewed(world_.random, 50ms, world_.plan.slow_exhaust_max)
                                                                  : draw(world_.random, 2ms, 40ms);
  run(needed, [this] {
    exhausted_ = true;
    replayed_ = dir.wal.size();
    world_.pg_event(member_);
    prove_freeze();
    schedule_connect();
  });
  world_.pg_event(member_);
}

void Postgres::become_primary() {
  was_primary_ = true;
  phase_ = Phase::primary;
  dir.control = model::ControlState::in_production;
  exhausted_ = true;
  visible_base_ = dir.wal.size();
  replayed_ = dir.wal.size();
  append(Record::Kind::checkpoint);
  dir.checkpoint = dir.wal.size() - 1;
  world_.note("{}: postgres is PRIMARY on timeline {}, term {}, {}", world_.name(member_), timeline(), loaded_.term,
              loaded_.gate_closed ? "gate closed" : "GATE OPEN");
  world_.checkers.on_primary(member_);
  world_.pg_event(member_);
}

void Postgres::drop_clients() {
  std::vector<Waiter> waiters = std::move(waiters_);
  waiters_.clear();
  for (Waiter& waiter : waiters) waiter.reply(WriteResult::unknown);
}

void Postgres::postmaster_gone() {
  postmaster_ = false;
  sessions.end(SessionEnd::orphaned);
  close_all();
  if (!told_to_stop) exit_unexpected = true;
  world_.pg_event(member_);
}

void Postgres::kill_postmaster() {
  if (!postmaster_) return;
  world_.note("{}: the postmaster is killed", world_.name(member_));
  postmaster_gone();
  drop_clients();  // waiting backends notice the postmaster's death and leave without a word
  if (phase_ != Phase::primary) server_ended();
}

void Postgres::kill_rest(std::function<void()> done) {
  if (!server.alive()) {
    done();
    return;
  }
  if (!dying_at_) {
    bool slow = world_.random.chance(world_.plan.slow_kill);
    Duration needed = slow ? draw_skewed(world_.random, 20ms, world_.plan.slow_kill_max) : draw_skewed(world_.random, 500us, 15ms);
    dying_at_ = world_.events.now() + needed;
  }
  if (postmaster_) {
    postmaster_gone();
    drop_clients();
  }
  // SIGKILL ends stopped processes, too: not through `server`.
  world_.events.at(*dying_at_, [this, life = server.life(), done = std::move(done)] {
    if (server.life() == life) server_ended();
    done();
  });
}

void Postgres::vanish() {
  if (!server.alive()) return;
  sessions.end(SessionEnd::vanished);
  told_to_stop = true;
  postmaster_ = false;
  server_ended();
  exit_unexpected = false;
}

void Postgres::server_ended() {
  close_all();
  sessions.end(SessionEnd::killed);
  drop_clients();
  postmaster_ = false;
  phase_ = Phase::stopped;
  exhausted_ = false;
  connecting_ = false;
  statements_ = 0;
  server.die();
  world_.pg_event(member_);
}

void Postgres::crash_backend() {
  if (!postmaster_ || phase_ == Phase::starting) return;
  sessions.end(SessionEnd::crash);
  if (world_.options.rules.h3_agent_restarts) {
    postmaster_gone();
    server_ended();
    return;
  }
  // restart_after_crash: the postmaster begins again by itself, with the configuration that it has.
  close_all();
  drop_clients();
  bool standby = phase_ != Phase::primary;
  phase_ = Phase::starting;
  run(draw_skewed(world_.random, 20ms, 400ms), [this, standby] {
    if (standby) {
      enter_recovery();
    } else {
      become_primary();
    }
  });
}

void Postgres::stop_fast(std::function<void()> done) {
  if (!postmaster_) {
    kill_rest(std::move(done));
    return;
  }
  if (phase_ == Phase::stopping) return;  // once more; whoever asks hears of the end as everybody does
  sessions.end(SessionEnd::shutdown);
  if (phase_ == Phase::starting || phase_ == Phase::recovery || phase_ == Phase::promoting) {
    phase_ = Phase::stopping;
    close_receiver();
    run(draw_skewed(world_.random, 5ms, 100ms), [this, done = std::move(done)] {
      if (!postmaster_) return;
      if (dir.control == model::ControlState::in_archive_recovery) dir.control = model::ControlState::shut_down_in_recovery;
      dir.checkpoint = std::min(replayed_, dir.wal.size() - 1);
      postmaster_gone();
      server_ended();
      done();
    });
    return;
  }
  phase_ = Phase::stopping;
  dir.control = model::ControlState::shutting_down;
  drop_clients();
  run(draw_skewed(world_.random, 5ms, 150ms), [this, done = std::move(done)] {
    if (!postmaster_) return;
    append(Record::Kind::shutdown);
    dir.control = model::ControlState::shut_down;
    dir.checkpoint = dir.wal.size() - 1;
    world_.pg_event(member_);
    finish_stop(done, 0);
  });
}

void Postgres::finish_stop(std::function<void()> done, int tries) {
  // The walsenders want every standby that is connected to have everything.
  bool behind = std::any_of(senders_.begin(), senders_.end(),
                            [this](const auto& c) { return c->up_open && !c->is_clone && c->flushed < end(); });
  if (behind && tries < 500) {
    run(10ms, [this, done = std::move(done), tries] { finish_stop(done, tries + 1); });
    return;
  }
  run(draw_skewed(world_.random, 1ms, 100ms), [this, done = std::move(done)] {
    if (!postmaster_) return;
    postmaster_gone();
    server_ended();
    done();
  });
}

void Postgres::promote(std::function<void(bool)> done) {
  if (!answers() || phase_ != Phase::recovery || world_.random.chance(world_.plan.job_failure * 0.2)) {
    done(false);
    return;
  }
  phase_ = Phase::promoting;
  close_receiver();
  Duration needed = draw_skewed(world_.random, 10ms, 300ms);
  run(needed, [this, done = std::move(done)] {
    if (phase_ != Phase::promoting) {
      done(false);
      return;
    }
    uint32_t next = timeline();
    for (uint32_t known : dir.known_timelines) next = std::max(next, known);
    ++next;
    Record record;
    record.kind = Record::Kind::end_of_recovery;
    record.author = static_cast<uint8_t>(member_);
    record.timeline = next;
    record.index = static_cast<uint32_t>(dir.wal.size());
    record.end = Lsn{end().bytes + 64};
    dir.timeline_starts[next] = end();
    dir.known_timelines.insert(next);
    visible_base_ = dir.wal.size();
    replayed_ = dir.wal.size();
    dir.wal.push_back(world_.records.add(record));
    dir.standby_signal = false;
    dir.control = model::ControlState::in_production;
    phase_ = Phase::primary;
    was_primary_ = true;
    exhausted_ = true;
    world_.note("{}: PROMOTED to timeline {}, term {}, at {}", world_.name(member_), next, loaded_.term, format_lsn(end()));
    world_.checkers.on_primary(member_);
    sessions.promoted();
    pump();
    world_.pg_event(member_);
    done(true);
  });
}

void Postgres::checkpoint(std::function<void()> done) {
  Duration needed = draw_skewed(world_.random, 5ms, 400ms);
  busy_checkpointer(needed);
  run(needed, [this, done = std::move(done)] {
    if (phase_ == Phase::primary) {
      append(Record::Kind::checkpoint);
      dir.checkpoint = dir.wal.size() - 1;
    } else {
      dir.checkpoint = std::min(replayed_, dir.wal.size() - 1);
    }
    done();
  });
}

void Postgres::lose_tail(size_t count) {
  if (dir.wal.size() <= count + 1) return;
  size_t left = dir.wal.size() - count;
  dir.wal.resize(left);
  dir.checkpoint = std::min(dir.checkpoint, left - 1);
  log_replaced();
}

void Postgres::log_replaced() {
  dir.timeline_starts.clear();
  uint32_t last = 0;
  Lsn before;
  for (size_t i = 0; i < dir.wal.size(); ++i) {
    const Record& record = world_.records[dir.wal[i]];
    if (record.timeline != last) {
      last = record.timeline;
      dir.timeline_starts[last] = before;
      dir.known_timelines.insert(last);
    }
    before = record.end;
  }
  if (dir.timeline_starts.contains(1)) dir.timeline_starts[1] = Lsn{};
  measured_ = false;
}

// ---- configuration and the startup process ------------------------------------------------------------------------

void Postgres::reload() {
  if (!postmaster_) return;
  run(draw_skewed(world_.random, 500us, 15ms), [this] {
    if (postmaster_) take_reload();
  });
}

void Postgres::take_reload() {
  bool other_term = loaded_.term != dir.on_disk.term;
  loaded_ = dir.on_disk;
  if (other_term && phase_ == Phase::primary) world_.checkers.on_primary(member_);
  auto delay = [this] {
    return world_.random.chance(world_.plan.slow_reload) ? draw_skewed(world_.random, 5ms, world_.plan.slow_reload_max)
                                                        : draw(world_.random, 100us, 5ms);
  };
  for (const auto& connection : senders_) {
    // The postmaster signals its children one after the other, and each reads the files when it gets to it.
    run(draw(world_.random, 0us, 500us), [this, connection] {
      if (!connection->signalled_at) connection->signalled_at = end();
    });
    run(500us + delay(), [this, connection] {
      if (!connection->up_open) return;
      connection->signalled_at.reset();
      connection->names = loaded_.sync_names;
      release(*connection);
    });
  }
  run(std::max(delay(), checkpointer_busy_until_ - world_.events.now()), [this] { take_sync_flag(); });
  bool same = obeyed_.upstream == loaded_.upstream && obeyed_.upstream_member == loaded_.upstream_member &&
              obeyed_.freeze_nonce == loaded_.freeze_nonce;
  if (phase_ == Phase::recovery && !same) {
    Duration late = world_.random.chance(world_.plan.slow_obey) ? draw_skewed(world_.random, 20ms, world_.plan.slow_obey_max)
                                                                : draw_skewed(world_.random, 1ms, 40ms);
    // A frozen configuration cancels the queries that block replay.
    if (loaded_.upstream == model::PgConfig::Upstream::frozen) {
      replay_blocked_until_ = std::min(replay_blocked_until_, world_.events.now() + late);
    }
    run(std::max(late, replay_blocked_until_ - world_.events.now()), [this] { obey(); });
  }
  world_.pg_event(member_);
}

void Postgres::take_sync_flag() {
  if (world_.events.now() < checkpointer_busy_until_) {
    run(checkpointer_busy_until_ - world_.events.now(), [this] { take_sync_flag(); });
    return;
  }
  sync_defined_ = loaded_.sync_names.kind != model::SyncNames::Kind::none;
  if (!sync_defined_) {
    std::vector<Waiter> waiters = std::move(waiters_);
    waiters_.clear();
    for (Waiter& waiter : waiters) {
      acknowledge(waiter.record);
      waiter.reply(WriteResult::ok);
    }
  }
}

void Postgres::obey() {
  if (phase_ != Phase::recovery) return;
  bool other = obeyed_.upstream != loaded_.upstream || obeyed_.upstream_member != loaded_.upstream_member;
  obeyed_ = loaded_;
  frozen_nonce_.clear();
  if (other) close_receiver();
  if (exhausted_) {
    prove_freeze();
    schedule_connect();
  }
}

void Postgres::prove_freeze() {
  if (obeyed_.upstream != model::PgConfig::Upstream::frozen || obeyed_.freeze_nonce.empty()) return;
  run(draw_skewed(world_.random, 4ms, 250ms), [this, nonce = obeyed_.freeze_nonce] {
    if (phase_ != Phase::recovery || obeyed_.freeze_nonce != nonce || receiver_ || !exhausted_) return;
    if (obeyed_.upstream != model::PgConfig::Upstream::frozen) return;
    frozen_nonce_ = nonce;
    world_.pg_event(member_);
  });
}

void Postgres::block_replay(Duration length) { replay_blocked_until_ = std::max(replay_blocked_until_, world_.events.now() + length); }

void Postgres::busy_checkpointer(Duration length) {
  checkpointer_busy_until_ = std::max(checkpointer_busy_until_, world_.events.now() + length);
}

void Postgres::advance_replay() {
  if (exhausted_ && world_.events.now() >= replay_blocked_until_) replayed_ = dir.wal.size();
}

Lsn Postgres::reported_position() const {
  if (dir.wal.empty()) return {};
  if (exhausted_ || phase_ == Phase::primary || phase_ == Phase::stopping) return end();
  return replayed_ == 0 ? Lsn{} : world_.records[dir.wal[std::min(replayed_, dir.wal.size()) - 1]].end;
}

void Postgres::forget_exit() {
  exit_unexpected = false;
  exit_after_panic = false;
  incarnation_ = 0;
}

std::string Postgres::summary() const {
  static constexpr std::string_view phases[] = {"stopped", "starting", "in recovery", "promoting", "primary", "stopping"};
  static constexpr std::string_view data[] = {"empty", "unusable", "present"};
  std::string text = fmt::format("postgres {}{}, data {}{}, {} records to {} of timeline {}, ssn {}({}), gate {}, term {}", phases[static_cast<size_t>(phase_)],
                                 server.frozen() ? " (frozen)" : "", data[static_cast<size_t>(dir.kind)], dir.novote ? " novote" : dir.pristine ? " pristine" : "", dir.wal.size(),
                                 format_lsn(end()), timeline(), loaded_.sync_names.count, fmt::join(loaded_.sync_names.names, " "),
                                 loaded_.gate_closed ? "closed" : "open", loaded_.term);
  if (phase_ == Phase::recovery) text += fmt::format(", {}, {}", exhausted_ ? "exhausted" : "replaying", receiver_ ? "streams from " + world_.name(receiver_->up) : "no receiver");
  for (const auto& c : senders_) text += fmt::format(", sends to {} (sent {}, flushed {}{}{})", c->application_name, c->sent, format_lsn(c->flushed), c->sending ? ", sending" : "", c->up_open && c->down_open ? "" : ", half open");
  return text;
}

void Postgres::look(model::LocalPg& out) const {
  out.data = dir.kind;
  out.unusable_why = dir.why;
  out.standby_signal = dir.standby_signal;
  out.novote = dir.novote;
  out.pristine = dir.kind == model::DataDir::present && dir.pristine;
  out.timeline_nonces = dir.nonces;
  out.timeline_starts = dir.timeline_starts;
  out.control.reset();
  if (dir.kind == model::DataDir::present && !dir.wal.empty()) {
    const Record& last = world_.records[dir.wal[std::min(dir.checkpoint, dir.wal.size() - 1)]];
    out.control = model::ControlFile{dir.system_id, dir.control, last.timeline, last.end, true};
  }
  out.process = !postmaster_                                                                 ? model::PgProcess::stopped
                : phase_ == Phase::starting                                                  ? model::PgProcess::starting
                : phase_ == Phase::stopping                                                  ? model::PgProcess::stopping
                                                                                             : model::PgProcess::running;
  out.all_dead = all_dead();
  out.incarnation = incarnation_;
  out.exit_unexpected = exit_unexpected;
  out.exit_after_panic = exit_after_panic;
  out.wal_end.reset();
  const bool ending = postmaster_ && phase_ == Phase::stopping && dir.control == model::ControlState::shut_down;
  if (((measured_ && !postmaster_) || ending) && !dir.wal.empty()) out.wal_end = model::Position{0, timeline(), end()};
  out.on_disk = dir.on_disk;
  out.loaded.reset();
  out.answers.reset();
  out.query_timed_out = postmaster_ && server.frozen() && phase_ != Phase::starting;
  if (!answers()) return;
  out.loaded = loaded_;
  model::PgAnswers& a = out.answers.emplace();
  a.in_recovery = phase_ != Phase::primary;
  a.timeline = timeline();
  a.flush_lsn = reported_position();
  a.replay_lsn = replayed_ == 0 ? Lsn{} : world_.records[dir.wal[std::min(replayed_, dir.wal.size()) - 1]].end;
  if (phase_ == Phase::primary) {
    a.insert_lsn = end();
  } else {
    a.wal_exhausted = exhausted_;
    a.replay_paused = false;
    if (exhausted_ && world_.events.now() >= replay_blocked_until_) a.replay_lsn = end();
    if (receiver_) {
      a.streaming_from = world_.name(receiver_->up);
      a.streaming_timeline = world_.node(receiver_->up).pg.timeline();
    }
    a.frozen_nonce = frozen_nonce_;
  }
  for (const auto& c : senders_) {
    if (!c->up_open) continue;
    model::ReplicationRow row;
    row.pid = c->pid;
    row.application_name = c->application_name;
    row.client_addr = world_.name(c->down);
    row.state = c->is_clone ? "backup" : c->flushed >= c->caught_up_at ? "streaming" : "catchup";
    bool named = loaded_.sync_names.names.contains(c->application_name);
    // Each walsender shows its own reading of the setting.
    row.sync_priority = c->names.names.contains(c->application_name) ? 1 : 0;
    row.sync_state = !named ? "async" : loaded_.sync_names.kind == model::SyncNames::Kind::any ? "quorum" : "sync";
    row.sent = row.write = row.flush = row.replay = c->flushed;
    a.replication.push_back(std::move(row));
  }
  a.client_transactions = statements_ + static_cast<int>(waiters_.size());
  a.client_sessions = a.client_transactions;
  a.pooler_auth_present = dir.pooler_auth;
}

}  // namespace pgdba::sim
