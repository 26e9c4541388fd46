#include "pooler/console/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/json_writer.h"
#include "base/version.h"
#include "pooler/console/show.h"

namespace pgdba::pooler {

namespace {

using Labels = std::vector<std::pair<std::string_view, std::string>>;

class Exposition {
 public:
  // The name of the metrics that follow.
  void family(std::string_view name, std::string_view help, std::string_view type = "gauge") {
    name_ = name;
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <class Number>
  void value(const Labels& labels, Number number) {
    out_ += name_;
    for (size_t i = 0; i < labels.size(); ++i) {
      out_ += i == 0 ? '{' : ',';
      out_ += fmt::format("{}=\"{}\"", labels[i].first, escaped(labels[i].second));
    }
    if (!labels.empty()) out_ += '}';
    out_ += fmt::format(" {}\n", number);
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '\n') {
        out += "\\n";
        continue;
      }
      if (c == '\\' || c == '"') out += '\\';
      out += c;
    }
    return out;
  }
  std::string out_;
  std::string name_;
};

template <class T>
struct Figure {
  std::string_view name, help;
  T value;
};

void pools(Exposition& out, const Snapshot& snapshot) {
  using P = PoolFigures;
  static const Figure<std::function<double(const P&)>> figures[] = {
      {"client_active_connections", "Clients with a server or nothing to do", [](const P& p) { return p.cl_active; }},
      {"client_waiting_connections", "Clients that wait for a server", [](const P& p) { return p.cl_waiting; }},
      {"client_active_cancel_connections", "Cancel requests on their way to a server", [](const P&) { return 0; }},
      {"client_waiting_cancel_connections", "Cancel requests that wait", [](const P&) { return 0; }},
      {"server_active_connections", "Servers lent to a client", [](const P& p) { return p.sv_active; }},
      {"server_active_cancel_connections", "Connections that carry a cancel request",
       [](const P& p) { return p.sv_active_cancel; }},
      {"server_being_canceled_connections", "Servers that wait for the end of a cancel request",
       [](const P& p) { return p.sv_being_canceled; }},
      {"server_idle_connections", "Servers that can be lent at once", [](const P& p) { return p.sv_idle; }},
      {"server_used_connections", "Idle servers that are checked before they are lent",
       [](const P& p) { return p.sv_used; }},
      {"server_testing_connections", "Servers that run a reset or check query", [](const P& p) { return p.sv_tested; }},
      {"server_login_connections", "Servers that are logging in", [](const P& p) { return p.sv_login; }},
      {"client_maxwait_seconds", "How long the first client of the queue has waited",
       [](const P& p) { return static_cast<double>(p.maxwait_us) / 1e6; }},
  };
  for (const auto& figure : figures) {
    out.family("pgbouncer_pools_" + std::string(figure.name), figure.help);
    for (const PoolFigures& pool : snapshot.pools)
      out.value({{"database", pool.database}, {"user", pool.user}}, figure.value(pool));
  }
}

void databases(Exposition& out, const Snapshot& snapshot) {
  using D = DatabaseFigures;
  static const Figure<std::function<int(const D&)>> figures[] = {
      {"pool_size", "Most servers of one pool", [](const D& d) { return d.pool_size; }},
      {"reserve_pool", "More servers when clients wait for long", [](const D& d) { return d.reserve_pool_size; }},
      {"max_connections", "Most servers of the database, 0 for any number",
       [](const D& d) { return d.max_connections; }},
      {"current_connections", "Servers of the database", nullptr},
      {"paused", "1 if the database is paused", [](const D& d) { return int{d.paused}; }},
      {"disabled", "1 if the database takes no new clients", [](const D& d) { return int{d.disabled}; }},
  };
  std::map<std::string_view, int> servers;
  for (const PoolFigures& pool : snapshot.pools) servers[pool.database] += pool.servers;
  const auto mode = [](const D& d) {
    return std::string(!d.mode                                  ? ""
                       : *d.mode == pool::PoolMode::session     ? "session"
                       : *d.mode == pool::PoolMode::transaction ? "transaction"
                                                                : "statement");
  };
  for (const auto& figure : figures) {
    out.family("pgbouncer_databases_" + std::string(figure.name), figure.help);
    for (const auto& [name, database] : snapshot.databases) {
      const Labels labels{{"name", name},
                          {"host", database.host},
                          {"port", std::to_string(database.port)},
                          {"database", database.server_name},
                          {"force_user", database.forced_user.value_or("")},
                          {"pool_mode", mode(database)}};
      out.value(labels, figure.value ? figure.value(database) : servers[name]);
    }
  }
}

void stats(Exposition& out, const Snapshot& snapshot) {
  struct Counter {
    std::string_view name, help;
    uint64_t pool::Stats::*value;
    bool seconds;
  };
  static constexpr Counter counters[] = {
      {"queries_pooled_total", "Queries", &pool::Stats::queries, false},
      {"queries_duration_seconds_total", "Time that queries took", &pool::Stats::query_us, true},
      {"received_bytes_total", "Bytes received from clients", &pool::Stats::received, false},
      {"sent_bytes_total", "Bytes sent to clients", &pool::Stats::sent, false},
      {"client_wait_seconds_total", "Time that clients have waited for a server", &pool::Stats::wait_us, true},
      {"sql_transactions_pooled_total", "Transactions", &pool::Stats::transactions, false},
      {"server_in_transaction_seconds_total", "Time that transactions took", &pool::Stats::transaction_us, true},
      {"client_parses_total", "Statements that clients have prepared", &pool::Stats::client_parses, false},
      {"server_parses_total", "Statements prepared on servers", &pool::Stats::server_parses, false},
      {"binds_total", "Executions of prepared statements", &pool::Stats::binds, false},
      {"server_assignments_total", "Times that a server was lent", &pool::Stats::assignments, false},
      {"client_logins_total", "Clients that have logged in", &pool::Stats::logins, false},
  };
  std::map<std::string, pool::Stats> sums;
  for (const PoolFigures& pool : snapshot.pools) add(sums[pool.database], pool.total);
  for (const Counter& counter : counters) {
    out.family("pgbouncer_stats_" + std::string(counter.name), counter.help, "counter");
    for (const auto& [database, sum] : sums) {
      const uint64_t value = sum.*counter.value;
      if (counter.seconds)
        out.value({{"database", database}}, static_cast<double>(value) / 1e6);
      else
        out.value({{"database", database}}, value);
    }
  }
}

void lists(Exposition& out, const Snapshot& snapshot) {
  const auto gauge = [&](std::string_view name, std::string_view help, int64_t value) {
    out.family("pgbouncer_" + std::string(name), help);
    out.value({}, value);
  };
  gauge("databases", "Databases", static_cast<int64_t>(snapshot.databases.size()));
  gauge("users", "Users", static_cast<int64_t>(snapshot.users.size()));
  gauge("pools", "Pools", static_cast<int64_t>(snapshot.pools.size()));
  gauge("free_clients", "Unused places for clients; always 0 here", 0);
  gauge("used_clients", "Clients", snapshot.used_clients);
  gauge("login_clients", "Clients that are logging in", snapshot.login_clients);
  gauge("free_servers", "Unused places for servers; always 0 here", 0);
  gauge("used_servers", "Servers", snapshot.used_servers);
  gauge("cached_dns_names", "Names of hosts that are kept", static_cast<int64_t>(snapshot.names.size()));
  gauge("cached_dns_zones", "DNS zones that are kept; always 0 here", 0);
  gauge("in_flight_dns_queries", "Lookups under way", std::ranges::count_if(snapshot.names, &Resolver::Row::asking));
  gauge("config_max_client_connections", "max_client_conn", snapshot.settings.max_client_conn);
  gauge("config_max_user_connections", "max_user_connections", snapshot.settings.max_user_connections);
}

void own(Exposition& out, const Snapshot& snapshot) {
  out.family("pgdba_pooler_version_info", "The version of pgdba");
  out.value({{"version", std::string(kVersion)}}, 1);
  out.family("pgdba_pooler_paused", "1 after PAUSE");
  out.value({}, int{snapshot.paused});
  const ClusterFigures& cluster = snapshot.cluster;
  if (!cluster.configured) return;
  out.family("pgdba_pooler_cluster_open", "1 if the primary is known and its servers are lent");
  out.value({}, int{cluster.open});
  out.family("pgdba_pooler_cluster_term", "The term of the newest primary known", "counter");
  out.value({}, cluster.news.term);
  out.family("pgdba_pooler_cluster_held_clients", "Clients that wait for a server of the primary");
  out.value({}, cluster.held);
  out.family("pgdba_pooler_cluster_in_flight", "Servers of the primary that are lent");
  out.value({}, cluster.in_flight);
  out.family("pgdba_pooler_cluster_last_hold_seconds", "How long clients were held at the last change of the primary");
  out.value({}, static_cast<double>(cluster.held_us) / 1e6);
  if (cluster.view_age_us >= 0) {
    out.family("pgdba_pooler_cluster_view_age_seconds", "Since the cluster was last heard of");
    out.value({}, static_cast<double>(cluster.view_age_us) / 1e6);
  }
  out.family("pgdba_pooler_cluster_member_leader", "1 for the member that leads");
  for (const ClusterMember& member : cluster.news.members) out.value({{"member", member.name}}, int{member.leader});
  out.family("pgdba_pooler_cluster_member_lag_bytes", "How far the member is behind the primary");
  for (const ClusterMember& member : cluster.news.members) {
    if (member.lag_bytes >= 0) out.value({{"member", member.name}}, member.lag_bytes);
  }
}

}  // namespace

