// The REST API against a node of fakes: codes, texts, and what reaches etcd and the core.
#include "agent/rest/api.h"

#include <gtest/gtest.h>

#include "agent/rest/access.h"
#include "wire/cluster_json.h"

namespace pgdba::agent::rest {
namespace {

struct FakeNode : Node {
  net::Loop loop;
  conf::AgentSettings conf;
  wire::NodeStatus own;
  model::ClusterView view;
  bool have_view = true;
  bool leader = false;
  model::DynamicConfig config;
  std::map<std::string, wire::NodeStatus> peers;  // by api_url
  std::vector<dcs::Txn> written;
  bool compares_hold = true;
  std::function<void()> after_write;
  std::vector<ha::Request::Kind> operated;
  ha::Answer answer_of_core;
  int reloads = 0;
  bool times_out = false;
  std::optional<PlannedRestart> planned;

  BootTime now() const override { return loop.now(); }
  WallTime wall() const override { return loop.wall_now(); }
  const conf::AgentSettings& settings() const override { return conf; }
  wire::NodeStatus status() const override { return own; }
  const model::ClusterView* cluster() const override { return have_view ? &view : nullptr; }
  bool cluster_fresh() const override { return have_view; }
  bool believes_leader() const override { return leader; }
  Lsn leader_lsn() const override { return Lsn{100}; }
  const model::DynamicConfig& dynamic() const override { return config; }
  Duration late() const override { return 0s; }
  std::vector<wire::OwnMetric> metrics() const override { return {}; }
  Task<Result<dcs::TxnResult>> write(dcs::Txn txn, BootTime) override {
    written.push_back(std::move(txn));
    dcs::TxnResult result;
    result.succeeded = compares_hold;
    result.header.revision = ++view.revision;
    if (after_write) after_write();
    co_return result;
  }
  Task<bool> changed(BootTime) override {
    co_await loop.sleep_for(1ms);
    co_return true;
  }
  Task<Result<wire::NodeStatus>> ask(std::string api_url, BootTime) override {
    auto found = peers.find(api_url);
    if (found == peers.end()) co_return fail(Errc::unavailable, "refused");
    co_return found->second;
  }
  Task<Result<ha::Answer>> operate(ha::Request::Kind kind, bool, BootTime) override {
    operated.push_back(kind);
    if (times_out) co_return fail(Errc::timeout, "no answer yet");
    co_return answer_of_core;
  }
  bool restart_planned() const override { return planned.has_value(); }
  void plan_restart(std::optional<PlannedRestart> plan) override { planned = std::move(plan); }
  Result<void> reload() override {
    ++reloads;
    return {};
  }
};

struct Rest : ::testing::Test {
  FakeNode node;
  Api api{node.loop, node};

  Rest() {
    node.conf.name = "a";
    node.conf.scope = "demo";
    node.own.name = "a";
    node.own.scope = "demo";
    node.own.state = model::PgState::running;
    node.own.role = model::Role::replica;
    node.own.patroni_version = "4.1.4";
    node.view.revision = 10;
    node.view.leader = model::Keyed<std::string>{"b", 5, 5, 1};
    node.view.config = model::Keyed<model::DynamicConfig>{{}, 4, 4, 0};
    node.view.config_json = R"({"ttl":30,"loop_wait":10,"retry_timeout":10})";
    for (const char* name : {"a", "b", "c"}) {
      model::Member member;
      member.api_url = std::string("http://") + name + "/patroni";
      member.conn_url = std::string("postgres://") + name + ":5432/postgres";
      member.state = model::PgState::running;
      member.role = std::string(name) == "b" ? model::Role::primary : model::Role::replica;
      node.view.members[name].value = member;
      wire::NodeStatus status;
      status.state = model::PgState::running;
      status.role = model::Role::replica;
      status.replica = wire::ReplicaXlog{Lsn{100}, Lsn{100}, std::nullopt, false};
      status.timeline = 1;
      node.peers[member.api_url] = status;
    }
  }

