#include "wire/rest_cluster.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

model::ClusterView sample() {
  model::ClusterView view;
  view.config = model::Keyed<model::DynamicConfig>{};
  view.config->value.synchronous_mode = model::SyncMode::quorum;
  view.leader = model::Keyed<std::string>{"node-1", 1, 1, 7};
  view.status = model::Keyed<model::Status>{{Lsn{1000}, {}, {}}, 1, 1, 0};
  view.sync = model::Keyed<model::SyncState>{{"node-1", 1, {"NODE-2"}}, 1, 1, 0};
  auto member = [&](const char* name, const char* url, model::Role role) -> model::Member& {
    model::Member& m = view.members[name].value;
    m.conn_url = url;
    m.api_url = std::string("http://") + name + ":8008/patroni";
    m.role = role;
    m.state = model::PgState::running;
    m.timeline = 2;
    return m;
  };
  member("node-1", "postgres://10.0.0.1:5432/postgres", model::Role::primary).xlog_location = Lsn{1000};
  model::Member& two = member("node-2", "postgres://[fd00::2]:5433/postgres", model::Role::replica);
  two.replication_state = "streaming";
  two.receive_lsn = Lsn{900};
  two.replay_lsn = Lsn{0x1000000FFF};
  two.xlog_location = Lsn{900};
  two.tags.nofailover = true;
  model::Member& three = member("node-3", "", model::Role::replica);
  three.state = model::PgState::stopped;
  three.timeline = 0;
  return view;
}

TEST(RestCluster, as_patroni_writes_it) {
  EXPECT_EQ(
      format_cluster_answer(make_cluster_report(sample(), "demo")),
      R"({"members": [{"name": "node-1", "role": "leader", "state": "running", "api_url": "http://node-1:8008/patroni", )"
      R"("host": "10.0.0.1", "port": 5432, "timeline": 2}, )"
      R"({"name": "node-2", "role": "quorum_standby", "state": "streaming", "api_url": "http://node-2:8008/patroni", )"
      R"("host": "fd00::2", "port": 5433, "timeline": 2, "tags": {"nofailover": true}, "receive_lag": 100, "receive_lsn": "0/384", )"
      R"("replay_lag": 0, "replay_lsn": "10/FFF", "lag": 100, "lsn": "0/384"}, )"
      R"({"name": "node-3", "role": "replica", "state": "stopped", "api_url": "http://node-3:8008/patroni", )"
      R"("receive_lsn": "unknown", "receive_lag": "unknown", "replay_lsn": "unknown", "replay_lag": "unknown", "lsn": "unknown", "lag": "unknown"}], )"
      R"("scope": "demo"})");
}

TEST(RestCluster, roles) {
  auto role = [](const model::ClusterView& view, size_t member) {
    return make_cluster_report(view, "demo").members.at(member).role;
  };
  auto view = sample();
  view.config->value.synchronous_mode = model::SyncMode::priority;
  EXPECT_EQ(role(view, 1), "sync_standby");
  view.config->value.synchronous_mode = model::SyncMode::off;
  EXPECT_EQ(role(view, 1), "replica");
  view.config_json = R"({"standby_cluster":{"host":"x"}})";
  EXPECT_EQ(role(view, 0), "standby_leader");
  view.config_json = R"({"standby_cluster":{"host":""}})";
  EXPECT_EQ(role(view, 0), "leader");
  view.leader.reset();
  EXPECT_EQ(role(view, 0), "replica");
  EXPECT_EQ(make_cluster_report(view, "demo").leader(), nullptr);
}

TEST(RestCluster, round_trip) {
  auto view = sample();
  view.config->value.pause = true;
  view.failover =
      model::Keyed<model::FailoverRequest>{{"node-1", "node-2", parse_utc("2026-11-24T00:00:00.25Z")}, 1, 1, 0};
  view.members["node-2"].value.pending_restart = true;
  view.members["node-2"].value.pending_restart_reason = {{"a", {"1", "2"}}};
  view.members["node-2"].value.scheduled_restart =
      model::ScheduledRestart{"2026-11-24T00:00:00+00:00", "x", {{"timeout", "5"}}};
  ClusterReport report = make_cluster_report(view, "demo");
  auto back = parse_cluster_answer(format_cluster_answer(report));
  ASSERT_TRUE(back.has_value()) << back.error().text;
  EXPECT_EQ(*back, report);
  EXPECT_EQ(back->leader()->name, "node-1");
}

// Patroni 3.0.2 says only `lag`, and no scope.
TEST(RestCluster, older_versions) {
  auto report = parse_cluster_answer(
      R"({"members": [{"name": "b", "role": "sync_standby", "state": "running", "api_url": "u", "host": "h", "port": 5432, "timeline": 1, "lag": 16},)"
      R"({"name": "a", "role": "leader", "state": "running", "api_url": "u"}, {"name": "c", "role": "replica", "lag": "unknown"}, 5],)"
      R"("scheduled_switchover": {"at": "2026-11-24T01:00:00+01:00", "from": "a"}})");
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->members.size(), 3u);
  EXPECT_EQ(report->members[0].name, "a");
  EXPECT_EQ(report->members[1].lag, 16u);
  EXPECT_EQ(report->members[1].lsn, std::nullopt);
  EXPECT_EQ(report->members[2].lag, std::nullopt);
  EXPECT_EQ(report->scheduled_switchover->scheduled_at, parse_utc("2026-11-24T00:00:00Z"));
  EXPECT_EQ(report->scope, "");
  for (const char* bad : {"", "{}", "[]", R"({"members":{}})"})
    EXPECT_FALSE(parse_cluster_answer(bad).has_value()) << bad;
}

TEST(RestCluster, history) {
  EXPECT_EQ(format_history_answer(std::nullopt), "[]");
  model::Keyed<std::vector<model::HistoryLine>> history{
      {{1, Lsn{50629160}, "no recovery target specified", "2026-11-23T13:01:02.146127+00:00", "node-2"}}, 1, 1, 0};
  EXPECT_EQ(format_history_answer(history),
            R"([[1, 50629160, "no recovery target specified", "2026-11-23T13:01:02.146127+00:00", "node-2"]])");
}

TEST(RestCluster, conn_urls) {
  EXPECT_EQ(parse_conn_url("postgres://h:5433/db"), (HostPort{"h", 5433}));
  EXPECT_EQ(parse_conn_url("postgresql://u:p@h"), (HostPort{"h", 5432}));
  EXPECT_EQ(parse_conn_url("postgres://[::1]:5433/db?x=y:1"), (HostPort{"::1", 5433}));
  EXPECT_EQ(parse_conn_url("http://h:8008"), (HostPort{"h", 8008}));
  for (const char* bad : {"", "h:5432", "postgres://", "postgres://:5432", "postgres://h:0", "postgres://h:99999",
                          "postgres://h:x", "postgres://[::1", "postgres://[::1]x"}) {
    EXPECT_EQ(parse_conn_url(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace pgdba::wire
