#include "wire/config_json.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/time.h"

namespace pgdba::wire {
namespace {

using model::DynamicConfig;
using model::SyncMode;

ConfigReading read(std::string_view json, const DynamicConfig& base = {}) {
  auto reading = parse_dynamic_config(json, base);
  EXPECT_TRUE(reading.has_value()) << json;
  return reading.value_or(ConfigReading{});
}

TEST(ConfigJson, an_empty_one_is_all_defaults) {
  EXPECT_EQ(read("{}").config, DynamicConfig{});
  EXPECT_TRUE(read("{}").warnings.empty());
  EXPECT_EQ(read(R"({"ttl":null,"postgresql":null,"unknown":{"a":[1]}})").config, DynamicConfig{});
}

TEST(ConfigJson, every_key) {
  auto r =
      read(R"({"ttl":3,"loop_wait":1,"retry_timeout":"1s","maximum_lag_on_failover":"1MB","maximum_lag_on_syncnode":-1,
    "max_timelines_history":5,"master_start_timeout":"5min","primary_stop_timeout":10,"synchronous_mode":"quorum","synchronous_mode_strict":"on",
    "synchronous_node_count":"2","failsafe_mode":1,"pause":"yes","check_timeline":true,"member_slots_ttl":"1h",
    "postgresql":{"use_pg_rewind":true,"use_slots":"off","parameters":{"Work_Mem":"4MB","max_connections":100,"autovacuum":false,"x.y":1.5,"gone":null},
    "pg_hba":["a","b"],"pg_ident":[]}})");
  EXPECT_TRUE(r.warnings.empty()) << r.warnings[0];
  const DynamicConfig& c = r.config;
  EXPECT_EQ(c.timings.ttl, 3s);
  EXPECT_EQ(c.timings.loop_wait, 1s);
  EXPECT_EQ(c.timings.retry_timeout, 1s);
  EXPECT_EQ(c.maximum_lag_on_failover, 1048576u);
  EXPECT_EQ(c.maximum_lag_on_syncnode, -1);
  EXPECT_EQ(c.max_timelines_history, 5);
  EXPECT_EQ(c.primary_start_timeout, 300s);
  EXPECT_EQ(c.primary_stop_timeout, 10s);
  EXPECT_EQ(c.synchronous_mode, SyncMode::quorum);
  EXPECT_TRUE(c.synchronous_mode_strict && c.failsafe_mode && c.pause && c.check_timeline);
  EXPECT_EQ(c.synchronous_node_count, 2);
  EXPECT_EQ(c.member_slots_ttl, 3600s);
  EXPECT_TRUE(c.postgresql.use_pg_rewind);
  EXPECT_FALSE(c.postgresql.use_slots);
  EXPECT_EQ(c.postgresql.parameters,
            (std::map<std::string, std::string>{
                {"work_mem", "4MB"}, {"max_connections", "100"}, {"autovacuum", "off"}, {"x.y", "1.5"}}));
  EXPECT_EQ(c.postgresql.pg_hba, (std::vector<std::string>{"a", "b"}));
}

TEST(ConfigJson, synchronous_mode_spellings) {
  for (const char* on : {"true", "\"on\"", "1", "\"True\""}) {
    EXPECT_EQ(read(std::string(R"({"synchronous_mode":)") + on + "}").config.synchronous_mode, SyncMode::priority)
        << on;
  }
  EXPECT_EQ(read(R"({"synchronous_mode":"Quorum"})").config.synchronous_mode, SyncMode::quorum);
  EXPECT_EQ(read(R"({"synchronous_mode":"off"})").config.synchronous_mode, SyncMode::off);
}

TEST(ConfigJson, bad_values_keep_what_was_in_force_and_are_told) {
  DynamicConfig base;
  base.timings.ttl = 7s;
  base.synchronous_mode = SyncMode::quorum;
  base.pause = true;
  base.maximum_lag_on_failover = 5;
  base.postgresql.pg_hba = {"x"};
  auto r = read(
      R"({"ttl":"soon","synchronous_mode":"qourum","pause":"perhaps","maximum_lag_on_failover":-1,"synchronous_node_count":1.2e99,
    "primary_start_timeout":[1],"max_timelines_history":true,"postgresql":{"parameters":{"a":[1]},"pg_hba":"all"}})",
      base);
  EXPECT_EQ(r.config.timings.ttl, 7s);
  EXPECT_EQ(r.config.synchronous_mode, SyncMode::quorum);
  EXPECT_TRUE(r.config.pause);
  EXPECT_EQ(r.config.maximum_lag_on_failover, 5u);
  EXPECT_EQ(r.config.postgresql.pg_hba, std::vector<std::string>{"x"});
  EXPECT_EQ(r.warnings.size(), 9u);
  EXPECT_EQ(r.warnings[0],
            "ttl: expected a number of seconds, or a text like \"30s\" or \"5min\", got \"soon\"; the value in force "
            "before stays");
  EXPECT_EQ(r.warnings.back(),
            "postgresql.pg_hba: expected a list of lines, got \"all\"; the value in force before stays");
  // A key that is simply gone has its default again.
  EXPECT_EQ(read("{}", base).config, DynamicConfig{});
  for (const char* none : {"", "[]", "null", "{", "5", "\"x\""})
    EXPECT_FALSE(parse_dynamic_config(none).has_value()) << none;
}

