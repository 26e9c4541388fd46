#include "conf/pooler_entries.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "conf/pooler_rules.h"

namespace pgdba::conf {
namespace {

using namespace std::chrono_literals;

std::string pairs(std::string_view text) {
  auto parsed = parse_pairs(text);
  if (!parsed) return "refused";
  std::string out;
  for (const auto& [key, value] : *parsed) out += key + "[" + value + "]";
  return out;
}

TEST(PoolerEntries, connection_strings) {
  struct Row {
    const char *name, *text, *parsed;
  };
  for (const Row& row : std::vector<Row>{
           {"nothing", "", ""},
           {"blanks", " \t ", ""},
           {"pairs", "host=a port=1", "host[a]port[1]"},
           {"blanks around the sign", "host = a\tport= 1 ", "host[a]port[1]"},
           {"quoted", "connect_query='select 1' a=b", "connect_query[select 1]a[b]"},
           {"quote inside quotes", "p='it''s' q=''''", "p[it's]q[']"},
           {"quote inside a plain value", "p=it's", "p[it's]"},
           {"sign inside a value", "q=a=b", "q[a=b]"},
           {"semicolons are no comments", "a=b;c", "a[b;c]"},
           {"no value", "host=", "refused"},
           {"blank value", "host= ", "refused"},
           {"the next pair is taken for the value", "host= port=1", "host[port=1]"},
           {"empty quotes", "host=''", "refused"},
           {"no sign", "host", "refused"},
           {"no key", "=a", "refused"},
           {"quote without an end", "host='a", "refused"},
           {"escape without an end", "host='a''", "refused"},
           {"text glued to a quote", "host='a'b=c", "refused"},
       }) {
    EXPECT_EQ(pairs(row.text), row.parsed) << row.name;
  }
}

TEST(PoolerEntries, a_database_with_everything) {
  auto r = parse_database_entry(
      "a",
      "dbname=b host=h1,/run/pg,@x port=1 user=u password='p''w' auth_user=au auth_query='select $1' auth_dbname=ad "
      "pool_size=0 min_pool_size=2 reserve_pool=3 pool_mode=Statement max_db_connections=4 max_db_client_connections=5 "
      "server_lifetime=6.5 query_wait_timeout=7 load_balance_hosts=Disable connect_query='set x=1' "
      "client_encoding=UTF8 "
      "datestyle='ISO, YMD' timezone=UTC application_name=pool role=REPLICA max_lag=16MB");
  EXPECT_EQ(join(r.errors, "\n"), "");
  DatabaseEntry expected;
  expected.name = "a";
  expected.dbname = "b";
  expected.hosts = {"h1", "/run/pg", "@x"};
  expected.port = 1;
  expected.user = "u";
  expected.password = Secret("p'w");
  expected.auth_user = "au";
  expected.auth_query = "select $1";
  expected.auth_dbname = "ad";
  expected.pool_size = 0;
  expected.min_pool_size = 2;
  expected.reserve_pool_size = 3;
  expected.pool_mode = PoolMode::statement;
  expected.max_db_connections = 4;
  expected.max_db_client_connections = 5;
  expected.server_lifetime = 6500ms;
  expected.query_wait_timeout = 7s;
  expected.load_balance_hosts = LoadBalanceHosts::disable;
  expected.connect_query = "set x=1";
  expected.client_encoding = "UTF8";
  expected.datestyle = "ISO, YMD";
  expected.timezone = "UTC";
  expected.application_name = "pool";
  expected.role = Role::replica;
  expected.max_lag = 16 << 20;
  EXPECT_EQ(r.entry, expected);
}

TEST(PoolerEntries, a_user_with_everything) {
  auto r = parse_user_entry("u",
                            "pool_mode=transaction pool_size=1 reserve_pool_size=2 max_user_connections=3 "
                            "max_user_client_connections=4 query_timeout=5 query_wait_timeout=6 "
                            "idle_transaction_timeout=7 transaction_timeout=8 client_idle_timeout=0.5");
  EXPECT_EQ(join(r.errors, "\n"), "");
  EXPECT_EQ(r.entry, (UserEntry{"u", PoolMode::transaction, 1, 2, 3, 4, 5s, 6s, 7s, 8s, 500ms}));
}

TEST(PoolerEntries, what_is_the_same_as_not_given) {
  auto r = parse_database_entry("a",
                                "pool_size=-1 min_pool_size=-5 reserve_pool_size=-1 max_db_connections=0 "
                                "max_db_client_connections=-1 server_lifetime=0 query_wait_timeout=0");
  EXPECT_EQ(join(r.errors, "\n"), "");
  DatabaseEntry expected;
  expected.name = "a";
  EXPECT_EQ(r.entry, expected);
  EXPECT_EQ(parse_database_entry("a", "pool_size=5 pool_size=-1").entry, expected);
}

TEST(PoolerEntries, mistakes) {
  struct Row {
    const char *name, *text, *errors;
  };
  for (const Row& row : std::vector<Row>{
           {"unknown key", "hots=a", "unrecognized connection parameter: hots in database \"a\""},
           {"a slip", "pool_sze=1", "unrecognized connection parameter: pool_sze in database \"a\": did you mean pool_size?"},
           {"key in capitals is not repeated", "Xy9=a", "unrecognized connection parameter in database \"a\""},
           {"key of a user", "query_timeout=1", "unrecognized connection parameter: query_timeout in database \"a\""},
           {"port", "port=0", "invalid value \"0\" for parameter port of database \"a\": expected a port"},
           {"large port", "port=70000",
            "invalid value \"70000\" for parameter port of database \"a\": expected a port"},
           {"two ports", "port=1,2", "invalid value \"1,2\" for parameter port of database \"a\": expected a port"},
           {"empty host", "host=a,,b",
            "invalid value \"a,,b\" for parameter host of database \"a\": expected hosts with commas between them"},
           {"number with more", "pool_size=5x",
            "invalid value \"5x\" for parameter pool_size of database \"a\": expected a number"},
           {"large number", "pool_size=4294967296",
            "invalid value \"4294967296\" for parameter pool_size of database \"a\": expected a number"},
           {"mode", "pool_mode=tx",
            "invalid value \"tx\" for parameter pool_mode of database \"a\": expected session, transaction or "
            "statement"},
           {"time", "server_lifetime=1h",
            "invalid value \"1h\" for parameter server_lifetime of database \"a\": expected seconds"},
           {"hosts", "load_balance_hosts=random",
            "invalid value \"random\" for parameter load_balance_hosts of database \"a\": expected round-robin or "
            "disable"},
           {"role", "role=master",
            "invalid value \"master\" for parameter role of database \"a\": expected primary, replica or any"},
           {"lag", "max_lag=16mb",
            "invalid value \"16mb\" for parameter max_lag of database \"a\": expected bytes, as 16MB"},
           {"negative lag", "max_lag=-1",
            "invalid value \"-1\" for parameter max_lag of database \"a\": expected bytes, as 16MB"},
           {"console", "auth_dbname=pgbouncer",
            "invalid value \"pgbouncer\" for parameter auth_dbname of database \"a\": expected a database other than "
            "the console"},
           {"two at once", "port=x role=y",
            "invalid value \"x\" for parameter port of database \"a\": expected a port\n"
            "invalid value \"y\" for parameter role of database \"a\": expected primary, replica or any"},
           {"no password in a sentence", "password=hunter2 x",
            "syntax error in connection string of database \"a\": expected key=value with a blank between two of them, and no "
            "empty value"},
       }) {
    EXPECT_EQ(join(parse_database_entry("a", row.text).errors, "\n"), row.errors) << row.name;
  }
  EXPECT_EQ(parse_database_entry(std::string(63, 'x'), "").errors.size(), 0u);
  EXPECT_EQ(parse_database_entry(std::string(64, 'x'), "").errors.size(), 1u);
  EXPECT_EQ(parse_user_entry(std::string(128, 'x'), "").errors.size(), 1u);
  EXPECT_EQ(join(parse_user_entry("u", "host=a").errors, "\n"), "unrecognized user parameter: host in user \"u\"");
  for (const char* id : {"0", "-1", "x", "1x", "", "99999999999999999999"})
    EXPECT_EQ(parse_peer_entry(id, "host=a").errors.size(), 1u) << id;
}

PoolerConfig config_of(std::string_view text) {
  auto reading = read_pooler_ini("p.ini", text, nullptr);
  EXPECT_EQ(join(reading.errors, "\n"), "");
  return reading.config;
}

TEST(PoolerRules, the_user_comes_first_then_the_database) {
  PoolerConfig config = config_of(
      "[pgbouncer]\npool_mode=session\ndefault_pool_size=20\nreserve_pool_size=-3\nmax_user_connections=7\nserver_"
      "lifetime=9\n"
      "auth_user=global\n"
      "[databases]\nplain = \nown = pool_mode=statement pool_size=5 reserve_pool_size=6 min_pool_size=1 "
      "max_db_connections=8 "
      "server_lifetime=1 auth_user=db dbname=real\n"
      "[users]\nu = pool_mode=transaction pool_size=0 max_user_connections=3\n");
  auto plain = pool_rules(config, *find_database(config, "plain"), "plain", "other");
  EXPECT_EQ(plain.pool_mode, PoolMode::session);
  EXPECT_EQ(plain.pool_size, 20);
  EXPECT_EQ(plain.reserve_pool_size, 0);
  EXPECT_EQ(plain.max_user_connections, 7);
  EXPECT_EQ(plain.server_lifetime, 9s);
  EXPECT_EQ(plain.auth_user, "global");
  EXPECT_EQ(plain.server_dbname, "plain");
  auto database = pool_rules(config, *find_database(config, "own"), "own", "other");
  EXPECT_EQ(database.pool_mode, PoolMode::statement);
  EXPECT_EQ(database.pool_size, 5);
  EXPECT_EQ(database.reserve_pool_size, 6);
  EXPECT_EQ(database.min_pool_size, 1);
  EXPECT_EQ(database.max_db_connections, 8);
  EXPECT_EQ(database.server_lifetime, 1s);
  EXPECT_EQ(database.auth_user, "db");
  EXPECT_EQ(database.server_dbname, "real");
  auto user = pool_rules(config, *find_database(config, "own"), "own", "u");
  EXPECT_EQ(user.server_user, "u");
  EXPECT_EQ(user.pool_mode, PoolMode::transaction);
  EXPECT_EQ(user.pool_size, 0);  // no limit, which is not the same as not given
  EXPECT_EQ(user.reserve_pool_size, 6);
  EXPECT_EQ(user.max_user_connections, 3);
}

TEST(PoolerRules, a_forced_user_decides_about_the_pool_and_the_client_about_itself) {
  PoolerConfig config = config_of(
      "[pgbouncer]\nquery_timeout=1\nquery_wait_timeout=2\nmax_user_client_connections=9\n"
      "[databases]\nf = user=forced pool_size=5 query_wait_timeout=4 max_db_client_connections=6\n"
      "[users]\nforced = pool_mode=transaction pool_size=2 query_timeout=50 max_user_client_connections=1\n"
      "login = pool_mode=statement pool_size=3 query_timeout=60 max_user_client_connections=8\n");
  const DatabaseEntry& f = *find_database(config, "f");
  auto pool = pool_rules(config, f, "f", "login");
  EXPECT_EQ(pool.server_user, "forced");
  EXPECT_EQ(pool.pool_mode, PoolMode::transaction);
  EXPECT_EQ(pool.pool_size, 2);
  auto client = client_rules(config, f, "login");
  EXPECT_EQ(client.query_timeout, 60s);
  EXPECT_EQ(client.query_wait_timeout, 4s);
  EXPECT_EQ(client.max_user_client_connections, 8);
  EXPECT_EQ(client.max_db_client_connections, 6);
  auto unlisted = client_rules(config, f, "nobody");
  EXPECT_EQ(unlisted.query_timeout, 1s);
  EXPECT_EQ(unlisted.max_user_client_connections, 9);
}

TEST(PoolerRules, the_template) {
  PoolerConfig config = config_of("[pgbouncer]\n[databases]\n* = host=h\na = host=b\n");
  EXPECT_EQ(find_database(config, "*"), nullptr);
  EXPECT_EQ(find_database(config, "b"), nullptr);
  ASSERT_NE(find_template(config), nullptr);
  EXPECT_EQ(pool_rules(config, *find_template(config), "asked", "u").server_dbname, "asked");
  EXPECT_EQ(find_template(config_of("[pgbouncer]\n")), nullptr);
}

TEST(PoolerRules, what_closes_servers_at_a_reload) {
  struct Row {
    const char *name, *text;
    bool reconnect;
  };
  DatabaseEntry before = parse_database_entry("a", "host=h").entry;
  for (const Row& row : std::vector<Row>{{"nothing", "host=h", false},
                                         {"size", "host=h pool_size=3", false},
                                         {"host", "host=i", true},
                                         {"port", "host=h port=1", true},
                                         {"name", "host=h dbname=b", true},
                                         {"user", "host=h user=u", true},
                                         {"connect query", "host=h connect_query=x", true},
                                         {"auth query", "host=h auth_query=x", true},
                                         {"auth database", "host=h auth_dbname=x", true},
                                         {"balance", "host=h load_balance_hosts=disable", true},
                                         {"role", "host=h role=replica", true}}) {
    EXPECT_EQ(needs_reconnect(before, parse_database_entry("a", row.text).entry), row.reconnect) << row.name;
  }
}

}  // namespace
}  // namespace pgdba::conf
