#include "wire/rest_status.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

NodeStatus parsed(std::string_view text) {
  auto result = parse_status_answer(text);
  EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().text);
  return result.value_or(NodeStatus{});
}

// Answers in the shape of Patroni 4.1, keys in its order.
constexpr const char* kPrimary =
    R"({"state": "running", "postmaster_start_time": "2026-11-23 13:00:26.352526+00:00", "role": "primary", "server_version": 150020, )"
    R"("xlog": {"location": 50628400}, "timeline": 1, "replication": [{"usename": "replicator", "application_name": "node-2", )"
    R"("client_addr": "127.0.0.1", "state": "streaming", "sync_state": "quorum", "sync_priority": 1}], "dcs_last_seen": 1763902860, )"
    R"("tags": {"clonefrom": true}, "database_system_identifier": "7711349752793788765", )"
    R"("patroni": {"version": "4.1.4", "scope": "demo", "name": "node-1"}})";
constexpr const char* kReplica =
    R"({"state": "running", "postmaster_start_time": "2026-11-23 13:00:30+00:00", "role": "replica", "server_version": 150020, )"
    R"("xlog": {"received_location": 50628400, "replayed_location": 50628399, "replayed_timestamp": null, "paused": false}, )"
    R"("quorum_standby": true, "timeline": 1, "replication_state": "streaming", "pause": true, "cluster_unlocked": true, )"
    R"("failsafe_mode_is_active": true, "dcs_last_seen": 1763902860, "database_system_identifier": "7711349752793788765", )"
    R"("pending_restart": true, "pending_restart_reason": {"max_connections": {"old_value": "100", "new_value": "200"}}, )"
    R"("patroni": {"version": "4.1.4", "scope": "demo", "name": "node-2"}, )"
    R"("scheduled_restart": {"schedule": "2026-11-24T00:00:00+00:00"}, "watchdog_failed": true})";

TEST(RestStatus, patronis_answers_come_back_unchanged) {
  EXPECT_EQ(format_status_answer(parsed(kPrimary)), kPrimary);
  EXPECT_EQ(format_status_answer(parsed(kReplica)), kReplica);
}

TEST(RestStatus, meaning) {
  NodeStatus p = parsed(kPrimary);
  EXPECT_EQ(p.role, model::Role::primary);
  EXPECT_EQ(p.wal_position(), Lsn{50628400});
  EXPECT_EQ(p.replication.at(0).application_name, "node-2");
  EXPECT_TRUE(p.tags.clonefrom);
  EXPECT_EQ(p.postmaster_start_time, parse_utc("2026-11-23T13:00:26.352526Z"));
  EXPECT_FALSE(p.pgdba.has_value());
  NodeStatus r = parsed(kReplica);
  EXPECT_EQ(r.sync_role, SyncRole::quorum_standby);
  EXPECT_EQ(r.wal_position(), Lsn{50628400});
  EXPECT_EQ(r.pending_restart_reason.at("max_connections").new_value, "200");
}

// A node whose PostgreSQL is down must look like this, or peers count it in an election.
TEST(RestStatus, without_postgresql) {
  NodeStatus s;
  s.role = model::Role::demoted;
  s.state = model::PgState::stopped;
  s.dcs_last_seen = 5;
  s.patroni_version = "4.1.4";
  s.scope = "demo";
  s.name = "a";
  EXPECT_EQ(
      format_status_answer(s),
      R"({"state": "stopped", "role": "demoted", "dcs_last_seen": 5, "patroni": {"version": "4.1.4", "scope": "demo", "name": "a"}})");
  EXPECT_FALSE(s.has_position());
  EXPECT_EQ(s.wal_position(), std::nullopt);
  s.state.reset();
  EXPECT_TRUE(format_status_answer(s).starts_with(R"({"state": "unknown", )"));
  EXPECT_EQ(parsed(format_status_answer(s)), s);
}

TEST(RestStatus, round_trip_with_everything_of_ours) {
  NodeStatus s = parsed(kReplica);
  s.sync_role = SyncRole::sync_standby;
  s.timeline.reset();
  s.replica->replayed_timestamp = parse_utc("2026-11-23T13:00:26.5Z");
  s.replication.push_back({"u", "ü\n", "", "streaming", "async", 0});
  s.pgdba = PgdbaStatus{"0.1.0", 7, -5, model::Position{6, 3, Lsn{0x1600000028}}, true, false, true};
  std::string text = format_status_answer(s);
  EXPECT_EQ(parsed(text), s);
  EXPECT_EQ(parsed(text).pgdba->position->timeline, 3u);
  EXPECT_NE(text.find(R"("client_addr": null)"), std::string::npos);
  EXPECT_NE(text.find(R"("timeline": null)"), std::string::npos);
  EXPECT_TRUE(text.ends_with(
      R"("pgdba": {"version": "0.1.0", "term": 7, "lock_ms": -5, "position": {"term": 6, "tli": 3, "lsn": "16/28"}, "frozen": true, "gate_open": false, "no_data": true}})"));
}

TEST(RestStatus, other_versions_and_other_things) {
  NodeStatus old =
      parsed(R"({"state":"running","role":"master","xlog":{"location":"12"},"server_version":90600,"timeline":"3"})");
  EXPECT_EQ(old.role, model::Role::primary);
  EXPECT_EQ(old.wal_position(), Lsn{12});
  EXPECT_EQ(old.timeline, 3u);
  EXPECT_EQ(parsed(R"({"role":"replica","wal":{"received_location":5,"replayed_location":null}})").wal_position(),
            Lsn{5});
  EXPECT_FALSE(parsed(R"({"role":"replica","xlog":null})").has_position());
  EXPECT_FALSE(parsed(R"({"role":"replica","xlog":{}})").has_position());
  EXPECT_FALSE(parsed(R"({"role":"replica","xlog":{"location":-1}})").has_position());
  EXPECT_EQ(parsed(R"({"role":"replica","replication":[1,{},{"state":5}],"tags":[],"patroni":"x","state":[]})")
                .replication.size(),
            2u);
  EXPECT_EQ(parsed(R"({"role":"captain"})").role, model::Role::uninitialized);
  for (const char* bad : {"", "[]", "{}", "null", "<html>", R"({"role":5})", R"({"state":"running"})"}) {
    EXPECT_FALSE(parse_status_answer(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace pgdba::wire