TEST(ConfigJson, numbers_beyond_reason) {
  for (const char* bad : {R"({"ttl":0})", R"({"ttl":-1})", R"({"ttl":99999999999})", R"({"ttl":1e300})",
                          R"({"ttl":true})", R"({"loop_wait":"0"})", R"({"synchronous_node_count":-1})",
                          R"({"synchronous_node_count":"2MB"})", R"({"maximum_lag_on_failover":"99999999TB"})"}) {
    EXPECT_EQ(read(bad).warnings.size(), 1u) << bad;
  }
}

TEST(ConfigJson, check_before_writing) {
  EXPECT_TRUE(check_dynamic_config(R"({"ttl":3})").empty());
  EXPECT_TRUE(check_dynamic_config("{}").empty());
  EXPECT_EQ(check_dynamic_config("[]").size(), 1u);
  EXPECT_EQ(check_dynamic_config(R"({"ttl":1})").at(0), "ttl: 1 s is less than 2 s, below which no failover is safe");
  EXPECT_EQ(check_dynamic_config(R"({"ttl":20})").at(0),
            "ttl: loop_wait 10 s + 2 * retry_timeout 10 s must not be more than ttl 20 s");
  EXPECT_EQ(check_dynamic_config(R"({"ttl":"x","pause":5})").size(), 2u);
}

TEST(ConfigJson, patch) {
  struct Row {
    const char *config, *patch, *result;
    bool changed;
  };
  const Row rows[] = {
      {R"({"b":1,"a":{"x":1,"y":2}})", R"({"a":{"x":null},"c":[1]})", R"({"b":1,"a":{"y":2},"c":[1]})", true},
      {R"({"a":1,"b":2,"c":3})", R"({"a":null})", R"({"b":2,"c":3})", true},  // order is kept
      {R"({"a":5})", R"({"a":"5"})", R"({"a":5})", false},                    // the same text: Patroni changes nothing
      {R"({"a":true})", R"({"a":"true"})", R"({"a":"true"})", true},
      {R"({"a":1.0})", R"({"a":1})", R"({"a":1})", true},
      {R"({"a":1})", R"({"b":null})", R"({"a":1})", false},
      {R"({"a":1})", R"({"a":{"x":1,"y":null}})", R"({"a":{"x":1}})", true},
      {R"({"a":{"x":1}})", R"({"a":1})", R"({"a":1})", true},
      {R"({"a":[1]})", R"({"a":"[1]"})", R"({"a":"[1]"})", true},
      {R"({"a":[1,2]})", R"({"a":[1,2]})", R"({"a":[1,2]})", false},
      {R"({"pause":true})", R"({"pause":null})", "{}", true},
      {R"({"ü":"ü"})", "{}", R"({"\u00fc":"\u00fc"})", false},
  };
  for (const Row& row : rows) {
    auto patched = patch_config(row.config, row.patch);
    ASSERT_TRUE(patched.has_value()) << row.patch;
    EXPECT_EQ(patched->json, row.result) << row.patch;
    EXPECT_EQ(patched->changed, row.changed) << row.patch;
  }
  EXPECT_FALSE(patch_config("[]", "{}").has_value());
  EXPECT_FALSE(patch_config("{}", "5").has_value());
}

