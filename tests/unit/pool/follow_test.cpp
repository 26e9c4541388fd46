// From what etcd says to what may be lent, and a pooler's part in a switchover.
#include "pool/follow.h"

#include <gtest/gtest.h>

namespace pgdba::pool {
namespace {

TEST(Follow, WhoLeadsIsWhatTheKeyAndTheTermSayTogether) {
  struct Row {
    const char* name;
    std::optional<LeaderKey> leader;
    std::optional<TermKey> term;
    const char* leads;
    uint64_t in_term;
    bool own;
  };
  const Row rows[] = {
      {"nothing is there", std::nullopt, std::nullopt, "", 0, false},
      {"taken over together", LeaderKey{"a", 9}, TermKey{4, "a", 9}, "a", 4, true},
      {"taken over from another, whose lock was older", LeaderKey{"a", 7}, TermKey{4, "a", 9}, "a", 4, true},
      {"the term of another", LeaderKey{"a", 9}, TermKey{4, "b", 9}, "", 4, true},
      {"nobody owns the key", std::nullopt, TermKey{4, "a", 9}, "", 4, true},
      {"a Patroni leader", LeaderKey{"a", 9}, std::nullopt, "a", 9, false},
      {"a Patroni leader after one of ours", LeaderKey{"b", 12}, TermKey{4, "a", 9}, "b", 12, false},
      {"Patroni again where ours ran", LeaderKey{"a", 12}, TermKey{4, "a", 9}, "a", 12, false},
  };
  for (const Row& row : rows) {
    const Leadership got = leadership_of(row.leader, row.term);
    EXPECT_EQ(got.leader, row.leads) << row.name;
    EXPECT_EQ(got.term, row.in_term) << row.name;
    EXPECT_EQ(got.own_term, row.own) << row.name;
  }
}

// A pooler that had followed Patroni's leaders held its clients for ever when a member of ours led, whose term is a small
// number; so it did after a wipe of etcd, and when the cluster was made anew under its old name.
TEST(Succession, NumbersRiseWithWhoeverLeadsAndNewsOfThePastHasNone) {
  struct Row {
    const char* name;
    std::optional<LeaderKey> leader;
    std::optional<TermKey> term;
    uint64_t etcd;
    uint64_t cluster;
    uint64_t number;
    bool past = false;
  };
  const Row rows[] = {
      {"Patroni leads", LeaderKey{"a", 5000}, std::nullopt, 1, 11, 1},
      {"still", LeaderKey{"a", 5000}, std::nullopt, 1, 11, 1},
      {"nobody", std::nullopt, std::nullopt, 1, 11, 1},
      {"another one", LeaderKey{"b", 6000}, std::nullopt, 1, 11, 2},
      {"its lock ended while etcd was away, and it has made it again", LeaderKey{"b", 6100}, std::nullopt, 1, 11, 2},
      {"an old answer", LeaderKey{"a", 5000}, std::nullopt, 1, 11, 2, true},
      {"one of ours", LeaderKey{"c", 7000}, TermKey{1, "c", 7000}, 1, 11, 3},
      {"an old answer of Patroni's times", LeaderKey{"b", 6000}, std::nullopt, 1, 11, 3, true},
      {"Patroni again", LeaderKey{"a", 8000}, TermKey{1, "c", 7000}, 1, 11, 4},
      {"an old answer of ours", LeaderKey{"c", 7000}, TermKey{1, "c", 7000}, 1, 11, 4, true},
      {"nobody once more", std::nullopt, TermKey{1, "c", 7000}, 1, 11, 4},
      {"ours", LeaderKey{"c", 8500}, TermKey{2, "c", 8500}, 1, 11, 5},
      {"etcd was restored, and does not know of it", LeaderKey{"c", 7000}, TermKey{1, "c", 7000}, 2, 11, 5, true},
      {"ours has written its keys again", LeaderKey{"c", 7100}, TermKey{2, "c", 7100}, 2, 11, 5},
      {"etcd was wiped, and Patroni leads", LeaderKey{"b", 30}, std::nullopt, 3, 11, 6},
      {"another one there", LeaderKey{"c", 40}, std::nullopt, 3, 11, 7},
      {"ours", LeaderKey{"a", 50}, TermKey{3, "a", 50}, 3, 11, 8},
      {"the cluster is made anew", LeaderKey{"a", 90}, TermKey{1, "a", 90}, 3, 12, 9},
  };
  Succession succession;
  for (const Row& row : rows) {
    Leadership now = leadership_of(row.leader, row.term);
    EXPECT_EQ(succession.number_of(now, row.etcd, row.cluster), row.number) << row.name;
    EXPECT_EQ(now.leader, row.past || !row.leader ? "" : row.leader->leader) << row.name;
  }
}

TEST(LockTtl, ALongerOneCountsWhenTheLockHasMovedAndAShorterOneAtOnce) {
  using namespace std::chrono_literals;
  LockTtl ttl;
  EXPECT_EQ(ttl.follow(10s, 50), 10s);
  EXPECT_EQ(ttl.follow(3s, 50), 3s);
  EXPECT_EQ(ttl.follow(3s, 60), 3s);
  EXPECT_EQ(ttl.follow(30s, 60), 3s);
  EXPECT_EQ(ttl.follow(30s, 71), 30s);
}

TEST(Follow, ThePrimarysRouteIsOpenOnlyWhenAllIsKnown) {
  const ClusterState good{.known = true, .leader_reachable = true, .any_member = true, .switching = false, .number = 3, .fresh_until = 77};
  RouteState route = primary_route(good, {});
  EXPECT_TRUE(route.open);
  EXPECT_EQ(route.term, 3u);
  EXPECT_EQ(route.fresh_until, 77);
  ClusterState state = good;
  state.known = false;
  EXPECT_EQ(primary_route(state, {}).why, "the cluster is not known yet");
  state = good;
  state.leader_reachable = false;
  EXPECT_EQ(primary_route(state, {}).why, "no leader");
  state = good;
  state.switching = true;
  EXPECT_EQ(primary_route(state, {}).why, "a switchover");
  EXPECT_TRUE(reader_route(state).open);
  state.any_member = false;
  EXPECT_FALSE(reader_route(state).open);
}

TEST(Follow, JudgesANewServerByItsOwnWord) {
  Database database;
  Pool pool;
  Server server;
  pool.database = &database;
  server.pool = &pool;
  server.term = 9;
  using Answer = std::vector<std::optional<std::string>>;
  const auto judged = [&](Route route, const Answer& row, Expected expected) {
    database.route = route;
    return judge_server(server, row, expected);
  };
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", "4"}, {11, 9, 4, true}), "");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", std::nullopt}, {11, 9, 4, false}), "");
  EXPECT_EQ(judged(Route::primary, Answer{"t", "11", "4"}, {11, 9, 4, true}), "the server is not (yet) primary");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "12", "4"}, {11, 9, 4, true}), "the server belongs to another cluster");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", "3"}, {11, 9, 4, true}), "the server serves another term");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", "5"}, {11, 10, 5, true}), "the primary has moved");
  EXPECT_EQ(judged(Route::primary, Answer{"f"}, {11, 9, 4, true}), "the server did not say what it is");
  EXPECT_EQ(judged(Route::replica, Answer{"t", "11", std::nullopt}, {11, 9, 4, true}), "");
}

