#include "wire/rest_metrics.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace pgdba::wire {
namespace {

// Compares with tests/golden/wire/<name>; PGDBA_REWRITE=1 in the environment writes the file instead.
void expect_golden(const std::string& name, const std::string& text) {
  std::string path = std::string(PGDBA_TESTS_DIR) + "/golden/wire/" + name;
  if (std::getenv("PGDBA_REWRITE")) std::ofstream(path) << text;
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  std::stringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str()) << path;
}

NodeStatus primary() {
  NodeStatus s;
  s.state = model::PgState::running;
  s.role = model::Role::primary;
  s.postmaster_start_time = parse_utc("2026-11-23T13:00:26.352526Z");
  s.server_version = 150020;
  s.primary = PrimaryXlog{Lsn{50628400}};
  s.timeline = 3;
  s.dcs_last_seen = 1763902860;
  s.patroni_version = "4.1.4";
  s.scope = "demo";
  s.name = "node-1";
  return s;
}

TEST(RestMetrics, primary) {
  NodeStatus s = primary();
  expect_golden("metrics_primary.txt", format_metrics({&s, true, true, 1, {}}));
}

TEST(RestMetrics, replica_in_pause_with_metrics_of_our_own) {
  NodeStatus s = primary();
  s.role = model::Role::replica;
  s.primary.reset();
  s.replica = ReplicaXlog{Lsn{UINT64_MAX}, Lsn{50628399}, parse_utc("2026-11-23T13:00:27Z"), true};
  s.replication_state = "streaming";
  s.sync_role = SyncRole::quorum_standby;
  s.pause = s.cluster_unlocked = s.pending_restart = s.failsafe_mode_is_active = true;
  s.name = "a\"b\\c\nd";
  expect_golden(
      "metrics_replica.txt",
      format_metrics({&s, true, false, 0, {{"pgdba_term", "The newest term that this node has seen.", "gauge", "7"}}}));
}

TEST(RestMetrics, postgresql_is_down) {
  NodeStatus s;
  s.role = model::Role::demoted;
  s.patroni_version = "4.1.4";
  s.scope = "demo";
  s.name = "node-1";
  expect_golden("metrics_down.txt", format_metrics({&s, false, false, 1, {}}));
}

TEST(RestMetrics, versions) {
  EXPECT_EQ(padded_version("4.1.4"), "040104");
  EXPECT_EQ(padded_version("4.10.12"), "041012");
  EXPECT_EQ(padded_version("4"), "04");
  EXPECT_EQ(padded_version(""), "0");
}

}  // namespace
}  // namespace pgdba::wire
