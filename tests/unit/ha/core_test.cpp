// The core as a whole on views made by hand: what the simulator does not draw.
#include "ha/core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace pgdba::ha {
namespace {

using model::PgConfig;
using model::SyncNames;

// One member of a cluster led by "a" with voters b and c. Every action succeeds at once.
struct Member {
  model::ClusterView cluster;
  View view;
  Core core;
  std::vector<Action> given;

  static Self self(std::string name) {
    Self self;
    self.name = std::move(name);
    self.run_id = "run";
    self.conn_url = "postgres://127.0.0.1:1/postgres";
    self.api_url = "http://127.0.0.1:2/patroni";
    self.version = "4.1.0";
    self.pgdba_version = "0.1.0";
    return self;
  }

  // Names of actions that fail.
  std::set<std::string> failing;

  explicit Member(std::string name) : Member(self(std::move(name))) {}
  explicit Member(Self self) : core(std::move(self)) {
    cluster.revision = 100;
    cluster.cluster_id = 1;
    cluster.raft_term = 1;
    cluster.initialize = {"7", 1, 1, 0};
    model::DynamicConfig config;
    config.timings = {3s, 1s, 1s};
    config.synchronous_mode = model::SyncMode::quorum;
    cluster.config = {config, 2, 2, 0};
    cluster.leader = {"a", 50, 50, 9};
    cluster.sync = {model::SyncState{"a", 1, {"b", "c"}}, 51, 51, 0};
    cluster.term = {model::TermRecord{1, "a", "", "bootstrap", 1}, 50, 50, 0};
    cluster.timelines[1] = {model::TimelineRecord{1, "a", "n", 0, {}}, 50, 50, 0};
    for (const char* each : {"a", "b", "c"}) {
      model::Member member;
      member.conn_url = "postgres://" + std::string(each) + ":1/postgres";
      member.pgdba_version = "0.1.0";
      member.state = model::PgState::running;
      member.role = *each == 'a' ? model::Role::primary : model::Role::replica;
      if (*each == 'a') member.ready_term = 1;  // its gate is open
      cluster.members[each] = {member, 60, 60, 9};
    }
    view.cluster = &cluster;
    view.now = BootTime{1h};
    model::LocalPg& pg = view.pg;
    pg.data = model::DataDir::present;
    pg.control = model::ControlFile{7, model::ControlState::in_production, 1, Lsn{100}, true};
    pg.timeline_nonces[1] = "n";
    pg.process = model::PgProcess::running;
    pg.guardian_alive = true;
    pg.all_dead = false;
    pg.incarnation = 1;
    pg.on_disk.gate_closed = false;
    pg.answers.emplace();
    pg.answers->timeline = 1;
    pg.answers->flush_lsn = Lsn{1000};
  }

