// The one table of the pooler's settings. "Not done" says what a user would expect of a setting and does not get; one
// that has such a text and does nothing at all is accepted and warned about. Keep it honest, and the rows sorted.
#include <algorithm>
#include <limits>

#include "conf/pooler_settings.h"
#include "conf/pooler_values.h"

namespace pgdba::conf {

namespace {

using S = PoolerSettings;

constexpr std::optional<std::string_view> kUnset = std::nullopt;
constexpr bool Y = true;   // a reload may change it
constexpr bool N = false;  // fixed at start
constexpr Mark E = Mark::essential;
constexpr Mark U = Mark::useful;
constexpr Mark R = Mark::rare;

// Everything is qualified: the connection's search_path must not decide what is looked up.
constexpr std::string_view kAuthQuery =
    "SELECT rolname, CASE WHEN rolvaliduntil IS NULL OR rolvaliduntil >= pg_catalog.now() THEN rolpassword END "
    "FROM pg_catalog.pg_authid WHERE rolcanlogin AND rolname = $1";

constexpr std::string_view type_word(const std::string&) {
  return "text";
}
constexpr std::string_view type_word(int32_t) {
  return "integer";
}
constexpr std::string_view type_word(uint32_t) {
  return "integer";
}
constexpr std::string_view type_word(bool) {
  return "0 or 1";
}
constexpr std::string_view type_word(seconds) {
  return "whole seconds";
}
constexpr std::string_view type_word(microseconds) {
  return "seconds";
}
constexpr std::string_view type_word(PoolMode) {
  return "word";
}
constexpr std::string_view type_word(AuthType) {
  return "word";
}
constexpr std::string_view type_word(SslMode) {
  return "word";
}
constexpr std::string_view type_word(const NameList&) {
  return "list";
}
constexpr std::string_view type_word(const TlsProtocols&) {
  return "list";
}
constexpr std::string_view type_word(const Endpoints&) {
  return "addresses";
}
constexpr std::string_view type_word(const std::optional<Address>&) {
  return "address";
}

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

template <auto Member, int64_t Low, int64_t High>
ReadProblem read(PoolerSettings& settings, std::string_view text) {
  auto value = settings.*Member;
  if (auto problem = read_value(text, value)) return problem;
  if constexpr (Low != kLeast) {
    int64_t number = 0;
    if constexpr (requires { value.count(); }) {
      number = value.count();
    } else {
      number = value;
    }
    if (number < Low || number > High) return "out of range";
  }
  settings.*Member = std::move(value);
  return std::nullopt;
}

template <auto Member>
std::string write(const PoolerSettings& settings) {
  return write_value(settings.*Member);
}

template <auto Member>
void copy(const PoolerSettings& from, PoolerSettings& to) {
  to.*Member = from.*Member;
}

template <auto Member, int64_t Low = kLeast, int64_t High = kMost>
SettingRow row(std::string_view name, std::optional<std::string_view> default_text, bool reloadable, Mark mark,
               std::string_view not_done = "") {
  static const PoolerSettings kNone;
  return {name,
          default_text,
          reloadable,
          mark,
          not_done,
          not_done.empty(),
          type_word(kNone.*Member),
          read<Member, Low, High>,
          write<Member>,
          copy<Member>};
}

// It acts; only what the text names is missing.
SettingRow partly(SettingRow setting) {
  setting.acted_on = true;
  return setting;
}

ReadProblem read_auth_dbname(PoolerSettings& settings, std::string_view text) {
  if (text == "pgbouncer") return "that is the console, which has no passwords";
  settings.auth_dbname = text;
  return std::nullopt;
}

const std::vector<SettingRow>& rows() {
  static const std::vector<SettingRow> kRows = {
      row<&S::admin_users>("admin_users", "", Y, E),
      row<&S::application_name_add_host>("application_name_add_host", "0", Y, U),
      {"auth_dbname", kUnset, Y, E, "", true, "text", read_auth_dbname, write<&S::auth_dbname>, copy<&S::auth_dbname>},
      row<&S::auth_file>("auth_file", kUnset, Y, E),
      row<&S::auth_hba_file>("auth_hba_file", "", Y, E),
      row<&S::auth_ident_file>("auth_ident_file", kUnset, Y, U),
      row<&S::auth_ldap_options>("auth_ldap_options", kUnset, Y, R, "LDAP is not supported yet"),
      row<&S::auth_query>("auth_query", kAuthQuery, Y, E),
      row<&S::auth_seed_file>("auth_seed_file", "", N, U),
      partly(row<&S::auth_type>("auth_type", "md5", Y, E, "pam and ldap are refused")),
      row<&S::auth_user>("auth_user", kUnset, Y, E),
      row<&S::autodb_idle_timeout>("autodb_idle_timeout", "3600", Y, U),
      row<&S::cancel_wait_timeout>("cancel_wait_timeout", "10", Y, U),
      row<&S::client_idle_timeout>("client_idle_timeout", "0", Y, E),
      row<&S::client_login_timeout>("client_login_timeout", "60", Y, E),
      row<&S::client_tls13_ciphers>("client_tls13_ciphers", kUnset, Y, R),
      row<&S::client_tls_ca_file>("client_tls_ca_file", "", Y, E),
      row<&S::client_tls_cert_file>("client_tls_cert_file", "", Y, E),
      row<&S::client_tls_ciphers>("client_tls_ciphers", "default", Y, U),
      row<&S::client_tls_dheparams>("client_tls_dheparams", "auto", Y, R, "DH parameters are always chosen by OpenSSL"),
      row<&S::client_tls_ecdhcurve>("client_tls_ecdhcurve", "auto", Y, R),
      row<&S::client_tls_key_file>("client_tls_key_file", "", Y, E),
      row<&S::client_tls_protocols>("client_tls_protocols", "secure", Y, U),
      row<&S::client_tls_sslmode>("client_tls_sslmode", "disable", Y, E),
      row<&S::cluster_api>("cluster_api", "", N, E),
      row<&S::cluster_dcs>("cluster_dcs", "", N, E),
      row<&S::cluster_dcs_ca_file>("cluster_dcs_ca_file", "", N, U),
      row<&S::cluster_dcs_credentials>("cluster_dcs_credentials", "", N, U),
      row<&S::cluster_namespace>("cluster_namespace", "/service/", N, U),
      row<&S::cluster_scope>("cluster_scope", "", N, E),
      row<&S::conffile>("conffile", kUnset, Y, R),
      row<&S::default_pool_size>("default_pool_size", "20", Y, E),
      row<&S::disable_pqexec>("disable_pqexec", "0", N, R),
      row<&S::dns_max_ttl>("dns_max_ttl", "15", Y, E),
      row<&S::dns_nxdomain_ttl>("dns_nxdomain_ttl", "15", Y, U),
      row<&S::dns_zone_check_period>("dns_zone_check_period", "0", Y, R,
                                     "zone serials are not polled; dns_max_ttl alone decides"),
      row<&S::failover_hold_timeout>("failover_hold_timeout", "30", Y, E),
      row<&S::http_listen>("http_listen", "", N, U),
      row<&S::idle_transaction_timeout>("idle_transaction_timeout", "0", Y, E),
      row<&S::ignore_startup_parameters>("ignore_startup_parameters", "", Y, E),
      row<&S::job_name>("job_name", "pgbouncer", N, R, "the name is not used; see syslog_ident"),
      row<&S::listen_addr>("listen_addr", "", N, E),
      row<&S::listen_backlog>("listen_backlog", "128", N, U),
      row<&S::listen_port, 0, 65535>("listen_port", "6432", N, E),
      row<&S::log_connections>("log_connections", "1", Y, E),
      row<&S::log_disconnections>("log_disconnections", "1", Y, E),
      row<&S::log_pooler_errors>("log_pooler_errors", "1", Y, E),
      row<&S::log_stats>("log_stats", "1", Y, E),
      row<&S::logfile>("logfile", "", Y, E),
      row<&S::login_notify_message>("login_notify_message", "", Y, R),
      row<&S::max_client_conn>("max_client_conn", "100", Y, E),
      row<&S::max_db_client_connections>("max_db_client_connections", "0", Y, U),
      row<&S::max_db_connections>("max_db_connections", "0", Y, E),
      row<&S::max_packet_size>("max_packet_size", "2147483647", Y, R),
      row<&S::max_prepared_statements>("max_prepared_statements", "200", Y, E),
      row<&S::max_user_client_connections>("max_user_client_connections", "0", Y, U),
      row<&S::max_user_connections>("max_user_connections", "0", Y, E),
      row<&S::min_pool_size>("min_pool_size", "0", Y, E),
      row<&S::peer_id, 0, 16383>("peer_id", "0", Y, U),
      row<&S::pidfile>("pidfile", "", N, E),
      row<&S::pkt_buf, 256, 16777216>("pkt_buf", "4096", N, U, "buffers have a fixed size, and idle clients have none"),
      row<&S::pool_idle_timeout>("pool_idle_timeout", "0", Y, R),
      row<&S::pool_mode>("pool_mode", "session", Y, E),
      row<&S::query_timeout>("query_timeout", "0", Y, E),
      row<&S::query_wait_notify, 0>("query_wait_notify", "5", Y, U),
      row<&S::query_wait_timeout>("query_wait_timeout", "120", Y, E),
      row<&S::reserve_pool_size>("reserve_pool_size", "0", Y, E),
      row<&S::reserve_pool_timeout>("reserve_pool_timeout", "5", Y, U),
      row<&S::resolv_conf>("resolv_conf", "", N, R, "the resolver of the system is used with its own configuration"),
      row<&S::sbuf_loopcnt>("sbuf_loopcnt", "5", Y, R, "how long one socket is served at a time is not adjustable"),
      row<&S::scram_iterations, 1>("scram_iterations", "4096", Y, R),
      row<&S::server_check_delay>("server_check_delay", "30", Y, U),
      row<&S::server_check_query>("server_check_query", "<empty>", Y, U),
      row<&S::server_connect_timeout>("server_connect_timeout", "15", Y, E),
      row<&S::server_fast_close>("server_fast_close", "0", Y, U),
      row<&S::server_idle_timeout>("server_idle_timeout", "600", Y, E),
      row<&S::server_lifetime>("server_lifetime", "3600", Y, E),
      row<&S::server_login_retry>("server_login_retry", "15", Y, E),
      row<&S::server_reset_query>("server_reset_query", "DISCARD ALL", Y, E),
      row<&S::server_reset_query_always>("server_reset_query_always", "0", Y, U),
      row<&S::server_round_robin>("server_round_robin", "0", Y, U),
      row<&S::server_tls13_ciphers>("server_tls13_ciphers", kUnset, Y, R),
      row<&S::server_tls_ca_file>("server_tls_ca_file", "", Y, E),
      row<&S::server_tls_cert_file>("server_tls_cert_file", "", Y, E),
      row<&S::server_tls_ciphers>("server_tls_ciphers", "default", Y, U),
      row<&S::server_tls_key_file>("server_tls_key_file", "", Y, E),
      row<&S::server_tls_protocols>("server_tls_protocols", "secure", Y, U),
      row<&S::server_tls_sslmode>("server_tls_sslmode", "prefer", Y, E),
      row<&S::so_reuseport>("so_reuseport", "0", N, E),
      row<&S::stats_period, 1>("stats_period", "60", Y, U),
      row<&S::stats_users>("stats_users", "", Y, E),
      row<&S::suspend_timeout>("suspend_timeout", "10", Y, R,
                               "there is no online restart (-R); use so_reuseport and peers"),
      row<&S::switchover_drain_timeout>("switchover_drain_timeout", "5", Y, U, "how long transactions may finish is the agents' decision"),
      row<&S::syslog>("syslog", "0", Y, U),
      row<&S::syslog_facility>("syslog_facility", "daemon", Y, U),
      row<&S::syslog_ident>("syslog_ident", "pgbouncer", Y, U),
      row<&S::tcp_defer_accept>("tcp_defer_accept", "1", Y, R),
      row<&S::tcp_keepalive>("tcp_keepalive", "1", Y, E),
      row<&S::tcp_keepcnt>("tcp_keepcnt", "0", Y, E),
      row<&S::tcp_keepidle>("tcp_keepidle", "0", Y, E),
      row<&S::tcp_keepintvl>("tcp_keepintvl", "0", Y, E),
      row<&S::tcp_socket_buffer>("tcp_socket_buffer", "0", Y, R),
      row<&S::tcp_user_timeout>("tcp_user_timeout", "0", Y, U),
      row<&S::track_extra_parameters>("track_extra_parameters", "IntervalStyle", N, U),
      row<&S::transaction_timeout>("transaction_timeout", "0", Y, U),
      row<&S::unix_socket_dir>("unix_socket_dir", "/tmp", N, E),
      row<&S::unix_socket_group>("unix_socket_group", "", N, U),
      row<&S::unix_socket_mode, 0, 07777>("unix_socket_mode", "0777", N, U),
      row<&S::user>("user", kUnset, N, E),
      row<&S::verbose>("verbose", kUnset, Y, U),
      row<&S::workers, 1, 64>("workers", "1", N, U),
  };
  return kRows;
}

}  // namespace

std::span<const SettingRow> setting_rows() {
  return rows();
}

const SettingRow* find_setting(std::string_view name) {
  auto found = std::ranges::lower_bound(rows(), name, {}, &SettingRow::name);
  return found != rows().end() && found->name == name ? &*found : nullptr;
}

}  // namespace pgdba::conf
