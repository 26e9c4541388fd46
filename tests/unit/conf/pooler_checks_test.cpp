#include "conf/pooler_checks.h"

#include <gtest/gtest.h>

using namespace pgdba;
using namespace pgdba::conf;

namespace {

PoolerReading read(const std::string& text) {
  return read_pooler_ini("p.ini", text, [](const std::string&) { return fail(Errc::not_found, "none"); });
}

struct Row {
  const char* name;
  const char* text;
  const char* part;  // of the one sentence; "" none
  bool fatal;
};

class PoolerChecks : public testing::TestWithParam<Row> {};

TEST_P(PoolerChecks, SaysWhatContradicts) {
  const Row& row = GetParam();
  PoolerReading reading = read(row.text);
  const auto& said = row.fatal ? reading.errors : reading.config.warnings;
  const auto& quiet = row.fatal ? reading.config.warnings : reading.errors;
  if (*row.part == '\0') {
    EXPECT_TRUE(said.empty()) << said.front();
  } else {
    ASSERT_EQ(said.size(), 1u);
    EXPECT_NE(said.front().find(row.part), std::string::npos) << said.front();
    EXPECT_NE(said.front().find("p.ini"), std::string::npos) << said.front();
  }
  EXPECT_TRUE(quiet.empty()) << quiet.front();
}

INSTANTIATE_TEST_SUITE_P(
    All, PoolerChecks,
    testing::Values(
        Row{"nothing", "[pgbouncer]\n[databases]\na = host=h\n", "", true},
        Row{"any", "[pgbouncer]\nauth_type = any\n[databases]\na = user=u\nb = host=h\n", "needs a user= in each entry of [databases], and \"b\" has none", true},
        Row{"any_place", "[pgbouncer]\nauth_type = any\n[databases]\nb = host=h\n", "(p.ini:2)", true},
        Row{"any_fine", "[pgbouncer]\nauth_type = any\n[databases]\na = user=u\n", "", true},
        Row{"hba", "[pgbouncer]\nauth_type = hba\n", "auth_type=hba needs auth_hba_file (p.ini:2)", true},
        Row{"auth_dbname", "[pgbouncer]\nauth_dbname = x\n[databases]\na = host=h\n", "authentication database \"x\" is not configured", false},
        Row{"auth_dbname_by_template", "[pgbouncer]\nauth_dbname = x\n[databases]\n* = host=h\n", "", false},
        Row{"auth_dbname_of_entry", "[pgbouncer]\n[databases]\na = auth_dbname=x\n", "\"x\" of database \"a\" is not configured", false},
        Row{"role", "[pgbouncer]\n[databases]\na = role=primary\nb = role=any\n", "database \"a\" has a role=", true},
        Row{"role_fine", "[pgbouncer]\ncluster_dcs = etcd://e\ncluster_scope = s\n[databases]\na = role=primary\n", "", true},
        Row{"role_and_host", "[pgbouncer]\ncluster_dcs = etcd://e\ncluster_scope = s\n[databases]\na = role=primary host=h\n", "host= is not used", false},
        Row{"dcs_without_scope", "[pgbouncer]\ncluster_dcs = etcd://e\n", "cluster_dcs needs cluster_scope", true},
        Row{"scope_without_dcs", "[pgbouncer]\ncluster_scope = s\n", "cluster_scope has no effect", false},
        Row{"client_tls", "[pgbouncer]\nclient_tls_sslmode = require\n", "needs client_tls_key_file", true}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(PoolerChecks, AForcedUserCannotBeTakenAway) {
  const PoolerConfig before = read("[pgbouncer]\n[databases]\na = user=u\nb = host=h\n* = user=t\n").config;
  EXPECT_EQ(refuse_reload(before, before), "");
  EXPECT_NE(refuse_reload(before, read("[pgbouncer]\n[databases]\na = host=h\n* = user=t\n").config).find("\"a\""), std::string::npos);
  EXPECT_NE(refuse_reload(before, read("[pgbouncer]\n[databases]\na = user=u\n* = host=h\n").config).find("\"*\""), std::string::npos);
  EXPECT_EQ(refuse_reload(before, read("[pgbouncer]\n[databases]\na = user=v\n").config), "");
  EXPECT_EQ(refuse_reload(before, read("[pgbouncer]\n[databases]\nb = user=v\n").config), "");
}

}  // namespace