  net::Response call(std::string method, std::string target, std::optional<std::string> body = {}, net::Headers headers = {}) {
    net::Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.headers = std::move(headers);
    if (body) {
      request.body = *body;
      request.headers.emplace_back("Content-Length", std::to_string(body->size()));
    }
    net::Response response;
    auto ask = [](Api& it, const net::Request& r, net::Response& into) -> Task<void> {
      net::PeerAddress peer;
      peer.ip = "127.0.0.1";
      into = co_await it.answer(r, peer);
    };
    EXPECT_TRUE(node.loop.run_blocking(ask(api, request, response), node.loop.after(30s)));
    return response;
  }
};

TEST_F(Rest, health_checks_follow_the_role_and_carry_the_status) {
  node.own.replica = wire::ReplicaXlog{Lsn{100}, Lsn{100}, std::nullopt, false};
  EXPECT_EQ(call("GET", "/replica").status, 200);
  EXPECT_EQ(call("GET", "/primary").status, 503);
  EXPECT_EQ(call("GET", "/").status, 503);
  node.leader = true;
  EXPECT_EQ(call("GET", "/primary").status, 503);  // the lock alone serves nobody: it is still in recovery
  node.own.role = model::Role::primary;
  node.own.primary = wire::PrimaryXlog{Lsn{100}};
  EXPECT_EQ(call("GET", "/primary").status, 200);
  const net::Response health = call("GET", "/health");
  EXPECT_EQ(health.status, 200);
  EXPECT_NE(health.body.find("\"state\": \"running\""), std::string::npos);
  EXPECT_TRUE(call("HEAD", "/primary").bare);
  EXPECT_TRUE(call("OPTIONS", "/replica").bare);
}

// Clients that come in through a load balancer would be rejected one by one.
TEST_F(Rest, nobody_is_sent_to_a_server_behind_its_gate) {
  node.own.pgdba = wire::PgdbaStatus{};
  node.own.replica = wire::ReplicaXlog{Lsn{100}, Lsn{100}, std::nullopt, false};
  EXPECT_EQ(call("GET", "/replica").status, 200);
  node.own.pgdba->gate_open = false;
  EXPECT_EQ(call("GET", "/replica").status, 503);
  EXPECT_EQ(call("GET", "/patroni").status, 200);
  node.leader = true;
  node.own.role = model::Role::primary;
  node.own.primary = wire::PrimaryXlog{Lsn{100}};
  EXPECT_EQ(call("GET", "/primary").status, 503);
  node.own.pgdba->gate_open = true;
  EXPECT_EQ(call("GET", "/primary").status, 200);
}

TEST_F(Rest, unknown_paths_and_methods_answer_as_patroni_does) {
  EXPECT_EQ(call("GET", "/nothing").status, 503);
  EXPECT_EQ(call("POST", "/nothing", "{}").status, 501);
  EXPECT_EQ(call("GET", "/patroni/anything").status, 200);
}

TEST_F(Rest, cluster_config_and_history_come_from_memory) {
  EXPECT_NE(call("GET", "/cluster").body.find("\"role\": \"leader\""), std::string::npos);
  EXPECT_EQ(call("GET", "/config").body, R"({"ttl": 30, "loop_wait": 10, "retry_timeout": 10})");
  EXPECT_EQ(call("GET", "/history").body, "[]");
  node.view.config_json.clear();
  EXPECT_EQ(call("GET", "/config").status, 502);
  node.have_view = false;
  EXPECT_EQ(call("GET", "/history").body, "[]");
}

TEST_F(Rest, patch_config_is_a_compare_and_swap_on_what_was_read) {
  const net::Response answer = call("PATCH", "/config", R"({"ttl":40,"loop_wait":null})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"ttl": 40, "retry_timeout": 10})");
  ASSERT_EQ(node.written.size(), 1u);
  ASSERT_EQ(node.written[0].compares.size(), 1u);
  EXPECT_EQ(node.written[0].compares[0].number, 4);
  EXPECT_EQ(node.written[0].then_ops[0].value, R"({"ttl":40,"retry_timeout":10})");
  node.compares_hold = false;
  EXPECT_EQ(call("PATCH", "/config", R"({"ttl":50})").status, 409);
}

TEST_F(Rest, a_patch_that_changes_nothing_writes_nothing) {
  EXPECT_EQ(call("PATCH", "/config", R"({"ttl":30})").status, 200);
  EXPECT_TRUE(node.written.empty());
}

// An operator must be able to pause a cluster whose configuration has an old mistake in it, but not to bring one in.
TEST_F(Rest, only_new_mistakes_are_refused) {
  EXPECT_EQ(call("PATCH", "/config", R"({"ttl":"soon"})", {{"Content-Type", "application/json"}}).status, 400);
  EXPECT_TRUE(node.written.empty());
  node.view.config_json = R"({"ttl":"soon"})";
  EXPECT_EQ(call("PATCH", "/config", R"({"pause":true})").status, 200);
}

TEST_F(Rest, bodies_that_are_no_request_are_refused) {
  EXPECT_EQ(call("PATCH", "/config").status, 411);
  EXPECT_EQ(call("PATCH", "/config", "[1]").status, 400);
  EXPECT_EQ(call("PATCH", "/config", "{").status, 400);
  EXPECT_EQ(call("POST", "/switchover", "nonsense").status, 400);
}

TEST_F(Rest, switchover_waits_for_the_new_leader_and_says_so_in_both_forms) {
  node.after_write = [this] { node.view.leader = model::Keyed<std::string>{"a", 11, 11, 2}; };
  const net::Response plain = call("POST", "/switchover", R"({"leader":"b","candidate":"a"})");
  EXPECT_EQ(plain.status, 200);
  EXPECT_EQ(plain.body, "Successfully switched over to \"a\"");
  ASSERT_EQ(node.written.size(), 1u);
  EXPECT_EQ(node.written[0].then_ops[0].key, "failover");
  EXPECT_EQ(wire::parse_failover(node.written[0].then_ops[0].value)->candidate, "a");

  node.view.leader->value = "b";
  const net::Response json = call("POST", "/switchover", R"({"leader":"b","candidate":"a"})", {{"Content-Type", "application/json"}});
  EXPECT_EQ(json.body, R"({"message": "Successfully switched over to \"a\""})");
}

TEST_F(Rest, switchover_reports_another_winner_and_a_dropped_request) {
  node.after_write = [this] { node.view.leader = model::Keyed<std::string>{"c", 11, 11, 2}; };
  EXPECT_EQ(call("POST", "/switchover", R"({"leader":"b","candidate":"a"})").body, "Switched over to \"c\" instead of \"a\"");
  node.view.leader->value = "b";
  node.after_write = [this] { node.view.failover = model::Keyed<model::FailoverRequest>{{}, 12, 11, 0}; };
  const net::Response failed = call("POST", "/switchover", R"({"leader":"b","candidate":"a"})");
  EXPECT_EQ(failed.status, 503);
  EXPECT_EQ(failed.body, "Switchover failed");
}

TEST_F(Rest, switchover_is_refused_before_anything_is_written) {
  EXPECT_EQ(call("POST", "/switchover", R"({"leader":"c","candidate":"a"})").body, "leader name does not match");
  EXPECT_EQ(call("POST", "/switchover", R"({"leader":"b","candidate":"x"})").body, "candidate does not exists");
  EXPECT_EQ(call("POST", "/failover", R"({})").status, 400);
  node.peers.erase("http://a/patroni");
  EXPECT_EQ(call("POST", "/switchover", R"({"leader":"b","candidate":"a"})").status, 412);
  EXPECT_TRUE(node.written.empty());
}

TEST_F(Rest, in_pause_a_switchover_goes_to_a_named_candidate_only) {
  node.view.config->value.pause = true;
  EXPECT_EQ(call("POST", "/switchover", R"({"leader":"b"})").body, "Switchover is possible only to a specific candidate in a paused state");
  EXPECT_TRUE(node.written.empty());
  node.after_write = [this] { node.view.leader = model::Keyed<std::string>{"a", 11, 11, 2}; };
  EXPECT_EQ(call("POST", "/switchover", R"({"leader":"b","candidate":"a"})").status, 200);
  EXPECT_EQ(node.written.size(), 1u);
  node.view.leader.reset();
  EXPECT_EQ(call("POST", "/failover", R"({"candidate":"a"})").status, 503);
  EXPECT_EQ(node.written.size(), 1u);
}

// Patroni lets a second request overwrite the first in the middle of its work.
TEST_F(Rest, a_second_switchover_at_the_same_time_is_refused) {
  node.view.failover = model::Keyed<model::FailoverRequest>{{"b", "c", std::nullopt}, 9, 9, 0};
  const net::Response answer = call("POST", "/switchover", R"({"leader":"b","candidate":"a"})");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "switchover is already in progress");
  EXPECT_TRUE(node.written.empty());
}

