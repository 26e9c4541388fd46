// The world without the real core: that its judges and its treacherous parts do what the rest of sim/ relies on.
#include <gtest/gtest.h>

#include <memory>

#include "sim/world.h"

namespace pgdba::sim {
namespace {

// Does nothing; the tests move the world by hand.
class Idle : public Brain {
 public:
  ha::Decision step(const ha::View& view) override {
    ha::Decision decision;
    decision.wake_at = view.now + 1s;
    decision.observe_every = 1s;
    return decision;
  }
};

struct Stage {
  Stage() : world(plan(), options()) {
    first = &world.node(0).pg;
    second = &world.node(1).pg;
    world.begin();
    world.run_until(100ms);
  }
  static Plan plan() {
    Plan plan;
    plan.seed = 5;
    plan.tags.resize(3);
    plan.writers = plan.direct_writers = plan.readers = 0;
    return plan;
  }
  static Options options() {
    Options options;
    options.make_core = [](const ha::Self&, const ha::Rules&) -> std::unique_ptr<Brain> { return std::make_unique<Idle>(); };
    return options;
  }
  void wait(Duration time) { world.run_until(world.events.now() + time); }
  // The first member as a primary with `names`, the second streaming from it.
  void serve(model::SyncNames names) {
    first->dir.standby_signal = false;
    first->dir.on_disk.sync_names = std::move(names);
    first->dir.on_disk.gate_closed = false;
    first->dir.on_disk.term = 1;
    first->start();
    second->dir.on_disk.upstream = model::PgConfig::Upstream::member;
    second->dir.on_disk.upstream_member = world.name(0);
    second->start();
    wait(3s);
  }
  // A write that waits is answered long after this has returned, by the end of its server: the answer owns its place.
  WriteResult write(Postgres& pg) {
    auto got = std::make_shared<WriteResult>(WriteResult::unknown);
    pg.client_write(false, [got](WriteResult result) { *got = result; });
    wait(500ms);
    return *got;
  }
  World world;
  Postgres* first;
  Postgres* second;
};

const model::SyncNames kAnyB{model::SyncNames::Kind::any, 1, {"b"}};
const model::SyncNames kNobody{model::SyncNames::Kind::any, 1, {"x"}};

TEST(World, ACommitWaitsForTheStandbyThatIsNamed) {
  Stage stage;
  stage.serve(kAnyB);
  EXPECT_TRUE(stage.second->streams_from(0));
  EXPECT_EQ(stage.write(*stage.first), WriteResult::ok);
  EXPECT_EQ(stage.world.checkers.acknowledged(), 1u);
  stage.world.network.cut(0, 1);
  EXPECT_EQ(stage.write(*stage.first), WriteResult::unknown);
  EXPECT_EQ(stage.world.checkers.acknowledged(), 1u);
}

TEST(World, OnlyTheCheckpointerSwitchesWaitingOn) {
  // Y3: the new setting is loaded and shown, and commits still do not wait.
  Stage stage;
  stage.serve({});
  stage.first->busy_checkpointer(3s);
  stage.first->dir.on_disk.sync_names = kNobody;
  stage.first->reload();
  stage.wait(200ms);
  EXPECT_EQ(stage.first->loaded().sync_names, kNobody);
  EXPECT_EQ(stage.write(*stage.first), WriteResult::ok);
  stage.wait(3s);
  EXPECT_EQ(stage.write(*stage.first), WriteResult::unknown);
}

TEST(World, AWaitingWriteIsVisibleAfterARestart) {
  // G4 (E6): nobody acknowledged it, a reader sees it, and its loss is a violation.
  Stage stage;
  stage.serve(kNobody);
  EXPECT_EQ(stage.write(*stage.first), WriteResult::unknown);
  stage.first->client_read();
  EXPECT_FALSE(stage.world.checkers.violation());
  stage.first->kill_rest([] {});
  stage.wait(1s);
  EXPECT_TRUE(stage.first->dir.on_disk.gate_closed);  // the guardian's doing; without it clients would come in
  stage.first->dir.on_disk.gate_closed = false;
  stage.first->dir.standby_signal = false;
  stage.first->start();
  stage.wait(2s);
  stage.first->client_read();
  // The second member had it by streaming; a member that has not is the next primary.
  stage.second->kill_rest([] {});
  Postgres& third = stage.world.node(2).pg;
  third.dir.on_disk.term = 2;
  third.dir.standby_signal = false;
  third.start();
  stage.wait(2s);
  ASSERT_TRUE(stage.world.checkers.violation());
  EXPECT_EQ(stage.world.checkers.violation()->promise, "G4");
}

TEST(World, ALostWriteIsNoticed) {
  Stage stage;
  stage.serve(kAnyB);
  ASSERT_EQ(stage.write(*stage.first), WriteResult::ok);
  Postgres& third = stage.world.node(2).pg;  // it never streamed
  third.dir.on_disk.term = 2;
  third.dir.standby_signal = false;
  third.start();
  stage.wait(2s);
  ASSERT_TRUE(stage.world.checkers.violation());
  EXPECT_EQ(stage.world.checkers.violation()->promise, "A");
}

TEST(World, AnOlderPrimaryThatAcknowledgesIsNoticed) {
  Stage stage;
  stage.serve({});
  Postgres& third = stage.world.node(2).pg;
  third.dir.on_disk.term = 2;
  third.dir.standby_signal = false;
  third.start();
  stage.wait(2s);
  ASSERT_FALSE(stage.world.checkers.violation());
  stage.write(*stage.first);
  ASSERT_TRUE(stage.world.checkers.violation());
  EXPECT_EQ(stage.world.checkers.violation()->promise, "B");
}

TEST(World, BackendsOutliveTheirPostmaster) {
  // G1 (E14): the port refuses, a running statement commits and is acknowledged.
  Stage stage;
  stage.world.plan.long_statement = 1.0;
  stage.serve({});
  stage.world.node(0).kill_guardian();
  stage.wait(200ms);
  stage.first->dir.standby_signal = false;  // a running primary gets it back
  stage.first->start();
  stage.wait(1s);
  WriteResult got = WriteResult::failed;
  for (int i = 0; i < 20; ++i) {
    stage.first->client_write(false, [&got](WriteResult result) {
      if (result == WriteResult::ok) got = result;
    });
  }
  stage.wait(2ms);
  stage.first->kill_postmaster();
  EXPECT_FALSE(stage.first->postmaster());
  EXPECT_FALSE(stage.first->all_dead());
  stage.wait(4s);
  EXPECT_EQ(got, WriteResult::ok);
}

TEST(Etcd, ATransactionComparesAndALeaseEndsItsKeys) {
  Stage stage;
  Etcd& etcd = stage.world.etcd;
  model::LeaseId lease = 0;
  EtcdRequest grant;
  grant.kind = EtcdRequest::Kind::grant;
  grant.ttl = 2s;
  etcd.handle(grant, [&lease](const EtcdAnswer& answer) { lease = answer.lease; });
  EtcdRequest take;
  take.kind = EtcdRequest::Kind::txn;
  model::Key leader{model::KeyKind::leader, {}};
  take.txn.compares = {{leader, ha::Compare::What::create, 0}};
  take.txn.puts = {{leader, ha::Value(std::string("a")), lease}};
  bool first = false;
  bool second = true;
  etcd.handle(take, [&first](const EtcdAnswer& answer) { first = answer.succeeded; });
  etcd.handle(take, [&second](const EtcdAnswer& answer) { second = answer.succeeded; });
  EXPECT_TRUE(first);
  EXPECT_FALSE(second);
  EXPECT_EQ(stage.world.leader(), 0);
  stage.wait(3s);
  EXPECT_EQ(stage.world.leader(), -1);
}

TEST(Etcd, AStallHoldsTransactionsAndGivesLeasesTheirTimeAgain) {
  Stage stage;
  Etcd& etcd = stage.world.etcd;
  etcd.begin_stall();
  int answered = 0;
  for (int i = 0; i < 20; ++i) {
    etcd.handle({}, [&answered](const EtcdAnswer&) { ++answered; });
  }
  EXPECT_EQ(answered, 0);
  uint64_t term = etcd.state().raft_term;
  etcd.end_stall();
  EXPECT_GT(answered, 0);
  EXPECT_LT(answered, 20);
  EXPECT_EQ(etcd.state().raft_term, term + 1);
}

TEST(World, TheSameSeedRunsTheSame) {
  Options options;
  options.make_core = real_core();
  options.trace = true;
  options.liveness = false;
  World one(11, options);
  World two(11, options);
  one.run();
  two.run();
  EXPECT_EQ(one.trace, two.trace);
  EXPECT_GT(one.trace.size(), 100u);
}

}  // namespace
}  // namespace pgdba::sim