  void step() {
    view.now += 20ms;
    view.pg.measured_at = view.now;
    cluster.as_of = view.now;
    Decision decision = core.step(view);
    view.completed.clear();
    for (const Action& action : decision.actions) {
      given.push_back(action);
      if (lane_of(action.body) == Lane::memory) continue;
      Completion done;
      done.id = action.id;
      done.sent_at = done.answered_at = view.now;
      done.succeeded = true;
      done.ttl = 3s;
      done.era = {cluster.cluster_id, 1};
      if (std::holds_alternative<GrantLease>(action.body)) done.lease = 9;
      if (std::holds_alternative<Txn>(action.body)) done.revision = ++cluster.revision;
      if (failing.contains(std::string(name_of(action.body)))) {
        done.outcome = Completion::Outcome::failed;
        done.succeeded = false;
        done.text = "Input/output error";
        view.completed.push_back(done);
        continue;
      }
      if (const auto* apply = std::get_if<ApplyConfig>(&action.body)) {
        view.pg.on_disk = apply->config;
        view.pg.loaded = apply->config;
        if (view.pg.answers) {  // each walsender reads the new list
          for (model::ReplicationRow& row : view.pg.answers->replication) {
            row.sync_priority = apply->config.sync_names.names.contains(row.application_name) ? 1 : 0;
          }
        }
      }
      view.completed.push_back(done);
    }
  }
};

// "a", found by an agent that starts beside it.
struct Leading : Member {
  Leading() : Member("a") {
    view.page = {true, view.now + 2s, 9, 50, 1};
    model::LocalPg& pg = view.pg;
    pg.on_disk.upstream = PgConfig::Upstream::none;
    pg.on_disk.sync_names = {SyncNames::Kind::any, 1, {"b", "c"}};
    pg.on_disk.term = 1;
    pg.loaded = pg.on_disk;
    pg.answers->in_recovery = false;
    pg.answers->insert_lsn = Lsn{1000};
    for (const char* name : {"b", "c"}) {
      model::ReplicationRow row;
      row.pid = *name;
      row.application_name = name;
      row.state = "streaming";
      row.sync_priority = 1;
      row.flush = Lsn{1000};
      pg.answers->replication.push_back(row);
    }
  }
};

// "b", which streams from it.
struct Following : Member {
  Following() : Following(self("b")) {}
  explicit Following(Self self) : Member(std::move(self)) {
    model::LocalPg& pg = view.pg;
    pg.standby_signal = true;
    pg.on_disk.upstream = PgConfig::Upstream::member;
    pg.on_disk.upstream_member = "a";
    pg.on_disk.upstream_conn_url = "postgres://a:1/postgres";
    pg.on_disk.sync_names = {SyncNames::Kind::any, 1, {std::string(model::kSyncPlaceholder)}};
    pg.loaded = pg.on_disk;
    pg.answers->wal_exhausted = true;
    pg.answers->streaming_from = "a";
    pg.answers->streaming_timeline = 1;
  }
};

// E5b: without slots a standby that reconnects counts twice, in any n but 1.
TEST(Core, without_slots_one_confirmation_is_waited_for) {
  for (bool use_slots : {true, false}) {
    Leading it;
    it.cluster.config->value.synchronous_node_count = 2;
    it.cluster.config->value.postgresql.use_slots = use_slots;
    it.cluster.beat = {model::Beat{}, 70, 70, 0};
    for (int i = 0; i < 200; ++i) {
      it.view.pg.answers->insert_lsn = Lsn{1000 + static_cast<uint64_t>(i)};
      for (model::ReplicationRow& row : it.view.pg.answers->replication) row.flush = it.view.pg.answers->insert_lsn;
      it.step();
      for (const Action& action : it.given) {
        const auto* txn = std::get_if<Txn>(&action.body);
        for (size_t w = 0; txn != nullptr && w < txn->puts.size(); ++w) {
          const auto* value = std::get_if<Value>(&txn->puts[w].value);
          if (value == nullptr || !std::holds_alternative<model::SyncState>(*value)) continue;
          it.cluster.sync = {std::get<model::SyncState>(*value), it.cluster.revision, it.cluster.revision, 0};
        }
      }
      it.given.clear();
    }
    EXPECT_EQ(it.view.pg.on_disk.sync_names.count, use_slots ? 2 : 1);
    EXPECT_EQ(it.cluster.sync->value.quorum, use_slots ? 0 : 1);
  }
}

// Somebody deletes the key `config`. The defaults say asynchronous mode: the leader dropped its sync set, and commits
// were acknowledged by nobody but itself.
TEST(Core, a_deleted_config_key_changes_nothing) {
  Leading it;
  for (int i = 0; i < 10; ++i) it.step();
  it.cluster.config.reset();
  for (int i = 0; i < 200; ++i) it.step();
  EXPECT_EQ(it.view.pg.on_disk.sync_names.names, (std::set<std::string>{"b", "c"}));
  bool written_again = false;
  for (const Action& action : it.given) {
    const auto* txn = std::get_if<Txn>(&action.body);
    if (txn == nullptr) continue;
    for (const model::Key& key : txn->deletes) EXPECT_NE(key.kind, model::KeyKind::sync) << action.reason;
    for (const Write& put : txn->puts) written_again = written_again || put.key.kind == model::KeyKind::config;
  }
  EXPECT_TRUE(written_again) << "and the leader puts it back";
}

// The answer of etcd came before the watch showed the key. The leader then took its own switchover for one of an agent
// before it, aborted it and began another.
TEST(Core, a_leader_knows_the_switchover_that_it_has_published) {
  Leading it;
  for (int i = 0; i < 10; ++i) it.step();
  it.cluster.failover = {model::FailoverRequest{"a", "b", {}}, ++it.cluster.revision, 1, 0};
  std::optional<model::Switchover> published;
  int transactions = 0;
  const auto look = [&] {
    for (; transactions < static_cast<int>(it.given.size()); ++transactions) {
      const auto* txn = std::get_if<Txn>(&it.given[static_cast<size_t>(transactions)].body);
      if (txn == nullptr) continue;
      for (const Write& put : txn->puts) {
        if (put.key.kind == model::KeyKind::switchover) published = std::get<model::Switchover>(std::get<Value>(put.value));
      }
    }
  };
  for (int i = 0; i < 20 && !published; ++i) {
    it.step();
    look();
  }
  ASSERT_TRUE(published);
  const model::Revision shown = it.cluster.revision;
  it.cluster.revision = shown - 1;  // the watch lags
  for (int i = 0; i < 3; ++i) it.step();
  it.cluster.revision = std::max(it.cluster.revision, shown);
  it.cluster.switchover = {*published, shown, shown, 0};
  for (int i = 0; i < 3; ++i) it.step();
  look();
  EXPECT_EQ(published->state, model::Switchover::State::draining) << published->reason;
}

// A pooler that had been killed a moment before a switchover made it fail: its key stays until its lease ends.
TEST(Core, a_switchover_does_not_fail_for_a_pooler_that_says_nothing) {
  enum class Pooler { none, silent, holds, drains };
  for (const Pooler pooler : {Pooler::none, Pooler::silent, Pooler::holds, Pooler::drains}) {
    SCOPED_TRACE(static_cast<int>(pooler));
    Leading it;
    if (pooler != Pooler::none) it.cluster.poolers["p"] = {model::PoolerRecord{}, 70, 70, 9};
    for (int i = 0; i < 10; ++i) it.step();
    it.cluster.failover = {model::FailoverRequest{"a", "b", {}}, ++it.cluster.revision, 1, 0};
    std::optional<model::Switchover> published;
    int aborts = 0;
    size_t seen = 0;
    const auto step = [&] {
      it.step();
      for (; seen < it.given.size(); ++seen) {
        const auto* txn = std::get_if<Txn>(&it.given[seen].body);
        if (txn == nullptr) continue;
        for (const Write& put : txn->puts) {
          if (put.key.kind != model::KeyKind::switchover) continue;
          const auto& value = std::get<model::Switchover>(std::get<Value>(put.value));
          if (value.state == model::Switchover::State::aborted) ++aborts;
          else published = value;
        }
      }
    };
    for (int i = 0; i < 20 && !published; ++i) step();
    ASSERT_TRUE(published);
    it.cluster.switchover = {*published, it.cluster.revision, it.cluster.revision, 0};
    it.cluster.failover.reset();
    if (pooler == Pooler::holds) it.cluster.poolers["p"] = {model::PoolerRecord{model::PoolerRecord::State::holding, 1, 0, 1}, ++it.cluster.revision, 70, 9};
    if (pooler == Pooler::drains) it.cluster.poolers["p"] = {model::PoolerRecord{model::PoolerRecord::State::drained, 1, 0, 0}, ++it.cluster.revision, 70, 9};
    const auto stopped = [&] { return std::ranges::any_of(it.given, [](const Action& each) { return std::holds_alternative<StopPg>(each.body); }); };
    for (int i = 0; i < 50; ++i) step();  // a second of the grace of two
    EXPECT_EQ(stopped(), pooler == Pooler::none || pooler == Pooler::drains);
    EXPECT_EQ(aborts, 0);
    for (int i = 0; i < 60 && aborts == 0; ++i) step();
    EXPECT_EQ(stopped(), pooler != Pooler::holds);
    EXPECT_EQ(aborts > 0, pooler == Pooler::holds);
  }
}

// Half a second of each switchover was the candidate closing its gate, with the old primary gone already.
TEST(Core, the_candidate_of_a_switchover_closes_its_gate_while_the_primary_drains) {
  Following it;
  for (int i = 0; i < 5; ++i) it.step();
  EXPECT_FALSE(it.view.pg.on_disk.gate_closed);
  model::Switchover switchover;
  switchover.from = "a";
  switchover.to = "b";
  switchover.term = 1;
  switchover.hold_ms = 7000;
  it.cluster.switchover = {switchover, ++it.cluster.revision, 1, 0};
  for (int i = 0; i < 5; ++i) it.step();
  EXPECT_TRUE(it.view.pg.on_disk.gate_closed);
  EXPECT_EQ(it.view.pg.on_disk.upstream, PgConfig::Upstream::member) << "it still needs the shutdown record";

  it.cluster.switchover->value.state = model::Switchover::State::aborted;
  it.cluster.switchover->mod = ++it.cluster.revision;
  for (int i = 0; i < 5; ++i) it.step();
  EXPECT_FALSE(it.view.pg.on_disk.gate_closed) << "aborted: clients may read here again";

  it.cluster.switchover->value.state = model::Switchover::State::draining;
  it.cluster.switchover->mod = ++it.cluster.revision;
  for (int i = 0; i < 600; ++i) it.step();
  EXPECT_FALSE(it.view.pg.on_disk.gate_closed) << "nobody holds for it any more";
}

bool has(const std::vector<Action>& given, const char* name) {
  return std::any_of(given.begin(), given.end(), [&](const Action& action) { return name_of(action.body) == name; });
}

// Simulator, seed 3294: a PANIC in the paused state, and nothing was written down. The next leader listed its predecessor
// by name, and the predecessor, started again, elected itself without its lost tail.
TEST(Core, a_panic_is_written_down_in_pause_as_well) {
  Leading it;
  it.cluster.config->value.pause = true;
  for (int i = 0; i < 10; ++i) it.step();
  EXPECT_FALSE(has(it.given, "mark_novote"));
  it.view.pg.process = model::PgProcess::stopped;
  it.view.pg.all_dead = true;
  it.view.pg.answers.reset();
  it.view.pg.loaded.reset();
  it.view.pg.exit_unexpected = it.view.pg.exit_after_panic = true;
  for (int i = 0; i < 5; ++i) it.step();
  EXPECT_TRUE(has(it.given, "mark_novote"));
  EXPECT_FALSE(has(it.given, "start_pg")) << "paused";
}

// Somebody replaced postgresql.conf, or it could not be read: what the files seem to say is "no synchronous standbys". Put in
// force, that releases every commit that waits, while etcd says that b or c may lead.
TEST(Core, what_the_files_seem_to_say_never_takes_the_names_out_of_force) {
  for (bool strange : {false, true}) {
    Leading it;
    for (int i = 0; i < 10; ++i) it.step();
    it.given.clear();
    PgConfig somebody_elses;  // as pg::read_on_disk gives it
    somebody_elses.upstream = PgConfig::Upstream::member;
    somebody_elses.gate_closed = false;
    it.view.pg.on_disk = strange ? somebody_elses : PgConfig{};
    it.view.pg.answers->replication.clear();  // and no standby is there
    for (int i = 0; i < 10; ++i) it.step();
    for (const Action& action : it.given) {
      if (const auto* apply = std::get_if<ApplyConfig>(&action.body)) {
        EXPECT_NE(apply->config.sync_names.kind, SyncNames::Kind::none) << action.reason;
      }
    }
    EXPECT_TRUE(has(it.given, "apply_config")) << "the files are put right";
  }
}

// What "a" says of itself: on timeline 1, no further than the others.
UpstreamHistory history_of_a() {
  UpstreamHistory history;
  history.from = "a";
  history.timeline = 1;
  history.flush_lsn = Lsn{1000};
  history.in_recovery = false;
  return history;
}

void crash(Member& it) {
  it.view.pg.process = model::PgProcess::stopped;
  it.view.pg.all_dead = true;
  it.view.pg.answers.reset();
  it.view.pg.loaded.reset();
  it.view.pg.exit_unexpected = true;
}

bool released(const std::vector<Action>& given) {
  return std::any_of(given.begin(), given.end(), [&](const Action& action) {
    const auto* txn = std::get_if<Txn>(&action.body);
    return txn != nullptr && std::any_of(txn->deletes.begin(), txn->deletes.end(), [](const model::Key& key) { return key.kind == model::KeyKind::leader; });
  });
}

// A disk that fails takes postgres and every file action with it, and the agent goes on renewing the lock.
TEST(Core, an_owner_whose_disk_is_gone_lets_the_lock_go) {
  for (bool panic : {false, true}) {
    Leading it;
    for (int i = 0; i < 10; ++i) it.step();
    crash(it);
    it.view.pg.exit_after_panic = panic;
    it.failing = {"measure_wal", "mark_novote", "start_pg", "apply_config"};
    for (int i = 0; i < 50; ++i) it.step();
    EXPECT_FALSE(released(it.given)) << "not within a second: it may be over soon";
    for (int i = 0; i < 700; ++i) it.step();
    EXPECT_TRUE(released(it.given));
  }
}

// Crash recovery takes as long as it takes (primary_start_timeout, 300 s): nobody is better off with a member that starts anew.
TEST(Core, a_long_recovery_keeps_the_lock) {
  Leading it;
  for (int i = 0; i < 10; ++i) it.step();
  crash(it);
  it.view.pg.wal_end = model::Position{1, 1, Lsn{1000}};
  for (int i = 0; i < 20; ++i) it.step();
  it.view.pg.process = model::PgProcess::starting;
  it.view.pg.all_dead = false;
  for (int i = 0; i < 10000; ++i) it.step();  // 200 s
  EXPECT_FALSE(released(it.given));
  it.view.pg.process = model::PgProcess::running;  // and the first question is not answered yet
  for (int i = 0; i < 100; ++i) it.step();
  EXPECT_FALSE(released(it.given)) << "it has only just come up";
  for (int i = 0; i < 700; ++i) it.step();
  EXPECT_TRUE(released(it.given)) << "it came up, and answers nothing";
}

// With the next start nobody sees the PANIC any more.
TEST(Core, nothing_starts_before_a_panic_is_marked) {
  Following it;
  for (int i = 0; i < 3; ++i) it.step();
  crash(it);
  it.view.pg.exit_after_panic = true;
  it.view.pg.wal_end = model::Position{0, 1, Lsn{1000}};
  it.failing = {"mark_novote"};
  UpstreamHistory history = history_of_a();
  auto run = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      history.asked_at = it.view.now;
      it.view.upstream = history;
      it.step();
    }
  };
  run(300);
  EXPECT_FALSE(has(it.given, "start_pg"));
  it.failing.clear();
  run(100);
  it.view.pg.novote = true;
  run(100);
  EXPECT_TRUE(has(it.given, "start_pg"));
}

