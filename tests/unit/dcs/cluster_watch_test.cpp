// The age of the view (as_of) against a store of fakes: it may only move on a proof.
#include "dcs/cluster_watch.h"

#include <gtest/gtest.h>

#include <deque>

namespace pgdba::dcs {
namespace {

constexpr const char* kPrefix = "/service/demo/";

dcs::KeyValue leader_key(std::string name, int64_t mod) {
  dcs::KeyValue kv;
  kv.key = std::string(kPrefix) + "leader";
  kv.value = std::move(name);
  kv.create = kv.mod = mod;
  kv.lease = 1;
  return kv;
}

struct FakeStore : dcs::Store {
  explicit FakeStore(net::Loop& l) : loop(l), news(l) {}
  net::Loop& loop;
  net::Event news;

  dcs::Range now;             // what a reading gets
  std::optional<Error> fails;
  int readings = 0;
  std::deque<dcs::WatchBatch> batches;
  std::vector<int64_t> watched_from;
  uint64_t foreign = 0;
  uint64_t accepted = 0;

  struct FakeWatch : dcs::Watch {
    explicit FakeWatch(FakeStore& s) : store(s) {}
    FakeStore& store;
    Task<Result<dcs::WatchBatch>> next(BootTime deadline) override {
      while (store.batches.empty()) {
        if (!co_await store.news.wait_until(deadline)) co_return fail(Errc::timeout, "nothing");
      }
      dcs::WatchBatch batch = std::move(store.batches.front());
      store.batches.pop_front();
      co_return batch;
    }
    BootTime last_heard() const override { return {}; }
    std::string endpoint() const override { return {}; }
  };

  Task<Result<dcs::Range>> range_prefix(std::string, dcs::Read read, BootTime) override {
    EXPECT_EQ(read, dcs::Read::linearizable);
    ++readings;
    co_await loop.sleep_for(1ms);
    if (fails) co_return tl::unexpected(*fails);
    co_return now;
  }
  Task<Result<dcs::TxnResult>> txn(dcs::Txn, BootTime) override { co_return fail(Errc::bug, "not here"); }
  Task<Result<dcs::LeaseGrant>> lease_grant(std::chrono::seconds, BootTime) override { co_return fail(Errc::bug, "not here"); }
  Task<Result<dcs::KeepAlive>> lease_keepalive(int64_t, BootTime) override { co_return fail(Errc::bug, "not here"); }
  Task<Result<dcs::Header>> lease_revoke(int64_t, BootTime) override { co_return fail(Errc::bug, "not here"); }
  std::unique_ptr<dcs::Watch> watch(std::string, int64_t after) override {
    watched_from.push_back(after);
    return std::make_unique<FakeWatch>(*this);
  }
  Task<Result<std::vector<dcs::Member>>> members(BootTime) override { co_return fail(Errc::bug, "not here"); }
  uint64_t foreign_cluster() const override { return foreign; }
  void accept_cluster(uint64_t id) override {
    accepted = id;
    fails.reset();
  }

  void event(dcs::KeyValue kv, int64_t revision) {
    dcs::WatchBatch batch;
    batch.header.revision = revision;
    batch.header.cluster_id = now.header.cluster_id;
    batch.header.raft_term = 2;
    batch.events.push_back({dcs::KeyEvent::Kind::put, std::move(kv)});
    batches.push_back(std::move(batch));
    news.notify();
  }
};

#define WAIT_UNTIL(condition)                                                      \
  for (int i = 0; i < 2000 && !(condition); ++i) co_await t.loop.sleep_for(1ms); \
  EXPECT_TRUE(condition)

struct ClusterWatchTest : ::testing::Test {
  net::Loop loop;
  FakeStore store{loop};
  int changes = 0;
  ClusterWatch watch{loop, store, kPrefix, [this] { ++changes; }};

  ClusterWatchTest() {
    store.now.header = {7, 1, 10, 2};
    store.now.kvs = {leader_key("a", 5)};
    watch.want_fresh(10s);
  }
  // Runs the watch beside the steps of the test.
  void with_watch(Task<void> steps) {
    auto body = [](ClusterWatchTest& t, Task<void> inner) -> Task<void> {
      net::Job job = t.loop.start(t.watch.run(), "watch");
      co_await std::move(inner);
      co_await job.stop();
    };
    EXPECT_TRUE(loop.run_blocking(body(*this, std::move(steps)), loop.after(10s)));
  }
};

TEST_F(ClusterWatchTest, reads_once_then_follows_the_events) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    EXPECT_EQ(t.watch.view()->leader->value, "a");
    EXPECT_EQ(t.store.watched_from, std::vector<int64_t>{10});
    t.store.event(leader_key("b", 11), 11);
    WAIT_UNTIL(t.watch.view()->leader->value == "b");
    EXPECT_EQ(t.watch.view()->revision, 11);
    EXPECT_EQ(t.store.readings, 1);
    EXPECT_EQ(t.changes, 2);
  };
  with_watch(steps(*this));
}

