// The [pgbouncer] section of the pooler's file, typed, and the one table that knows every setting of it.
//
// The table (kept in pooler_settings_table.cpp) holds name, default, whether a reload may change it, how much it
// matters, what of it is not done, reader and writer. Parsing, defaults, SHOW CONFIG, SET and the manual's table all
// go through it, so a setting exists in exactly one place. Invariant: what a writer gives its reader takes, and
// makes the same of it (a time to six digits, as PgBouncer prints it). Names, defaults and spellings are
// PgBouncer 1.25's; the last group is our own.
//
// Integers are PgBouncer's too: a limit that is negative or 0 means none unless its comment says otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "conf/host_port.h"

namespace pgdba::conf {

using std::chrono::microseconds;
using std::chrono::seconds;

enum class PoolMode { session, transaction, statement };
enum class AuthType { any, trust, plain, md5, cert, hba, scram_sha_256 };
enum class SslMode { disable, allow, prefer, require, verify_ca, verify_full };

// "a, b": as written (so SHOW CONFIG prints that), and its names without blanks and empty ones.
struct NameList {
  std::string text;
  std::vector<std::string> names;
  [[nodiscard]] bool contains(std::string_view name) const;
  bool operator==(const NameList&) const = default;
};

// "secure", "all", "tlsv1.2,tlsv1.3", "all:!tlsv1.0": as written, and the versions that it lets through.
struct TlsProtocols {
  std::string text;
  bool v1_0 = false, v1_1 = false, v1_2 = false, v1_3 = false;
  bool operator==(const TlsProtocols&) const = default;
};

// One scheme and several addresses: etcd://a:2379,b:2379 or http://a:8008,b:8008. Without addresses: not configured.
struct Endpoints {
  bool tls = false;
  std::vector<Address> addresses;
  bool operator==(const Endpoints&) const = default;
};
struct DcsEndpoints : Endpoints {};  // etcd:// or etcds://, port 2379 if none is given
struct ApiEndpoints : Endpoints {};  // http:// or https://, port 8008 if none is given

struct PoolerSettings {
  // General
  std::string logfile;
  std::string pidfile;
  NameList listen_addr;  // "*" is every address; empty: the unix socket only
  int32_t listen_port = 0;
  std::string unix_socket_dir;  // "@name": abstract; empty: none
  int32_t unix_socket_mode = 0;
  std::string unix_socket_group;
  std::string user;
  PoolMode pool_mode = PoolMode::session;
  int32_t max_client_conn = 0;
  int32_t default_pool_size = 0;
  int32_t min_pool_size = 0;
  int32_t reserve_pool_size = 0;
  microseconds reserve_pool_timeout{};
  int32_t max_db_connections = 0;
  int32_t max_db_client_connections = 0;
  int32_t max_user_connections = 0;
  int32_t max_user_client_connections = 0;
  bool server_round_robin = false;
  NameList track_extra_parameters;
  NameList ignore_startup_parameters;
  int32_t peer_id = 0;  // 0: no peering
  bool disable_pqexec = false;
  bool application_name_add_host = false;
  std::string conffile;
  std::string job_name;
  seconds stats_period{};
  int32_t max_prepared_statements = 0;
  seconds query_wait_notify{};
  int32_t scram_iterations = 0;
  std::string login_notify_message;
  // Authentication
  AuthType auth_type = AuthType::md5;
  std::string auth_file;
  std::string auth_hba_file;
  std::string auth_ident_file;
  std::string auth_user;
  std::string auth_query;
  std::string auth_dbname;  // empty: the database that the client asked for
  std::string auth_ldap_options;
  std::string auth_seed_file;  // ours: what the salts of unknown users are made of; empty: anew at each start
  NameList admin_users;
  NameList stats_users;
  // Logging
  bool syslog = false;
  std::string syslog_ident;
  std::string syslog_facility;
  bool log_connections = false;
  bool log_disconnections = false;
  bool log_pooler_errors = false;
  bool log_stats = false;
  int32_t verbose = 0;
  // Servers and timeouts; 0 switches a timeout off
  std::string server_reset_query;
  bool server_reset_query_always = false;
  microseconds server_check_delay{};
  std::string server_check_query;  // "<empty>": send an empty query; empty: no check
  bool server_fast_close = false;
  microseconds server_lifetime{};  // 0: a server connection is used once
  microseconds server_idle_timeout{};
  microseconds server_connect_timeout{};
  microseconds server_login_retry{};
  microseconds client_login_timeout{};
  microseconds autodb_idle_timeout{};
  microseconds pool_idle_timeout{};
  microseconds dns_max_ttl{};
  microseconds dns_nxdomain_ttl{};
  microseconds dns_zone_check_period{};
  std::string resolv_conf;
  microseconds query_timeout{};
  microseconds query_wait_timeout{};
  microseconds cancel_wait_timeout{};
  microseconds client_idle_timeout{};
  microseconds idle_transaction_timeout{};
  microseconds transaction_timeout{};
  microseconds suspend_timeout{};
  // TLS
  SslMode client_tls_sslmode = SslMode::disable;
  std::string client_tls_key_file;
  std::string client_tls_cert_file;
  std::string client_tls_ca_file;
  TlsProtocols client_tls_protocols;
  std::string client_tls_ciphers;
  std::string client_tls13_ciphers;
  std::string client_tls_ecdhcurve;
  std::string client_tls_dheparams;
  SslMode server_tls_sslmode = SslMode::prefer;
  std::string server_tls_key_file;
  std::string server_tls_cert_file;
  std::string server_tls_ca_file;
  TlsProtocols server_tls_protocols;
  std::string server_tls_ciphers;
  std::string server_tls13_ciphers;
  // Network
  int32_t pkt_buf = 0;
  uint32_t max_packet_size = 0;
  int32_t listen_backlog = 0;
  int32_t sbuf_loopcnt = 0;
  bool so_reuseport = false;
  bool tcp_defer_accept = false;
  int32_t tcp_socket_buffer = 0;
  bool tcp_keepalive = false;
  int32_t tcp_keepcnt = 0;
  int32_t tcp_keepidle = 0;      // seconds
  int32_t tcp_keepintvl = 0;     // seconds
  int32_t tcp_user_timeout = 0;  // milliseconds
  // Not PgBouncer's: following a cluster
  DcsEndpoints cluster_dcs;
  std::string cluster_dcs_credentials;  // path of a file
  std::string cluster_dcs_ca_file;
  std::string cluster_scope;
  std::string cluster_namespace;
  ApiEndpoints cluster_api;
  microseconds failover_hold_timeout{};     // how long clients are held while there is no primary
  microseconds switchover_drain_timeout{};  // how long transactions may finish in a planned switchover
  int32_t workers = 0;
  std::optional<Address> http_listen;  // host empty: every address
};

// Everything at its default.
PoolerSettings default_pooler_settings();

enum class Mark : char { essential = 'E', useful = 'U', rare = 'R' };

// nullopt when the value was taken; else what is wrong with it, in a few words, or "" when nothing can be added.
using ReadProblem = std::optional<std::string>;

struct SettingRow {
  std::string_view name;
  std::optional<std::string_view> default_text;  // nullopt: unset, which SHOW CONFIG shows as NULL
  bool reloadable;
  Mark mark;
  std::string_view not_done;  // what this setting would do and does not; empty: all of it is done
  bool acted_on;              // false: the setting does nothing, and setting it is warned about
  std::string_view type;      // a word for the manual
  ReadProblem (*read)(PoolerSettings& settings, std::string_view text);
  std::string (*write)(const PoolerSettings& settings);
  void (*copy)(const PoolerSettings& from, PoolerSettings& to);
};
// Sorted by name.
std::span<const SettingRow> setting_rows();
const SettingRow* find_setting(std::string_view name);

struct ConfigRow {
  std::string key;
  std::optional<std::string> value;
  std::optional<std::string> default_value;
  bool changeable = false;
};
// The rows of SHOW CONFIG, sorted by key.
std::vector<ConfigRow> show_config(const PoolerSettings& settings);

// SET key = value. True: changed; false: the setting is fixed at start, which PgBouncer passes over in silence.
Result<bool> set_setting(PoolerSettings& settings, std::string_view key, std::string_view value);

// A reload: what cannot change while running stays as it is in `running`.
PoolerSettings reloaded_settings(const PoolerSettings& running, const PoolerSettings& fresh);

// "| name | type | default | reload | mark | not done |" for each setting, without a heading.
std::string settings_markdown();

}  // namespace pgdba::conf