// The shutdown checkpoint is when fsync errors surface: the position at which such a stop ended proves nothing (H4).
TEST(Core, a_planned_stop_that_ends_with_a_panic_offers_no_position) {
  Leading it;
  it.view.requests.push_back({5, Request::Kind::shutdown, false});
  for (int i = 0; i < 60; ++i) it.step();
  EXPECT_TRUE(has(it.given, "stop_pg"));
  crash(it);
  it.view.pg.exit_unexpected = false;
  it.view.pg.exit_after_panic = it.view.pg.novote = true;
  it.view.pg.wal_end = model::Position{0, 1, Lsn{900}};
  it.given.clear();
  for (int i = 0; i < 20; ++i) it.step();
  for (const Action& action : it.given) {
    const auto* txn = std::get_if<Txn>(&action.body);
    if (txn == nullptr) continue;
    for (const Write& write : txn->puts) EXPECT_NE(write.key.kind, model::KeyKind::switchover) << action.reason;
  }
  EXPECT_TRUE(released(it.given));
}

TEST(Core, a_restart_is_answered_by_what_became_of_the_start) {
  for (bool fails : {false, true}) {
    Following it;
    it.view.requests.push_back({7, Request::Kind::restart, false});
    for (int i = 0; i < 3; ++i) it.step();
    ASSERT_TRUE(has(it.given, "stop_pg"));
    EXPECT_FALSE(has(it.given, "answer"));
    crash(it);
    it.view.pg.wal_end = model::Position{0, 1, Lsn{1000}};
    UpstreamHistory history = history_of_a();
    if (fails) it.failing = {"start_pg"};
    for (int i = 0; i < 20; ++i) {
      history.asked_at = it.view.now;
      it.view.upstream = history;
      it.step();
    }
    ASSERT_TRUE(has(it.given, "start_pg"));
    auto answer = std::find_if(it.given.begin(), it.given.end(), [](const Action& action) { return name_of(action.body) == "answer"; });
    ASSERT_NE(answer, it.given.end());
    EXPECT_EQ(std::get<Answer>(answer->body).ok, !fails);
  }
}

