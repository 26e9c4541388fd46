// The part of Postgres that two servers play together: connecting, streaming, acknowledging, releasing commits.
#include <algorithm>

#include "postgres.h"
#include "world.h"

namespace pgdba::sim {

// ---- connecting ---------------------------------------------------------------------------------------------------

void Postgres::schedule_connect() {
  if (connecting_ || receiver_ || phase_ != Phase::recovery || !exhausted_) return;
  if (obeyed_.upstream != model::PgConfig::Upstream::member) return;
  connecting_ = true;
  run(draw_skewed(world_.random, 2ms, 200ms), [this] {
    connecting_ = false;
    try_connect();
    schedule_connect();
  });
}

void Postgres::try_connect() {
  if (receiver_ || phase_ != Phase::recovery || obeyed_.upstream != model::PgConfig::Upstream::member) return;
  int upstream = world_.find(obeyed_.upstream_member);
  if (upstream < 0 || upstream == member_) return;
  Postgres& up = world_.node(upstream).pg;
  if (!up.answers() || !world_.network.both_ways(member_, upstream)) return;
  if (up.dir.system_id != dir.system_id) return;
  connect(upstream);
}

void Postgres::connect(int upstream) {
  Postgres& up = world_.node(upstream).pg;
  size_t same = common_prefix(dir.wal, up.dir.wal);
  bool diverged = false;
  if (same < dir.wal.size()) {
    if (same == up.dir.wal.size()) return;  // "requested starting point is ahead of the WAL flush position of this server"
    if (up.timeline() != timeline()) return;  // "requested timeline does not contain minimum recovery point"
    if (up.end() < end()) return;
    diverged = true;  // the same timeline number: bytes flow, and fit nothing (E7)
  }
  if (world_.network.rejected(member_, upstream)) return;
  // "replication slot is active": each member streams through a slot of its own (use_slots, the default), so a walsender that
  // has not noticed the end of its connection keeps the next one out. Without slots one standby would count twice (E5b).
  for (const auto& old : up.senders_) {
    if (old->up_open && !old->is_clone && old->down == member_) return;
  }
  auto connection = std::make_shared<Connection>();
  connection->pid = world_.next_pid();
  connection->up = upstream;
  connection->down = member_;
  connection->up_life = up.server.life();
  connection->down_life = server.life();
  connection->application_name = world_.name(member_);
  connection->diverged = diverged;
  connection->sent = diverged ? up.dir.wal.size() : dir.wal.size();
  connection->caught_up_at = up.end();
  connection->names = up.loaded_.sync_names;
  receiver_ = connection;
  up.senders_.push_back(connection);
  for (const auto& [number, start] : up.dir.timeline_starts) dir.known_timelines.insert(number);
  world_.note("{}: streams from {}{}", world_.name(member_), world_.name(upstream), diverged ? " what does not fit" : "");
  reply(connection);
  up.pump(connection);
  watch(connection);
  world_.pg_event(member_);
}

std::shared_ptr<Connection> Postgres::open_clone(int down, const std::string& application_name) {
  auto connection = std::make_shared<Connection>();
  connection->pid = world_.next_pid();
  connection->up = member_;
  connection->down = down;
  connection->up_life = server.life();
  connection->application_name = application_name;
  connection->is_clone = true;
  connection->names = loaded_.sync_names;
  senders_.push_back(connection);
  reply(connection);
  return connection;
}

// This end, a walsender's, is closed; the other one hears of it when the network lets it.
void Postgres::close(const std::shared_ptr<Connection>& connection) {
  connection->up_open = false;
  std::erase(senders_, connection);
  if (connection->is_clone) return;
  int down = connection->down;
  world_.network.send(member_, down, [this, down, connection] {
    Postgres& standby = world_.node(down).pg;
    standby.server.run(connection->down_life, [&standby, connection] {
      connection->down_open = false;
      if (standby.receiver_ != connection) return;
      standby.receiver_.reset();
      standby.schedule_connect();
    });
  });
}

bool Postgres::streams_from(int member) const { return receiver_ && receiver_->up == member && receiver_->up_open && !receiver_->diverged; }

void Postgres::close_receiver() {
  if (!receiver_) return;
  std::shared_ptr<Connection> connection = std::move(receiver_);
  receiver_.reset();
  connection->down_open = false;
  // The walsender hears of it, unless the link is cut.
  int up = connection->up;
  world_.network.send(member_, up, [this, up, connection] {
    if (connection->up_open) world_.node(up).pg.close(connection);
  });
}

void Postgres::close_all() {
  close_receiver();
  std::vector<std::shared_ptr<Connection>> senders = senders_;
  for (const auto& connection : senders) close(connection);
}

// wal_sender_timeout and wal_receiver_timeout: each end gives a silent peer up by itself.
void Postgres::watch(const std::shared_ptr<Connection>& connection) {
  world_.events.after(1s, [this, connection] {
    if (!connection->up_open && !connection->down_open) return;
    Postgres& up = world_.node(connection->up).pg;
    // An end whose other end is gone hears nothing, either: the message that would have told it may have been lost.
    bool heard = connection->up_open && connection->down_open && world_.network.both_ways(connection->up, connection->down) && up.server.runs() &&
                 server.runs();
    connection->quiet = heard ? 0 : connection->quiet + 1;
    if (connection->quiet >= 4) {
      if (connection->up_open && !up.server.frozen()) up.close(connection);
      if (connection->down_open && !server.frozen()) {
        connection->down_open = false;
        if (receiver_ == connection) {
          receiver_.reset();
          schedule_connect();
        }
      }
    }
    watch(connection);
  });
}

void Postgres::reset_connections(int other) {
  std::vector<std::shared_ptr<Connection>> senders = senders_;
  for (const auto& connection : senders) {
    if (connection->down == other) close(connection);
  }
  if (receiver_ && receiver_->up == other) {
    close_receiver();
    schedule_connect();
  }
}

void Postgres::end_walsender(int pid) {
  for (const auto& connection : senders_) {
    if (connection->pid != pid) continue;
    std::shared_ptr<Connection> ended = connection;
    close(ended);
    return;
  }
}

// ---- streaming ----------------------------------------------------------------------------------------------------

RecordId Postgres::append(Record::Kind kind) {
  Record record;
  record.kind = kind;
  record.author = static_cast<uint8_t>(member_);
  record.timeline = timeline() == 0 ? 1 : timeline();
  record.index = static_cast<uint32_t>(dir.wal.size());
  record.end = Lsn{(dir.wal.empty() ? 0x1000000 : end().bytes) + 64 + 8 * world_.random.below(60)};
  RecordId id = world_.records.add(record);
  dir.wal.push_back(id);
  if (phase_ == Phase::primary || phase_ == Phase::stopping) replayed_ = dir.wal.size();
  pump();
  return id;
}

void Postgres::append_copies(const Wal& from, size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    uint32_t number = world_.records[from[i]].timeline;
    if (number != timeline() && !dir.wal.empty()) {
      dir.timeline_starts[number] = end();
      dir.known_timelines.insert(number);
    }
    dir.wal.push_back(from[i]);
  }
}

