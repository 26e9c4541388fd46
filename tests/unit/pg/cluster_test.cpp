// A primary and standbys: clone, follow, freeze with proof, promote, re-point, rewind, and jobs that are killed
// half-way.
#include <gtest/gtest.h>

#include <algorithm>

#include "pg/marks.h"
#include "pg/probe_file.h"
#include "unit/pg/node.h"

namespace pgdba::pg {
namespace {

class Cluster : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(a_.bootstrap());
    ASSERT_TRUE(record_timeline(a_.layout(), 1, "first"));
    ASSERT_TRUE(a_.ok(a_.run(sync_slots(*a_.server, {"a", "b", "c"}, a_.in(2s)))));
    a_.ask("create table public.t (i int)");
  }
  void TearDown() override {
    if (HasFailure()) {
      for (const Node* node : {&a_, &b_, &c_}) std::cout << "---- log of " << node->name() << "\n" << node->log_tail();
    }
  }
  void expect_frozen(Node& node, const std::string& nonce, Duration within) {
    BootTime begin = loop_.now();
    ASSERT_TRUE(node.apply(Node::frozen(nonce)));
    BootTime applied = loop_.now();
    ASSERT_TRUE(node.until([&](const LocalPg& pg) { return pg.answers && pg.answers->frozen_nonce == nonce; }, within))
        << node.log_tail();
    std::cout << "frozen: applied after " << (applied - begin) / 1ms << " ms, proved after "
              << (loop_.now() - begin) / 1ms << " ms\n";
    EXPECT_EQ(node.last.answers->streaming_from, "");
    EXPECT_TRUE(node.last.answers->wal_exhausted);
    EXPECT_EQ(node.last.answers->flush_lsn, node.last.answers->replay_lsn);
  }
  // The primary's side of the proof: a commit that needs this standby waits for ever.
  void expect_no_acknowledgement(Node& primary, const std::string& standby) {
    PgConfig config = primary.look().on_disk;
    config.sync_names = Node::any(1, {standby});
    ASSERT_TRUE(primary.apply(config));
    Program commit(primary.psql_command("insert into public.t values (-1)"), primary.password());
    ASSERT_TRUE(primary.until([&](const LocalPg&) {
      return primary.ask(
                 "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and query like '%(-1)%'") == "1";
    }));
    nap(300ms);
    EXPECT_EQ(primary.ask("select count(*) from pg_stat_activity where wait_event = 'SyncRep' and query like '%(-1)%'"),
              "1")
        << "somebody has acknowledged";
  }

  Scratch scratch_;
  net::Loop loop_;
  Node a_{loop_, scratch_.path, "a"};
  Node b_{loop_, scratch_.path, "b"};
  Node c_{loop_, scratch_.path, "c"};
};

