#include "agent/status.h"

#include <gtest/gtest.h>

namespace pgdba::agent {
namespace {

struct Status : ::testing::Test {
  model::LocalPg pg;
  model::ClusterView cluster;
  StatusInput in;

  Status() {
    in.pg = &pg;
    in.cluster = &cluster;
    in.cluster_fresh = true;
    in.name = "b";
    in.scope = "demo";
    in.now = BootTime{100s};
    in.wall = WallTime{1'700'000'000s};
    cluster.as_of = BootTime{97s};
    cluster.leader = model::Keyed<std::string>{"a", 5, 5, 1};
    cluster.timelines[1] = {model::TimelineRecord{3, "a", "n1", 0, {}}, 2, 2, 0};
    pg.process = model::PgProcess::running;
    pg.timeline_nonces[1] = "n1";
    model::PgAnswers answers;
    answers.in_recovery = true;
    answers.timeline = 1;
    answers.flush_lsn = Lsn{500};
    answers.written_lsn = Lsn{520};
    answers.replay_lsn = Lsn{480};
    answers.wal_exhausted = true;
    answers.streaming_from = "a";
    pg.answers = answers;
  }
};

TEST_F(Status, a_streaming_replica) {
  const wire::NodeStatus status = make_status(in);
  EXPECT_EQ(status.role, model::Role::replica);
  EXPECT_EQ(status.state, model::PgState::running);
  ASSERT_TRUE(status.replica);
  EXPECT_EQ(status.replica->received, Lsn{520});
  EXPECT_EQ(status.replica->replayed, Lsn{480});
  EXPECT_EQ(status.replication_state, "streaming");
  EXPECT_EQ(status.dcs_last_seen, 1'699'999'997);
  EXPECT_FALSE(status.cluster_unlocked);
  ASSERT_TRUE(status.pgdba->position);
  EXPECT_EQ(*status.pgdba->position, (model::Position{3, 1, Lsn{500}}));
}

// W4: before it has read all of its own WAL a standby understates its position, and an election by it would lose writes.
TEST_F(Status, a_standby_that_has_not_read_its_wal_names_no_position) {
  pg.answers->wal_exhausted = false;
  const wire::NodeStatus status = make_status(in);
  EXPECT_FALSE(status.has_position());
  EXPECT_FALSE(status.pgdba->position);
}

// R1: a timeline number alone says nothing.
TEST_F(Status, a_timeline_with_another_nonce_has_no_position) {
  pg.timeline_nonces[1] = "other";
  EXPECT_FALSE(make_status(in).pgdba->position);
  pg.timeline_nonces.clear();
  EXPECT_FALSE(make_status(in).pgdba->position);
}

TEST_F(Status, a_server_that_is_down_or_silent_has_no_xlog) {
  pg.answers.reset();
  EXPECT_EQ(make_status(in).state, std::nullopt);
  EXPECT_FALSE(make_status(in).has_position());
  pg.process = model::PgProcess::stopped;
  EXPECT_EQ(make_status(in).state, model::PgState::stopped);
  pg.exit_unexpected = true;
  EXPECT_EQ(make_status(in).state, model::PgState::crashed);
}

TEST_F(Status, the_state_names_the_work_under_way) {
  pg.answers.reset();
  pg.process = model::PgProcess::stopped;
  ha::Action clone{1, ha::Clone{"a", ""}, ""};
  in.local_action = &clone;
  EXPECT_EQ(make_status(in).state, model::PgState::creating_replica);
  ha::Action init{2, ha::InitDb{}, ""};
  in.local_action = &init;
  EXPECT_EQ(make_status(in).state, model::PgState::initdb);
}

TEST_F(Status, the_leader_says_how_long_its_lock_is_proved) {
  pg.answers->in_recovery = false;
  in.standing.leader = true;
  in.standing.deadline = BootTime{102s};
  in.standing.term = 4;
  const wire::NodeStatus status = make_status(in);
  EXPECT_EQ(status.role, model::Role::primary);
  EXPECT_EQ(status.pgdba->lock_ms, 2000);
  EXPECT_EQ(status.pgdba->term, 4);
  EXPECT_EQ(status.primary->location, Lsn{500});
}

TEST_F(Status, sync_standby_by_mode_and_name_without_case) {
  cluster.config = model::Keyed<model::DynamicConfig>{};
  cluster.config->value.synchronous_mode = model::SyncMode::quorum;
  cluster.sync = model::Keyed<model::SyncState>{{"a", 0, {"B"}}, 4, 4, 0};
  EXPECT_EQ(make_status(in).sync_role, wire::SyncRole::quorum_standby);
  cluster.config->value.synchronous_mode = model::SyncMode::priority;
  EXPECT_EQ(make_status(in).sync_role, wire::SyncRole::sync_standby);
  cluster.sync->value.standbys = {"c"};
  EXPECT_EQ(make_status(in).sync_role, wire::SyncRole::none);
}

}  // namespace
}  // namespace pgdba::agent
