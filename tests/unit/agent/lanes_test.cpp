#include "agent/lanes.h"

#include <gtest/gtest.h>

#include <map>

namespace pgdba::agent {
namespace {

using Outcome = ha::Completion::Outcome;

// Holds what was begun until the test ends it.
struct FakeHands : Hands {
  std::vector<std::string> log;
  std::map<ha::ActionId, Finished> open;
  bool end_at_once = false;
  int kills = 0;

  void start(const ha::Action& action, Finished finished) override {
    log.push_back(std::string(name_of(action.body)));
    if (end_at_once) {
      finished({});
      return;
    }
    open[action.id] = std::move(finished);
  }
  void at_once(const ha::Action& action) override { log.push_back(std::string(name_of(action.body))); }
  void cancel(ha::ActionId id) override { log.push_back("cancel " + std::to_string(id)); }
  void stop_at_once() override { ++kills; }

  void end(ha::ActionId id, Outcome outcome = Outcome::done) {
    ha::Completion completion;
    completion.outcome = outcome;
    open.at(id)(completion);
  }
};

struct Fixture : ::testing::Test {
  FakeHands hands;
  int woken = 0;
  Lanes lanes{hands, [this] { ++woken; }};

  static ha::Action action(ha::ActionId id, ha::Body body) { return {id, std::move(body), "test"}; }
  // "3 done", "4 dropped" …
  std::vector<std::string> completed() {
    static const char* const words[] = {"done", "failed", "unknown", "dropped"};
    std::vector<std::string> out;
    for (const ha::Completion& c : lanes.take_completed()) out.push_back(std::to_string(c.id) + " " + words[static_cast<int>(c.outcome)]);
    return out;
  }
};

using Words = std::vector<std::string>;

TEST_F(Fixture, a_lane_runs_one_action_at_a_time_in_order) {
  lanes.submit({action(1, ha::WriteFreezeRecord{}), action(2, ha::CreateUsers{}), action(3, ha::WriteWal{})});
  EXPECT_EQ(hands.log, Words({"write_freeze_record"}));
  hands.end(1);
  hands.end(2);
  EXPECT_EQ(hands.log, Words({"write_freeze_record", "create_users", "write_wal"}));
  hands.end(3);
  EXPECT_EQ(completed(), Words({"1 done", "2 done", "3 done"}));
  EXPECT_TRUE(lanes.idle());
}

TEST_F(Fixture, lanes_do_not_wait_for_each_other) {
  lanes.submit({action(1, ha::Checkpoint{}), action(2, ha::KeepAlive{}), action(3, ha::RevokeLease{}), action(4, ha::ProbePeer{}), action(5, ha::ProbePeer{})});
  EXPECT_EQ(hands.log, Words({"checkpoint", "keep_alive", "revoke_lease", "probe_peer", "probe_peer"}));
  EXPECT_FALSE(lanes.idle());
}

TEST_F(Fixture, a_failure_drops_what_waits_behind_it_in_its_lane_only) {
  lanes.submit({action(1, ha::CreateUsers{}), action(2, ha::StartPg{}), action(3, ha::KeepAlive{})});
  hands.end(1, Outcome::failed);
  EXPECT_EQ(completed(), Words({"2 dropped", "1 failed"}));
  hands.end(3);
  EXPECT_EQ(completed(), Words({"3 done"}));
}

TEST_F(Fixture, no_answer_counts_as_a_failure) {
  lanes.submit({action(1, ha::RevokeLease{}), action(2, ha::ReadCluster{})});
  hands.end(1, Outcome::unknown);
  EXPECT_EQ(completed(), Words({"2 dropped", "1 unknown"}));
}

TEST_F(Fixture, an_action_completes_once_even_if_told_twice) {
  lanes.submit({action(1, ha::CreateUsers{}), action(2, ha::WriteWal{})});
  hands.end(1);
  hands.end(1, Outcome::failed);
  EXPECT_EQ(completed(), Words({"1 done"}));
  EXPECT_EQ(lanes.running(ha::Lane::local)->id, 2u);
}

TEST_F(Fixture, actions_that_end_inside_start_are_all_carried_out) {
  hands.end_at_once = true;
  lanes.submit({action(1, ha::CreateUsers{}), action(2, ha::WriteWal{}), action(3, ha::ProbePeer{})});
  EXPECT_EQ(completed(), Words({"1 done", "2 done", "3 done"}));
  EXPECT_EQ(woken, 3);
  EXPECT_TRUE(lanes.idle());
}

TEST_F(Fixture, memory_actions_happen_before_submit_returns) {
  lanes.submit({action(1, ha::SetDeadline{})});
  EXPECT_EQ(hands.log, Words({"set_deadline"}));
  EXPECT_EQ(completed(), Words({"1 done"}));
}

// An immediate stop that waited behind a clone of an hour would let the lease run out.
TEST_F(Fixture, an_immediate_stop_breaks_off_what_runs_and_drops_what_waits) {
  lanes.submit({action(1, ha::Clone{}), action(2, ha::StartPg{})});
  lanes.submit({action(3, ha::StopPg{ha::StopPg::Mode::immediate, {}}), action(4, ha::MeasureWal{})});
  EXPECT_EQ(hands.log, Words({"clone", "cancel 1"}));
  EXPECT_EQ(hands.kills, 1);
  EXPECT_EQ(completed(), Words({"2 dropped"}));
  hands.end(1, Outcome::failed);  // its failure must not take the stop with it
  EXPECT_EQ(completed(), Words({"1 failed"}));
  EXPECT_EQ(hands.log.back(), "stop_pg");
  hands.end(3);
  EXPECT_EQ(hands.log.back(), "measure_wal");
}

TEST_F(Fixture, what_a_decision_puts_before_its_own_stop_is_carried_out_first) {
  lanes.submit({action(1, ha::WriteFreezeRecord{}), action(2, ha::StopPg{ha::StopPg::Mode::immediate, {}})});
  hands.end(1);
  EXPECT_EQ(hands.log, Words({"write_freeze_record", "stop_pg"}));
}

TEST_F(Fixture, file_writes_and_a_stop_under_way_are_not_broken_off) {
  lanes.submit({action(1, ha::WriteFreezeRecord{})});
  lanes.submit({action(2, ha::StopPg{ha::StopPg::Mode::immediate, {}})});
  EXPECT_EQ(hands.log, Words({"write_freeze_record"}));
  EXPECT_EQ(hands.kills, 1);  // a disk that hangs in fsync must not keep a deposed primary alive
  hands.end(1);
  lanes.submit({action(3, ha::StopPg{ha::StopPg::Mode::immediate, {}})});
  EXPECT_EQ(hands.log, Words({"write_freeze_record", "stop_pg"}));
}

TEST_F(Fixture, a_fast_stop_waits_its_turn_and_is_broken_off_by_an_immediate_one) {
  lanes.submit({action(1, ha::CreateUsers{})});
  lanes.submit({action(2, ha::StopPg{ha::StopPg::Mode::fast, 1s})});
  EXPECT_EQ(hands.log, Words({"create_users"}));
  hands.end(1);
  lanes.submit({action(3, ha::StopPg{ha::StopPg::Mode::immediate, {}})});
  EXPECT_EQ(hands.log, Words({"create_users", "stop_pg", "cancel 2"}));
}

TEST_F(Fixture, cancel_job_ends_jobs_and_nothing_else) {
  lanes.submit({action(1, ha::CreateUsers{})});
  lanes.submit({action(2, ha::CancelJob{})});
  EXPECT_EQ(hands.log, Words({"create_users", "cancel_job"}));
  hands.end(1);
  lanes.submit({action(3, ha::Rewind{})});
  lanes.submit({action(4, ha::CancelJob{})});
  EXPECT_EQ(hands.log, Words({"create_users", "cancel_job", "rewind", "cancel 3", "cancel_job"}));
}

// A preempted action that ended well all the same must not hold up the lane.
TEST_F(Fixture, a_preempted_action_may_still_end_well) {
  lanes.submit({action(1, ha::Promote{})});
  lanes.submit({action(2, ha::StopPg{ha::StopPg::Mode::immediate, {}})});
  hands.end(1, Outcome::done);
  EXPECT_EQ(hands.log.back(), "stop_pg");
  hands.end(2, Outcome::failed);
  lanes.submit({action(3, ha::MeasureWal{})});
  EXPECT_EQ(hands.log.back(), "measure_wal");
}

}  // namespace
}  // namespace pgdba::agent