TEST_F(Cluster, CloneAndFollow) {
  ASSERT_TRUE(b_.clone_from(a_));
  LocalPg pg = b_.look();
  EXPECT_TRUE(pg.novote) << "a copy does not vote until the leader has confirmed it";
  EXPECT_EQ(pg.timeline_nonces, (std::map<uint32_t, std::string>{{1, "first"}}))
      << "the history of the data comes with the data";
  ASSERT_TRUE(clear_novote(b_.layout()));
  EXPECT_FALSE(b_.look().novote);
  EXPECT_GT(b_.progress.total_kib + b_.progress.done_kib, 0) << b_.progress.step;
  ASSERT_TRUE(b_.streams_from(a_));
  EXPECT_EQ(*b_.last.loaded, Node::following(a_));
  EXPECT_EQ(b_.last.answers->streaming_timeline, 1U);
  EXPECT_EQ(b_.last.answers->timeline, 1U);
  EXPECT_TRUE(b_.last.answers->wal_exhausted);
  EXPECT_FALSE(exists(b_.layout().in_run("clone.pass")));
  ASSERT_TRUE(a_.until([](const LocalPg& p) { return p.answers && p.answers->replication.size() == 1; }));
  const model::ReplicationRow row = a_.last.answers->replication[0];
  EXPECT_EQ(row.application_name, "b");
  EXPECT_EQ(row.usename, "replicator");
  EXPECT_EQ(row.client_addr, "127.0.0.1");
  EXPECT_EQ(a_.ask("select string_agg(slot_name, ',') from pg_replication_slots where active"), "b");

  // Positions: what is flushed here is what the primary believes.
  a_.ask("insert into public.t select generate_series(1, 1000)");
  Lsn end = a_.look().answers->flush_lsn;
  ASSERT_TRUE(b_.until(
      [&](const LocalPg& p) { return p.answers && p.answers->flush_lsn >= end && p.answers->replay_lsn >= end; }));
  EXPECT_EQ(b_.ask("select count(*) from public.t"), "1000");

  // The leader's agent ends a walsender that should not be there.
  ASSERT_TRUE(a_.ok(a_.run(end_walsender(*a_.server, row.pid, a_.in(1s)))));
  ASSERT_TRUE(a_.until([&](const LocalPg& p) {
    return p.answers && (p.answers->replication.empty() || p.answers->replication[0].pid != row.pid);
  }));

  // Its own restart: streaming again, without a new clone.
  ASSERT_TRUE(b_.streams_from(a_));
  ASSERT_TRUE(b_.stop(Server::StopMode::fast));
  EXPECT_EQ(b_.look().control->state, model::ControlState::shut_down_in_recovery);
  ASSERT_TRUE(b_.ok(b_.run(b_.server->measure_wal(b_.in(5s)))));
  EXPECT_GE(b_.look().wal_end->lsn, end);
  ASSERT_TRUE(b_.start(false));
  ASSERT_TRUE(b_.streams_from(a_));
}

// E4: right after its start a standby understates what it has acknowledged; it has no position until its WAL is read.
TEST_F(Cluster, NoPositionBeforeLocalWalIsExhausted) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  b_.ask("select pg_wal_replay_pause()");
  a_.ask("insert into public.t select generate_series(1, 300000)");
  Lsn end = a_.look().answers->flush_lsn;
  ASSERT_TRUE(a_.ok(a_.run(write_wal(*a_.server, a_.in(2s)))));  // the record in whose middle `end` may be is whole now
  ASSERT_TRUE(b_.until([&](const LocalPg& pg) { return pg.answers && pg.answers->flush_lsn >= end; }));
  EXPECT_LT(b_.last.answers->replay_lsn, end);
  EXPECT_TRUE(b_.last.answers->replay_paused);
  ASSERT_TRUE(b_.stop());
  ASSERT_TRUE(b_.ok(b_.run(b_.server->measure_wal(b_.in(10s)))));
  EXPECT_GE(b_.look().wal_end->lsn, end) << "what was acknowledged is on the disk";
  PgConfig alone = Node::primary_config(0);
  ASSERT_TRUE(b_.apply(alone));
  ASSERT_TRUE(b_.start(false));
  for (LocalPg pg = b_.look();; pg = b_.look()) {
    ASSERT_TRUE(pg.answers);
    if (!pg.answers->wal_exhausted) continue;
    EXPECT_GE(pg.answers->flush_lsn, end) << "a position was told too early";
    EXPECT_EQ(pg.answers->timeline, 1U);
    break;
  }
}

TEST_F(Cluster, FreezeIsProvedQuickly) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  a_.ask("insert into public.t select generate_series(1, 100000)");
  Program load(
      a_.psql_command("do $$ begin for i in 1..100000 loop insert into public.t values (i); commit; end loop; end $$"),
      a_.password());
  nap(300ms);
  expect_frozen(b_, "nonce1", 2s);
  Lsn position = b_.last.answers->flush_lsn;
  nap(300ms);
  EXPECT_EQ(b_.look().answers->flush_lsn, position);
  EXPECT_EQ(b_.last.answers->timeline, 1U);
  expect_no_acknowledgement(a_, "b");
  EXPECT_EQ(b_.look().answers->flush_lsn, position);
  // Another nonce is another freeze, and streaming again is none.
  expect_frozen(b_, "nonce2", 2s);
  b_.restart_agent();
  ASSERT_TRUE(b_.until([](const LocalPg& pg) { return pg.answers && pg.answers->frozen_nonce == "nonce2"; }))
      << "a restarted agent proves it anew";
  ASSERT_TRUE(b_.apply(Node::following(a_)));
  ASSERT_TRUE(b_.streams_from(a_));
  EXPECT_EQ(b_.last.answers->frozen_nonce, "");
}

