#include "conf/effective.h"

#include <gtest/gtest.h>

namespace pgdba::conf {
namespace {

using Parameters = std::map<std::string, std::string>;

AgentSettings local(Parameters parameters = {}) {
  AgentSettings s;
  s.scope = "demo";
  s.postgresql.listen_addresses = {"127.0.0.1", "::1"};
  s.postgresql.port = 5433;
  s.postgresql.parameters = std::move(parameters);
  return s;
}

EffectiveParameters effective(Parameters mine, Parameters dynamic, int version = 150020,
                              model::SyncMode mode = model::SyncMode::quorum) {
  model::DynamicConfig config;
  config.synchronous_mode = mode;
  config.postgresql.parameters = std::move(dynamic);
  return effective_parameters(local(std::move(mine)), config, version);
}

TEST(Effective, defaults) {
  auto e = effective({}, {});
  EXPECT_EQ(e.parameters, (Parameters{{"listen_addresses", "127.0.0.1,::1"},
                                      {"port", "5433"},
                                      {"cluster_name", "demo"},
                                      {"max_connections", "100"},
                                      {"max_locks_per_transaction", "64"},
                                      {"max_worker_processes", "8"},
                                      {"max_prepared_transactions", "0"},
                                      {"max_wal_senders", "10"},
                                      {"max_replication_slots", "10"},
                                      {"wal_level", "replica"},
                                      {"track_commit_timestamp", "off"},
                                      {"wal_log_hints", "on"},
                                      {"hot_standby", "on"},
                                      {"wal_keep_size", "128MB"},
                                      {"restart_after_crash", "off"},
                                      {"wal_retrieve_retry_interval", "200ms"}}));
  EXPECT_TRUE(e.warnings.empty());
}

TEST(Effective, controlled_settings_come_from_the_cluster_alone) {
  auto e = effective({{"max_connections", "500"}, {"port", "1"}, {"wal_level", "minimal"}, {"work_mem", "8MB"}},
                     {{"max_connections", "200"},
                      {"Wal_Level", "LOGICAL"},
                      {"work_mem", "4MB"},
                      {"port", "2"},
                      {"cluster_name", "x"}});
  EXPECT_EQ(e.parameters.at("max_connections"), "200");
  EXPECT_EQ(e.parameters.at("wal_level"), "logical");
  EXPECT_EQ(e.parameters.at("work_mem"), "8MB");  // others: the local one wins
  EXPECT_EQ(e.parameters.at("port"), "5433");
  EXPECT_EQ(e.parameters.at("cluster_name"), "demo");
}

TEST(Effective, bounds) {
  struct Row {
    const char *name, *value, *expected;
    bool warns;
  };
  const Row rows[] = {
      {"max_connections", "25", "25", false},
      {"max_connections", "24", "100", true},
      {"max_connections", "many", "100", true},
      {"max_connections", "300000", "100", true},
      {"max_locks_per_transaction", "31", "64", true},
      {"max_worker_processes", "2", "2", false},
      {"max_worker_processes", "1", "8", true},
      {"max_prepared_transactions", "-1", "0", true},
      {"max_wal_senders", "2", "10", true},
      {"max_replication_slots", "3", "10", true},
      {"wal_level", "hot_standby", "replica", false},
      {"wal_level", "minimal", "replica", true},
      {"track_commit_timestamp", "yes", "on", false},
      {"track_commit_timestamp", "perhaps", "off", true},
      {"wal_log_hints", "off", "off", false},
      {"hot_standby", "off", "on", true},
      {"restart_after_crash", "on", "off", true},
      {"wal_keep_size", "1GB", "1024MB", false},
      {"wal_keep_size", "64", "64MB", false},
      {"wal_keep_size", "15MB", "128MB", true},
      {"wal_retrieve_retry_interval", "50", "50", false},
      {"wal_retrieve_retry_interval", "5s", "200ms", true},
  };
  for (const Row& row : rows) {
    auto e = effective({}, {{row.name, row.value}});
    EXPECT_EQ(e.parameters.at(row.name), row.expected) << row.name << " = " << row.value;
    EXPECT_EQ(!e.warnings.empty(), row.warns) << row.name << " = " << row.value;
  }
  EXPECT_EQ(effective({}, {{"max_wal_senders", "2"}}).warnings[0],
            "postgresql.parameters.max_wal_senders: expected a whole number from 3 to 262143, got \"2\"; 10 is used");
}

TEST(Effective, wal_keep_by_version) {
  EXPECT_EQ(effective({}, {{"wal_keep_segments", "10"}}, 150000).parameters.at("wal_keep_size"), "160MB");
  EXPECT_EQ(effective({}, {{"wal_keep_size", "1GB"}}, 120000).parameters.at("wal_keep_segments"), "64");
  EXPECT_FALSE(effective({}, {{"wal_keep_segments", "10"}}, 150000).parameters.contains("wal_keep_segments"));
  EXPECT_FALSE(goes_to_command_line("wal_keep_size"));
  EXPECT_TRUE(is_controlled("wal_keep_size"));
  EXPECT_TRUE(goes_to_command_line("max_connections"));
  EXPECT_FALSE(goes_to_command_line("work_mem"));
}

TEST(Effective, recovery_settings_are_apart_and_the_agents_own_are_nobodys) {
  auto e = effective({{"restore_command", "cp x"}, {"primary_conninfo", "host=evil"}, {"recovery_target_time", "now"}},
                     {{"recovery_min_apply_delay", "5min"}, {"primary_slot_name", "x"}, {"restore_command", "other"}});
  EXPECT_EQ(e.recovery, (Parameters{{"restore_command", "cp x"}, {"recovery_min_apply_delay", "5min"}}));
  for (const char* name : {"restore_command", "primary_conninfo", "recovery_target_time", "primary_slot_name"})
    EXPECT_FALSE(e.parameters.contains(name)) << name;
}

TEST(Effective, synchronous_standby_names_is_the_users_only_without_synchronous_mode) {
  Parameters mine = {{"synchronous_standby_names", "x"}};
  EXPECT_FALSE(effective(mine, {}).parameters.contains("synchronous_standby_names"));
  EXPECT_EQ(effective(mine, {}, 150000, model::SyncMode::off).parameters.at("synchronous_standby_names"), "x");
}

TEST(Effective, lists_of_lines_hide_each_other) {
  AgentSettings mine = local();
  model::DynamicConfig config;
  EXPECT_EQ(effective_pg_hba(mine, config), std::nullopt);
  config.postgresql.pg_hba = {"a"};
  EXPECT_EQ(effective_pg_hba(mine, config), std::vector<std::string>{"a"});
  mine.postgresql.pg_hba = std::vector<std::string>{};
  EXPECT_EQ(effective_pg_hba(mine, config), std::vector<std::string>{});
  config.postgresql.use_pg_rewind = true;
  EXPECT_TRUE(effective_use_pg_rewind(mine, config));
  mine.postgresql.use_pg_rewind = false;
  EXPECT_FALSE(effective_use_pg_rewind(mine, config));
}

}  // namespace
}  // namespace pgdba::conf
