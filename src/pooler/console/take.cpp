// What one worker knows, read on its own thread.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include "base/text.h"
#include "conf/pooler_rules.h"
#include "pool/core.h"
#include "pooler/console/part.h"
#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/process_control.h"
#include "pooler/resolver.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

namespace {

struct Ends {
  std::string address, local_address;
  int port = 0, local_port = 0;
};

void describe(const sockaddr_storage& storage, std::string& address, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    port = ntohs(v4.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    port = ntohs(v6.sin6_port);
  }
  address = text;
}

// Of a unix socket the port is the one in its name.
Ends ends_of(const Socket& socket, int unix_port) {
  Ends ends;
  sockaddr_storage peer{}, local{};
  socklen_t size = sizeof peer;
  const bool has_peer = ::getpeername(socket.fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
  size = sizeof local;
  const bool has_local = ::getsockname(socket.fd, reinterpret_cast<sockaddr*>(&local), &size) == 0;
  if (has_local && local.ss_family == AF_UNIX) return {"unix", "unix", unix_port, unix_port};
  if (has_peer) describe(peer, ends.address, ends.port);
  if (has_local) describe(local, ends.local_address, ends.local_port);
  return ends;
}

std::string tls_of(const Socket& socket) {
  return socket.tls_text();
}

int64_t wall_now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string_view state_of(const pool::Client& client) {
  switch (client.state) {
    case pool::ClientState::login: return "login";
    case pool::ClientState::welcome:
    case pool::ClientState::waiting: return "waiting";
    case pool::ClientState::idle: return "idle";
    case pool::ClientState::active: return client.queue.is_linked() ? "waiting" : "active";  // a session that the move of the primary holds
    case pool::ClientState::console: return "active";
  }
  return "";
}

// Idle for so long that it is checked before it is lent again.
bool needs_check(const pool::Server& server, const pool::Settings& settings, int64_t now) {
  return settings.server_check_query && now - server.since > settings.server_check_delay.count();
}

std::string_view state_of(const pool::Server& server, const pool::Settings& settings, int64_t now) {
  switch (server.state) {
    case pool::ServerState::connecting:
    case pool::ServerState::login: return "new";
    case pool::ServerState::idle: return needs_check(server, settings, now) ? "used" : "idle";
    case pool::ServerState::busy:
      if (server.login) return "new";
      return server.chore == pool::Chore::none && server.being_canceled ? "being_canceled" : "tested";
    case pool::ServerState::active: return "active";
  }
  return "";
}

class Taker {
 public:
  explicit Taker(Worker& worker)
      : worker_(worker),
        core_(worker.core()),
        directory_(worker.directory()),
        boot_to_wall_(wall_now() - core_.now()) {}

  Snapshot take(Need need) {
    Snapshot part;
    const Loaded& loaded = directory_.loaded();
    part.settings = loaded.config.settings;
    part.peers = loaded.config.peers;
    part.names = worker_.resolver().rows();
    for (const conf::PeerEntry& peer : part.peers) part.peer_pools[peer.id] = worker_.limits().peers.figures(peer.id);
    part.paused = core_.paused("");
    part.parameter_sets = core_.parameters().size();
    for (const auto& pool : core_.pools()) part.pools.push_back(figures_of(*pool));
    directory_.each_database([&](const pool::Database& database, const conf::DatabaseEntry& entry) {
      if (database.name != "pgbouncer") part.databases.emplace(database.name, figures_of(database, entry));
    });
    users(part, loaded);
    for (const pool::Client& client : core_.clients()) {
      if (client.own) continue;
      if (client.state == pool::ClientState::console) ++part.admin.console;
      ++(client.state == pool::ClientState::login ? part.login_clients : part.used_clients);
      if (need.clients) part.clients.push_back(figures_of(client));
    }
    for (const auto& pool : core_.pools()) {
      part.used_servers += pool->servers;
      if (!need.servers) continue;
      for (const pool::ServerList* list : {&pool->lent, &pool->idle, &pool->busy, &pool->arriving}) {
        for (const pool::Server& server : *list) part.servers.push_back(figures_of(server));
      }
    }
    cluster(part);
    return part;
  }

 private:
  PoolFigures figures_of(const pool::Pool& pool) const {
    PoolFigures figures;
    figures.database = pool.database->name;
    figures.user = pool.user;
    figures.mode = pool.mode;
    if (const conf::DatabaseEntry* entry = entry_of(pool.database->name)) {
      figures.many_hosts = entry->hosts.size() > 1;
      figures.one_host_at_a_time = entry->load_balance_hosts == conf::LoadBalanceHosts::disable;
    }
    figures.clients = pool.clients;
    figures.servers = pool.servers;
    for (const pool::ClientQueue* queue : {&pool.waiting, &pool.newcomers, &pool.sessions}) {
      figures.cl_waiting += static_cast<int>(queue->size());
      if (!queue->empty()) figures.maxwait_us = std::max(figures.maxwait_us, core_.now() - queue->front().request_at);
    }
    figures.cl_active = pool.clients - figures.cl_waiting;
    figures.sv_active = static_cast<int>(pool.lent.size());
    figures.sv_login = static_cast<int>(pool.arriving.size());
    for (const pool::Server& server : pool.idle) {
      ++(needs_check(server, core_.settings(), core_.now()) ? figures.sv_used : figures.sv_idle);
    }
    for (const pool::ServerList* list : {&pool.lent, &pool.busy}) {
      for (const pool::Server& server : *list) figures.sv_active_cancel += server.being_canceled ? 1 : 0;
    }
    for (const pool::Server& server : pool.busy) {
      if (server.login)
        ++figures.sv_login;
      else if (server.chore == pool::Chore::none && server.being_canceled)
        ++figures.sv_being_canceled;
      else
        ++figures.sv_tested;
    }
    figures.total = pool.stats;
    return figures;
  }

  const conf::DatabaseEntry* entry_of(std::string_view name) const {
    const conf::DatabaseEntry* entry = conf::find_database(directory_.loaded().config, name);
    return entry != nullptr ? entry : conf::find_template(directory_.loaded().config);
  }

  DatabaseFigures figures_of(const pool::Database& database, const conf::DatabaseEntry& entry) const {
    const pool::Settings& settings = core_.settings();
    DatabaseFigures figures;
    figures.host = join(entry.hosts, ",");
    figures.port = entry.port;
    figures.many_hosts = entry.hosts.size() > 1;
    figures.one_host_at_a_time = entry.load_balance_hosts == conf::LoadBalanceHosts::disable;
    figures.role = entry.role;
    if (database.route == pool::Route::primary) {
      for (const ClusterMember& member : directory_.cluster().members) {
        if (!member.leader) continue;
        figures.host = member.host;
        figures.port = member.port;
      }
    }
    figures.server_name = database.server_name;
    figures.forced_user = database.forced_user;
    figures.pool_size = database.pool_size.value_or(settings.default_pool_size);
    figures.min_pool_size = database.min_pool_size.value_or(settings.min_pool_size);
    figures.reserve_pool_size = database.reserve_pool_size.value_or(settings.reserve_pool_size);
    figures.server_lifetime =
        std::chrono::duration_cast<std::chrono::seconds>(database.server_lifetime.value_or(settings.server_lifetime))
            .count();
    figures.mode = database.pool_mode;
    figures.max_connections = database.max_connections.value_or(settings.max_db_connections);
    figures.max_client_connections = database.max_client_connections.value_or(settings.max_db_client_connections);
    figures.paused = core_.paused(database.name);
    figures.disabled = core_.disabled(database.name);
    return figures;
  }

  void users(Snapshot& part, const Loaded& loaded) const {
    const auto user = [&](const std::string& name) -> UserFigures& {
      auto [at, fresh] = part.users.emplace(name, UserFigures{});
      if (!fresh) return at->second;
      const pool::Settings& settings = core_.settings();
      const conf::UserEntry* conf = conf::find_user(loaded.config, name);
      const pool::User entry = conf == nullptr ? pool::User{} : core_user(*conf);
      at->second = {entry.pool_size,
                    entry.reserve_pool_size,
                    entry.pool_mode,
                    entry.max_connections.value_or(settings.max_user_connections),
                    entry.max_client_connections.value_or(settings.max_user_client_connections),
                    0,
                    0};
      return at->second;
    };
    user("pgbouncer");
    for (const auto& [name, secret] : loaded.userlist.users) user(name);
    for (const conf::UserEntry& entry : loaded.config.users) user(entry.name);
    for (const auto& pool : core_.pools()) user(pool->user).connections += pool->servers;
    for (const pool::Client& client : core_.clients()) {
      if (client.counted) ++user(client.user_name).client_connections;
    }
  }

  void common(const pool::Conn& conn, const pool::Parameters& parameters, ConnFigures& figures) const {
    figures.is_client = conn.is_client;
    figures.connected_at = conn.connected_at + boot_to_wall_;
    figures.self = &conn;
    figures.id = pool::Core::shown_id(conn);
    figures.received = conn.held.size();
    figures.packet_left = conn.pass;
    if (auto index = core_.parameters().index_of("application_name"); index && parameters != nullptr) {
      figures.application_name = parameters->values[*index].value_or("");
    }
    const Socket* socket = worker_.socket(conn);
    if (socket == nullptr) return;
    Ends ends = ends_of(*socket, directory_.loaded().config.settings.listen_port);
    figures.address = std::move(ends.address);
    figures.local_address = std::move(ends.local_address);
    figures.port = ends.port;
    figures.local_port = ends.local_port;
    figures.tls = tls_of(*socket);
    figures.to_send = socket->out.size() - socket->out_at;
  }

  ConnFigures figures_of(const pool::Client& client) const {
    ConnFigures figures;
    common(client, client.parameters, figures);
    const bool console = client.state == pool::ClientState::console;
    figures.user = client.user_name;
    figures.database = console ? "pgbouncer" : client.pool != nullptr ? client.pool->database->name : "";
    figures.state = state_of(client);
    figures.replication = client.replication;
    figures.request_at = client.request_at + boot_to_wall_;
    if (figures.state == "waiting") figures.wait_us = core_.now() - client.request_at;
    figures.link = client.server;
    if (const auto peer = worker_.peer_process(client)) figures.remote_pid = peer->pid;
    if (client.statements) figures.prepared_statements = client.statements->size();
    return figures;
  }

  ConnFigures figures_of(const pool::Server& server) const {
    ConnFigures figures;
    common(server, server.parameters, figures);
    figures.user = server.pool->user;
    figures.database = server.pool->database->name;
    figures.state = state_of(server, core_.settings(), core_.now());
    figures.replication = server.client != nullptr && server.client->replication;
    figures.request_at = (server.client != nullptr ? server.client->request_at : server.since) + boot_to_wall_;
    figures.close_needed = server.close_when_free;
    figures.link = server.client;
    figures.remote_pid = static_cast<int64_t>(server.key.pid & 0x7fffffff);
    figures.prepared_statements = server.statements.size();
    return figures;
  }

  void cluster(Snapshot& part) const {
    ClusterFigures& figures = part.cluster;
    const conf::PoolerSettings& settings = directory_.loaded().config.settings;
    figures.configured = !settings.cluster_dcs.addresses.empty() || !settings.cluster_api.addresses.empty();
    if (!figures.configured) return;
    figures.news = directory_.cluster();
    const pool::RouteState& route = core_.route(pool::Route::primary);
    const bool fresh = route.fresh_until == 0 || core_.now() < route.fresh_until;
    figures.open = figures.news.known && route.open && fresh;
    if (!figures.news.known)
      figures.why = "the cluster is not known yet";
    else if (!route.open)
      figures.why = route.why;
    else if (!fresh)
      figures.why = "the view is too old";
    const pool::Core::Load load = core_.load(pool::Route::primary);
    figures.held = load.waiting;
    figures.in_flight = load.lent;
    figures.changed_at = directory_.last_change().at;
    figures.held_us = directory_.last_change().held_us;
    if (figures.news.as_of_us != 0) figures.view_age_us = std::max<int64_t>(0, core_.now() - figures.news.as_of_us);
  }

  Worker& worker_;
  pool::Core& core_;
  ClientDirectory& directory_;
  const int64_t boot_to_wall_;
};

}  // namespace

Snapshot Console::take(Worker& worker, Need need) {
  Snapshot snapshot = Taker(worker).take(need);
  Part& part = *parts_[worker.number()];
  snapshot.admin.queries = part.queries;
  snapshot.shutting_down = worker.process() != nullptr && worker.process()->shutting_down();
  for (PoolFigures& pool : snapshot.pools) {
    auto found = part.marks.find({pool.database, pool.user});
    if (found == part.marks.end()) continue;
    pool.period = difference(found->second.newer, found->second.older);
    pool.period_us = part.marked_at - part.marked_before;
  }
  return snapshot;
}

// At each end of a stats_period, counted from the start of the process so that all workers do it at the same time.
void Console::rotate(Worker& worker, Part& part) {
  const int64_t period =
      std::max<int64_t>(1, worker.directory().loaded().config.settings.stats_period.count()) * 1'000'000;
  const int64_t now = worker.core().now();
  if (part.marked_at == 0) part.marked_at = started_at_;
  if ((now - started_at_) / period == (part.marked_at - started_at_) / period) return;
  part.marked_before = part.marked_at;
  part.marked_at = now;
  std::map<std::pair<std::string, std::string>, Part::Marks> marks;
  for (const auto& pool : worker.core().pools()) {
    std::pair<std::string, std::string> name(pool->database->name, pool->user);
    auto before = part.marks.find(name);
    Part::Marks fresh{{}, pool->stats};
    // Figures only grow; if they are smaller, it is another pool of that name.
    const bool same = before != part.marks.end() && before->second.newer.logins <= pool->stats.logins &&
                      before->second.newer.assignments <= pool->stats.assignments;
    if (same) fresh.older = before->second.newer;
    marks.emplace(std::move(name), fresh);
  }
  part.marks = std::move(marks);
}

}  // namespace pgdba::pooler