// E3: with replay paused a cleared conninfo does not stop the walreceiver: it went on acknowledging.
TEST_F(Cluster, FreezeResumesAPausedReplay) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  b_.ask("select pg_wal_replay_pause()");
  a_.ask("insert into public.t select generate_series(1, 1000)");
  ASSERT_TRUE(b_.until([](const LocalPg& pg) {
    return pg.answers && pg.answers->replay_paused && pg.answers->replay_lsn < pg.answers->flush_lsn;
  }));
  expect_frozen(b_, "paused", 2s);
  EXPECT_FALSE(b_.last.answers->replay_paused);
  expect_no_acknowledgement(a_, "b");
}

// E3, the other half: replay waits for an ordinary query on the standby.
TEST_F(Cluster, FreezeEndsQueriesThatBlockReplay) {
  b_.inputs.parameters["max_standby_streaming_delay"] = "10min";
  b_.server->set_inputs(b_.inputs);
  a_.ask("insert into public.t select generate_series(1, 1000)");
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  ASSERT_TRUE(b_.until([&](const LocalPg&) { return b_.psql("select 1").status == 0; }));
  Program snapshot(
      b_.psql_command("begin isolation level repeatable read; select count(*) from public.t; select pg_sleep(60)"),
      b_.password());
  ASSERT_TRUE(b_.until([&](const LocalPg& pg) { return pg.answers && pg.answers->client_transactions == 1; }));
  nap(100ms);
  a_.ask("delete from public.t");
  a_.ask("vacuum public.t");
  a_.ask("insert into public.t values (7)");
  ASSERT_TRUE(b_.until([&](const LocalPg&) {
    return b_.ask("select wait_event from pg_stat_activity where backend_type = 'startup'")
        .starts_with("RecoveryConflict");
  }));
  expect_frozen(b_, "blocked", 3s);
  EXPECT_EQ(b_.ask("select count(*) from public.t"), "1") << "replay has gone to the end";
  expect_no_acknowledgement(a_, "b");
}

// A stop that the proof needs (PG 13, or no proof in time) leaves a position as well.
TEST_F(Cluster, AFrozenNodeStaysFrozenAcrossARestart) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  ASSERT_TRUE(b_.apply(Node::frozen("n")));
  ASSERT_TRUE(b_.stop());
  ASSERT_TRUE(b_.start(false));
  ASSERT_TRUE(b_.until([](const LocalPg& pg) { return pg.answers && pg.answers->frozen_nonce == "n"; }));
  EXPECT_EQ(b_.last.on_disk, Node::frozen("n"));
  expect_no_acknowledgement(a_, "b");
}

