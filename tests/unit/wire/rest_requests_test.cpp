#include "wire/rest_requests.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

const WallTime kNow = *parse_utc("2026-11-23T12:00:00Z");

template <class T>
std::string refusal(const Parsed<T>& parsed) {
  return parsed ? "accepted" : std::to_string(parsed.error().code) + " " + parsed.error().text;
}

TEST(RestRequests, switchover_texts_are_patronis) {
  struct Row {
    bool switchover, paused;
    const char *body, *answer;
  };
  const char* unreadable =
      "422 Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601";
  const Row rows[] = {
      {false, false, R"({"x":1})", "400 Failover could be performed only to a specific candidate"},
      {true, false, R"({"candidate":"b"})", "400 Switchover could be performed only from a specific leader"},
      {false, false, R"({"candidate":"b","scheduled_at":"2026-11-23T13:00Z"})", "400 Failover can't be scheduled"},
      {true, true, R"({"leader":"a","scheduled_at":"2026-11-23T13:00Z"})",
       "400 Can't schedule switchover in the paused state"},
      {true, false, R"({"leader":"a","scheduled_at":"2026-11-23T13:00"})",
       "400 Timezone information is mandatory for the scheduled switchover"},
      {true, false, R"({"leader":"a","scheduled_at":"2026-11-23T11:00Z"})",
       "422 Cannot schedule switchover in the past"},
      {true, false, R"({"leader":"a","scheduled_at":"tomorrow"})", unreadable},
      {true, false, R"({"leader":"a","scheduled_at":5})", unreadable},
      {true, true, R"({"leader":"a"})", "400 Switchover is possible only to a specific candidate in a paused state"},
      {true, false, R"({"leader":"a","candidate":"a"})", "400 Switchover target and source are the same"},
      {true, false, R"({"leader":["a"]})", "400 leader: expected a member's name, got a list"},
      {true, false, R"({"leader":"a"})", "accepted"},
      {true, true, R"({"leader":"a","member":"b"})", "accepted"},
      {true, false, R"({"leader":"a","scheduled_at":null})", "accepted"},
      {false, false, R"({"candidate":"b"})", "accepted"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(refusal(parse_switchover_request(row.switchover, row.body, row.paused, kNow)), row.answer) << row.body;
  }
  auto r = parse_switchover_request(false, R"({"leader":"a","member":"b"})", false, kNow);
  EXPECT_EQ(*r, (SwitchoverRequest{true, "a", "b", {}}));  // a failover that names a leader
  EXPECT_EQ(
      parse_switchover_request(true, format_switchover_request({true, "a", "b", kNow + 1h}), false, kNow)->scheduled_at,
      kNow + 1h);
}

TEST(RestRequests, bodies) {
  auto html = [](std::optional<std::string_view> body) {
    return parse_switchover_request(true, body, false, kNow).error();
  };
  EXPECT_EQ(html(std::nullopt).code, 411);
  for (const char* bad : {"", "{", "[]", "{}", "null", "5", "\xff"}) {
    EXPECT_EQ(html(bad).code, 400) << bad;
    EXPECT_TRUE(html(bad).html) << bad;
  }
  EXPECT_EQ(html(std::string(kMaxRequest + 1, ' ')).code, 400);
  EXPECT_TRUE(parse_restart_request(std::nullopt, false, kNow).has_value());
  EXPECT_TRUE(parse_restart_request("", false, kNow).has_value());
  EXPECT_TRUE(parse_restart_request("{}", false, kNow).has_value());
  EXPECT_EQ(parse_restart_request("[]", false, kNow).error().code, 400);
  EXPECT_EQ(parse_config_request(R"( {"ttl": 30, "x": null} )"), R"({"ttl":30,"x":null})");
  EXPECT_EQ(parse_config_request("{}").error().code, 400);
}

TEST(RestRequests, restart) {
  struct Row {
    const char *body, *answer;
  };
  const Row rows[] = {
      {R"({"role":"master"})", "accepted"},
      {R"({"role":"demoted"})", "400 PostgreSQL role should be either primary, standby_leader, or replica"},
      {R"({"role":1})", "400 PostgreSQL role should be either primary, standby_leader, or replica"},
      {R"({"postgres_version":"15.2"})", "accepted"},
      {R"({"postgres_version":"15"})", "400 Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 15"},
      {R"({"postgres_version":"a.b.c"})", "400 Invalid PostgreSQL version: a.b.c"},
      {R"({"timeout":"0"})", "400 Timeout should be a positive number of seconds"},
      {R"({"timeout":-5})", "400 Timeout should be a positive number of seconds"},
      {R"({"timeout":"soon"})", "400 Timeout should be a positive number of seconds"},
      {R"({"timeout":"1min"})", "accepted"},
      {R"({"what":1})", "400 Unknown filter for the scheduled restart: what"},
      {R"({"schedule":"2026-11-23 11:59:59+00"})", "422 Cannot schedule restart in the past"},
      {R"({"schedule":"2026-11-23T13:00:00"})", "400 Timezone information is mandatory for the scheduled restart"},
      {R"({"restart_pending":false,"schedule":"2026-11-23T14:00:00+01:00"})", "accepted"},
  };
  for (const Row& row : rows) EXPECT_EQ(refusal(parse_restart_request(row.body, false, kNow)), row.answer) << row.body;
  EXPECT_EQ(refusal(parse_restart_request(R"({"schedule":"x"})", true, kNow)),
            "500 Can't schedule restart in the paused state");
  RestartRequest full{kNow + 1h, model::Role::replica, 150002, 90s, true};
  EXPECT_EQ(parse_restart_request(format_restart_request(full), false, kNow), full);
  EXPECT_EQ(parse_restart_request(format_restart_request({}), false, kNow), RestartRequest{});
}

TEST(RestRequests, reinitialize_and_failsafe) {
  EXPECT_EQ(parse_reinitialize_request(R"({"force":"on","from_leader":true})"), (ReinitializeRequest{true, true}));
  EXPECT_EQ(parse_reinitialize_request(R"({"force":"maybe","from-leader":true})"), ReinitializeRequest{});
  EXPECT_EQ(parse_reinitialize_request(format_reinitialize_request({false, true})), (ReinitializeRequest{false, true}));
  auto f = parse_failsafe_request(R"({"name":"a","conn_url":"c","api_url":"u","slots":{"s":5,"t":"x"}})");
  EXPECT_EQ(*f, (FailsafeRequest{"a", "c", "u", {{"s", Lsn{5}}}}));
  EXPECT_EQ(parse_failsafe_request(R"({"api_url":"u"})").error().code, 400);
}

TEST(RestRequests, schedules) {
  auto at = [](std::string_view text) { return parse_schedule(text, kNow); };
  for (const char* good : {"2026-11-23T13:00:00+00:00", "2026-11-23T13:00:00Z", "2026-11-23 13:00Z",
                           "2026-11-23 13:00 UTC", "20261123T130000Z", "2026-11-23T14:00+0100", "2026-11-23T14:00+01",
                           "2026-11-23T07:30-05:30", "2026-11-23t13:00:00.000z", "2026-11-23 13:00 gmt"}) {
    EXPECT_EQ(at(good), *parse_utc("2026-11-23T13:00:00Z")) << good;
  }
  for (const char* bad : {"", "13:00", "2026-11-23", "2026-11-23T13", "2026-02-30T13:00Z", "2026-11-23T24:00Z",
                          "2026-11-23T13:60Z", "2026-11-23T13:00:60Z", "2026-11-23T13:00+25:00", "2026-11-23T13:00 CET",
                          "2026-11-23T13:00:00.Z", "1-1-1T13:00Z", "now", "2026-11-23T13:00Zx"}) {
    auto result = at(bad);
    EXPECT_TRUE(!result && result.error() == ScheduleError::unreadable) << bad;
  }
  EXPECT_EQ(at("2026-11-23T13:00").error(), ScheduleError::no_zone);
  EXPECT_EQ(at("2026-11-23T13:00+02").error(), ScheduleError::in_the_past);
}

TEST(RestRequests, answers_as_text_page_or_json) {
  RestBody text = render_answer({412, "candidate does not exists"}, false);
  EXPECT_EQ(text.content_type, "text/html");
  EXPECT_EQ(text.body, "candidate does not exists");
  RestBody json = render_answer({412, "say \"no\""}, true);
  EXPECT_EQ(json.content_type, "application/json");
  EXPECT_EQ(json.body, R"({"message": "say \"no\""})");
  RestBody page = render_answer({501, "Unsupported method ('<X>')", true}, false);
  EXPECT_EQ(page.content_type, "text/html;charset=utf-8");
  EXPECT_NE(page.body.find("Server does not support this operation"), std::string::npos);  // patronictl looks for it
  EXPECT_EQ(page.body.find("<X>"), std::string::npos);
  EXPECT_EQ(render_answer({502, "", true}, true).body, R"({"message": "Invalid responses from another server/proxy"})");
  EXPECT_TRUE(is_json_content_type("Application/JSON; charset=utf-8"));
  EXPECT_FALSE(is_json_content_type("application/jsonx"));
  EXPECT_FALSE(is_json_content_type(""));
}

}  // namespace
}  // namespace pgdba::wire
