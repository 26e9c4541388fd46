#include "wire/cluster_json.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

using model::Role;

// The values that Patroni 4.1.4 wrote into a live etcd (patroni.md 1.2), with its URLs filled in.
constexpr const char* kLeaderMember =
    R"({"conn_url":"postgres://127.0.0.1:5441/postgres","api_url":"http://127.0.0.1:8011/patroni","state":"running","role":"primary","version":"4.1.4","tags":{"foo":"bar"},"xlog_location":50628400,"timeline":1})";
constexpr const char* kReplicaMember =
    R"({"conn_url":"postgres://127.0.0.1:5442/postgres","api_url":"http://127.0.0.1:8012/patroni","state":"running","role":"replica","version":"4.1.4","tags":{"foo":"bar"},"xlog_location":50628400,"replay_lsn":50628400,"receive_lsn":50628400,"replication_state":"streaming","timeline":1})";
constexpr const char* kStatus =
    R"({"optime":50628400,"slots":{"node_1":50628400,"node_2":50628400},"retain_slots":["node_1","node_2"]})";
constexpr const char* kHistory =
    R"([[1,50629160,"no recovery target specified","2026-11-23T13:01:02.146127+00:00","node-2"]])";
constexpr const char* kSync = R"({"leader":"node-1","quorum":0,"sync_standby":"node-2"})";

template <class T>
T value(Result<T> result) {
  EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().text);
  return result ? std::move(*result) : T{};
}

TEST(ClusterJson, patronis_bytes_come_back_unchanged) {
  EXPECT_EQ(format_member(value(parse_member(kLeaderMember))), kLeaderMember);
  EXPECT_EQ(format_member(value(parse_member(kReplicaMember))), kReplicaMember);
  EXPECT_EQ(format_status(value(parse_status(kStatus))), kStatus);
  EXPECT_EQ(format_history(value(parse_history(kHistory))), kHistory);
  EXPECT_EQ(format_sync(value(parse_sync(kSync))), kSync);
  EXPECT_EQ(format_failover(value(parse_failover("{}"))), "{}");
}

TEST(ClusterJson, member_means_what_patroni_means) {
  model::Member m = value(parse_member(kReplicaMember));
  EXPECT_EQ(m.state, model::PgState::running);
  EXPECT_EQ(m.role, Role::replica);
  EXPECT_EQ(m.xlog_location, Lsn{50628400});
  EXPECT_EQ(m.tags.other.at("foo"), "\"bar\"");
  EXPECT_FALSE(m.runs_pgdba());
  EXPECT_FALSE(m.checkpoint_after_promote_pending);
  EXPECT_EQ(value(parse_member(R"({"role":"master"})")).role, Role::primary);
  EXPECT_TRUE(value(parse_member(R"({"checkpoint_after_promote":false})")).checkpoint_after_promote_pending);
}

TEST(ClusterJson, member_with_every_field) {
  model::Member m;
  m.conn_url = "postgres://[::1]:5432/postgres";
  m.api_url = "https://[::1]:8008/patroni";
  m.state = model::PgState::starting;
  m.role = Role::promoted;
  m.version = "4.1.4";
  m.proxy_url = "postgres://p:6432/postgres";
  m.checkpoint_after_promote_pending = true;
  m.tags = {.nofailover = true,
            .failover_priority = 3,
            .nosync = true,
            .noloadbalance = true,
            .clonefrom = true,
            .other = {}};
  m.tags.other["zone"] = R"("\u00e4\n")";
  m.pending_restart = true;
  m.pending_restart_reason = {{"max_connections", {"100", "200"}}};
  m.xlog_location = Lsn{UINT64_MAX};
  m.replay_lsn = Lsn{1};
  m.receive_lsn = Lsn{0};
  m.replication_state = "in archive recovery";
  m.timeline = UINT32_MAX;
  m.scheduled_restart =
      model::ScheduledRestart{"2026-11-24T00:00:00+00:00", "2026-11-23 13:00:00+00:00", {{"role", "\"replica\""}}};
  m.pause = true;
  m.pgdba_version = "0.1.0";
  m.term = 7;
  m.ready_term = 6;
  m.leaving_sync = true;
  m.etcd_reset = true;
  std::string text = format_member(m);
  EXPECT_EQ(value(parse_member(text)), m);
  EXPECT_EQ(
      text,
      R"({"conn_url":"postgres://[::1]:5432/postgres","api_url":"https://[::1]:8008/patroni","state":"starting",)"
      R"("role":"promoted","version":"4.1.4","proxy_url":"postgres://p:6432/postgres","checkpoint_after_promote":false,)"
      R"("tags":{"clonefrom":true,"failover_priority":3,"nofailover":true,"noloadbalance":true,"nosync":true,"zone":"\u00e4\n"},)"
      R"("pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"100","new_value":"200"}},)"
      R"("xlog_location":18446744073709551615,"replay_lsn":1,"receive_lsn":0,"replication_state":"in archive recovery",)"
      R"("timeline":4294967295,"scheduled_restart":{"schedule":"2026-11-24T00:00:00+00:00","role":"replica",)"
      R"("postmaster_start_time":"2026-11-23 13:00:00+00:00"},"pause":true,"pgdba":"0.1.0","pgdba_term":7,)"
      R"("pgdba_ready_term":6,"pgdba_leaving_sync":true,"pgdba_etcd_reset":true})");
}