// It was carried out minutes later, when nobody expected it any more.
TEST(Core, a_restart_that_nobody_waits_for_any_more_is_not_done) {
  for (bool given_up : {false, true}) {
    Leading it;
    for (int i = 0; i < 5; ++i) it.step();
    it.view.pg.loaded.reset();  // what is in force cannot be read: it does not begin
    it.view.requests.push_back({1, Request::Kind::restart, false});
    for (int i = 0; i < 5; ++i) it.step();
    ASSERT_FALSE(has(it.given, "stop_pg"));
    if (given_up) it.view.requests.clear();
    for (int i = 0; i < 5; ++i) it.step();
    it.view.pg.loaded = it.view.pg.on_disk;
    for (int i = 0; i < 5; ++i) it.step();
    EXPECT_EQ(has(it.given, "stop_pg"), !given_up);
  }
}

TEST(Core, a_start_that_fails_is_not_tried_in_a_tight_loop) {
  Following it;
  for (int i = 0; i < 3; ++i) it.step();
  crash(it);
  it.view.pg.wal_end = model::Position{0, 1, Lsn{1000}};
  it.failing = {"start_pg"};
  UpstreamHistory history = history_of_a();
  for (int i = 0; i < 500; ++i) {  // 10 s
    history.asked_at = it.view.now;
    it.view.upstream = history;
    it.step();
  }
  auto starts = std::count_if(it.given.begin(), it.given.end(), [](const Action& action) { return name_of(action.body) == "start_pg"; });
  EXPECT_GE(starts, 4);
  EXPECT_LE(starts, 12);
}