// A watch on a member that is cut off from its quorum goes on answering.
TEST_F(ClusterWatchTest, events_and_progress_do_not_make_the_view_younger) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    const BootTime read_at = t.watch.view()->as_of;
    t.store.event(leader_key("b", 11), 11);
    dcs::WatchBatch progress;
    progress.kind = dcs::WatchBatch::Kind::progress;
    progress.header.revision = 12;
    t.store.batches.push_back(progress);
    t.store.news.notify();
    WAIT_UNTIL(t.watch.view()->revision == 12);
    EXPECT_EQ(t.watch.view()->as_of, read_at);
  };
  with_watch(steps(*this));
}

TEST_F(ClusterWatchTest, a_write_of_our_own_proves_its_sending_time_once_the_watch_shows_it) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    const BootTime read_at = t.watch.view()->as_of;
    const BootTime sent = t.loop.now();
    t.watch.wrote(sent, 12);
    EXPECT_EQ(t.watch.view()->as_of, read_at);
    t.store.event(leader_key("b", 11), 11);
    WAIT_UNTIL(t.watch.view()->revision == 11);
    EXPECT_EQ(t.watch.view()->as_of, read_at);
    t.store.event(leader_key("c", 12), 12);
    WAIT_UNTIL(t.watch.view()->revision == 12);
    EXPECT_EQ(t.watch.view()->as_of, sent);
  };
  with_watch(steps(*this));
}

TEST_F(ClusterWatchTest, a_reading_that_the_watch_has_overtaken_proves_its_time_and_takes_nothing_back) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    // The reading is evaluated at 10; before its answer comes the watch delivers 11.
    t.store.event(leader_key("b", 11), 11);
    const BootTime asked = t.loop.now();
    auto answered = co_await t.watch.read(t.loop.after(1s));
    EXPECT_TRUE(answered);
    EXPECT_EQ(t.watch.view()->leader->value, "b");
    EXPECT_GE(t.watch.view()->as_of, asked);
  };
  with_watch(steps(*this));
}

TEST_F(ClusterWatchTest, compaction_reads_again_and_watches_from_there) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    t.store.now.header.revision = 40;
    t.store.now.kvs = {leader_key("c", 39)};
    dcs::WatchBatch compacted;
    compacted.kind = dcs::WatchBatch::Kind::compacted;
    t.store.batches.push_back(compacted);
    t.store.news.notify();
    WAIT_UNTIL(t.store.watched_from.size() == 2);
    EXPECT_EQ(t.store.watched_from.back(), 40);
    EXPECT_EQ(t.watch.view()->leader->value, "c");
  };
  with_watch(steps(*this));
}

// etcd wiped (W13): the new one counts from 1 and must replace the view although its revision is lower.
TEST_F(ClusterWatchTest, another_etcd_replaces_the_view) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    t.store.now.header = {8, 1, 2, 1};
    t.store.now.kvs = {};
    t.store.foreign = 8;
    t.store.fails = Error{Errc::conflict, "another cluster"};
    auto answered = co_await t.watch.read(t.loop.after(1s));
    EXPECT_TRUE(answered);
    EXPECT_EQ(t.store.accepted, 8u);
    EXPECT_EQ(t.watch.view()->cluster_id, 8u);
    EXPECT_EQ(t.watch.view()->revision, 2);
    EXPECT_FALSE(t.watch.view()->leader);
  };
  with_watch(steps(*this));
}

// A snapshot restored under the same cluster id.
TEST_F(ClusterWatchTest, a_revision_that_goes_back_replaces_the_view) {
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    t.store.now.header.revision = 4;
    t.store.now.kvs = {leader_key("old", 3)};
    auto answered = co_await t.watch.read(t.loop.after(1s));
    EXPECT_TRUE(answered);
    EXPECT_EQ(t.watch.view()->revision, 4);
    EXPECT_EQ(t.watch.view()->leader->value, "old");
    WAIT_UNTIL(t.store.watched_from.size() == 2);
    EXPECT_EQ(t.store.watched_from.back(), 4);
  };
  with_watch(steps(*this));
}

TEST_F(ClusterWatchTest, an_old_view_is_read_again_and_a_silent_etcd_leaves_it_old) {
  watch.want_fresh(20ms);
  auto steps = [](ClusterWatchTest& t) -> Task<void> {
    WAIT_UNTIL(t.watch.view() != nullptr);
    net::Job fresh = t.loop.start(t.watch.stay_fresh(), "fresh");
    WAIT_UNTIL(t.store.readings >= 4);
    t.store.fails = Error{Errc::unavailable, "no route"};
    co_await t.loop.sleep_for(5ms);
    const BootTime before = t.watch.view()->as_of;
    WAIT_UNTIL(!t.watch.trouble().empty());
    EXPECT_EQ(t.watch.view()->as_of, before);
    t.store.fails.reset();
    WAIT_UNTIL(t.watch.view()->as_of > before);
    EXPECT_TRUE(t.watch.trouble().empty());
    co_await fresh.stop();
  };
  with_watch(steps(*this));
}

}  // namespace
}  // namespace pgdba::dcs
