// Cancel requests to a peer: no more at once than its pool_size, in the order in which they came.
#include <gtest/gtest.h>

#include <string>

#include "pooler/peer_pools.h"

namespace pgdba::pooler {
namespace {

using Verdict = PeerPools::Verdict;

TEST(PeerPools, NoMoreAtOnceThanThePoolsSizeAndFirstInFirstOut) {
  PeerPools pools;
  std::string went;
  const auto go = [&](char who) { return [&went, who] { went += who; }; };
  EXPECT_EQ(pools.take(1, 2, go('a')), Verdict::go);
  EXPECT_EQ(pools.take(1, 2, go('b')), Verdict::go);
  EXPECT_EQ(pools.take(1, 2, go('c')), Verdict::wait);
  EXPECT_EQ(pools.take(1, 2, go('d')), Verdict::wait);
  EXPECT_EQ(pools.take(2, 2, go('e')), Verdict::go) << "each peer by itself";
  pools.sent(1);
  PeerPools::Figures figures = pools.figures(1);
  EXPECT_EQ(figures.waiting, 2);
  EXPECT_EQ(figures.connecting, 1);
  EXPECT_EQ(figures.sent, 1);
  EXPECT_EQ(went, "");
  pools.give(1, true);
  EXPECT_EQ(went, "c");
  pools.give(1, false);
  EXPECT_EQ(went, "cd");
  pools.give(1, false);
  pools.give(1, false);
  figures = pools.figures(1);
  EXPECT_EQ(figures.waiting + figures.connecting + figures.sent, 0);
  EXPECT_EQ(pools.take(1, 2, go('f')), Verdict::go);
}

TEST(PeerPools, AGreaterLimitLetsMoreGoAndNoLimitLetsAllGo) {
  PeerPools pools;
  std::string went;
  const auto go = [&](char who) { return [&went, who] { went += who; }; };
  EXPECT_EQ(pools.take(1, 1, go('a')), Verdict::go);
  EXPECT_EQ(pools.take(1, 1, go('b')), Verdict::wait);
  EXPECT_EQ(pools.take(1, 1, go('c')), Verdict::wait);
  EXPECT_EQ(pools.take(1, 3, go('d')), Verdict::wait) << "not before those who came first";
  pools.give(1, false);
  EXPECT_EQ(went, "bcd");
  EXPECT_EQ(pools.take(1, 0, go('e')), Verdict::go);
}

TEST(PeerPools, OnlySoManyMayWait) {
  PeerPools pools;
  EXPECT_EQ(pools.take(1, 1, [] {}), Verdict::go);
  for (size_t i = 0; i < PeerPools::kMostWaiting; ++i) ASSERT_EQ(pools.take(1, 1, [] {}), Verdict::wait);
  EXPECT_EQ(pools.take(1, 1, [] {}), Verdict::refused);
}

// Who begins and cannot go on gives its place back from within its own turn.
TEST(PeerPools, ATurnMayBeGivenBackAtOnce) {
  PeerPools pools;
  std::string went;
  EXPECT_EQ(pools.take(1, 1, [] {}), Verdict::go);
  for (char who : {'a', 'b', 'c'}) {
    EXPECT_EQ(pools.take(1, 1,
                         [&, who] {
                           went += who;
                           pools.give(1, false);
                         }),
              Verdict::wait);
  }
  pools.give(1, false);
  EXPECT_EQ(went, "abc");
}

}  // namespace
}  // namespace pgdba::pooler
