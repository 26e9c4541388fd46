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
      {"both agree", LeaderKey{"a", 9}, TermKey{4, "a"}, "a", 4, true},
      {"the term of another", LeaderKey{"a", 9}, TermKey{4, "b"}, "", 0, false},
      {"nobody owns the key", std::nullopt, TermKey{4, "a"}, "", 4, true},
      {"a Patroni leader", LeaderKey{"a", 9}, std::nullopt, "a", 9, false},
  };
  for (const Row& row : rows) {
    const Leadership got = leadership_of(row.leader, row.term);
    EXPECT_EQ(got.leader, row.leads) << row.name;
    EXPECT_EQ(got.term, row.in_term) << row.name;
    EXPECT_EQ(got.own_term, row.own) << row.name;
  }
}

TEST(Follow, ThePrimarysRouteIsOpenOnlyWhenAllIsKnown) {
  const ClusterState good{.known = true, .leader_reachable = true, .any_member = true, .switching = false, .term = 3, .fresh_until = 77};
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
  server.term = 4;
  using Answer = std::vector<std::optional<std::string>>;
  const auto judged = [&](Route route, const Answer& row, Expected expected) {
    database.route = route;
    return judge_server(server, row, expected);
  };
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", "4"}, {11, 4, true}), "");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", std::nullopt}, {11, 4, false}), "");
  EXPECT_EQ(judged(Route::primary, Answer{"t", "11", "4"}, {11, 4, true}), "the server is not (yet) primary");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "12", "4"}, {11, 4, true}), "the server belongs to another cluster");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", "3"}, {11, 4, true}), "the server serves another term");
  EXPECT_EQ(judged(Route::primary, Answer{"f", "11", "5"}, {11, 5, true}), "the primary has moved");
  EXPECT_EQ(judged(Route::primary, Answer{"f"}, {11, 4, true}), "the server did not say what it is");
  EXPECT_EQ(judged(Route::replica, Answer{"t", "11", std::nullopt}, {11, 4, true}), "");
}

TEST(SwitchoverHold, HoldsForTheSwitchoverOfItsLeaderAndNoLongerThanItSays) {
  using Change = SwitchoverHold::Change;
  using Step = SwitchoverKey::Step;
  SwitchoverHold hold;
  const auto key = [](int64_t mod, Step step) { return SwitchoverKey{mod, "a", step, 1000}; };
  EXPECT_EQ(hold.follow(std::nullopt, "a", 0), Change::none);
  EXPECT_EQ(hold.follow(key(50, Step::draining), "b", 0), Change::none);           // of another leader
  EXPECT_EQ(hold.follow(key(50, Step::draining), std::nullopt, 0), Change::none);  // of nobody
  EXPECT_EQ(hold.follow(key(50, Step::draining), "a", 10), Change::begins);
  EXPECT_EQ(hold.holding_for(), 50);
  EXPECT_EQ(hold.follow(key(52, Step::stopped), "a", 900), Change::none);  // the same one, and not for longer
  EXPECT_EQ(hold.holding_for(), 50);
  EXPECT_EQ(hold.follow(key(55, Step::over), "a", 950), Change::over);  // aborted
  EXPECT_EQ(hold.holding_for(), 0);
  EXPECT_EQ(hold.follow(key(70, Step::draining), "a", 4000), Change::begins);
  EXPECT_EQ(hold.follow(key(70, Step::draining), "b", 4100), Change::over);
}

// The key is written over, never deleted: whoever gave up once takes part in the next one all the same.
TEST(SwitchoverHold, GivesUpOnOneSwitchoverAndNotOnTheNext) {
  using Change = SwitchoverHold::Change;
  using Step = SwitchoverKey::Step;
  SwitchoverHold hold;
  const auto key = [](int64_t mod, Step step) { return SwitchoverKey{mod, "a", step, 1000}; };
  EXPECT_EQ(hold.follow(key(60, Step::draining), "a", 2000), Change::begins);
  EXPECT_EQ(hold.follow(key(60, Step::draining), "a", 3000), Change::gives_up);
  EXPECT_EQ(hold.follow(key(60, Step::draining), "a", 3001), Change::none);
  EXPECT_EQ(hold.follow(key(61, Step::stopped), "a", 3002), Change::none);
  EXPECT_EQ(hold.follow(key(62, Step::draining), "a", 3003), Change::begins);  // what lay between was not seen
  EXPECT_EQ(hold.holding_for(), 62);
  EXPECT_EQ(hold.follow(key(64, Step::draining), "a", 3500), Change::begins);
  EXPECT_EQ(hold.follow(key(64, Step::draining), "a", 4400), Change::none);
  EXPECT_EQ(hold.follow(key(64, Step::draining), "a", 4500), Change::gives_up);
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
