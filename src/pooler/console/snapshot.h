// What the workers know, as plain values: each takes its part on its own thread, the parts are merged, and tables and
// metrics are made of the whole.
//
// Invariant: a Snapshot points at nothing of a worker's, so it may go anywhere.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "conf/pooler_entries.h"
#include "conf/pooler_settings.h"
#include "pool/conn.h"
#include "pooler/leader_watch.h"
#include "pooler/peer_pools.h"
#include "pooler/resolver.h"

namespace pgdba::pooler {

// Which parts are wanted beside the figures of pools and the settings.
struct Need {
  bool clients = false, servers = false;
};

struct PoolFigures {
  std::string database, user;
  pool::PoolMode mode = pool::PoolMode::session;
  bool many_hosts = false;
  bool one_host_at_a_time = false;  // load_balance_hosts = disable
  int clients = 0, servers = 0;
  int cl_active = 0, cl_waiting = 0;
  int sv_active = 0, sv_active_cancel = 0, sv_being_canceled = 0, sv_idle = 0, sv_used = 0, sv_tested = 0, sv_login = 0;
  int64_t maxwait_us = 0;
  pool::Stats total;
  pool::Stats period;  // what came in the last whole stats_period
  int64_t period_us = 0;
};

struct ConnFigures {
  bool is_client = true;
  std::string user, database, state;
  bool replication = false;
  std::string address, local_address;
  int port = 0, local_port = 0;
  int64_t connected_at = 0, request_at = 0;  // microseconds since 1970
  int64_t wait_us = 0;
  bool close_needed = false;
  const void* self = nullptr;  // only shown
  const void* link = nullptr;
  int64_t remote_pid = 0;
  std::string tls, application_name;
  size_t prepared_statements = 0;
  uint64_t id = 0;
  size_t received = 0, packet_left = 0, to_send = 0;  // bytes in buffers
};

struct DatabaseFigures {
  std::string host;  // empty: the default unix socket
  int port = 5432;
  bool many_hosts = false, one_host_at_a_time = false;
  std::string server_name;
  std::optional<std::string> forced_user;
  int pool_size = 0, min_pool_size = 0, reserve_pool_size = 0;
  int64_t server_lifetime = 0;  // seconds
  std::optional<pool::PoolMode> mode;
  int max_connections = 0, max_client_connections = 0;
  bool paused = false, disabled = false;
  std::optional<conf::Role> role;
};

struct UserFigures {
  std::optional<int> pool_size, reserve_pool_size;
  std::optional<pool::PoolMode> mode;
  int max_connections = 0, max_client_connections = 0;
  int connections = 0, client_connections = 0;
};

struct ClusterFigures {
  bool configured = false;
  ClusterNews news;
  bool open = false;  // servers of the primary may be lent
  std::string why;    // if not: what it waits for
  int held = 0, in_flight = 0;
  int64_t changed_at = 0;    // the last change of the primary; microseconds since 1970, 0: none yet
  int64_t held_us = 0;       // how long clients were held at that change
  int64_t view_age_us = -1;  // since the view was last proved; -1: never
};

struct Snapshot {
  std::vector<PoolFigures> pools;
  std::vector<ConnFigures> clients, servers;
  std::map<std::string, DatabaseFigures> databases;
  std::map<std::string, UserFigures> users;
  int login_clients = 0, used_clients = 0, used_servers = 0;
  struct {
    int console = 0;       // clients of the console
    uint64_t queries = 0;  // that they have made
  } admin;
  bool paused = false, shutting_down = false;
  size_t statements = 0, parameter_sets = 0;
  conf::PoolerSettings settings;
  std::vector<conf::PeerEntry> peers;
  std::map<int, PeerPools::Figures> peer_pools;  // by the peer's number
  std::vector<Resolver::Row> names;  // of hosts, as the resolver remembers them
  ClusterFigures cluster;
};

// The console's own database and pool, as PgBouncer shows them. Once, when everything is merged.
void add_console(Snapshot& whole);

// `part` of another worker goes into `whole`: the same pool's figures are added up.
void merge(Snapshot& whole, Snapshot part);

void add(pool::Stats& sum, const pool::Stats& more);
pool::Stats difference(const pool::Stats& later, const pool::Stats& earlier);

}  // namespace pgdba::pooler
