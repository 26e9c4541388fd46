#include <gtest/gtest.h>

#include "model/cluster.h"

namespace pgdba::model {
namespace {

TEST(Names, slot_names_follow_patronis_rule) {
  EXPECT_EQ(slot_name("pg-Primary.1"), "pg_primary_1");
  EXPECT_EQ(slot_name("a b"), "au0032b");
  EXPECT_EQ(slot_name("é"), "u0233");
  EXPECT_EQ(slot_name(std::string(80, 'x')).size(), 63u);
}

TEST(Names, states_and_roles_read_back) {
  for (int i = 0; i < 15; ++i) EXPECT_EQ(parse_pg_state(to_string(static_cast<PgState>(i))), static_cast<PgState>(i));
  EXPECT_EQ(parse_role("master"), Role::primary);
  EXPECT_EQ(parse_role("promoted"), Role::promoted);
  EXPECT_EQ(parse_role("boss"), std::nullopt);
}

// R1: two nodes promoted independently both write timeline 2; only the term says whose records count.
TEST(Position, compares_by_term_before_lsn) {
  Position dead{.term = 2, .timeline = 2, .lsn = Lsn{900}};
  Position live{.term = 3, .timeline = 2, .lsn = Lsn{500}};
  EXPECT_LT(dead, live);
  EXPECT_EQ((Position{.term = 3, .timeline = 2, .lsn = Lsn{500}}), live);
}

TEST(Timings, patronis_rule_from_ttl_20_on) {
  auto t = adjust({.ttl = 30s, .loop_wait = 10s, .retry_timeout = 10s}, false);
  EXPECT_EQ(t.loop_wait, Duration(10s));
  t = adjust({.ttl = 20s, .loop_wait = 10s, .retry_timeout = 10s}, false);
  EXPECT_EQ(t.loop_wait, Duration(1s));
  EXPECT_EQ(t.retry_timeout, Duration(9s));
}

TEST(Timings, short_ttl_scales_the_rest_and_patroni_members_forbid_it) {
  auto t = adjust({.ttl = 3s, .loop_wait = 10s, .retry_timeout = 10s}, false);
  EXPECT_EQ(t.ttl, Duration(3s));
  EXPECT_EQ(t.loop_wait, Duration(1s));
  EXPECT_EQ(adjust({.ttl = 1s, .loop_wait = 10s, .retry_timeout = 10s}, false).ttl, Duration(2s));
  EXPECT_EQ(adjust({.ttl = 3s, .loop_wait = 10s, .retry_timeout = 10s}, true).ttl, Duration(20s));
}

}  // namespace
}  // namespace pgdba::model