TEST(ClusterJson, tolerant_readers) {
  model::Member legacy = value(parse_member("postgres://a:b@h:5432/postgres?application_name=http://h:8008/patroni"));
  EXPECT_EQ(legacy.conn_url, "postgres://a:b@h:5432/postgres");
  EXPECT_EQ(legacy.api_url, "http://h:8008/patroni");
  EXPECT_EQ(value(parse_member(R"({"state":5,"role":[],"timeline":"x","xlog_location":-3,"tags":"no"})")).timeline, 0u);
  EXPECT_EQ(value(parse_member(R"({"state":"never heard of"})")).state, model::PgState::stopped);

  EXPECT_EQ(value(parse_status("50628400")).optime, Lsn{50628400});
  EXPECT_EQ(value(parse_status(R"({"optime":"5","slots":"{\"a\":7}","retain_slots":"[\"a\"]"})")),
            (model::Status{Lsn{5}, {{"a", Lsn{7}}}, {"a"}}));
  EXPECT_EQ(value(parse_status(R"({"optime":null,"slots":{"a":"x"},"retain_slots":5})")), model::Status{});

  EXPECT_EQ(value(parse_failover("a:b")), (model::FailoverRequest{"a", "b", {}}));
  EXPECT_EQ(value(parse_failover("a:")), (model::FailoverRequest{"a", "", {}}));
  EXPECT_FALSE(value(parse_failover("")).present());
  EXPECT_FALSE(value(parse_failover("[]")).present());
  EXPECT_EQ(
      value(parse_failover(R"({"leader":"a","member":"b","scheduled_at":"2026-11-23T13:01:02+00:00"})")).scheduled_at,
      parse_utc("2026-11-23T13:01:02Z"));

  for (const char* off :
       {"", " ", "{}", R"({"leader":null,"quorum":0,"sync_standby":null})", R"({"leader":"","sync_standby":"a"})"}) {
    EXPECT_EQ(value(parse_sync(off)), model::SyncState{}) << off;
  }
  EXPECT_EQ(value(parse_sync(R"({"leader":"a","sync_standby":"b, c,,"})")), (model::SyncState{"a", 0, {"b", "c"}}));
  EXPECT_EQ(value(parse_sync(R"({"leader":"a","quorum":"2","sync_standby":null})")), (model::SyncState{"a", 2, {}}));
  EXPECT_EQ(value(parse_history(R"([[1,2,"r"],[2,3,"r","t"]])")),
            (std::vector<model::HistoryLine>{{1, Lsn{2}, "r", "", ""}, {2, Lsn{3}, "r", "t", ""}}));
}

// A switchover planned for an unreadable time must not run at once.
TEST(ClusterJson, an_unreadable_schedule_is_stale_not_immediate) {
  for (const char* at : {"\"tomorrow\"", "5", "\"2026-11-23T13:01:02\"", "[]"}) {
    auto request = value(parse_failover(std::string(R"({"leader":"a","scheduled_at":)") + at + "}"));
    ASSERT_TRUE(request.scheduled_at.has_value()) << at;
    EXPECT_EQ(*request.scheduled_at, WallTime{}) << at;
  }
}

TEST(ClusterJson, what_decides_elections_is_not_guessed) {
  for (const char* text : {"garbage", "[]", "5", R"({"leader":"a","quorum":-1})", R"({"leader":"a","quorum":"x"})",
                           R"({"leader":"a","sync_standby":["b"]})", R"({"leader":"a")"}) {
    EXPECT_FALSE(parse_sync(text).has_value()) << text;
  }
  for (const char* text :
       {"", "{}", R"({"state":"on"})", R"({"state":"active","term":"7"})", R"({"state":"active","term":-1})",
        R"({"state":"active","position":[]})", R"({"state":"active","position":{"lsn":"x"}})",
        R"({"state":"active","position":{"tli":4294967296}})", R"({"state":"active","may_lead":1})",
        R"({"state":"active","leader":null})"}) {
    EXPECT_FALSE(parse_promise(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_term(R"({"term":1.0})").has_value());
  EXPECT_FALSE(parse_intent("{}").has_value());
  EXPECT_FALSE(parse_switchover(R"({"state":"draining","shutdown_lsn":5})").has_value());
  EXPECT_FALSE(parse_pooler(R"({"state":"open","held":-1})").has_value());
  EXPECT_EQ(parse_promise(R"({"state":"active","position":{"lsn":"x"}})").error().text,
            "position: lsn: 'x' is not an LSN (X/X)");
}

TEST(ClusterJson, our_keys_round_trip) {
  using namespace model;
  TermRecord term{9, "a", "b", "failover", 4};
  EXPECT_EQ(format_term(term), R"({"term":9,"leader":"a","from":"b","cause":"failover","timeline":4})");
  EXPECT_EQ(value(parse_term(format_term(term))), term);
  Beat beat{9, 123456};
  EXPECT_EQ(value(parse_beat(format_beat(beat))), beat);
  Released released{9, "a"};
  EXPECT_EQ(value(parse_released(format_released(released))), released);
  TimelineRecord timeline{9, "a", "c0ffee", 0, {}};
  EXPECT_EQ(value(parse_timeline(format_timeline(timeline))), timeline);
  timeline.parent = 3;
  timeline.begins = Lsn{0x1'0000'0028};
  EXPECT_EQ(format_timeline(timeline), R"({"term":9,"node":"a","nonce":"c0ffee","parent":3,"begins":"1/28"})");
  EXPECT_EQ(value(parse_timeline(format_timeline(timeline))), timeline);
  for (auto state : {Promise::State::active, Promise::State::withdrawn, Promise::State::consumed}) {
    Promise promise{state, 9, "a", {8, 3, Lsn{0x1600000028}}, true, "r-1"};
    EXPECT_EQ(value(parse_promise(format_promise(promise))), promise);
    EXPECT_EQ(value(parse_promise(format_promise(promise))).position.timeline, 3u);
  }
  EXPECT_EQ(
      format_promise({Promise::State::active, 9, "a", {8, 3, Lsn{0x1600000028}}, true, "r-1"}),
      R"({"state":"active","term":9,"leader":"a","position":{"term":8,"tli":3,"lsn":"16/28"},"may_lead":true,"run_id":"r-1"})");
  Suspicion suspicion{9, "a", "ports 5432 and 8008 refuse"};
  EXPECT_EQ(value(parse_suspicion(format_suspicion(suspicion))), suspicion);
  for (auto kind : {Intent::Kind::stop, Intent::Kind::restart}) {
    Intent intent{kind, 1700000000000};
    EXPECT_EQ(value(parse_intent(format_intent(intent))), intent);
  }
  for (auto state :
       {Switchover::State::draining, Switchover::State::stopped, Switchover::State::done, Switchover::State::aborted}) {
    Switchover s;
    s.state = state;
    s.from = "a";
    s.to = "b";
    s.term = 9;
    s.handover = state == Switchover::State::stopped;
    s.hold_ms = 1500;
    if (state == Switchover::State::stopped) s.shutdown_lsn = Lsn{0x3000028};
    s.reason = "\"quoted\" and ü";
    EXPECT_EQ(value(parse_switchover(format_switchover(s))), s);
  }
  for (auto state : {PoolerRecord::State::open, PoolerRecord::State::holding, PoolerRecord::State::drained}) {
    PoolerRecord record{state, 9, 5, 2};
    EXPECT_EQ(value(parse_pooler(format_pooler(record))), record);
  }
}

TEST(ClusterJson, patronis_keys_round_trip) {
  using namespace model;
  for (const SyncState& sync : {SyncState{}, SyncState{"a", 0, {}}, SyncState{"a", 2, {"b", "c", "d-é"}}}) {
    EXPECT_EQ(value(parse_sync(format_sync(sync))), sync);
  }
  EXPECT_EQ(format_sync({}), R"({"leader":null,"quorum":0,"sync_standby":null})");
  EXPECT_EQ(format_status({}), R"({"optime":0})");
  FailoverRequest request{"a", "b", parse_utc("2026-11-23T13:01:02.5Z")};
  EXPECT_EQ(value(parse_failover(format_failover(request))), request);
  std::map<std::string, std::string> failsafe = {{"a", "http://a:8008/patroni"}, {"b", "http://b:8008/patroni"}};
  EXPECT_EQ(format_failsafe(failsafe), R"({"a":"http://a:8008/patroni","b":"http://b:8008/patroni"})");
  EXPECT_EQ(value(parse_failsafe(format_failsafe(failsafe))), failsafe);
  EXPECT_TRUE(is_system_identifier("7711349752793788765"));
  for (const char* bad : {"", "123456789", "77113497527937887651234", "77113x9752793788765", "-711349752793788765"}) {
    EXPECT_FALSE(is_system_identifier(bad)) << bad;
  }
}

TEST(ClusterJson, hostile_values_are_errors_and_nothing_else) {
  std::string deep(100000, '[');
  std::string huge(kMaxValue + 1, ' ');
  for (const std::string& text :
       {deep, huge, std::string("{\"leader\":\"\xff\xfe\"}"), std::string("{\"a\":1}x"), std::string("\0", 1),
        std::string("{\"leader\":\"\\ud800\"}"), std::string("nul"), std::string("1e999999")}) {
    EXPECT_FALSE(parse_member(text).has_value()) << text.substr(0, 40);
    EXPECT_FALSE(parse_term(text).has_value()) << text.substr(0, 40);
    EXPECT_FALSE(parse_history(text).has_value()) << text.substr(0, 40);
  }
  EXPECT_FALSE(parse_failover(huge).has_value());
}

}  // namespace
}  // namespace pgdba::wire
