#include "pooler/api_watch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace pgdba::pooler {

namespace {

// As Patroni 4.0.7 answers: `leader` leads, and a and b are what there is.
std::string answer(const std::string& leader, int timeline, const std::string& state = "running") {
  std::string members;
  for (const char* name : {"a", "b"}) {
    const bool leads = leader == name;
    members += fmt::format(R"({}{{"name": "{}", "role": "{}", "state": "{}", "api_url": "http://10.0.0.1:8008/patroni", "host": "10.0.0.1",)"
                           R"( "port": {}, "timeline": {}{}}})",
                           members.empty() ? "" : ", ", name, leads ? "leader" : "replica", leads ? state : "streaming",
                           *name == 'a' ? 5432 : 5433, timeline, leads ? "" : R"(, "lag": 100)");
  }
  return fmt::format(R"({{"members": [{}], "scope": "demo"}})", members);
}

struct Step {
  const char* leader;
  int timeline;
  const char* state;
  const char* believed;  // empty: nobody leads
  uint64_t term;
};

void follow(std::initializer_list<Step> steps) {
  ApiFollower follower;
  for (const Step& step : steps) {
    const ClusterNews news = follower.follow(answer(step.leader, step.timeline, step.state));
    EXPECT_TRUE(news.known);
    EXPECT_EQ(news.leader, step.believed) << step.leader << " on " << step.timeline;
    EXPECT_EQ(news.term, step.term) << step.leader << " on " << step.timeline;
  }
}

}  // namespace

TEST(ApiWatch, says_who_leads_where_and_how_far_behind_the_others_are) {
  ApiFollower follower;
  const ClusterNews news = follower.follow(answer("b", 3));
  EXPECT_EQ(news.leader, "b");
  EXPECT_EQ(news.term, 3U);
  EXPECT_FALSE(news.own_term);
  ASSERT_EQ(news.members.size(), 2U);
  EXPECT_EQ(news.members[0].lag_bytes, 100);
  EXPECT_TRUE(news.members[0].running && !news.members[0].leader);
  EXPECT_TRUE(news.members[1].leader);
  EXPECT_EQ(news.members[1].lag_bytes, 0);
  EXPECT_EQ(news.members[1].host, "10.0.0.1");
  EXPECT_EQ(news.members[1].port, 5433);
}

// A switchover under real Patroni 4.0.7 closed twenty busy servers of the new leader: they were lent while it was still reported
// with the old timeline, and the new one was taken for another change.
TEST(ApiWatch, a_leader_that_is_first_reported_with_the_old_timeline_changes_once) {
  follow({{"a", 1, "running", "a", 1}, {"b", 1, "running", "b", 2}, {"b", 2, "running", "b", 2}, {"a", 3, "running", "a", 3}});
}

TEST(ApiWatch, the_term_rises_with_each_change_of_leader) {
  follow({{"a", 4, "running", "a", 4}, {"", 4, "", "", 4}, {"b", 5, "running", "b", 5}, {"a", 5, "running", "a", 6}, {"a", 6, "running", "a", 6},
          {"b", 9, "running", "b", 9}});
}

TEST(ApiWatch, a_member_that_is_cut_off_brings_no_old_leader_back) {
  follow({{"a", 1, "running", "a", 1}, {"b", 1, "running", "b", 2}, {"a", 1, "running", "", 2}, {"b", 2, "running", "b", 2},
          {"a", 1, "running", "", 2}, {"b", 2, "running", "b", 2}});
}

TEST(ApiWatch, a_leader_that_was_restarted_keeps_its_term) {
  follow({{"a", 1, "running", "a", 1}, {"a", 1, "starting", "", 1}, {"a", 1, "running", "a", 1}, {"a", 2, "running", "a", 1}});
}

TEST(ApiWatch, a_leader_that_is_not_running_leads_nobody) {
  follow({{"a", 1, "stopping", "", 0}, {"a", 1, "running", "a", 1}, {"a", 1, "stopped", "", 1}});
}

TEST(ApiWatch, why_an_answer_counts_for_nothing_is_said) {
  ApiFollower follower;
  EXPECT_FALSE(follower.follow("<html>").known);
  EXPECT_NE(follower.follow("<html>").trouble, "");
  EXPECT_EQ(follower.follow(answer("a", 5)).trouble, "");
  EXPECT_EQ(follower.follow(answer("b", 4)).trouble, "b is said to lead on timeline 4, older than 5");
  EXPECT_EQ(follower.follow(answer("b", 5)).trouble, "");
  EXPECT_EQ(follower.follow(answer("a", 5)).trouble, "a is said to lead on timeline 5, which b has led on");
}

}  // namespace pgdba::pooler
