#include "pooler/console/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/text.h"
#include "pool/core.h"

namespace pgdba::pooler {

namespace {

constexpr std::string_view kHelp =
    "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION"
    "\n\tSHOW PEERS|PEER_POOLS"
    "\n\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE"
    "\n\tSHOW DNS_HOSTS|DNS_ZONES"
    "\n\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS"
    "\n\tSHOW CLUSTER"
    "\n\tSET key = arg"
    "\n\tRELOAD"
    "\n\tPAUSE [<db>]"
    "\n\tRESUME [<db>]"
    "\n\tDISABLE <db>"
    "\n\tENABLE <db>"
    "\n\tRECONNECT [<db>]"
    "\n\tKILL [<db>]"
    "\n\tKILL_CLIENT <client_id>"
    "\n\tSHUTDOWN"
    "\n\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS"
    "\n\tWAIT_CLOSE [<db>]";

std::string_view name_of(pool::PoolMode mode) {
  switch (mode) {
    case pool::PoolMode::session: return "session";
    case pool::PoolMode::transaction: return "transaction";
    case pool::PoolMode::statement: return "statement";
  }
  return "";
}

Cell balance(bool many_hosts, bool one_at_a_time) {
  if (!many_hosts) return std::nullopt;
  return one_at_a_time ? "disable" : "round-robin";
}

struct DatabaseStats {
  pool::Stats total, period;
  int64_t period_us = 0;
};

std::map<std::string, DatabaseStats> by_database(const Snapshot& snapshot) {
  std::map<std::string, DatabaseStats> sums;
  for (const PoolFigures& pool : snapshot.pools) {
    DatabaseStats& sum = sums[pool.database];
    add(sum.total, pool.total);
    add(sum.period, pool.period);
    sum.period_us = std::max(sum.period_us, pool.period_us);
  }
  return sums;
}

// In the order of SHOW STATS; logins come last.
std::array<uint64_t, 12> figures(const pool::Stats& stats) {
  return {stats.assignments,   stats.transactions,   stats.queries,  stats.received,
          stats.sent,          stats.transaction_us, stats.query_us, stats.wait_us,
          stats.client_parses, stats.server_parses,  stats.binds,    stats.logins};
}

// Counts per second; times per transaction, per query and per assignment.
std::array<uint64_t, 12> averages(const DatabaseStats& stats) {
  auto values = figures(stats.period);
  const auto per = [](uint64_t sum, uint64_t count) { return count == 0 ? 0 : sum / count; };
  const uint64_t assignments = values[0], transactions = values[1], queries = values[2];
  for (size_t i = 0; i < values.size(); ++i) {
    if (i < 5 || i > 7) values[i] = per(values[i] * 1'000'000, static_cast<uint64_t>(stats.period_us));
  }
  values[5] = per(values[5], transactions);
  values[6] = per(values[6], queries);
  values[7] = per(values[7], assignments);
  return values;
}

constexpr size_t kLogins = 11;  // where logins stand in the arrays

void databases(Table& table, const Snapshot& snapshot) {
  std::map<std::string_view, std::pair<int, int>> now;
  for (const PoolFigures& pool : snapshot.pools) {
    now[pool.database].first += pool.servers;
    now[pool.database].second += pool.clients;
  }
  for (const auto& [name, db] : snapshot.databases) {
    RowMaker(table) << name << (db.host.empty() ? Cell() : Cell(db.host)) << db.port << db.server_name << db.forced_user
                    << db.pool_size << db.min_pool_size << db.reserve_pool_size << db.server_lifetime
                    << (db.mode ? Cell(name_of(*db.mode)) : Cell()) << balance(db.many_hosts, db.one_host_at_a_time)
                    << db.max_connections << now[name].first << db.max_client_connections << now[name].second
                    << int{db.paused} << int{db.disabled};
  }
}

void pools(Table& table, const Snapshot& snapshot) {
  std::vector<const PoolFigures*> sorted;
  for (const PoolFigures& pool : snapshot.pools) sorted.push_back(&pool);
  std::sort(sorted.begin(), sorted.end(), [](const PoolFigures* a, const PoolFigures* b) {
    return std::tie(a->database, a->user) < std::tie(b->database, b->user);
  });
  for (const PoolFigures* pool : sorted) {
    RowMaker(table) << pool->database << pool->user << pool->cl_active << pool->cl_waiting << 0 << 0 << pool->sv_active
                    << pool->sv_active_cancel << pool->sv_being_canceled << pool->sv_idle << pool->sv_used
                    << pool->sv_tested << pool->sv_login << pool->maxwait_us / 1'000'000 << pool->maxwait_us % 1'000'000
                    << name_of(pool->mode) << balance(pool->many_hosts, pool->one_host_at_a_time);
  }
}

void connection(RowMaker& row, const ConnFigures& conn, bool prefix) {
  const auto pointer = [](const void* at) { return at == nullptr ? std::string() : fmt::format("{}", at); };
  const std::string state = (!prefix ? "" : conn.is_client ? "cl_" : "sv_") + conn.state;
  row << (conn.is_client ? "C" : "S") << conn.user << conn.database << (conn.replication ? "physical" : "none") << state
      << conn.address << conn.port << conn.local_address << conn.local_port << shown_time(conn.connected_at)
      << shown_time(conn.request_at) << conn.wait_us / 1'000'000 << conn.wait_us % 1'000'000 << int{conn.close_needed}
      << pointer(conn.self) << pointer(conn.link) << conn.remote_pid << conn.tls << conn.application_name
      << conn.prepared_statements << conn.id;
}

void connections(Table& table, const std::vector<ConnFigures>& conns) {
  for (const ConnFigures& conn : conns) {
    if (conn.state == "login" && conn.is_client) continue;  // as in PgBouncer, only SHOW SOCKETS has them
    RowMaker row(table);
    connection(row, conn, false);
  }
}

void sockets(Table& table, const std::vector<ConnFigures>& conns, bool only_active) {
  for (const ConnFigures& conn : conns) {
    if (only_active && conn.received == 0 && conn.to_send == 0) continue;
    RowMaker row(table);
    connection(row, conn, true);
    row << conn.received << 0 << conn.packet_left << 0 << conn.to_send << conn.received << 0;
  }
}

void stats(Table& table, const Snapshot& snapshot, bool totals, bool means) {
  for (const auto& [name, sums] : by_database(snapshot)) {
    RowMaker row(table);
    row << name;
    const auto total = figures(sums.total), mean = averages(sums);
    if (totals) {
      for (size_t i = 0; i < kLogins; ++i) row << total[i];
    }
    if (means) {
      for (size_t i = 0; i < kLogins; ++i) row << mean[i];
    }
    if (totals) row << total[kLogins];
    if (means) row << mean[kLogins];
  }
}

void totals(Table& table, const Snapshot& snapshot) {
  static constexpr std::array<std::string_view, 12> names = {"server_assignment_count",
                                                             "xact_count",
                                                             "query_count",
                                                             "client_bytes",
                                                             "server_bytes",
                                                             "xact_time",
                                                             "query_time",
                                                             "wait_time",
                                                             "ps_client_parse_count",
                                                             "ps_server_parse_count",
                                                             "ps_bind_count",
                                                             "client_login_count"};
  DatabaseStats sum;
  for (const auto& [name, each] : by_database(snapshot)) {
    add(sum.total, each.total);
    add(sum.period, each.period);
    sum.period_us = std::max(sum.period_us, each.period_us);
  }
  const auto total = figures(sum.total), mean = averages(sum);
  for (size_t i = 0; i < kLogins; ++i) RowMaker(table) << "total_" + std::string(names[i]) << total[i];
  for (size_t i = 0; i < kLogins; ++i) RowMaker(table) << "avg_" + std::string(names[i]) << mean[i];
  RowMaker(table) << "total_" + std::string(names[kLogins]) << total[kLogins];
  RowMaker(table) << "avg_" + std::string(names[kLogins]) << mean[kLogins];
}

void users(Table& table, const Snapshot& snapshot) {
  const auto size = [](const std::optional<int>& value) {
    return value ? fmt::format("{:>9}", *value) : std::string();
  };
  for (const auto& [name, user] : snapshot.users) {
    RowMaker(table) << name << size(user.pool_size) << size(user.reserve_pool_size)
                    << (user.mode ? Cell(name_of(*user.mode)) : Cell()) << user.max_connections << user.connections
                    << user.max_client_connections << user.client_connections;
  }
}

void lists(Table& table, const Snapshot& snapshot) {
  RowMaker(table) << "databases" << snapshot.databases.size();
  RowMaker(table) << "users" << snapshot.users.size();
  RowMaker(table) << "peers" << snapshot.peers.size();
  RowMaker(table) << "pools" << snapshot.pools.size();
  RowMaker(table) << "peer_pools" << snapshot.peers.size();
  RowMaker(table) << "free_clients" << 0;
  RowMaker(table) << "used_clients" << snapshot.used_clients;
  RowMaker(table) << "login_clients" << snapshot.login_clients;
  RowMaker(table) << "free_servers" << 0;
  RowMaker(table) << "used_servers" << snapshot.used_servers;
  RowMaker(table) << "dns_names" << snapshot.names.size();
  RowMaker(table) << "dns_zones" << 0;  // zones are not asked for their serials
  RowMaker(table) << "dns_queries" << std::ranges::count_if(snapshot.names, &Resolver::Row::asking);
  RowMaker(table) << "dns_pending" << 0;  // PgBouncer does not use it
}

void memory(Table& table, const Snapshot& snapshot) {
  const auto row = [&](std::string_view name, size_t size, size_t used) {
    RowMaker(table) << name << size << used << 0 << size * used;
  };
  row("user_cache", sizeof(pool::User), snapshot.users.size());
  row("db_cache", sizeof(pool::Database), snapshot.databases.size());
  row("pool_cache", sizeof(pool::Pool), snapshot.pools.size());
  row("server_cache", sizeof(pool::Server), static_cast<size_t>(snapshot.used_servers));
  row("client_cache", sizeof(pool::Client), static_cast<size_t>(snapshot.used_clients + snapshot.login_clients));
  row("var_list_cache", sizeof(pool::ParameterSet), snapshot.parameter_sets);
  row("server_prepared_statement_cache", sizeof(pool::Statement), snapshot.statements);
}

// One row for each member; what is true of the whole cluster is in each of them.
void cluster(Table& table, const Snapshot& snapshot) {
  const ClusterFigures& cluster = snapshot.cluster;
  if (!cluster.configured) return;
  const auto number = [](int64_t value, bool known) { return known ? Cell(std::to_string(value)) : Cell(); };
  const auto common = [&](RowMaker& row) {
    row << cluster.news.leader << cluster.news.term << (cluster.open ? "open" : "held") << cluster.why << cluster.held
        << cluster.in_flight << (cluster.changed_at == 0 ? Cell() : Cell(shown_time(cluster.changed_at)))
        << number(cluster.held_us / 1000, cluster.changed_at != 0)
        << number(cluster.view_age_us / 1000, cluster.view_age_us >= 0) << cluster.news.trouble;
  };
  for (const ClusterMember& member : cluster.news.members) {
    RowMaker row(table);
    row << member.name << member.host << member.port
        << (member.leader         ? "leader"
            : member.role.empty() ? "replica"
                                  : member.role)
        << member.state << member.timeline << number(member.lag_bytes, member.lag_bytes >= 0);
    common(row);
  }
  if (!cluster.news.members.empty()) return;
  RowMaker row(table);
  for (int i = 0; i < 7; ++i) row << std::nullopt;
  common(row);
}

}  // namespace

std::string shown_time(int64_t at) {
  const std::time_t seconds = at / 1'000'000;
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  std::array<char, 64> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S %Z", &parts)};
}

Need need_of(Show show) {
  const bool both = show == Show::sockets || show == Show::active_sockets;
  return {.clients = both || show == Show::clients, .servers = both || show == Show::servers};
}

Table table_of(Show show, const Snapshot& snapshot) {
  Table table{columns_of(show), {}};
  switch (show) {
    case Show::help:
    case Show::fds:
    case Show::dns_hosts:
      for (const Resolver::Row& row : snapshot.names) RowMaker(table) << row.name << row.ttl_us / 1'000'000 << join(row.addresses, ",");
      break;
    case Show::dns_zones: break;  // zones are not asked for their serials (dns_zone_check_period)
    case Show::version: RowMaker(table) << "PgBouncer " + std::string(kBouncerVersion); break;
    case Show::databases: databases(table, snapshot); break;
    case Show::pools: pools(table, snapshot); break;
    case Show::clients: connections(table, snapshot.clients); break;
    case Show::servers: connections(table, snapshot.servers); break;
    case Show::sockets:
    case Show::active_sockets:
      sockets(table, snapshot.clients, show == Show::active_sockets);
      sockets(table, snapshot.servers, show == Show::active_sockets);
      break;
    case Show::stats: stats(table, snapshot, true, true); break;
    case Show::stats_totals: stats(table, snapshot, true, false); break;
    case Show::stats_averages: stats(table, snapshot, false, true); break;
    case Show::totals: totals(table, snapshot); break;
    case Show::users: users(table, snapshot); break;
    case Show::lists: lists(table, snapshot); break;
    case Show::config:
      for (const conf::ConfigRow& row : conf::show_config(snapshot.settings)) {
        RowMaker(table) << row.key << row.value << row.default_value << (row.changeable ? "yes" : "no");
      }
      break;
    case Show::peers:
      for (const conf::PeerEntry& peer : snapshot.peers) {
        RowMaker(table) << peer.id << peer.host << int{peer.port}
                        << peer.pool_size.value_or(snapshot.settings.default_pool_size);
      }
      break;
    case Show::peer_pools:
      // As PgBouncer counts: who waits for the connection to be made waits.
      for (const conf::PeerEntry& peer : snapshot.peers) {
        auto found = snapshot.peer_pools.find(peer.id);
        const PeerPools::Figures now = found == snapshot.peer_pools.end() ? PeerPools::Figures{} : found->second;
        RowMaker(table) << peer.id << now.sent << now.waiting + now.connecting << now.sent << now.connecting;
      }
      break;
    case Show::mem: memory(table, snapshot); break;
    case Show::state:
      RowMaker(table) << "active" << (snapshot.paused ? "no" : "yes");
      RowMaker(table) << "paused" << (snapshot.paused ? "yes" : "no");
      RowMaker(table) << "suspended"
                      << "no";
      break;
    case Show::cluster: cluster(table, snapshot); break;
  }
  return table;
}

Outcome outcome_of(Show show, const Snapshot& snapshot) {
  Outcome outcome;
  if (show == Show::fds) {
    outcome.problem = {"SHOW FDS is not supported: descriptors are not handed to another process", "0A000"};
  } else if (show == Show::help) {
    outcome.notice = "Console usage";
    outcome.notice_detail = kHelp;
  } else {
    outcome.table = table_of(show, snapshot);
  }
  return outcome;
}

}  // namespace pgdba::pooler