// A former leader whose WAL went past the fork. What becomes of its data directory is for the settings to say, as in Patroni.
struct Diverged : Following {
  explicit Diverged(Self self) : Following(std::move(self)) {
    cluster.sync->value = model::SyncState{"a", 0, {"c"}};
    cluster.term->value = model::TermRecord{2, "a", "b", "failover", 2};
    cluster.timelines[2] = {model::TimelineRecord{2, "a", "n2", 1, Lsn{500}}, 50, 50, 0};
    cluster.members["a"].value.term = cluster.members["a"].value.ready_term = 2;
    crash(*this);
    view.pg.wal_end = model::Position{0, 1, Lsn{1000}};
  }
  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      UpstreamHistory history;
      history.from = "a";
      history.asked_at = view.now;
      history.term = 2;
      history.timeline = 2;
      history.ends[1] = Lsn{500};
      history.flush_lsn = Lsn{2000};
      history.in_recovery = false;
      view.upstream = history;
      step();
      if (has(given, "mark_novote")) view.pg.novote = true;
    }
  }
};

TEST(Core, a_data_directory_is_given_up_only_where_the_settings_say_so) {
  struct Row {
    const char* name;
    bool rewind, on_failure, on_diverged;
    bool rewinds, clones;
  };
  const Row rows[] = {
      {"rewind, then a clone", true, true, true, true, true},
      {"rewind, and no clone when it fails", true, false, false, true, false},
      {"no rewind, a clone", false, false, true, false, true},
      {"neither", false, false, false, false, false},
      {"the flag of a rewind that is off", false, true, false, false, false},
  };
  for (const Row& row : rows) {
    Self self = Member::self("b");
    self.use_pg_rewind = row.rewind;
    self.remove_data_on_rewind_failure = row.on_failure;
    self.remove_data_on_diverged_timelines = row.on_diverged;
    Diverged it(self);
    it.failing = {"rewind"};
    it.run(600);
    EXPECT_EQ(has(it.given, "rewind"), row.rewinds) << row.name;
    EXPECT_EQ(has(it.given, "clone"), row.clones) << row.name;
    EXPECT_FALSE(has(it.given, "start_pg")) << row.name;
  }
}