TEST_F(Rest, restart_asks_the_core_only_when_the_conditions_hold) {
  EXPECT_EQ(call("POST", "/restart", R"({"role":"primary"})").body, "restart conditions are not satisfied");
  EXPECT_EQ(call("POST", "/restart", R"({"restart_pending":true})").status, 503);
  EXPECT_TRUE(node.operated.empty());
  node.answer_of_core = {1, true, "restarted successfully"};
  EXPECT_EQ(call("POST", "/restart", "{}").body, "restarted successfully");
  node.answer_of_core = {1, false, "restart already in progress"};
  const net::Response refused = call("POST", "/restart", "{}");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.body, "restart already in progress");
}

TEST_F(Rest, a_restart_that_timed_out_says_what_becomes_of_it) {
  node.times_out = true;
  EXPECT_EQ(call("POST", "/restart", "{}").body, "restart failed: it could not begin in time, and is not tried any more");
  node.own.state = model::PgState::stopping;
  EXPECT_EQ(call("POST", "/restart", "{}").body, "postgres is still starting");
}

TEST_F(Rest, a_restart_can_be_scheduled_once_and_deleted) {
  EXPECT_EQ(call("DELETE", "/restart").status, 404);
  const std::string body = R"({"schedule":"2999-01-01T00:00:00+00:00","role":"replica"})";
  const net::Response answer = call("POST", "/restart", body);
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.body, "Restart scheduled");
  ASSERT_TRUE(node.planned);
  EXPECT_EQ(call("POST", "/restart", body).status, 409);
  EXPECT_TRUE(node.operated.empty());
  EXPECT_EQ(call("DELETE", "/restart").body, "scheduled restart deleted");
  EXPECT_FALSE(node.planned);
  node.own.pause = true;
  EXPECT_EQ(call("POST", "/restart", body).status, 500);
}