std::string metrics_text(const Snapshot& snapshot) {
  Exposition out;
  out.family("pgbouncer_up", "The pooler answers");
  out.value({}, 1);
  out.family("pgbouncer_version_info", "The PgBouncer whose console this is");
  out.value({{"version", "PgBouncer " + std::string(kBouncerVersion)}}, 1);
  lists(out, snapshot);
  databases(out, snapshot);
  stats(out, snapshot);
  pools(out, snapshot);
  own(out, snapshot);
  return out.take();
}

Health health_of(const Snapshot& snapshot) {
  Health health;
  bool primary_wanted = false;
  for (const auto& [name, database] : snapshot.databases)
    primary_wanted = primary_wanted || database.role == conf::Role::primary;
  const ClusterFigures& cluster = snapshot.cluster;
  const bool held = primary_wanted && !cluster.open;
  health.serves = !held && !snapshot.shutting_down;
  JsonWriter json(JsonStyle::spaced);
  json.begin_object();
  json.text("status", snapshot.shutting_down ? "shutting down" : held ? "held" : "ok");
  json.boolean("paused", snapshot.paused);
  if (cluster.configured) {
    json.text("leader", cluster.news.leader);
    json.unsigned_integer("term", cluster.news.term);
    json.integer("held_clients", cluster.held);
    if (!cluster.why.empty()) json.text("waits_for", cluster.why);
    if (!cluster.news.trouble.empty()) json.text("trouble", cluster.news.trouble);
  }
  json.end_object();
  health.json = json.take() + "\n";
  return health;
}

}  // namespace pgdba::pooler