TEST(Core, who_is_listed_by_name_votes_only_after_it_has_caught_up) {
  Following it;
  it.view.pg.novote = true;
  it.cluster.members["a"].value.term = 1;
  for (int i = 0; i < 20; ++i) it.step();
  EXPECT_TRUE(has(it.given, "fetch_history"));
  EXPECT_FALSE(has(it.given, "clear_novote"));
  UpstreamHistory history;
  history.from = "a";
  history.asked_at = it.view.now;
  history.term = 1;
  history.timeline = 1;
  history.flush_lsn = Lsn{2000};
  history.in_recovery = false;
  it.view.upstream = history;
  for (int i = 0; i < 20; ++i) it.step();
  EXPECT_FALSE(has(it.given, "clear_novote")) << "it has 1000 of 2000";
  it.view.pg.answers->flush_lsn = Lsn{2000};
  it.step();
  EXPECT_TRUE(has(it.given, "clear_novote"));
}

// Seed 100886: a member's lease ended while its initdb ran, and another one made the cluster. What its own initdb left holds
// nothing of anybody's; data of any other origin is never given up because it does not fit.
TEST(Core, only_a_pristine_data_directory_of_another_cluster_is_given_up) {
  for (bool pristine : {true, false}) {
    for (bool led : {true, false}) {
      Following it;
      it.cluster.initialize = {"8", 1, 1, 0};
      it.cluster.sync.reset();
      it.view.pg.pristine = pristine;
      if (!led) it.cluster.leader.reset();
      for (int i = 0; i < 10; ++i) it.step();
      EXPECT_EQ(has(it.given, "exit"), !pristine);
      EXPECT_EQ(has(it.given, "stop_pg"), pristine && led);
      EXPECT_FALSE(has(it.given, "clone")) << "not under a server that runs";
      if (!led || !pristine) continue;
      it.view.pg.process = model::PgProcess::stopped;
      it.view.pg.all_dead = true;
      it.view.pg.answers.reset();
      it.view.pg.loaded.reset();
      for (int i = 0; i < 10; ++i) it.step();
      EXPECT_TRUE(has(it.given, "clone"));
    }
  }
}

