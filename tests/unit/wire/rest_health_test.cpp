#include "wire/rest_health.h"

#include <gtest/gtest.h>

#include "model/tags.h"

namespace pgdba::wire {
namespace {

struct Node {
  NodeStatus status;
  model::Tags tags;
  HealthInput in;

  int code(std::string_view target) {
    in.status = &status;
    in.tags = &tags;
    return health_code(in, parse_target(target));
  }
};

Node leader() {
  Node n;
  n.status.role = model::Role::primary;
  n.status.state = model::PgState::running;
  n.status.primary = PrimaryXlog{Lsn{1000}};
  n.in.has_cluster = true;
  n.in.believes_leader = true;
  n.in.leader_lsn = Lsn{1000};
  return n;
}

Node replica(SyncRole role = SyncRole::none) {
  Node n = leader();
  n.status.role = model::Role::replica;
  n.status.primary.reset();
  n.status.replica = ReplicaXlog{Lsn{950}, Lsn{900}, {}, false};
  n.status.replication_state = "streaming";
  n.status.sync_role = role;
  n.in.believes_leader = false;
  return n;
}

TEST(RestHealth, table_of_paths) {
  struct Row {
    const char* path;
    int leader, replica, sync, quorum;
  };
  const Row rows[] = {
      {"/", 200, 503, 503, 503},
      {"/primary", 200, 503, 503, 503},
      {"/master", 200, 503, 503, 503},
      {"/read-write", 200, 503, 503, 503},
      {"/leader", 200, 503, 503, 503},
      {"/standby_leader", 503, 503, 503, 503},
      {"/standby-leader", 503, 503, 503, 503},
      {"/replica", 503, 200, 200, 200},
      {"/read-only", 200, 200, 200, 200},
      {"/health", 200, 200, 200, 200},
      {"/sync", 503, 503, 200, 503},
      {"/synchronous", 503, 503, 200, 503},
      {"/quorum", 503, 503, 503, 200},
      {"/async", 503, 200, 503, 503},
      {"/asynchronous", 503, 200, 503, 503},
      {"/read-only-sync", 200, 503, 200, 503},
      {"/read-only-synchronous", 200, 503, 200, 503},
      {"/read-only-quorum", 200, 503, 503, 200},
      {"/nothing", 503, 503, 503, 503},
      {"/metrics", 503, 503, 503, 503},
      {"/sync/", 503, 503, 503, 503},
      // By substring, in Patroni's order.
      {"/my-replica-check", 503, 200, 200, 200},
      {"/healthy-leader", 200, 503, 503, 503},
      {"/xhealthx", 200, 200, 200, 200},
      {"/read-only/x", 200, 200, 200, 200},
      {"//primary", 200, 503, 503, 503},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(leader().code(row.path), row.leader) << "leader " << row.path;
    EXPECT_EQ(replica().code(row.path), row.replica) << "replica " << row.path;
    EXPECT_EQ(replica(SyncRole::sync_standby).code(row.path), row.sync) << "sync " << row.path;
    EXPECT_EQ(replica(SyncRole::quorum_standby).code(row.path), row.quorum) << "quorum " << row.path;
  }
}

TEST(RestHealth, lag) {
  struct Row {
    const char* query;
    int code;
  };
  const Row rows[] = {{"", 200},
                      {"?lag=100", 200},
                      {"?lag=99", 503},
                      {"?lag=1kB", 200},
                      {"?lag=0", 503},
                      {"?lag=soon", 200},
                      {"?lag=", 200},
                      {"?lag=99&lag=100", 503},
                      {"?lag=-1", 503},
                      {"?lag=99B", 503},
                      {"?lag=9999999999999999999999", 200},
                      {"?replication_state=streaming", 200},
                      {"?replication_state=in+archive+recovery", 503},
                      {"?unknown=x", 200}};
  for (const Row& row : rows) EXPECT_EQ(replica().code(std::string("/replica") + row.query), row.code) << row.query;
  Node unknown = replica();
  unknown.in.leader_lsn = Lsn{};
  EXPECT_EQ(unknown.code("/replica?lag=0"), 200);
  Node ahead = replica();
  ahead.status.replica->replayed = Lsn{UINT64_MAX};
  EXPECT_EQ(ahead.code("/replica?lag=9223372036854775807"), 200);
  EXPECT_EQ(replica().code("/read-only?lag=0"), 503);
  EXPECT_EQ(leader().code("/read-only?lag=0"), 200);
  EXPECT_EQ(replica().code("/async?lag=0"), 503);
}

TEST(RestHealth, who_is_no_replica) {
  Node n = replica();
  n.in.noloadbalance = true;
  EXPECT_EQ(n.code("/replica"), 503);
  EXPECT_EQ(n.code("/health"), 200);
  n = replica();
  n.status.state = model::PgState::starting;
  EXPECT_EQ(n.code("/replica"), 503);
  EXPECT_EQ(n.code("/health"), 503);
  n.status.state.reset();
  EXPECT_EQ(n.code("/health"), 503);
  n = leader();
  n.status.state = model::PgState::crashed;  // the belief alone counts
  EXPECT_EQ(n.code("/primary"), 200);
}

TEST(RestHealth, without_a_view_of_the_cluster) {
  Node n = replica(SyncRole::sync_standby);
  n.in.has_cluster = false;
  EXPECT_EQ(n.code("/sync"), 503);
  EXPECT_EQ(n.code("/replica"), 200);
  Node paused = leader();
  paused.in.has_cluster = false;
  paused.in.believes_leader = false;
  EXPECT_EQ(paused.code("/primary"), 503);
  paused.status.pause = true;
  EXPECT_EQ(paused.code("/primary"), 200);
  EXPECT_EQ(paused.code("/leader"), 200);
  EXPECT_EQ(paused.code("/standby_leader"), 503);
}

TEST(RestHealth, standby_cluster) {
  Node n = replica();
  n.in.believes_leader = true;
  n.in.standby_cluster = true;
  n.status.role = model::Role::standby_leader;
  EXPECT_EQ(n.code("/standby-leader"), 200);
  EXPECT_EQ(n.code("/leader"), 200);
  EXPECT_EQ(n.code("/primary"), 503);
  EXPECT_EQ(n.code("/replica"), 503);
  EXPECT_EQ(n.code("/read-only"), 200);
}

TEST(RestHealth, tags) {
  Node n = replica();
  n.tags = model::make_tags({{"zone", "\"A b\""},
                             {"ssd", "true"},
                             {"rack", "7"},
                             {"load", "1.5"},
                             {"clonefrom", "true"},
                             {"nosync", "false"}});
  EXPECT_EQ(n.code("/replica?tag_zone=A+b"), 200);
  EXPECT_EQ(n.code("/replica?tag_zone=A%20b&tag_ssd=true&tag_rack=7&tag_load=1.5&tag_clonefrom=true"), 200);
  EXPECT_EQ(n.code("/replica?tag_zone=a+b"), 503);
  EXPECT_EQ(n.code("/replica?tag_ssd=True"), 503);
  EXPECT_EQ(n.code("/replica?tag_nosync=false"), 503);  // not published, so not there
  EXPECT_EQ(n.code("/replica?tag_missing=x"), 503);
  EXPECT_EQ(n.code("/replica?tag_rack=7&tag_rack=8"), 200);  // the first of a name counts
  EXPECT_EQ(n.code("/health?tag_missing=x"), 503);
  EXPECT_EQ(leader().code("/primary?tag_missing=x"), 200);  // ignored for the leader's checks
  EXPECT_EQ(leader().code("/read-only?tag_missing=x"), 503);
}

TEST(RestHealth, targets) {
  auto t = parse_target("/a%20b?x=1&y=%41%zz&z&w=&=v&x=2#frag?q");
  EXPECT_EQ(t.path, "/a%20b");
  EXPECT_EQ(t.parameter("x"), "1");
  EXPECT_EQ(t.parameter("y"), "A%zz");
  EXPECT_EQ(t.parameter("z"), std::nullopt);
  EXPECT_EQ(t.parameter("w"), std::nullopt);
  EXPECT_EQ(t.parameters.size(), 4u);
  EXPECT_EQ(parse_target("").path, "/");
  EXPECT_EQ(parse_target("?lag=1").path, "/");
  EXPECT_EQ(parse_target("http://h:8008/replica?lag=1").path, "/replica");
  EXPECT_EQ(parse_target("http://h").path, "/");
  EXPECT_EQ(parse_target("/x?y=%").parameter("y"), "%");
}

TEST(RestHealth, routes) {
  EXPECT_EQ(route("GET", "/patroni"), Route::patroni);
  EXPECT_EQ(route("GET", "/patroni/anything"), Route::patroni);
  EXPECT_EQ(route("GET", "//metrics"), Route::metrics);
  EXPECT_EQ(route("GET", "/"), Route::health);
  EXPECT_EQ(route("GET", "/restart"), Route::health);
  EXPECT_EQ(route("HEAD", "/metrics"), Route::health);
  EXPECT_EQ(route("OPTIONS", "/readiness"), Route::health);
  EXPECT_EQ(route("PATCH", "/config"), Route::patch_config);
  EXPECT_EQ(route("POST", "/config"), Route::unsupported);
  EXPECT_EQ(route("POST", "/"), Route::unsupported);
  EXPECT_EQ(route("DELETE", "/switchover"), Route::delete_switchover);
  EXPECT_EQ(route("get", "/patroni"), Route::unsupported);
  EXPECT_EQ(route("BREW", "/patroni"), Route::unsupported);
  EXPECT_TRUE(is_unsafe(Route::switchover));
  EXPECT_TRUE(is_unsafe(Route::patch_config));
  EXPECT_FALSE(is_unsafe(Route::mpp));
  EXPECT_FALSE(is_unsafe(Route::get_config));
}

TEST(RestHealth, liveness) {
  EXPECT_EQ(liveness_code({false, true, 29s, 30s}), 200);
  EXPECT_EQ(liveness_code({false, true, 30s, 30s}), 503);
  EXPECT_EQ(liveness_code({false, false, 59s, 30s}), 200);
  EXPECT_EQ(liveness_code({false, false, 60s, 30s}), 503);
  EXPECT_EQ(liveness_code({true, true, 999s, 30s}), 200);
}

TEST(RestHealth, readiness) {
  Node n = replica();
  auto code = [&](std::string_view target, auto... change) {
    ReadinessInput in{&n.status, false, true, false, Lsn{1000}, 80};
    (change(in), ...);
    return readiness_code(in, parse_target(target));
  };
  EXPECT_EQ(code("/readiness"), 503);  // 100 bytes behind, 80 allowed
  EXPECT_EQ(code("/readiness?lag=100"), 200);
  EXPECT_EQ(code("/readiness?mode=write"), 200);  // received is 50 behind
  EXPECT_EQ(code("/readiness?mode=write&lag=49"), 503);
  EXPECT_EQ(code("/readiness", [](ReadinessInput& in) { in.believes_leader = true; }), 200);
  auto alone = [](ReadinessInput& in) {
    in.has_cluster = false;
    in.leader_lsn = Lsn{};
  };
  EXPECT_EQ(code("/readiness", alone), 503);
  EXPECT_EQ(code("/readiness", alone, [](ReadinessInput& in) { in.failsafe_active = true; }), 200);
  n.status.replication_state = "in archive recovery";
  EXPECT_EQ(code("/readiness?lag=1GB"), 503);
}

}  // namespace
}  // namespace pgdba::wire