void Postgres::pump() {
  for (const auto& connection : senders_) pump(connection);
}

void Postgres::pump(const std::shared_ptr<Connection>& connection) {
  if (!connection->up_open || connection->sending || connection->sent >= dir.wal.size()) return;
  if (connection->is_clone) {
    connection->sent = dir.wal.size();
    reply(connection);
    return;
  }
  connection->sending = true;
  Wal batch(dir.wal.begin() + static_cast<ptrdiff_t>(connection->sent), dir.wal.end());
  connection->sent = dir.wal.size();
  Duration flush = draw_skewed(world_.random, 50us, world_.plan.disk);
  world_.network.send_in(world_.network.latency() + flush, member_, connection->down, [this, connection, batch = std::move(batch)] {
    Postgres& standby = world_.node(connection->down).pg;
    standby.server.run(connection->down_life, [&standby, connection, batch] { standby.deliver(connection, batch); });
    connection->sending = false;
    run(Duration{}, [this, connection] { pump(connection); });
  });
}

void Postgres::deliver(const std::shared_ptr<Connection>& connection, const Wal& batch) {
  if (!connection->down_open || receiver_ != connection) return;
  if (!connection->diverged) {
    if (world_.records[batch.front()].index != dir.wal.size()) return;
    append_copies(batch, 0, batch.size());
    advance_replay();
    pump();  // cascading
  }
  reply(connection);
}

void Postgres::reply(const std::shared_ptr<Connection>& connection) {
  Postgres& up = world_.node(connection->up).pg;
  Lsn flushed = connection->diverged || connection->is_clone ? up.end() : end();
  Duration delay = world_.network.latency();
  if (world_.random.chance(world_.plan.slow_reply)) delay += draw_skewed(world_.random, 5ms, world_.plan.slow_reply_max);
  world_.network.send_in(delay, connection->down, connection->up, [this, connection, flushed] {
    Postgres& primary = world_.node(connection->up).pg;
    primary.server.run(connection->up_life, [&primary, connection, flushed] {
      if (!connection->up_open) return;
      connection->flushed = std::max(connection->flushed, flushed);
      // A walsender reads its settings before it reads a reply, and sends no WAL between the two: a reply to WAL that was
      // written after its signal is counted by the new setting, however late it came to read it (WalSndLoop).
      if (connection->signalled_at && flushed > *connection->signalled_at) {
        connection->signalled_at.reset();
        connection->names = primary.loaded_.sync_names;
      }
      primary.release(*connection);
    });
  });
}