TEST(Core, a_pristine_data_directory_does_for_the_next_attempt_to_bootstrap) {
  for (bool pristine : {true, false}) {
    Following it;
    model::ClusterView nothing;
    nothing.revision = 100;
    nothing.cluster_id = 1;
    nothing.raft_term = 1;
    it.cluster = nothing;
    it.view.pg.process = model::PgProcess::stopped;
    it.view.pg.all_dead = true;
    it.view.pg.answers.reset();
    it.view.pg.pristine = pristine;
    for (int i = 0; i < 20; ++i) it.step();
    const bool tries = std::ranges::any_of(it.given, [](const Action& a) { return a.reason == "trying to bootstrap a new cluster"; });
    EXPECT_EQ(tries, pristine);
    EXPECT_FALSE(has(it.given, "init_db"));
  }
}

TEST(Core, a_new_cluster_is_left_to_others_for_as_long_as_configured) {
  Self patient = Member::self("b");
  patient.bootstrap_delay = 10s;
  Following it(patient);
  model::ClusterView nothing;
  nothing.revision = 100;
  nothing.cluster_id = 1;
  nothing.raft_term = 1;
  it.cluster = nothing;
  it.view.pg.data = model::DataDir::empty;
  it.view.pg.control.reset();
  it.view.pg.process = model::PgProcess::stopped;
  it.view.pg.all_dead = true;
  it.view.pg.answers.reset();
  const auto tries = [&] { return std::ranges::any_of(it.given, [](const Action& a) { return a.reason == "trying to bootstrap a new cluster"; }); };
  for (int i = 0; i < 450; ++i) it.step();  // 20 ms each
  EXPECT_FALSE(tries());
  for (int i = 0; i < 100; ++i) it.step();
  EXPECT_TRUE(tries());
}