TEST_F(Cluster, PromoteRepointRewind) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(c_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  ASSERT_TRUE(c_.streams_from(a_));
  a_.ask("insert into public.t values (1)");
  Lsn common = a_.look().answers->flush_lsn;
  // c first: what a writes of its own accord between the two must not put c past the one that will lead.
  for (Node* node : {&c_, &b_}) {
    ASSERT_TRUE(node->until([&](const LocalPg& pg) { return pg.answers && pg.answers->replay_lsn >= common; }));
    expect_frozen(*node, "f", 2s);
  }
  // Written by the old leader alone: it will be rewound.
  Lsn alone = a_.look().answers->flush_lsn;
  a_.ask("insert into public.t values (2)");
  EXPECT_LE(b_.look().answers->replay_lsn, alone);
  EXPECT_LE(c_.look().answers->replay_lsn, alone);
  kill(a_.guard_client->status().postmaster_pid, SIGKILL);
  ASSERT_TRUE(a_.until([](const LocalPg& pg) { return pg.process == PgProcess::stopped && pg.all_dead; }));

  // b leads: timeline 3, because etcd says that 2 is taken. SSN and term are loaded before the promotion (W7).
  ASSERT_TRUE(record_timeline(b_.layout(), 3, "third"));
  PgConfig leads = Node::primary_config(2, true);
  leads.sync_names = Node::any(1, {"c", "a"});
  ASSERT_TRUE(b_.apply(leads));
  ASSERT_TRUE(skip_timelines(b_.layout(), {2}));
  PgConfig other = leads;
  other.sync_names = Node::any(1, {"a"});
  EXPECT_EQ(b_.run(b_.server->promote(other, 3, b_.in(5s))).error().code, Errc::timeout) << "another list is in force (W7)";
  EXPECT_TRUE(b_.look().answers->in_recovery);
  EXPECT_EQ(b_.run(b_.server->promote(leads, 2, b_.in(5s))).error().code, Errc::conflict) << "2 is known here: it would be 3 (R1)";
  EXPECT_TRUE(b_.look().answers->in_recovery);
  BootTime begin = loop_.now();
  ASSERT_TRUE(b_.ok(b_.run(b_.server->promote(leads, 3, b_.in(5s)))));
  std::cout << "promoted after " << (loop_.now() - begin) / 1ms << " ms\n";
  ASSERT_TRUE(b_.ok(b_.run(b_.server->promote(leads, 3, b_.in(5s))))) << "again";
  LocalPg pg = b_.look();
  ASSERT_TRUE(pg.answers);
  EXPECT_FALSE(pg.answers->in_recovery);
  EXPECT_EQ(pg.answers->timeline, 3U);
  EXPECT_EQ(*pg.loaded, leads);
  EXPECT_FALSE(pg.standby_signal);
  EXPECT_EQ(pg.timeline_starts.size(), 2U) << "the stub is no history";

  auto history = c_.run(fetch_history(*c_.server, b_.url(), c_.in(2s)));
  ASSERT_TRUE(history) << history.error().text;
  EXPECT_EQ(history->timeline, 3U);
  EXPECT_EQ(history->term, 2);
  EXPECT_FALSE(history->in_recovery);
  ASSERT_TRUE(history->ends.contains(1));
  EXPECT_EQ(history->ends[1], pg.timeline_starts[3]);

  // c follows without a restart. Its position is on the new timeline as soon as it has a record of it.
  uint64_t incarnation = c_.look().incarnation;
  ASSERT_TRUE(b_.ok(b_.run(sync_slots(*b_.server, {"a", "b", "c"}, b_.in(2s)))));
  ASSERT_TRUE(c_.apply(Node::following(b_)));
  ASSERT_TRUE(c_.streams_from(b_)) << c_.log_tail();
  EXPECT_EQ(c_.last.incarnation, incarnation);
  b_.ask("insert into public.t values (3)");
  Lsn end = b_.look().answers->flush_lsn;
  ASSERT_TRUE(c_.until([&](const LocalPg& p) { return p.answers && p.answers->replay_lsn >= end; }));
  EXPECT_EQ(c_.last.answers->timeline, 3U);
  EXPECT_EQ(c_.last.answers->streaming_timeline, 3U);
  auto from_standby = b_.run(fetch_history(*b_.server, c_.url(), b_.in(2s)));
  ASSERT_TRUE(from_standby);
  EXPECT_TRUE(from_standby->in_recovery);

  // The old leader: crashed, and past the fork.
  ASSERT_TRUE(a_.ok(a_.run(a_.server->measure_wal(a_.in(5s)))));
  EXPECT_GT(a_.look().wal_end->lsn, history->ends.at(1));
  std::optional<Result<void>> rewound;
  net::Job job = loop_.start(
      [](Node& a, std::string url, std::optional<Result<void>>& out) -> Task<void> {
        out = co_await rewind(*a.server, url, &a.progress, a.in(20s));
      }(a_, b_.url(), rewound),
      "rewind");
  // Up to version 15 pg_rewind would find nothing to do before the new primary's first checkpoint.
  if (a_.server->install().major() < 16) {
    // Unless PostgreSQL's own checkpoint after the promotion is through already.
    ASSERT_TRUE(a_.until([&](const LocalPg&) { return rewound || a_.progress.step == "waiting for the source's checkpoint"; }, 20s));
  }
  ASSERT_TRUE(b_.ok(b_.run(b_.server->checkpoint(b_.in(5s)))));
  ASSERT_TRUE(a_.until([&](const LocalPg&) { return rewound.has_value(); }, 20s));
  ASSERT_TRUE(a_.ok(*rewound));
  EXPECT_EQ(a_.progress.step, "configuring");
  pg = a_.look();
  EXPECT_EQ(pg.data, DataDir::present) << pg.unusable_why;
  EXPECT_TRUE(pg.novote);
  EXPECT_TRUE(pg.standby_signal);
  EXPECT_EQ(pg.timeline_nonces[3], "third") << "its data are the new leader's now";
  EXPECT_EQ(pg.on_disk, PgConfig{}) << "nothing of the source's configuration counts";
  ASSERT_TRUE(a_.apply(Node::following(b_)));
  ASSERT_TRUE(a_.start(false));
  ASSERT_TRUE(a_.streams_from(b_));
  ASSERT_TRUE(a_.until([&](const LocalPg& p) { return p.answers && p.answers->replay_lsn >= end; }));
  EXPECT_EQ(a_.ask("select string_agg(i::text, ',' order by i) from public.t"), "1,3");

  // And once more the other way, by a clean stop: the follower needs no rewind.
  ASSERT_TRUE(b_.stop(Server::StopMode::fast));
  ASSERT_TRUE(b_.ok(b_.run(b_.server->measure_wal(b_.in(5s)))));
  Lsn shutdown = b_.look().wal_end->lsn;
  ASSERT_TRUE(a_.until([&](const LocalPg& p) {
    return p.answers && p.answers->flush_lsn >= shutdown && p.answers->replay_lsn >= shutdown;
  }));
  ASSERT_TRUE(a_.apply(Node::primary_config(3)));
  ASSERT_TRUE(a_.ok(a_.run(a_.server->promote(Node::primary_config(3), 4, a_.in(5s)))));
  ASSERT_TRUE(a_.ok(a_.run(sync_slots(*a_.server, {"a", "b", "c"}, a_.in(2s)))));
  history = b_.run(fetch_history(*b_.server, a_.url(), b_.in(2s)));
  ASSERT_TRUE(history);
  EXPECT_EQ(history->timeline, 4U);
  EXPECT_EQ(history->ends[3], shutdown) << "the end that we measure is where the new timeline begins";
  ASSERT_TRUE(b_.apply(Node::following(a_)));
  ASSERT_TRUE(b_.start(false));
  ASSERT_TRUE(b_.streams_from(a_)) << b_.log_tail();
}