TEST(PlannedRestart, is_carried_out_at_its_time_and_never_late) {
  const WallTime at = WallTime{std::chrono::hours(1'000'000)};
  PlannedRestart plan;
  plan.request.schedule = at;
  plan.postmaster_started = at - 1h;
  wire::NodeStatus status;
  status.state = model::PgState::running;
  status.role = model::Role::replica;
  status.postmaster_start_time = plan.postmaster_started;
  auto due = [&](Duration late) { return judge(plan, status, at + std::chrono::duration_cast<std::chrono::microseconds>(late), 10s).due; };
  EXPECT_EQ(due(-1s), RestartDue::wait);
  EXPECT_EQ(due(0s), RestartDue::now);
  EXPECT_EQ(due(15s), RestartDue::now);
  EXPECT_EQ(due(17s), RestartDue::drop);
  status.pause = true;
  EXPECT_EQ(due(0s), RestartDue::wait);
  status.pause = false;
  plan.request.role = model::Role::primary;
  EXPECT_EQ(due(0s), RestartDue::drop);
  plan.request.role = model::Role::replica;
  EXPECT_EQ(due(0s), RestartDue::now);
  EXPECT_EQ(record_of(plan).filters.at("role"), "\"replica\"");
  status.postmaster_start_time = at - 1min;
  EXPECT_EQ(due(-1s), RestartDue::drop) << "it was restarted meanwhile";
}

