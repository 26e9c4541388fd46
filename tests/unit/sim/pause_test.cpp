// Switchovers in maintenance mode, and a pause in the middle of one: finished, or aborted and resumed; never a leader that
// is stopped while nobody may take over.
#include <gtest/gtest.h>

#include "sim/world.h"

namespace pgdba::sim {
namespace {

struct Stage {
  explicit Stage(model::SyncMode mode, uint64_t seed = 5) : world(plan(mode, seed), options()) {
    world.begin();
    until("settled at the beginning", 20s, [&] { return world.settled(); });
  }
  static Plan plan(model::SyncMode mode, uint64_t seed) {
    Plan plan;
    plan.seed = seed;
    plan.mode = mode;
    plan.tags.resize(3);
    plan.length = 1h;
    return plan;
  }
  static Options options() {
    Options options;
    options.make_core = real_core();
    return options;
  }
  // False, with what is missing, when it does not come about in time.
  template <class Condition>
  bool until(const char* what, Duration limit, Condition condition) {
    const Time end = world.events.now() + limit;
    while (world.events.now() < end && !world.checkers.violation()) {
      world.run_until(world.events.now() + 10ms);
      if (condition()) return true;
    }
    std::string missing;
    (void)world.settled(&missing);
    ADD_FAILURE() << what << ": " << missing << states();
    return false;
  }
  std::string states() {
    std::string out;
    for (int i = 0; i < 3; ++i) {
      out += fmt::format("\n  {}: {}; {}", world.name(i), world.node(i).shell ? world.node(i).shell->state() : "no agent", world.node(i).pg.summary());
    }
    if (world.checkers.violation()) out += "\n" + world.checkers.violation()->text;
    return out;
  }
  void pause(bool on) {
    model::DynamicConfig config = world.etcd.state().config->value;
    config.pause = on;
    world.etcd.put_config(config);
  }
  void ask(const std::string& candidate) {
    world.etcd.put({model::KeyKind::failover, {}}, model::FailoverRequest{candidate.empty() ? world.name(world.leader()) : "", candidate, std::nullopt});
  }
  [[nodiscard]] bool asked() const { return world.etcd.state().failover && world.etcd.state().failover->value.present(); }
  // Somebody leads, serves, and acknowledges; and the request is gone.
  bool serves() {
    const int owner = world.leader();
    return !asked() && owner >= 0 && world.node(owner).pg.is_primary() && world.node(owner).pg.takes_clients() &&
           world.checkers.last_acknowledged() > world.events.now() - 300ms;
  }
  // The same, and perhaps without the lock: in pause a primary goes on when its agent was gone for longer than its lease.
  bool writes() {
    for (int i = 0; i < 3; ++i) {
      Postgres& pg = world.node(i).pg;
      if (pg.is_primary() && pg.takes_clients() && world.checkers.last_acknowledged() > world.events.now() - 300ms) return true;
    }
    return false;
  }
  World world;
};

class Pause : public testing::TestWithParam<model::SyncMode> {};

TEST_P(Pause, ASwitchoverToANamedCandidateIsCarriedOut) {
  Stage stage(GetParam());
  stage.pause(true);
  stage.world.run_until(stage.world.events.now() + 2s);
  for (const char* to : {"b", "c", "a"}) {
    stage.ask(to);
    stage.until("the candidate leads and all follow", 15s, [&] { return stage.world.leader() == stage.world.find(to) && stage.world.settled() && stage.serves(); });
  }
  EXPECT_TRUE(stage.world.etcd.state().config->value.pause);
}

TEST_P(Pause, WithoutACandidateItIsRefused) {
  Stage stage(GetParam());
  const int leader = stage.world.leader();
  stage.pause(true);
  stage.world.run_until(stage.world.events.now() + 2s);
  const auto incarnation = stage.world.node(leader).pg.postmaster();
  stage.ask("");
  stage.until("the key is gone", 5s, [&] { return !stage.asked() || !stage.world.etcd.state().failover; });
  stage.world.run_until(stage.world.events.now() + 3s);
  EXPECT_EQ(stage.world.leader(), leader);
  EXPECT_EQ(stage.world.node(leader).pg.postmaster(), incarnation) << "it was stopped";
  ASSERT_TRUE(stage.world.etcd.state().switchover);
  EXPECT_TRUE(stage.world.etcd.state().switchover->value.refused);
  EXPECT_NE(stage.world.etcd.state().switchover->value.reason.find("specific candidate"), std::string::npos);
}

TEST_P(Pause, InTheMiddleOfASwitchoverItIsFinishedOrAborted) {
  for (int i = 0; i < 60; ++i) {
    SCOPED_TRACE(fmt::format("paused {} ms after the request", 10 * i));
    Stage stage(GetParam(), 100 + static_cast<uint64_t>(i));
    const std::string to = stage.world.name((stage.world.leader() + 1) % 3);
    stage.ask(to);
    stage.world.run_until(stage.world.events.now() + 10ms * i);
    stage.pause(true);
    if (!stage.until("somebody serves and all follow", 20s, [&] { return stage.world.settled() && stage.serves(); })) return;
  }
}

// Before the take-over. After it a death is one of a leader in pause, which nobody follows up.
TEST_P(Pause, WhenTheCandidateOrTheLeadersAgentDiesInTheMiddleSomebodyServes) {
  int before = 0;
  for (int i = 0; i < 80; ++i) {
    const bool leader_dies = i % 2 == 1;
    SCOPED_TRACE(fmt::format("the {} dies {} ms after the publication", leader_dies ? "leader's agent" : "candidate", i));
    Stage stage(GetParam(), 200 + static_cast<uint64_t>(i));
    stage.pause(true);
    stage.world.run_until(stage.world.events.now() + 1s);
    const int leader = stage.world.leader();
    const int to = (leader + 1) % 3;
    stage.ask(stage.world.name(to));
    const Time end = stage.world.events.now() + 2s;
    while (!stage.world.etcd.state().switchover && stage.world.events.now() < end) stage.world.run_until(stage.world.events.now() + 1ms);
    stage.world.run_until(stage.world.events.now() + 1ms * i);
    if (stage.world.leader() == to) continue;
    ++before;
    if (leader_dies) {
      stage.world.node(leader).kill_agent(1s);
    } else {
      stage.world.node(to).power_off();
    }
    stage.world.run_until(stage.world.events.now() + 12s);
    if (!stage.until("somebody serves", 20s, [&] { return stage.writes(); })) return;
    EXPECT_TRUE(leader_dies || stage.world.leader() == leader);
  }
  EXPECT_GT(before, 20);
}

TEST_P(Pause, ARestartAndAReinitializationAreCarriedOut) {
  for (int asked : {0, 1, 2}) {
    Stage stage(GetParam(), 7 + static_cast<uint64_t>(asked));
    stage.pause(true);
    stage.world.run_until(stage.world.events.now() + 1s);
    const int leader = stage.world.leader();
    const int member = (leader + asked) % 3;
    SCOPED_TRACE(fmt::format("{} of the leader {}", stage.world.name(member), stage.world.name(leader)));
    stage.world.node(member).shell->request(asked == 2 ? ha::Request::Kind::reinitialize : ha::Request::Kind::restart);
    if (!stage.until("it is stopped", 5s, [&] { return !stage.world.node(member).pg.postmaster(); })) return;
    if (!stage.until("it is back", 20s, [&] { return stage.world.settled() && stage.serves(); })) return;
    EXPECT_EQ(stage.world.leader(), leader);
  }
}

// What pause means stays true after a switchover: nothing is started or promoted by itself.
TEST_P(Pause, AfterwardsNothingIsDoneUnasked) {
  Stage stage(GetParam());
  stage.pause(true);
  stage.ask("b");
  stage.until("the candidate leads and all follow", 15s, [&] { return stage.world.leader() == 1 && stage.world.settled() && stage.serves(); });
  stage.world.run_until(stage.world.events.now() + 1s);
  stage.world.node(1).pg.crash_backend();
  stage.world.run_until(stage.world.events.now() + 20s);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(stage.world.node(i).pg.is_primary()) << stage.states();
  stage.pause(false);
  stage.until("it goes on when the pause is over", 30s, [&] { return stage.world.settled() && stage.serves(); });
}

INSTANTIATE_TEST_SUITE_P(Modes, Pause, testing::Values(model::SyncMode::quorum, model::SyncMode::off, model::SyncMode::priority),
                         [](const auto& each) { return std::string(each.param == model::SyncMode::quorum ? "quorum" : each.param == model::SyncMode::off ? "off" : "priority"); });

}  // namespace
}  // namespace pgdba::sim