TEST_F(Cluster, ACloneKilledHalfWayIsUnusable) {
  a_.ask("insert into public.t select generate_series(1, 400000)");
  b_.settings().basebackup_options = {"--no-sync", "--max-rate=2M"};
  b_.restart_agent();
  bool cancelled_in_time = false;
  {
    net::Job job = loop_.start(
        [](Node& b, std::string url) -> Task<void> { (void)co_await clone(*b.server, url, &b.progress, b.in(60s)); }(
                                         b_, a_.url()),
        "clone");
    ASSERT_TRUE(b_.until([&](const LocalPg&) { return exists(b_.layout().in_data("base")); }));
    LocalPg during = b_.look();
    EXPECT_EQ(during.data, DataDir::unusable);
    EXPECT_EQ(during.process, PgProcess::stopped);
    EXPECT_TRUE(during.all_dead) << "a job is no orphan";
    EXPECT_FALSE(job.done());
    cancelled_in_time = loop_.run_blocking(job.stop(), loop_.after(3s));
  }
  EXPECT_TRUE(cancelled_in_time);
  ASSERT_TRUE(wait_until(2s, [&] { return processes_below(b_.layout().data_dir).empty(); }));
  LocalPg pg = b_.look();
  EXPECT_EQ(pg.data, DataDir::unusable);
  EXPECT_NE(pg.unusable_why.find("a clone from 127.0.0.1"), std::string::npos) << pg.unusable_why;
  // Nothing is destroyed for a source that is not there; then the clone is simply made again.
  EXPECT_EQ(b_.run(clone(*b_.server, c_.url(), nullptr, b_.in(5s))).error().code, Errc::unavailable);
  b_.settings().basebackup_options = {"--no-sync"};
  b_.restart_agent();
  ASSERT_TRUE(b_.clone_from(a_));
  EXPECT_EQ(b_.look().data, DataDir::present);
  ASSERT_TRUE(b_.streams_from(a_));
}

