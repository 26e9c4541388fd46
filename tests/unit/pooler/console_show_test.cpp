// The tables of SHOW: columns, types, order and numbers; and the metrics made of the same figures.
#include <gtest/gtest.h>

#include "pooler/console/metrics.h"
#include "pooler/console/show.h"

namespace pgdba::pooler {
namespace {

std::string spec(Show show) {
  std::string text;
  for (const TableColumn& column : columns_of(show))
    text += (text.empty() ? "" : " ") + column.name + ":" + column.type;
  return text;
}

Snapshot sample() {
  Snapshot snapshot;
  snapshot.settings = conf::default_pooler_settings();
  PoolFigures pool;
  pool.database = "app";
  pool.user = "bob";
  pool.mode = pool::PoolMode::transaction;
  pool.clients = 7;
  pool.servers = 3;
  pool.cl_active = 5;
  pool.cl_waiting = 2;
  pool.sv_active = 1;
  pool.sv_idle = 2;
  pool.maxwait_us = 2'000'005;
  pool.total.queries = 100;
  pool.total.query_us = 5'000'000;
  pool.total.received = 4000;
  pool.period.queries = 60;
  pool.period.transactions = 30;
  pool.period.query_us = 600;
  pool.period.transaction_us = 900;
  pool.period.assignments = 10;
  pool.period.wait_us = 55;
  pool.period_us = 60'000'000;
  snapshot.pools.push_back(pool);
  DatabaseFigures database;
  database.host = "10.0.0.1";
  database.server_name = "app_v2";
  database.pool_size = 20;
  database.server_lifetime = 3600;
  database.paused = true;
  snapshot.databases["app"] = database;
  snapshot.users["bob"] = {.pool_size = 5, .reserve_pool_size = std::nullopt, .mode = std::nullopt, .connections = 3};
  snapshot.admin.console = 1;
  snapshot.admin.queries = 9;
  add_console(snapshot);
  return snapshot;
}

ClusterMember member(std::string name, bool leader = false, int64_t lag = -1) {
  ClusterMember made;
  made.name = std::move(name);
  made.leader = leader;
  made.lag_bytes = lag;
  return made;
}

const Row& row_of(const Table& table, std::string_view key) {
  for (const Row& row : table.rows) {
    if (row[0] == key) return row;
  }
  static const Row none(40, Cell("none"));
  return none;
}

const Cell& cell(const Table& table, const Row& row, std::string_view column) {
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (table.columns[i].name == column) return row[i];
  }
  static const Cell none("no such column");
  return none;
}

TEST(Show, ColumnsArePgBouncers) {
  EXPECT_EQ(spec(Show::pools),
            "database:s user:s cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i "
            "sv_active_cancel:i"
            " sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode:s "
            "load_balance_hosts:s");
  EXPECT_EQ(spec(Show::state), "key:s value:s");
  EXPECT_EQ(spec(Show::dns_hosts), "hostname:s ttl:q addrs:s");
  EXPECT_EQ(spec(Show::help), "");
  EXPECT_EQ(columns_of(Show::stats)[1].oid(), 1700u);
  EXPECT_EQ(columns_of(Show::fds)[14].oid(), 17u);
}

TEST(Show, EveryRowHasAsManyCellsAsColumns) {
  Snapshot snapshot = sample();
  ConnFigures conn;
  conn.state = "active";
  conn.received = 5;
  snapshot.clients.push_back(conn);
  conn.is_client = false;
  snapshot.servers.push_back(conn);
  conf::PeerEntry peer;
  peer.id = 3;
  snapshot.peers.push_back(peer);
  snapshot.cluster.configured = true;
  for (int members = 0; members < 2; ++members) {
    for (int i = 0; i <= static_cast<int>(Show::cluster); ++i) {
      const Table table = table_of(static_cast<Show>(i), snapshot);
      for (const Row& row : table.rows) EXPECT_EQ(row.size(), table.columns.size()) << i;
      for (const Row& row : table.rows) {
        for (size_t at = 0; at < row.size(); ++at) {
          if (!row[at]) continue;
          EXPECT_TRUE(binary_cell(table.columns[at].type, *row[at])) << table.columns[at].name << " " << *row[at];
        }
      }
    }
    snapshot.cluster.news.members.push_back(member("n1"));
  }
}

TEST(Show, Pools) {
  const Table table = table_of(Show::pools, sample());
  ASSERT_EQ(table.rows.size(), 2u);
  const Row& app = row_of(table, "app");
  EXPECT_EQ(cell(table, app, "cl_active"), "5");
  EXPECT_EQ(cell(table, app, "maxwait"), "2");
  EXPECT_EQ(cell(table, app, "maxwait_us"), "5");
  EXPECT_EQ(cell(table, app, "pool_mode"), "transaction");
  EXPECT_EQ(cell(table, app, "load_balance_hosts"), std::nullopt);
  const Row& console = row_of(table, "pgbouncer");
  EXPECT_EQ(cell(table, console, "user"), "pgbouncer");
  EXPECT_EQ(cell(table, console, "cl_active"), "1");
  EXPECT_EQ(cell(table, console, "pool_mode"), "statement");
}

TEST(Show, Databases) {
  const Table table = table_of(Show::databases, sample());
  const Row& app = row_of(table, "app");
  EXPECT_EQ(cell(table, app, "database"), "app_v2");
  EXPECT_EQ(cell(table, app, "force_user"), std::nullopt);
  EXPECT_EQ(cell(table, app, "current_connections"), "3");
  EXPECT_EQ(cell(table, app, "current_client_connections"), "7");
  EXPECT_EQ(cell(table, app, "paused"), "1");
  EXPECT_EQ(cell(table, row_of(table, "pgbouncer"), "host"), std::nullopt);
}

TEST(Show, AveragesArePerSecondAndTimesPerItem) {
  const Table table = table_of(Show::stats, sample());
  const Row& app = row_of(table, "app");
  EXPECT_EQ(cell(table, app, "total_query_count"), "100");
  EXPECT_EQ(cell(table, app, "avg_query_count"), "1");
  EXPECT_EQ(cell(table, app, "avg_xact_count"), "0");
  EXPECT_EQ(cell(table, app, "avg_query_time"), "10");
  EXPECT_EQ(cell(table, app, "avg_xact_time"), "30");
  EXPECT_EQ(cell(table, app, "avg_wait_time"), "5");
  EXPECT_EQ(cell(table, row_of(table, "pgbouncer"), "total_query_count"), "9");
}

TEST(Show, ListsAndTotalsHaveTheirRowsInOrder) {
  const Table lists = table_of(Show::lists, sample());
  std::string names;
  for (const Row& row : lists.rows) names += *row[0] + " ";
  EXPECT_EQ(names,
            "databases users peers pools peer_pools free_clients used_clients login_clients free_servers used_servers "
            "dns_names"
            " dns_zones dns_queries dns_pending ");
  const Table totals = table_of(Show::totals, sample());
  EXPECT_EQ(totals.rows.size(), 24u);
  EXPECT_EQ(row_of(totals, "total_query_count")[1], "109");
  EXPECT_EQ(*totals.rows[11][0], "avg_server_assignment_count");
}

TEST(Show, NamesOfHostsAsTheResolverHasThem) {
  Snapshot snapshot = sample();
  snapshot.names = {{"db.example", 14'900'000, {"192.0.2.1", "2001:db8::1"}, false}, {"nowhere.example", 0, {}, true}};
  const Table hosts = table_of(Show::dns_hosts, snapshot);
  EXPECT_EQ(hosts.rows, (std::vector<Row>{{"db.example", "14", "192.0.2.1,2001:db8::1"}, {"nowhere.example", "0", ""}}));
  const Table lists = table_of(Show::lists, snapshot);
  EXPECT_EQ(row_of(lists, "dns_names")[1], "2");
  EXPECT_EQ(row_of(lists, "dns_queries")[1], "1");
}

TEST(Show, UsersShowTheirOwnSizesOnly) {
  const Table table = table_of(Show::users, sample());
  const Row& bob = row_of(table, "bob");
  EXPECT_EQ(cell(table, bob, "pool_size"), "        5");
  EXPECT_EQ(cell(table, bob, "reserve_pool_size"), "");
  EXPECT_EQ(cell(table, bob, "pool_mode"), std::nullopt);
}

TEST(Show, ClientsThatLogInAreOnlySockets) {
  Snapshot snapshot = sample();
  ConnFigures conn;
  conn.state = "login";
  snapshot.clients.push_back(conn);
  EXPECT_EQ(table_of(Show::clients, snapshot).rows.size(), 0u);
  const Table sockets = table_of(Show::sockets, snapshot);
  ASSERT_EQ(sockets.rows.size(), 1u);
  EXPECT_EQ(cell(sockets, sockets.rows[0], "state"), "cl_login");
  EXPECT_EQ(table_of(Show::active_sockets, snapshot).rows.size(), 0u);
}

TEST(Show, ClusterHasARowForEachMember) {
  Snapshot snapshot = sample();
  EXPECT_EQ(table_of(Show::cluster, snapshot).rows.size(), 0u);
  snapshot.cluster.configured = true;
  snapshot.cluster.why = "no leader";
  EXPECT_EQ(table_of(Show::cluster, snapshot).rows.size(), 1u);
  snapshot.cluster.news.leader = "n1";
  snapshot.cluster.news.term = 18446744073709551615u;
  snapshot.cluster.news.members = {member("n1", true), member("n2", false, 17)};
  const Table table = table_of(Show::cluster, snapshot);
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(cell(table, table.rows[0], "role"), "leader");
  EXPECT_EQ(cell(table, table.rows[0], "lag_bytes"), std::nullopt);
  EXPECT_EQ(cell(table, table.rows[1], "lag_bytes"), "17");
  EXPECT_EQ(cell(table, table.rows[1], "leader"), "n1");
  EXPECT_EQ(cell(table, table.rows[1], "routing"), "held");
}

TEST(Show, WhatIsNotSupportedSaysSo) {
  EXPECT_EQ(outcome_of(Show::fds, sample()).problem->sqlstate, "0A000");
  EXPECT_EQ(outcome_of(Show::help, sample()).notice, "Console usage");
}

TEST(Snapshot, PartsOfTheSamePoolAreAddedUp) {
  Snapshot whole = sample(), other = sample();
  other.pools[0].maxwait_us = 9;
  other.pools.push_back(other.pools[0]);
  other.pools.back().user = "eve";
  merge(whole, other);
  ASSERT_EQ(whole.pools.size(), 3u);
  EXPECT_EQ(whole.pools[0].cl_active, 10);
  EXPECT_EQ(whole.pools[0].maxwait_us, 2'000'005);
  EXPECT_EQ(whole.pools[0].total.queries, 200u);
  EXPECT_EQ(whole.pools[0].period_us, 60'000'000);
  EXPECT_EQ(whole.databases.size(), 2u);
  EXPECT_EQ(whole.users["bob"].connections, 6);
}

struct Binary {
  char type;
  std::string_view text;
  std::string_view bytes;
};
using namespace std::string_view_literals;

TEST(Table, BinaryCellsAreExactlyPostgreSQLs) {
  const Binary rows[] = {
      {'s', "x", "x"},
      {'i', "258", "\0\0\1\2"sv},
      {'i', "-1", "\xff\xff\xff\xff"sv},
      {'q', "1", "\0\0\0\0\0\0\0\1"sv},
      {'N', "0", "\0\0\0\0\0\0\0\0"sv},
      {'N', "1", "\0\1\0\0\0\0\0\0\0\1"sv},
      {'N', "-7", "\0\1\0\0\x40\0\0\0\0\7"sv},
      {'N', "10000", "\0\1\0\1\0\0\0\0\0\1"sv},  // one digit, of weight 1
      {'N', "123456789", "\0\3\0\2\0\0\0\0\0\1\x09\x29\x1a\x85"sv},
  };
  for (const Binary& row : rows) EXPECT_EQ(binary_cell(row.type, row.text), row.bytes) << row.type << row.text;
  EXPECT_FALSE(binary_cell('i', "x"));
  EXPECT_FALSE(binary_cell('N', "1.5"));
}

TEST(Metrics, HaveTheExportersNamesAndLabels) {
  Snapshot snapshot = sample();
  snapshot.pools[0].database = "a\"b\\c\nd";
  const std::string text = metrics_text(snapshot);
  for (const char* line : {
           "pgbouncer_up 1\n",
           "pgbouncer_version_info{version=\"PgBouncer 1.25.2\"} 1\n",
           "# TYPE pgbouncer_pools_client_active_connections gauge\n",
           "pgbouncer_pools_client_active_connections{database=\"a\\\"b\\\\c\\nd\",user=\"bob\"} 5\n",
           "pgbouncer_pools_client_maxwait_seconds{database=\"a\\\"b\\\\c\\nd\",user=\"bob\"} 2.000005\n",
           "# TYPE pgbouncer_stats_queries_pooled_total counter\n",
           "pgbouncer_stats_queries_duration_seconds_total{database=\"a\\\"b\\\\c\\nd\"} 5\n",
           "pgbouncer_databases_paused{name=\"app\",host=\"10.0.0.1\",port=\"5432\",database=\"app_v2\",force_user="
           "\"\",pool_mode=\"\"} 1\n",
           "pgbouncer_config_max_client_connections 100\n",
           "pgbouncer_pools 2\n",
           "pgbouncer_pools_client_active_connections{database=\"pgbouncer\",user=\"pgbouncer\"} 1\n",
           "pgbouncer_stats_queries_pooled_total{database=\"pgbouncer\"} 9\n",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
  EXPECT_EQ(text.find("pgdba_pooler_cluster"), std::string::npos);
  snapshot.cluster.configured = true;
  EXPECT_NE(metrics_text(snapshot).find("pgdba_pooler_cluster_open 0\n"), std::string::npos);
}

TEST(Health, DependsOnThePrimaryOnlyWhereOneIsWanted) {
  Snapshot snapshot = sample();
  EXPECT_TRUE(health_of(snapshot).serves);
  snapshot.databases["app"].role = conf::Role::replica;
  EXPECT_TRUE(health_of(snapshot).serves);
  snapshot.databases["app"].role = conf::Role::primary;
  EXPECT_FALSE(health_of(snapshot).serves);
  EXPECT_NE(health_of(snapshot).json.find("\"held\""), std::string::npos);
  snapshot.cluster.open = true;
  EXPECT_TRUE(health_of(snapshot).serves);
  snapshot.shutting_down = true;
  EXPECT_FALSE(health_of(snapshot).serves);
}

}  // namespace
}  // namespace pgdba::pooler
