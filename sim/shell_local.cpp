// The local lane of Shell: files, PostgreSQL, and the jobs that replace a data directory.
#include <algorithm>

#include "world.h"

namespace pgdba::sim {

using Outcome = ha::Completion::Outcome;

namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // clang 16 needs it

constexpr ha::Lane kLocal = ha::Lane::local;

}  // namespace

void Shell::local_simple(uint64_t turn, Duration needed, std::function<bool()> effect) {
  run(needed, [this, turn, effect = std::move(effect)] {
    if (lanes_[static_cast<size_t>(kLocal)].turn != turn || !lanes_[static_cast<size_t>(kLocal)].busy) return;
    bool done = !node_.disk_refuses && effect();
    finish(kLocal, turn, done ? Outcome::done : Outcome::failed);
  });
}

void Shell::local_action(uint64_t turn, const ha::Action& action) {
  Postgres& pg = node_.pg;
  DataDirectory& dir = pg.dir;
  Duration disk = draw_skewed(world_.random, 300us, world_.plan.disk * 3);
  auto ended = [this, turn](bool done) { finish(kLocal, turn, done ? Outcome::done : Outcome::failed); };
  std::visit(
      Overloaded{
          [&](const ha::WriteFreezeRecord& a) {
            local_simple(turn, disk, [this, record = a.record] {
              node_.freeze_record = record;
              return true;
            });
          },
          [&](const ha::ClearFreezeRecord&) {
            local_simple(turn, disk, [this] {
              node_.freeze_record.reset();
              return true;
            });
          },
          [&](const ha::ApplyConfig& a) {
            local_simple(turn, disk * 2, [&pg, &dir, config = a.config] {
              if (dir.kind == model::DataDir::empty) return false;
              dir.on_disk = config;
              pg.reload();
              return true;
            });
          },
          [&](const ha::StartPg& a) { start_pg(turn, a.as_primary); },
          [&](const ha::StopPg& a) { stop_pg(turn, a); },
          [&](const ha::Promote& a) { promote(turn, a, 500); },
          [&](const ha::MeasureWal&) {
            local_simple(turn, disk * 2, [&pg] {
              if (pg.postmaster()) return false;
              pg.measure_wal();
              return true;
            });
          },
          [&](const ha::InitDb&) { init_db(turn); },
          [&](const ha::CreateUsers&) {
            local_simple(turn, disk * 4, [&pg] {
              if (!pg.is_primary() || !pg.answers()) return false;
              pg.append(Record::Kind::other);
              return true;
            });
          },
          [&](const ha::EnsurePoolerAuth&) {
            local_simple(turn, disk * 4, [&pg, &dir] {
              if (!pg.is_primary() || !pg.answers()) return false;
              pg.append(Record::Kind::other);
              dir.pooler_auth = true;
              return true;
            });
          },
          [&](const ha::Clone& a) { clone(turn, a); },
          [&](const ha::Rewind& a) { rewind(turn, a); },
          [&](const ha::RecordTimeline& a) {
            local_simple(turn, disk, [&dir, number = a.timeline, nonce = a.nonce] {
              if (dir.kind != model::DataDir::present) return false;
              dir.nonces[number] = nonce;
              return true;
            });
          },
          [&](const ha::SkipTimelines& a) {
            local_simple(turn, disk, [&dir, taken = a.taken] {
              if (dir.kind != model::DataDir::present) return false;
              dir.known_timelines.insert(taken.begin(), taken.end());
              return true;
            });
          },
          [&](const ha::MarkNovote&) {
            local_simple(turn, disk, [&dir] {
              dir.novote = true;
              return true;
            });
          },
          [&](const ha::ClearNovote&) {
            local_simple(turn, disk, [&dir] {
              dir.novote = false;
              return true;
            });
          },
          [&](const ha::ProbeSync&) {
            if (!pg.answers()) return ended(false);
            server_life_ = pg.server.life();
            pg.probe_sync([this, turn](bool waits) {
              node_.agent.run(life_, [this, turn, waits] { finish(kLocal, turn, Outcome::done, [waits](ha::Completion& c) { c.succeeded = waits; }); });
            });
          },
          [&](const ha::WriteWal&) {
            local_simple(turn, disk, [&pg] {
              if (!pg.is_primary() || !pg.answers()) return false;
              pg.append(Record::Kind::other);
              return true;
            });
          },
          [&](const ha::EndWalsender& a) {
            local_simple(turn, 2ms, [&pg, pid = a.pid] {
              pg.end_walsender(pid);
              return true;
            });
          },
          [&](const ha::SyncSlots&) { local_simple(turn, 2ms, [&pg] { return pg.answers(); }); },
          [&](const auto&) { ended(false); },
      },
      action.body);
}

