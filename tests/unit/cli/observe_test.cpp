#include "cli/observe.h"

#include <gtest/gtest.h>

namespace pgdba::cli {
namespace {

using model::PgState;
using model::Role;

const WallTime kNow = *parse_utc("2026-01-02T03:04:05Z");

wire::NodeStatus primary(const std::string& name, uint64_t lsn) {
  wire::NodeStatus out;
  out.state = PgState::running;
  out.role = Role::primary;
  out.primary = wire::PrimaryXlog{Lsn{lsn}};
  out.timeline = 1;
  out.scope = "demo";
  out.name = name;
  out.system_identifier = "7000000000000000001";
  out.postmaster_start_time = kNow - std::chrono::hours(1);
  return out;
}

wire::NodeStatus replica(const std::string& name, uint64_t received, uint64_t replayed) {
  wire::NodeStatus out = primary(name, 1);
  out.role = Role::replica;
  out.primary.reset();
  out.replica = wire::ReplicaXlog{Lsn{received}, Lsn{replayed}, kNow - std::chrono::seconds(30), false};
  out.replication_state = "streaming";
  return out;
}

wire::ClusterReport report(const std::string& leader, const std::vector<std::string>& names) {
  wire::ClusterReport out;
  out.scope = "demo";
  for (const std::string& name : names) {
    wire::MemberReport member;
    member.name = name;
    member.role = name == leader ? "leader" : "quorum_standby";
    member.state = name == leader ? "running" : "streaming";
    member.host = "127.0.0.1";
    member.port = uint16_t{5432};
    member.timeline = 1;
    out.members.push_back(member);
  }
  return out;
}

wire::ClusterReport compose_report() {
  wire::ClusterReport out = report("a", {"a", "b", "c"});
  out.members[0].api_url = "http://10.0.0.1:8008/patroni";
  out.members[1].api_url = "http://10.0.0.2:8009/patroni";
  out.members[2].api_url = "http://10.0.0.3:8010/patroni";
  return out;
}

MemberAnswers answer(const wire::NodeStatus& status, const std::string& leader) {
  MemberAnswers out;
  out.asked = {status.name, "http://127.0.0.1:8008/" + status.name};
  out.status = status;
  out.report = report(leader, {"a", "b", "c"});
  return out;
}

MemberAnswers silent(const std::string& name) {
  MemberAnswers out;
  out.asked = {name, "http://127.0.0.1:8008/" + name};
  out.problem = "connection refused";
  return out;
}

std::vector<Registered::Member> expected(const std::vector<MemberAnswers>& answers) {
  std::vector<Registered::Member> out;
  for (const auto& one : answers) out.push_back(one.asked);
  return out;
}

Sight sight_of(const std::vector<MemberAnswers>& answers) {
  return compose(expected(answers), answers, kNow);
}

TEST(Compose, a_healthy_cluster_with_its_lags) {
  Sight sight = sight_of(
      {answer(primary("a", 1000), "a"), answer(replica("b", 1000, 1000), "a"), answer(replica("c", 900, 400), "a")});
  EXPECT_TRUE(sight.healthy());
  EXPECT_EQ(sight.leader, "a");
  EXPECT_EQ(sight.scope, "demo");
  EXPECT_EQ(sight.leader_since, kNow - std::chrono::hours(1));
  EXPECT_EQ(sight.find("a")->lag_bytes, std::nullopt) << "the leader lags behind nobody";
  EXPECT_EQ(sight.find("b")->lag_bytes, 0u);
  EXPECT_EQ(sight.find("b")->lag_seconds, 0.0) << "nothing is unreplayed, however old the last transaction is";
  EXPECT_EQ(sight.find("b")->sync_state, "quorum");
  EXPECT_EQ(sight.find("c")->lag_bytes, 600u);
  EXPECT_EQ(sight.find("c")->lag_seconds, 30.0);
}

TEST(Compose, a_member_that_is_silent_is_shown_and_its_numbers_are_unknown) {
  Sight sight = sight_of({answer(primary("a", 1000), "a"), answer(replica("b", 1000, 1000), "a"), silent("c")});
  EXPECT_FALSE(sight.healthy());
  EXPECT_EQ(sight.find("c")->state, "unreachable");
  EXPECT_EQ(sight.find("c")->lag_bytes, std::nullopt);
  EXPECT_EQ(sight.find("c")->lag_seconds, std::nullopt);
  EXPECT_EQ(sight.problems, std::vector<std::string>{"c is unreachable"});
}

TEST(Compose, an_expected_member_that_the_cluster_has_forgotten_is_missing) {
  auto a = answer(primary("a", 1000), "a");
  a.report = report("a", {"a", "b"});
  auto b = answer(replica("b", 1000, 1000), "a");
  b.report = a.report;
  Sight sight = sight_of({a, b, silent("c")});
  EXPECT_EQ(sight.find("c")->state, "missing");
  EXPECT_EQ(sight.find("c")->role, std::nullopt);
  EXPECT_FALSE(sight.healthy());
}

TEST(Compose, no_leader_is_unhealthy_even_when_an_old_report_names_one) {
  auto b = replica("b", 1000, 1000), c = replica("c", 1000, 1000);
  b.cluster_unlocked = c.cluster_unlocked = true;
  Sight sight = sight_of({silent("a"), answer(b, "a"), answer(c, "a")});
  EXPECT_EQ(sight.leader, std::nullopt);
  EXPECT_FALSE(sight.healthy());
  EXPECT_EQ(sight.problems.front(), "no leader");
  EXPECT_NE(sight.find("a")->role, "leader");
}

TEST(Compose, a_leader_that_does_not_answer_is_no_healthy_cluster) {
  Sight sight = sight_of({silent("a"), answer(replica("b", 1000, 1000), "a"), answer(replica("c", 1000, 1000), "a")});
  EXPECT_EQ(sight.leader, "a");
  EXPECT_FALSE(sight.leader_answers);
  EXPECT_FALSE(sight.healthy());
  EXPECT_EQ(sight.problems.front(), "the leader a does not answer");
}

TEST(Compose, the_primary_with_the_lock_is_believed_before_a_member_that_is_behind) {
  // b has just been promoted; c still reads the old state from its copy of etcd.
  auto b = answer(primary("b", 1000), "b");
  Sight sight = sight_of({silent("a"), answer(replica("c", 1000, 1000), "a"), b});
  EXPECT_EQ(sight.leader, "b");
  EXPECT_TRUE(sight.leader_answers);
}

TEST(Compose, two_primaries_are_named) {
  auto old = primary("a", 900);
  Sight sight = sight_of({answer(old, "b"), answer(primary("b", 1000), "b"), answer(replica("c", 1000, 1000), "b")});
  EXPECT_FALSE(sight.healthy());
  ASSERT_EQ(sight.problems.size(), 2u);
  EXPECT_EQ(sight.problems[0], "a runs as primary without the leader lock");
  EXPECT_NE(sight.problems[1].find("a, b"), std::string::npos);
}

TEST(Compose, a_replica_on_another_timeline_is_a_problem) {
  auto c = replica("c", 1000, 1000);
  c.timeline = 2;
  Sight sight = sight_of({answer(primary("a", 1000), "a"), answer(replica("b", 1000, 1000), "a"), answer(c, "a")});
  EXPECT_EQ(sight.problems, std::vector<std::string>{"c is on timeline 2, the leader on 1"});
}

TEST(Compose, since_when_the_leader_leads_comes_from_the_history) {
  auto a = primary("a", 1000);
  a.timeline = 2;
  auto first = answer(a, "a");
  first.history =
      std::vector<model::HistoryLine>{{1, Lsn{500}, "no recovery target specified", "2026-01-02T01:00:00+00:00", "a"}};
  Sight sight = sight_of({first});
  EXPECT_EQ(sight.leader_since, parse_utc("2026-01-02T01:00:00Z"));
  first.history->back().new_leader = "b";
  EXPECT_EQ(sight_of({first}).leader_since, std::nullopt) << "a leads, but the history does not know it yet";
}

// Patroni 3.0 (Debian 12) has no replication_state: its replicas looked as if they did not stream.
TEST(Compose, an_old_patroni_streams_when_its_leader_says_so) {
  auto a = primary("a", 1000);
  a.replication = {{.usename = "r",
                    .application_name = "b",
                    .client_addr = "",
                    .state = "streaming",
                    .sync_state = "async",
                    .sync_priority = 0}};
  auto b = replica("b", 1000, 1000), c = replica("c", 1000, 1000);
  b.replication_state = c.replication_state = "";
  Sight sight = sight_of({answer(a, "a"), answer(b, "a"), answer(c, "a")});
  EXPECT_EQ(sight.find("b")->state, "streaming");
  EXPECT_EQ(sight.problems, std::vector<std::string>{"c runs but does not stream"});
}

TEST(MemberName, of_a_patroni_that_does_not_say_it) {
  wire::ClusterReport report = compose_report();
  auto status = replica("", 1, 1);
  EXPECT_EQ(member_name("http://10.0.0.2:8009", status, &report), "b");
  EXPECT_EQ(member_name("http://localhost:8010", status, &report), "c") << "the only one published with this port";
  EXPECT_EQ(member_name("http://localhost:8099", status, &report), "");
  EXPECT_EQ(member_name("http://localhost:8099", primary("", 1), &report), "a");
  EXPECT_EQ(member_name("http://localhost:8099", replica("said", 1, 1), nullptr), "said");
}

TEST(Compose, nobody_answers) {
  Sight sight = sight_of({silent("a"), silent("b")});
  EXPECT_EQ(sight.answers, 0);
  EXPECT_EQ(sight.leader, std::nullopt);
  EXPECT_EQ(sight.members.size(), 2u);
  EXPECT_EQ(sight.find("a")->state, "missing");
}

// Published addresses may be unreachable from here (containers): that alone is no fault of the cluster.
TEST(Compose, a_member_without_an_endpoint_is_believed_from_the_report) {
  auto a = answer(primary("a", 1000), "a");
  std::vector<Registered::Member> members = {a.asked, {"b", ""}, {"c", ""}};
  Sight sight = compose(members, {a}, kNow);
  EXPECT_TRUE(sight.healthy()) << (sight.problems.empty() ? "" : sight.problems.front());
  EXPECT_EQ(sight.find("b")->state, "streaming");
  EXPECT_EQ(sight.find("b")->lag_bytes, std::nullopt);
}

}  // namespace
}  // namespace pgdba::cli
