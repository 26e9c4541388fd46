#include "conf/pooler_ini.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "base/text.h"

namespace pgdba::conf {
namespace {

using namespace std::chrono_literals;
using Files = std::map<std::string, std::string>;

PoolerReading read(std::string_view text, const Files& files = {}) {
  return read_pooler_ini("p.ini", text, [&](const std::string& path) -> Result<std::string> {
    auto found = files.find(path);
    if (found == files.end()) return fail(Errc::not_found, "No such file or directory");
    return found->second;
  });
}

std::string errors(const PoolerReading& reading) {
  return join(reading.errors, "\n");
}
std::string warnings(const PoolerReading& reading) {
  return join(reading.config.warnings, "\n");
}

const std::string kSections = ": expected pgbouncer, databases, users or peers";
const std::string kWanted =
    ": expected key = value; a key with other characters than letters, digits, _ . - * stands in single quotes";

TEST(PoolerIni, a_usual_file) {
  auto r = read(
      "\n;; a comment\n[databases]\n"
      "app = host=10.0.0.1,10.0.0.2 port=5433 dbname=app_production pool_size=50\n"
      "lead = role=primary\n* = host=/var/run/postgresql\n"
      "[users]\nbatch = pool_mode=session max_user_connections=5 query_timeout=1.5\n"
      "[peers]\n1 = host=/run/peer\n2 = host=10.0.0.2 port=6433 pool_size=3\n"
      "[pgbouncer]\r\nlisten_addr = *\r\n  listen_port=6000  \nauth_type = scram-sha-256\ncluster_dcs = etcd://e\ncluster_scope = s\n# end");
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(warnings(r), "");
  const PoolerConfig& c = r.config;
  EXPECT_EQ(c.settings.listen_addr.names, std::vector<std::string>{"*"});
  EXPECT_EQ(c.settings.listen_port, 6000);
  EXPECT_EQ(c.settings.auth_type, AuthType::scram_sha_256);
  EXPECT_EQ(c.settings.conffile, "p.ini");
  ASSERT_EQ(c.databases.size(), 3u);
  EXPECT_EQ(c.databases[0].name, "app");
  EXPECT_EQ(c.databases[0].dbname, "app_production");
  EXPECT_EQ(c.databases[0].hosts, (std::vector<std::string>{"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(c.databases[0].port, 5433);
  EXPECT_EQ(c.databases[0].pool_size, 50);
  EXPECT_EQ(c.databases[1].role, Role::primary);
  EXPECT_EQ(c.databases[0].min_pool_size, std::nullopt);
  EXPECT_TRUE(c.databases[2].is_template());
  ASSERT_EQ(c.users.size(), 1u);
  EXPECT_EQ(c.users[0].pool_mode, PoolMode::session);
  EXPECT_EQ(c.users[0].query_timeout, 1500ms);
  ASSERT_EQ(c.peers.size(), 2u);
  EXPECT_EQ(c.peers[0].port, 6432);
  EXPECT_EQ(c.peers[1], (PeerEntry{2, "10.0.0.2", 6433, 3}));
}

TEST(PoolerIni, lines_that_are_wrong) {
  struct Row {
    const char *name, *text;
    std::string errors;
  };
  for (const Row& row : std::vector<Row>{
           {"bad value", "[pgbouncer]\nlisten_port = x",
            "invalid value \"x\" for parameter listen_port in configuration (p.ini:2)"},
           {"bad value with a hint", "[pgbouncer]\nauth_type=ldap",
            "invalid value \"ldap\" for parameter auth_type in configuration (p.ini:2): ldap is not supported yet"},
           {"trailing comments are values", "[pgbouncer]\nlisten_port = 6432 ; port",
            "invalid value \"6432 ; port\" for parameter listen_port in configuration (p.ini:2): a comment needs a line of its own"},
           {"unknown parameter", "[pgbouncer]\nmax_clients_conn = 1",
            "unknown parameter: pgbouncer/max_clients_conn in configuration (p.ini:2): did you mean max_client_conn?"},
           {"unknown section once", "[pgbouncer]\n[cluster]\na = 1\nb = 2",
            "invalid section \"cluster\" in configuration (p.ini:2)" + kSections},
           {"section in another case", "[PgBouncer]", "invalid section \"PgBouncer\" in configuration (p.ini:1)" + kSections},
           {"section without an end", "[pgbouncer\n", "syntax error in configuration (p.ini:1): a section's name ends with ]"},
           {"no section yet", "a = 1\n[pgbouncer]", "parameter a stands before the first section (p.ini:1)"},
           {"no main section", "[databases]\na = host=b", "section [pgbouncer] is missing in p.ini"},
           {"empty file", "", "section [pgbouncer] is missing in p.ini"},
           {"no equals sign", "[pgbouncer]\nlisten_port", "syntax error in configuration (p.ini:2)" + kWanted},
           {"no name", "[pgbouncer]\n= 1", "syntax error in configuration (p.ini:2)" + kWanted},
           {"character in a name", "[databases]\na$ = host=b\n[pgbouncer]", "syntax error in configuration (p.ini:2)" + kWanted},
           {"quote without an end", "[databases]\n'a = host=b\n[pgbouncer]", "syntax error in configuration (p.ini:2)" + kWanted},
           {"empty quoted name", "[databases]\n'' = host=b\n[pgbouncer]", "syntax error in configuration (p.ini:2)" + kWanted},
           {"include without a path", "[pgbouncer]\n%include  ",
            "syntax error in configuration (p.ini:2): %include needs a path"},
           {"included file missing", "[pgbouncer]\n%include no.ini",
            "could not include \"no.ini\" (p.ini:2): No such file or directory"},
           {"reserved database", "[pgbouncer]\n[databases]\npgbouncer = host=a",
            "database name \"pgbouncer\" is reserved (p.ini:3)"},
           {"empty value", "[pgbouncer]\n[databases]\na = host='' port=1",
            "syntax error in connection string of database \"a\": expected key=value with a blank between two of them, and no "
            "empty value (p.ini:3)"},
           {"number of a peer", "[pgbouncer]\n[peers]\n16384 = host=a",
            "peer \"16384\" must be a number from 1 to 16383 (p.ini:3)"},
           {"peer without a host", "[pgbouncer]\n[peers]\n1 = port=1",
            "host was not provided for peer \"1\" (p.ini:3)"},
           {"login in a URL is not repeated", "[pgbouncer]\ncluster_dcs = etcd://root:hunter2@a",
            "invalid value \"***\" for parameter cluster_dcs in configuration (p.ini:2): expected host:port after the "
            "scheme"},
           {"byte order mark", "\xef\xbb\xbf[pgbouncer]", "syntax error in configuration (p.ini:1)" + kWanted},
           {"all at once", "[pgbouncer]\npool_mode = x\nfoo_bar_baz_quux = 1\n[users]\na = pool_size=x\n",
            "invalid value \"x\" for parameter pool_mode in configuration (p.ini:2): expected session, transaction, "
            "statement\n"
            "unknown parameter: pgbouncer/foo_bar_baz_quux in configuration (p.ini:3)\n"
            "invalid value \"x\" for parameter pool_size of user \"a\": expected a number (p.ini:5)"},
       }) {
    EXPECT_EQ(errors(read(row.text)), row.errors) << row.name;
  }
}

TEST(PoolerIni, zero_bytes_and_control_characters) {
  using namespace std::string_literals;
  EXPECT_EQ(errors(read("[pgbouncer]\nuser = a\0b"s)), "syntax error in configuration (p.ini:2): a zero byte");
  EXPECT_EQ(errors(read("[pgbouncer]\n'a\x1b[2J' = 1")),
            "unknown parameter: pgbouncer/a?[2J in configuration (p.ini:2)");
}

TEST(PoolerIni, a_flood_of_mistakes_ends) {
  std::string text = "[pgbouncer]\n";
  for (int i = 0; i < 100000; ++i) text += "x = 1\n";
  auto r = read(text);
  EXPECT_EQ(r.errors.size(), 101u);
  EXPECT_EQ(r.errors.back(), "more mistakes follow");
  std::string line;
  for (int i = 0; i < 1000; ++i) line += "[x]";
  EXPECT_EQ(read(line).errors.size(), 101u);
}

TEST(PoolerIni, quoted_names) {
  auto r = read(
      "[pgbouncer]\n'listen_port' = 1\n[databases]\n'my ''db''!' = host=a\n[users]\n'\xc3\xa9t\xc3\xa9' = pool_size=1");
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(r.config.settings.listen_port, 1);
  EXPECT_EQ(r.config.databases[0].name, "my 'db'!");
  EXPECT_EQ(r.config.users[0].name, "\xc3\xa9t\xc3\xa9");
}

TEST(PoolerIni, something_behind_a_section) {
  auto r = read("[databases] [pgbouncer] listen_port = 1\n[users] ; comment");
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(r.config.settings.listen_port, 1);
}

TEST(PoolerIni, each_main_section_begins_with_the_defaults) {
  auto r = read(
      "[pgbouncer]\nlisten_port = 1\nresolv_conf = /x\n[databases]\na = host=b\n[pgbouncer]\nmax_client_conn = 2\n");
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(r.config.settings.listen_port, 6432);
  EXPECT_EQ(r.config.settings.max_client_conn, 2);
  EXPECT_EQ(r.config.settings.conffile, "p.ini");
  EXPECT_EQ(warnings(r), "");
}

TEST(PoolerIni, settings_without_an_effect_are_named_once) {
  auto r =
      read("[pgbouncer]\njob_name = a\njob_name = b\nresolv_conf =\nsuspend_timeout = 10\ndns_zone_check_period = 1\n");
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(warnings(r),
            "parameter dns_zone_check_period has no effect: zone serials are not polled; dns_max_ttl alone decides "
            "(p.ini:6)\n"
            "parameter job_name has no effect: the name is not used; see syslog_ident (p.ini:3)");
}

TEST(PoolerIni, an_entry_given_twice) {
  auto r = read("[pgbouncer]\n[databases]\na = host=x\nb = host=y\na = host=z\n[peers]\n1 = host=a\n01 = host=b");
  ASSERT_TRUE(r.ok()) << errors(r);
  ASSERT_EQ(r.config.databases.size(), 2u);
  EXPECT_EQ(r.config.databases[0].hosts[0], "z");
  ASSERT_EQ(r.config.peers.size(), 1u);
  EXPECT_EQ(r.config.peers[0].host, "b");
  EXPECT_EQ(warnings(r),
            "\"a\" is given twice in [databases], the last one counts (p.ini:5)\n"
            "\"1\" is given twice in [peers], the last one counts (p.ini:8)");
}

TEST(PoolerIni, includes) {
  Files files{{"users.ini", "[users]\nu = pool_size=1\n"},
              {"/etc/a b.ini", "listen_port = 1\n%include users.ini\nv = pool_size=2"},
              {"bad.ini", "\nlisten_port = x"}};
  auto r = read("[pgbouncer]\n  %include\t/etc/a b.ini \nw = pool_size=3", files);
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(r.config.settings.listen_port, 1);
  // The section goes on where the included file left it.
  ASSERT_EQ(r.config.users.size(), 3u);
  EXPECT_EQ(r.config.users[2].name, "w");
  EXPECT_EQ(errors(read("[pgbouncer]\n%include bad.ini\nfoo_bar_baz_quux = 1", files)),
            "invalid value \"x\" for parameter listen_port in configuration (bad.ini:2)\n"
            "unknown parameter: pgbouncer/foo_bar_baz_quux in configuration (p.ini:3)");
  EXPECT_EQ(errors(read("[pgbouncer]\n%includeusers.ini", files)), "syntax error in configuration (p.ini:2)" + kWanted);
}

TEST(PoolerIni, includes_have_a_limit) {
  auto chain = [](int levels) {
    Files files;
    for (int i = 1; i < levels; ++i) files[fmt::format("{}", i)] = fmt::format("%include {}", i + 1);
    files[fmt::format("{}", levels)] = "listen_port = 9";
    return read("[pgbouncer]\n%include 1", files);
  };
  EXPECT_TRUE(chain(10).ok());
  EXPECT_EQ(chain(10).config.settings.listen_port, 9);
  EXPECT_EQ(errors(chain(11)), "too many levels of %include (10:1)");
  auto bomb = read("[pgbouncer]\n%include a", {{"a", "%include a\n%include a\n%include a"}});
  EXPECT_FALSE(bomb.ok());
  EXPECT_LE(bomb.errors.size(), 101u);
  EXPECT_EQ(errors(read_pooler_ini("p", "[pgbouncer]\n%include a", nullptr)),
            "could not include \"a\" (p:2): files cannot be included here");
}

TEST(PoolerIni, max_lag_of_a_primary) {
  auto r = read("[pgbouncer]\ncluster_dcs = etcd://e\ncluster_scope = s\n[databases]\na = role=primary max_lag=1MB");
  ASSERT_TRUE(r.ok()) << errors(r);
  EXPECT_EQ(warnings(r), "max_lag of database \"a\" has no effect: a primary is not behind");
}

}  // namespace
}  // namespace pgdba::conf