// ---- commits ------------------------------------------------------------------------------------------------------

// What the walsender of `connection` does after a reply: it counts by its own reading of the setting, over the
// walsenders that count themselves by theirs.
void Postgres::release(const Connection& connection) {
  if (phase_ != Phase::primary || !postmaster_) return;
  const model::SyncNames& names = connection.names;
  if (names.kind == model::SyncNames::Kind::none || names.count < 1 || !names.names.contains(connection.application_name)) return;
  std::vector<Lsn> flushed;
  if (names.kind == model::SyncNames::Kind::any) {
    for (const auto& other : senders_) {
      if (other->up_open && other->names.names.contains(other->application_name)) flushed.push_back(other->flushed);
    }
    std::sort(flushed.begin(), flushed.end(), std::greater<>{});
  } else {
    // FIRST n: the first n of the list that are connected; all of them must have flushed.
    for (const std::string& name : names.names) {
      for (const auto& other : senders_) {
        if (other->up_open && other->application_name == name && static_cast<int>(flushed.size()) < names.count) {
          flushed.push_back(other->flushed);
        }
      }
    }
    std::sort(flushed.begin(), flushed.end(), std::greater<>{});
  }
  auto count = static_cast<size_t>(names.count);
  if (flushed.size() < count) return;
  release_to(flushed[count - 1], names.count);
}

void Postgres::release_to(Lsn end, int count) {
  if (end <= released_) return;
  released_ = end;
  std::vector<Waiter> waiters = std::move(waiters_);
  waiters_.clear();
  for (Waiter& waiter : waiters) {
    if (waiter.end > end) {
      waiters_.push_back(std::move(waiter));
      continue;
    }
    world_.checkers.on_sync_release(waiter.record, member_, count);
    acknowledge(waiter.record);
    waiter.reply(WriteResult::ok);
  }
}

void Postgres::acknowledge(RecordId record) { world_.checkers.on_acknowledged(record, member_); }

void Postgres::client_write(bool old_session, std::function<void(WriteResult)> reply, std::function<void(RecordId)> written) {
  // The gate keeps new connections out; a session from before it was closed goes on (G5).
  bool may = old_session ? postmaster_ && answers() : takes_clients();
  if (!may || phase_ != Phase::primary) {
    reply(WriteResult::failed);
    return;
  }
  Duration work = world_.random.chance(world_.plan.long_statement) ? draw_skewed(world_.random, 5ms, 3s) : draw_skewed(world_.random, 100us, 2ms);
  ++statements_;
  uint64_t life = server.life();
  // The statement runs in a backend: it needs the server's memory, not its postmaster.
  run(work, [this, reply, written = std::move(written), life] {
    --statements_;
    if (phase_ != Phase::primary) {
      reply(WriteResult::failed);
      return;
    }
    RecordId record = append(Record::Kind::write);
    world_.checkers.on_written(record);
    if (written) written(record);
    run(draw_skewed(world_.random, 50us, world_.plan.disk), [this, reply, record, life] {
      if (phase_ != Phase::primary || server.life() != life) {
        reply(WriteResult::unknown);
        return;
      }
      if (!sync_defined_) {
        acknowledge(record);
        reply(WriteResult::ok);
        return;
      }
      Lsn end = world_.records[record].end;
      if (released_ >= end) {
        acknowledge(record);
        reply(WriteResult::ok);
        return;
      }
      if (!postmaster_) {
        reply(WriteResult::unknown);
        return;
      }
      waiters_.push_back({record, end, reply});
    });
  });
}

bool Postgres::client_read() {
  if (!takes_clients()) return false;
  if (phase_ == Phase::primary) world_.checkers.on_primary_read(member_);
  for (RecordId id : world_.checkers.unacknowledged()) {
    if (!holds(world_.records, dir.wal, id)) continue;
    Record& record = world_.records[id];
    bool visible = phase_ == Phase::primary ? record.index < visible_base_ : record.author == member_ && record.index < replayed_;
    if (visible) world_.checkers.on_read(id, member_);
  }
  return true;
}

void Postgres::probe_sync(std::function<void(bool)> done) {
  if (!is_primary() || !postmaster_) {
    done(false);
    return;
  }
  append(Record::Kind::other);
  run(draw_skewed(world_.random, 500us, 10ms), [this, done = std::move(done)] {
    bool waits = sync_defined_ && phase_ == Phase::primary;
    // With the real names in force the probe may be released before anybody looks.
    if (waits && !loaded_.sync_names.names.contains(std::string(model::kSyncPlaceholder))) waits = world_.random.chance(0.8);
    done(waits);
  });
}

}  // namespace pgdba::sim