void Shell::start_pg(uint64_t turn, bool as_primary) {
  local_simple(turn, draw(world_.random, 5ms, 40ms), [this, as_primary] {
    Postgres& pg = node_.pg;
    if (pg.dir.kind != model::DataDir::present || !pg.all_dead()) return false;
    node_.start_guardian();
    if (as_primary) pg.dir.pristine = false;
    pg.dir.standby_signal = !as_primary;
    pg.start();
    return true;
  });
}

void Shell::stop_pg(uint64_t turn, const ha::StopPg& stop) {
  auto ended = [this, turn] { node_.agent.run(life_, [this, turn] { finish(kLocal, turn, Outcome::done); }); };
  if (node_.pg.all_dead()) {
    node_.put_standby_signal();
    ended();
    return;
  }
  node_.pg.told_to_stop = true;
  auto at_rest = [this, ended] {
    node_.put_standby_signal();
    ended();
  };
  if (stop.mode == ha::StopPg::Mode::immediate) {
    run(draw(world_.random, 50us, 500us), [this, at_rest] { node_.end_postgres(at_rest); });
    return;
  }
  node_.pg.stop_fast(at_rest);
  run(stop.budget, [this, turn, at_rest] {
    LaneState& local = lanes_[static_cast<size_t>(kLocal)];
    if (local.turn == turn && local.busy) node_.end_postgres(at_rest);
  });
}

void Shell::promote(uint64_t turn, const ha::Promote& a, int tries) {
  Postgres& pg = node_.pg;
  if (pg.answers() && pg.loaded() != a.loaded) {
    run(4ms, [this, turn, a, tries] {
      if (lanes_[static_cast<size_t>(kLocal)].turn != turn || !lanes_[static_cast<size_t>(kLocal)].busy) return;
      if (tries == 0) return finish(kLocal, turn, Outcome::failed);
      promote(turn, a, tries - 1);
    });
    return;
  }
  if (a.timeline != 0 && !pg.dir.known_timelines.empty() && *pg.dir.known_timelines.rbegin() >= a.timeline) {
    return finish(kLocal, turn, Outcome::failed);
  }
  server_life_ = pg.server.life();
  pg.dir.pristine = false;
  pg.promote([this, turn](bool done) { node_.agent.run(life_, [this, turn, done] { finish(kLocal, turn, done ? Outcome::done : Outcome::failed); }); });
}

void Shell::init_db(uint64_t turn) {
  DataDirectory& dir = node_.pg.dir;
  if (dir.kind == model::DataDir::present) {
    finish(kLocal, turn, Outcome::failed);
    return;
  }
  dir = {};
  dir.kind = model::DataDir::unusable;
  dir.why = "initdb has not finished";
  job_ = Job::init;
  local_simple(turn, draw_skewed(world_.random, 200ms, 1500ms), [this] {
    job_ = Job::none;
    world_.make_first_data(node_.pg);
    node_.pg.dir.pristine = true;
    node_.pg.dir.standby_signal = true;
    return true;
  });
}