TEST(SwitchoverHold, HoldsForTheSwitchoverOfItsLeaderAndNoLongerThanItSays) {
  using Change = SwitchoverHold::Change;
  using Step = SwitchoverKey::Step;
  SwitchoverHold hold;
  const auto key = [](int64_t mod, Step step) { return SwitchoverKey{mod, 4, "a", step, 1000}; };
  EXPECT_EQ(hold.follow(std::nullopt, "a", 4, 0), Change::none);
  EXPECT_EQ(hold.follow(key(50, Step::draining), "b", 4, 0), Change::none);           // of another leader
  EXPECT_EQ(hold.follow(key(50, Step::draining), std::nullopt, 4, 0), Change::none);  // of nobody
  EXPECT_EQ(hold.follow(key(50, Step::draining), "a", 4, 10), Change::begins);
  EXPECT_EQ(hold.holding_for(), 50);
  EXPECT_EQ(hold.follow(key(52, Step::stopped), "a", 4, 900), Change::none);  // the same one, and not for longer
  EXPECT_EQ(hold.holding_for(), 50);
  EXPECT_EQ(hold.follow(key(55, Step::over), "a", 4, 950), Change::over);  // aborted
  EXPECT_EQ(hold.holding_for(), 0);
  EXPECT_EQ(hold.follow(key(70, Step::draining), "a", 4, 4000), Change::begins);
  EXPECT_EQ(hold.follow(key(70, Step::draining), "b", 4, 4100), Change::over);
  // Its agent died in the middle, and a later term is its node's again: nobody ends what the key speaks of.
  EXPECT_EQ(hold.follow(key(70, Step::draining), "a", 6, 5000), Change::none);
}

// The key is written over, never deleted: whoever gave up once takes part in the next one all the same.
TEST(SwitchoverHold, GivesUpOnOneSwitchoverAndNotOnTheNext) {
  using Change = SwitchoverHold::Change;
  using Step = SwitchoverKey::Step;
  SwitchoverHold hold;
  const auto key = [](int64_t mod, Step step) { return SwitchoverKey{mod, 4, "a", step, 1000}; };
  EXPECT_EQ(hold.follow(key(60, Step::draining), "a", 4, 2000), Change::begins);
  EXPECT_EQ(hold.follow(key(60, Step::draining), "a", 4, 3000), Change::gives_up);
  EXPECT_EQ(hold.follow(key(60, Step::draining), "a", 4, 3001), Change::none);
  EXPECT_EQ(hold.follow(key(61, Step::stopped), "a", 4, 3002), Change::none);
  EXPECT_EQ(hold.follow(key(62, Step::draining), "a", 4, 3003), Change::begins);  // what lay between was not seen
  EXPECT_EQ(hold.holding_for(), 62);
  EXPECT_EQ(hold.follow(key(64, Step::draining), "a", 4, 3500), Change::begins);
  EXPECT_EQ(hold.follow(key(64, Step::draining), "a", 4, 4400), Change::none);
  EXPECT_EQ(hold.follow(key(64, Step::draining), "a", 4, 4500), Change::gives_up);
}

TEST(Follow, DrainedIsSaidOnceAndNewerThanTheSwitchover) {
  EXPECT_EQ(part_of(0, 3), Part::open);
  EXPECT_EQ(part_of(50, 3), Part::holding);
  EXPECT_EQ(part_of(50, 0), Part::drained);
  EXPECT_TRUE(must_write(0, Part::open, 1, Part::open, 1, 0));            // it is not there
  EXPECT_FALSE(must_write(40, Part::open, 1, Part::open, 1, 0));
  EXPECT_TRUE(must_write(40, Part::open, 1, Part::open, 2, 0));           // another term
  EXPECT_TRUE(must_write(40, Part::open, 1, Part::drained, 1, 50));
  EXPECT_TRUE(must_write(40, Part::drained, 1, Part::drained, 1, 50));    // of an earlier switchover
  EXPECT_FALSE(must_write(51, Part::drained, 1, Part::drained, 1, 50));
}

}  // namespace
}  // namespace pgdba::pool