// The agent is killed during a clone; its pg_basebackup, should it live on, is found by the next one and ended.
TEST_F(Cluster, AJobOfADeadAgentIsEnded) {
  a_.ask("insert into public.t select generate_series(1, 400000)");
  ASSERT_TRUE(mark_unusable(b_.layout(), "a clone was interrupted"));
  std::string dsn = "host=127.0.0.1 user=replicator port=" + std::to_string(a_.inputs.port);
  Program left({"/bin/sh", "-c", "cd \"$1\" && exec " + kBin + "/pg_basebackup -D \"$1/sub\" --max-rate=1M -d \"$2\"",
                "x", b_.layout().data_dir, dsn},
               {"PGPASSWORD=rep:secret"});
  ASSERT_TRUE(wait_until(3s, [&] { return !processes_below(b_.layout().data_dir).empty(); }));
  nap(300ms);
  b_.look();
  EXPECT_EQ(left.wait().status, 128 + SIGKILL);
}

TEST_F(Cluster, ARewindKilledHalfWayIsUnusable) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  ASSERT_TRUE(b_.apply(Node::primary_config(2)));
  ASSERT_TRUE(b_.ok(b_.run(b_.server->promote(Node::primary_config(2), 2, b_.in(5s)))));
  ASSERT_TRUE(b_.ok(b_.run(b_.server->checkpoint(b_.in(5s)))));
  a_.ask("insert into public.t select generate_series(1, 10000)");
  ASSERT_TRUE(a_.stop());
  a_.settings().rewind_options.clear();  // with its fsyncs, to have it under way for longer
  a_.restart_agent();
  {
    net::Job job = loop_.start(
        [](Node& a, std::string url) -> Task<void> { (void)co_await rewind(*a.server, url, &a.progress, a.in(20s)); }(
                                         a_, b_.url()),
        "rewind");
    ASSERT_TRUE(a_.until([&](const LocalPg&) { return a_.progress.step == "pg_rewind"; }, 10s, 1ms));
    ASSERT_TRUE(loop_.run_blocking(job.stop(), loop_.after(3s)));
  }
  ASSERT_TRUE(wait_until(2s, [&] { return processes_below(a_.layout().data_dir).empty(); }));
  LocalPg pg = a_.look();
  EXPECT_EQ(pg.data, DataDir::unusable);
  EXPECT_NE(pg.unusable_why.find("a rewind to"), std::string::npos);
  EXPECT_EQ(a_.run(rewind(*a_.server, b_.url(), nullptr, a_.in(5s))).error().code, Errc::invalid);
  ASSERT_TRUE(b_.ok(b_.run(sync_slots(*b_.server, {"a"}, b_.in(2s)))));
  ASSERT_TRUE(a_.clone_from(b_));
  ASSERT_TRUE(a_.streams_from(b_));
}

TEST_F(Cluster, ARewindThatCannotBeDoneChangesNothing) {
  ASSERT_TRUE(b_.clone_from(a_));
  ASSERT_TRUE(b_.streams_from(a_));
  ASSERT_TRUE(b_.stop());
  ASSERT_TRUE(a_.stop());
  auto gone = b_.run(rewind(*b_.server, a_.url(), nullptr, b_.in(10s)));
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Errc::unavailable) << gone.error().text;
  EXPECT_EQ(b_.look().data, DataDir::present) << b_.last.unusable_why;
  ASSERT_TRUE(a_.start(true));
  ASSERT_TRUE(b_.apply(Node::following(a_)));
  ASSERT_TRUE(b_.start(false));
  ASSERT_TRUE(b_.streams_from(a_));
}

}  // namespace
}  // namespace pgdba::pg