void Shell::clone(uint64_t turn, const ha::Clone& clone) {
  Postgres& pg = node_.pg;
  int from = world_.find(clone.from);
  if (!pg.all_dead() || from < 0 || from == node_.index) {
    local_simple(turn, 5ms, [] { return false; });
    return;
  }
  if (pg.dir.kind == model::DataDir::present) world_.checkers.on_replace(node_.index);
  pg.dir = {};
  pg.dir.kind = model::DataDir::unusable;
  pg.dir.why = "clone has not finished";
  pg.dir.novote = true;
  Postgres& source = world_.node(from).pg;
  if (!source.answers() || !world_.network.both_ways(node_.index, from)) {
    local_simple(turn, 300ms, [] { return false; });
    return;
  }
  job_ = Job::clone;
  // With the rule on the connection of a base backup bears a name of its own, which no setting lists.
  bool own_name = !world_.options.rules.w9_no_clone_of_voter;
  clone_connection_ = source.open_clone(node_.index, own_name ? node_.name : "pgdba_clone_" + node_.name);
  uint64_t source_life = source.server.life();
  size_t checkpoint = source.dir.checkpoint;
  local_simple(turn, draw_skewed(world_.random, 150ms, world_.plan.slow_exhaust_max * 2), [this, from, source_life, checkpoint] {
    Postgres& up = world_.node(from).pg;
    bool alive = clone_connection_ && clone_connection_->up_open;
    break_job();
    if (!alive || up.server.life() != source_life || !up.answers() || !world_.network.both_ways(node_.index, from) ||
        world_.random.chance(world_.plan.job_failure)) {
      return false;
    }
    DataDirectory& dir = node_.pg.dir;
    dir.kind = model::DataDir::present;
    dir.why.clear();
    dir.system_id = up.dir.system_id;
    dir.standby_signal = true;
    dir.nonces = up.dir.nonces;
    dir.known_timelines = up.dir.known_timelines;
    dir.pooler_auth = up.dir.pooler_auth;
    dir.wal = up.dir.wal;
    if (!up.exhausted() && !up.is_primary()) dir.wal.resize(std::max<size_t>(1, up.replayed()));
    dir.checkpoint = std::min(checkpoint, dir.wal.size() - 1);
    dir.control = model::ControlState::in_archive_recovery;
    node_.pg.log_replaced();
    return true;
  });
}

void Shell::rewind(uint64_t turn, const ha::Rewind& rewind) {
  Postgres& pg = node_.pg;
  int from = world_.find(rewind.from);
  if (pg.dir.kind != model::DataDir::present || !pg.all_dead() || from < 0 || from == node_.index ||
      !world_.node(from).pg.answers() || !world_.network.both_ways(node_.index, from)) {
    local_simple(turn, 200ms, [] { return false; });
    return;
  }
  job_ = Job::rewind;
  world_.checkers.on_replace(node_.index);
  pg.dir.kind = model::DataDir::unusable;
  pg.dir.why = "rewind has not finished";
  uint64_t source_life = world_.node(from).pg.server.life();
  local_simple(turn, draw_skewed(world_.random, 60ms, 900ms), [this, from, source_life] {
    Postgres& up = world_.node(from).pg;
    DataDirectory& dir = node_.pg.dir;
    job_ = Job::none;
    if (up.server.life() != source_life || !world_.network.both_ways(node_.index, from) || world_.random.chance(world_.plan.job_failure)) {
      return false;  // unusable
    }
    dir.kind = model::DataDir::present;
    dir.why.clear();
    size_t same = common_prefix(dir.wal, up.dir.wal);
    // "no rewind required": judged by timeline numbers.
    if (up.timeline() == node_.pg.timeline() || same == dir.wal.size()) return true;
    dir.wal = up.dir.wal;
    if (!up.exhausted() && !up.is_primary()) dir.wal.resize(std::max<size_t>(same, up.replayed()));
    dir.checkpoint = same == 0 ? 0 : std::min(same - 1, dir.wal.size() - 1);
    dir.standby_signal = true;
    dir.nonces = up.dir.nonces;
    dir.known_timelines.insert(up.dir.known_timelines.begin(), up.dir.known_timelines.end());
    dir.control = model::ControlState::in_archive_recovery;
    node_.pg.log_replaced();
    world_.note("{}: rewound to {}", node_.name, format_lsn(node_.pg.end()));
    return true;
  });
}

void Shell::break_job() {
  job_ = Job::none;
  if (clone_connection_) {
    if (clone_connection_->up_open) world_.node(clone_connection_->up).pg.close(clone_connection_);
    clone_connection_.reset();
  }
}

void Shell::interrupted() { break_job(); }

void Shell::fail_job() {
  if (job_ != Job::none) overtake("the job was killed");
}

}  // namespace pgdba::sim