TEST_F(Rest, reinitialize_needs_a_leader_that_is_not_this_node) {
  node.leader = true;
  EXPECT_EQ(call("POST", "/reinitialize", "{}").body, "I am the leader, can not reinitialize");
  node.leader = false;
  node.answer_of_core = {1, true, ""};
  EXPECT_EQ(call("POST", "/reinitialize", "{}").body, "reinitialize started");
  node.view.leader.reset();
  EXPECT_EQ(call("POST", "/reinitialize", "{}").body, "Cluster has no leader, can not reinitialize");
}

TEST_F(Rest, reload_is_scheduled) {
  const net::Response answer = call("POST", "/reload");
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.body, "reload scheduled");
  EXPECT_EQ(node.reloads, 1);
}

TEST_F(Rest, what_changes_something_wants_credentials_and_reading_does_not) {
  node.conf.restapi.username = "admin";
  node.conf.restapi.password = Secret("pw");
  EXPECT_EQ(call("GET", "/config").status, 200);
  const net::Response none = call("POST", "/reload");
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(none.body, "no auth header received");
  EXPECT_EQ(net::find_header(none.headers, "WWW-Authenticate"), "Basic realm=\"Patroni\"");
  EXPECT_EQ(call("POST", "/reload", {}, {{"Authorization", net::basic_auth("admin", Secret("no"))}}).body, "not authenticated");
  EXPECT_EQ(call("POST", "/reload", {}, {{"Authorization", net::basic_auth("admin", Secret("pw"))}}).status, 202);
}

TEST_F(Rest, the_allowlist_comes_before_credentials) {
  node.conf.restapi.allowlist = {"10.0.0.0/8", "192.168.1.7"};
  const net::Response refused = call("POST", "/reload");
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.body, "Access is denied");
  node.conf.restapi.allowlist.push_back("127.0.0.0/31");
  EXPECT_EQ(call("POST", "/reload").status, 202);
}

TEST(Access, networks_match_by_their_bits) {
  EXPECT_TRUE(address_matches("10.0.0.0/8", "10.255.3.4"));
  EXPECT_FALSE(address_matches("10.0.0.0/8", "11.0.0.1"));
  EXPECT_TRUE(address_matches("192.168.1.128/25", "192.168.1.200"));
  EXPECT_FALSE(address_matches("192.168.1.128/25", "192.168.1.100"));
  EXPECT_TRUE(address_matches("0.0.0.0/0", "8.8.8.8"));
  EXPECT_TRUE(address_matches("fd00::/8", "fd12::1"));
  EXPECT_FALSE(address_matches("fd00::/8", "10.0.0.1"));
  EXPECT_FALSE(address_matches("10.0.0.0/33", "10.0.0.1"));
  EXPECT_FALSE(address_matches("some.host", "10.0.0.1"));
  EXPECT_FALSE(is_address_rule("some.host"));
}

TEST_F(Rest, failsafe_gives_no_consent_that_nobody_keeps) {
  const std::string body = R"({"name":"b","conn_url":"postgres://b:5432/postgres","api_url":"http://b/patroni","slots":{}})";
  EXPECT_EQ(call("POST", "/failsafe", body).status, 502);
  node.config.failsafe_mode = true;
  EXPECT_EQ(call("POST", "/failsafe", body).status, 503);
  node.leader = true;
  EXPECT_EQ(call("POST", "/failsafe", body).body, "Running as a leader");
}

}  // namespace
}  // namespace pgdba::agent::rest