// A patch runs on the thread that renews the lock: its cost grows with its length, not with the square of it.
TEST(ConfigJson, many_nulls_cost_no_time) {
  std::string names, nulls;
  for (int i = 0; i < 60000; ++i) {
    names += fmt::format(R"({}"a{}":1)", i == 0 ? "" : ",", i);
    nulls += fmt::format(R"({}"a{}":null)", i == 0 ? "" : ",", i);
  }
  auto began = std::chrono::steady_clock::now();
  auto added = patch_config(R"({"ttl":3})", "{\"x\":{" + nulls + "}}");
  ASSERT_TRUE(added) << added.error().text;
  EXPECT_EQ(added->json, R"({"ttl":3,"x":{}})");
  auto removed = patch_config("{\"ttl\":3,\"x\":{" + names + "}}", "{\"x\":{" + nulls + "}}");
  ASSERT_TRUE(removed) << removed.error().text;
  EXPECT_EQ(removed->json, R"({"ttl":3,"x":{}})");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);  // minutes, when each erased value moved all that followed
}

TEST(ConfigJson, differences_for_people) {
  auto changes = diff_config(
      R"({"ttl":30,"postgresql":{"parameters":{"a":1,"b":2},"pg_hba":["x"]},"gone":{"x":1}})",
      R"({"ttl":"30","postgresql":{"parameters":{"a":1,"b":3},"pg_hba":["x","y"]},"new":{"deep":{"k":true},"e":{}}})");
  EXPECT_EQ(*changes, (std::vector<ConfigChange>{{"ttl", "30", "\"30\""},
                                                 {"postgresql.parameters.b", "2", "3"},
                                                 {"postgresql.pg_hba", "[\"x\"]", "[\"x\",\"y\"]"},
                                                 {"new.deep.k", "", "true"},
                                                 {"new.e", "", "{}"},
                                                 {"gone", "{\"x\":1}", ""}}));
  EXPECT_TRUE(diff_config("{}", "{}")->empty());
  EXPECT_FALSE(diff_config("{", "{}").has_value());
}

TEST(ConfigJson, assignments) {
  const std::pair<const char*, const char*> rows[] = {
      {"ttl=30", R"({"ttl":30})"},
      {"pause=null", R"({"pause":null})"},
      {" synchronous_mode = quorum ", R"({"synchronous_mode":"quorum"})"},
      {"postgresql.parameters.pg_stat_statements.max=5000",
       R"({"postgresql":{"parameters":{"pg_stat_statements.max":5000}}})"},
      {"postgresql.parameters.work_mem=64MB", R"({"postgresql":{"parameters":{"work_mem":"64MB"}}})"},
      {"postgresql.parameters.a=b=c", R"({"postgresql":{"parameters":{"a":"b=c"}}})"},
      {"slots={\"a\":{\"type\":\"physical\"}}", R"({"slots":{"a":{"type":"physical"}}})"},
      {"a=on", R"({"a":"on"})"},
      {"a=", R"({"a":""})"},
      {"a=\"5\"", R"({"a":"5"})"},
  };
  for (auto [assignment, patch] : rows)
    EXPECT_EQ(config_patch_from_assignment(assignment).value_or("error"), patch) << assignment;
  for (const char* bad : {"", "ttl", "=5", "a..b=1", ".a=1", "a={", "a=[1"})
    EXPECT_FALSE(config_patch_from_assignment(bad).has_value()) << bad;
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "a.";
  EXPECT_FALSE(config_patch_from_assignment(deep + "b=1").has_value());
}

// boost::json 1.81 gives 0.12345678901234568 for the first one; each reading and writing would move it on.
TEST(ConfigJson, numbers_are_read_exactly) {
  for (const char* same :
       {"0.12345678901234566", "1.8446744073709552e+19", "5e-324", "1.7976931348623157e+308", "0.1", "-2.5"}) {
    EXPECT_EQ(restyle_json(same, JsonStyle::compact).value_or("error"), same);
  }
  EXPECT_EQ(restyle_json("1e-400", JsonStyle::compact).value_or("error"), "0.0");
  for (const char* bad : {"1e400", "-1e400", "[1e999999]", "1e", "-", ".5", "01", "+1", "1 2", "NaN"}) {
    EXPECT_FALSE(restyle_json(bad, JsonStyle::compact).has_value()) << bad;
  }
}

TEST(ConfigJson, styles) {
  EXPECT_EQ(restyle_json(R"({"b":1,"a":[1.0,"é"]})", JsonStyle::spaced).value(), R"({"b": 1, "a": [1.0, "\u00e9"]})");
  EXPECT_FALSE(restyle_json("{", JsonStyle::spaced).has_value());
}

}  // namespace
}  // namespace pgdba::wire
