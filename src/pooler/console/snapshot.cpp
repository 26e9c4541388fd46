#include "pooler/console/snapshot.h"

#include <algorithm>
#include <iterator>

namespace pgdba::pooler {

namespace {

constexpr const char* kConsole = "pgbouncer";

template <class Change>
void for_each_figure(pool::Stats& sum, const pool::Stats& other, Change change) {
  change(sum.assignments, other.assignments);
  change(sum.transactions, other.transactions);
  change(sum.queries, other.queries);
  change(sum.received, other.received);
  change(sum.sent, other.sent);
  change(sum.transaction_us, other.transaction_us);
  change(sum.query_us, other.query_us);
  change(sum.wait_us, other.wait_us);
  change(sum.client_parses, other.client_parses);
  change(sum.server_parses, other.server_parses);
  change(sum.binds, other.binds);
  change(sum.logins, other.logins);
}

void add(PoolFigures& sum, const PoolFigures& more) {
  for (int PoolFigures::*figure :
       {&PoolFigures::clients, &PoolFigures::servers, &PoolFigures::cl_active, &PoolFigures::cl_waiting,
        &PoolFigures::sv_active, &PoolFigures::sv_active_cancel, &PoolFigures::sv_being_canceled, &PoolFigures::sv_idle,
        &PoolFigures::sv_used, &PoolFigures::sv_tested, &PoolFigures::sv_login}) {
    sum.*figure += more.*figure;
  }
  sum.maxwait_us = std::max(sum.maxwait_us, more.maxwait_us);
  pooler::add(sum.total, more.total);
  pooler::add(sum.period, more.period);
  sum.period_us = std::max(sum.period_us, more.period_us);
}

template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

void add(pool::Stats& sum, const pool::Stats& more) {
  for_each_figure(sum, more, [](uint64_t& to, uint64_t from) { to += from; });
}

pool::Stats difference(const pool::Stats& later, const pool::Stats& earlier) {
  pool::Stats result = later;
  for_each_figure(result, earlier, [](uint64_t& to, uint64_t from) { to -= from; });
  return result;
}

void add_console(Snapshot& whole) {
  PoolFigures pool;
  pool.database = pool.user = kConsole;
  pool.mode = pool::PoolMode::statement;
  pool.clients = pool.cl_active = whole.admin.console;
  pool.total.queries = pool.total.transactions = whole.admin.queries;
  whole.pools.push_back(std::move(pool));
  DatabaseFigures database;
  database.port = whole.settings.listen_port;
  database.server_name = kConsole;
  database.forced_user = kConsole;
  database.pool_size = 2;  // of PgBouncer's own
  database.server_lifetime = std::chrono::duration_cast<conf::seconds>(whole.settings.server_lifetime).count();
  database.mode = pool::PoolMode::statement;
  whole.databases.emplace(kConsole, std::move(database));
}

void merge(Snapshot& whole, Snapshot part) {
  for (PoolFigures& pool : part.pools) {
    auto same = std::find_if(whole.pools.begin(), whole.pools.end(), [&](const PoolFigures& other) {
      return other.database == pool.database && other.user == pool.user;
    });
    if (same == whole.pools.end())
      whole.pools.push_back(std::move(pool));
    else
      add(*same, pool);
  }
  append(whole.clients, part.clients);
  append(whole.servers, part.servers);
  whole.databases.merge(part.databases);
  for (auto& [name, user] : part.users) {
    auto [at, fresh] = whole.users.emplace(name, user);
    if (fresh) continue;
    at->second.connections += user.connections;
    at->second.client_connections += user.client_connections;
  }
  whole.login_clients += part.login_clients;
  whole.used_clients += part.used_clients;
  whole.used_servers += part.used_servers;
  whole.admin.console += part.admin.console;
  whole.admin.queries += part.admin.queries;
  whole.paused = whole.paused || part.paused;
  whole.statements += part.statements;
  whole.parameter_sets += part.parameter_sets;
  whole.cluster.held += part.cluster.held;
  whole.cluster.in_flight += part.cluster.in_flight;
}

}  // namespace pgdba::pooler