// Seed 102716: the leader waited for the word of a voter that its WAL is whole (H4), and the voters, stopped, waited for it to
// become the primary. A stopped server has no position to tell.
TEST(Core, a_stopped_voter_starts_for_a_leader_that_does_not_become_a_primary) {
  for (bool primary : {false, true}) {
    Following it;
    it.cluster.members["a"].value.role = primary ? model::Role::primary : model::Role::replica;
    it.cluster.members["a"].value.term = 1;
    it.view.pg.process = model::PgProcess::stopped;
    it.view.pg.all_dead = true;
    it.view.pg.answers.reset();
    it.view.pg.loaded.reset();
    it.view.pg.wal_end = model::Position{1, 1, Lsn{1000}};
    for (int i = 0; i < 100; ++i) it.step();
    EXPECT_FALSE(has(it.given, "start_pg")) << "it will be a primary in a moment";
    for (int i = 0; i < 100; ++i) it.step();
    EXPECT_EQ(has(it.given, "start_pg"), !primary);
    EXPECT_EQ(it.view.pg.on_disk.upstream == PgConfig::Upstream::none, !primary);
  }
}

// Seed 2702: the agent was restarted beside a primary that was stopped (SIGSTOP), in pause, and another member led by then.
TEST(Core, a_server_that_does_not_answer_may_be_a_primary_when_its_files_do_not_make_it_a_standby) {
  using State = model::ControlState;
  for (bool signal : {true, false}) {
    for (State state : {State::in_archive_recovery, State::in_production}) {
      Following it;
      it.view.pg.answers.reset();
      it.view.pg.loaded.reset();
      it.view.pg.query_timed_out = true;
      it.view.pg.standby_signal = signal;
      it.view.pg.control->state = state;
      for (int i = 0; i < 5; ++i) it.step();
      // A running primary gets standby.signal back at once (G2): seed 306278.
      EXPECT_EQ(has(it.given, "stop_pg"), !signal || state == State::in_production);
    }
  }
}

// Seed 4553: an older write of the member key landed after the newer one, and the leader never read what that had said.
TEST(Core, a_member_key_that_was_overwritten_is_written_again) {
  Following it;
  for (int i = 0; i < 100; ++i) it.step();
  const auto writes = [&] {
    return std::count_if(it.given.begin(), it.given.end(), [](const Action& action) {
      const auto* txn = std::get_if<Txn>(&action.body);
      return txn != nullptr && !txn->puts.empty() && txn->puts.front().key.kind == model::KeyKind::member;
    });
  };
  const auto before = writes();
  EXPECT_GT(before, 0);
  for (int i = 0; i < 20; ++i) it.step();
  EXPECT_EQ(writes(), before);
  it.cluster.members["b"].mod = ++it.cluster.revision;
  for (int i = 0; i < 20; ++i) it.step();
  EXPECT_GT(writes(), before);
}

// Seed 394: the pause was remembered, and the key that would end it was gone with everything else.
TEST(Core, etcd_wiped_in_pause_is_written_again_by_the_primary_which_serves_on) {
  Leading it;
  it.cluster.config->value.pause = true;
  for (int i = 0; i < 20; ++i) it.step();
  const model::ClusterView before = it.cluster;
  it.cluster = {};
  it.cluster.cluster_id = 2;
  it.cluster.raft_term = 1;
  it.cluster.revision = 2;
  const Txn* again = nullptr;
  for (int i = 0; i < 40 && again == nullptr; ++i) {
    if (i == 5) {
      for (const char* name : {"b", "c"}) it.cluster.members[name] = {before.members.at(name).value, ++it.cluster.revision, 1, 0};
      for (const char* name : {"b", "c"}) it.cluster.members[name].value.term = 1;
    }
    const size_t given = it.given.size();
    it.step();
    for (size_t k = given; k < it.given.size(); ++k) {
      const auto* txn = std::get_if<Txn>(&it.given[k].body);
      if (txn != nullptr && txn->puts.size() > 3) again = txn;
    }
  }
  ASSERT_NE(again, nullptr);
  for (const Write& put : again->puts) {
    if (put.key.kind == model::KeyKind::term) {
      const auto& term = std::get<model::TermRecord>(std::get<Value>(put.value));
      EXPECT_EQ(term.term, 1) << "the same primary, the same term";
      EXPECT_EQ(term.timeline, 1u);
    }
  }
  EXPECT_TRUE(std::any_of(again->puts.begin(), again->puts.end(), [](const Write& put) { return put.key.kind == model::KeyKind::config; }));
  EXPECT_FALSE(has(it.given, "stop_pg"));
}

}  // namespace
}  // namespace pgdba::ha
