#include "conf/pooler_settings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/text.h"

namespace pgdba::conf {
namespace {

using namespace std::chrono_literals;

// What SHOW CONFIG says for `key` after SET key = value; "!…" when the value was refused, "NULL" for an unset one.
std::string set_and_show(const std::string& key, const std::string& value) {
  PoolerSettings settings = default_pooler_settings();
  const SettingRow* row = find_setting(key);
  if (row == nullptr) return "no such setting";
  if (auto problem = row->read(settings, value)) return "!" + *problem;
  for (const ConfigRow& line : show_config(settings)) {
    if (line.key == key) return line.value.value_or("NULL");
  }
  return "not shown";
}

TEST(PoolerSettings, the_table_is_sorted_and_complete) {
  std::string before;
  for (const SettingRow& row : setting_rows()) {
    EXPECT_LT(before, row.name);
    before = row.name;
    EXPECT_EQ(find_setting(row.name), &row);
    EXPECT_TRUE(row.acted_on || !row.not_done.empty()) << row.name;
  }
  // 98 of 1.25, two that will be in 1.26, and eleven of our own.
  EXPECT_EQ(setting_rows().size(), 111u);
  EXPECT_EQ(find_setting(""), nullptr);
  EXPECT_EQ(find_setting("zzz"), nullptr);
  EXPECT_EQ(find_setting("Pool_Mode"), nullptr);
}

TEST(PoolerSettings, every_default_is_taken_and_written_back) {
  PoolerSettings settings = default_pooler_settings();
  for (const SettingRow& row : setting_rows()) {
    if (row.default_text) {
      EXPECT_EQ(row.read(settings, *row.default_text), std::nullopt) << row.name;
      if (row.name != "unix_socket_mode") {
        EXPECT_EQ(row.write(settings), *row.default_text) << row.name;
      }
    }
    // What a writer gives its reader takes.
    std::string written = row.write(settings);
    EXPECT_EQ(row.read(settings, written), std::nullopt) << row.name;
    EXPECT_EQ(row.write(settings), written) << row.name;
  }
}

TEST(PoolerSettings, each_row_reads_and_copies_its_own_member) {
  PoolerSettings defaults = default_pooler_settings();
  for (const SettingRow& row : setting_rows()) {
    PoolerSettings changed = defaults;
    bool taken = false;
    for (const char* value :
         {"7", "512", "1", "0", "transaction", "trust", "require", "tlsv1.2", "etcd://a:1", "http://a:1", "h:1"}) {
      PoolerSettings trial = defaults;
      if (row.read(trial, value) || row.write(trial) == row.write(defaults)) continue;
      changed = trial;
      taken = true;
      break;
    }
    ASSERT_TRUE(taken) << row.name;
    int differ = 0;
    PoolerSettings copied = defaults;
    row.copy(changed, copied);
    EXPECT_EQ(row.write(copied), row.write(changed)) << row.name;
    for (const SettingRow& other : setting_rows()) differ += other.write(changed) != other.write(defaults) ? 1 : 0;
    EXPECT_EQ(differ, 1) << row.name;
  }
}

TEST(PoolerSettings, defaults) {
  PoolerSettings s = default_pooler_settings();
  EXPECT_EQ(s.listen_port, 6432);
  EXPECT_EQ(s.unix_socket_mode, 0777);
  EXPECT_EQ(s.pool_mode, PoolMode::session);
  EXPECT_EQ(s.auth_type, AuthType::md5);
  EXPECT_EQ(s.server_tls_sslmode, SslMode::prefer);
  EXPECT_EQ(s.query_wait_timeout, 120s);
  EXPECT_EQ(s.stats_period, 60s);
  EXPECT_EQ(s.max_packet_size, 2147483647u);
  EXPECT_TRUE(s.listen_addr.names.empty());
  EXPECT_TRUE(s.track_extra_parameters.contains("IntervalStyle"));
  EXPECT_TRUE(s.client_tls_protocols.v1_2 && s.client_tls_protocols.v1_3 && !s.client_tls_protocols.v1_1);
  EXPECT_EQ(s.failover_hold_timeout, 30s);
  EXPECT_EQ(s.switchover_drain_timeout, 5s);
  EXPECT_EQ(s.workers, 1);
  EXPECT_EQ(s.cluster_namespace, "/service/");
  EXPECT_FALSE(s.http_listen);
  EXPECT_TRUE(s.cluster_dcs.addresses.empty());
}

TEST(PoolerSettings, values) {
  struct Row {
    const char *name, *key, *value, *shown;
  };
  for (const Row& row : std::vector<Row>{
           {"decimal", "max_client_conn", "1000", "1000"},
           {"octal", "unix_socket_mode", "0700", "448"},
           {"hexadecimal", "default_pool_size", "0x10", "16"},
           {"sign", "max_db_connections", "+5", "5"},
           {"negative is no limit", "max_db_connections", "-1", "-1"},
           {"zero alone is not octal", "max_db_connections", "0", "0"},
           {"8 is no octal digit", "max_client_conn", "08", "!"},
           {"0x alone", "max_client_conn", "0x", "!"},
           {"empty number", "max_client_conn", "", "!"},
           {"unit after a number", "max_client_conn", "10k", "!"},
           {"fraction of a number", "max_client_conn", "1.5", "!"},
           {"comment after a number", "max_client_conn", "10 ; ten", "!"},
           {"two signs", "max_client_conn", "--1", "!"},
           {"more than int", "max_client_conn", "2147483648", "!out of range"},
           {"more than 64 bits", "max_client_conn", "99999999999999999999", "!"},
           {"largest unsigned", "max_packet_size", "4294967295", "4294967295"},
           {"negative unsigned", "max_packet_size", "-1", "!out of range"},
           {"port too large", "listen_port", "65536", "!out of range"},
           {"negative port", "listen_port", "-1", "!out of range"},
           {"largest peer id", "peer_id", "16383", "16383"},
           {"peer id too large", "peer_id", "16384", "!out of range"},
           {"no workers", "workers", "0", "!out of range"},
           {"tiny buffer", "pkt_buf", "1", "!out of range"},
           {"no statistics period", "stats_period", "0", "!out of range"},
           {"whole seconds", "query_wait_notify", "1.5", "!expected whole seconds"},
           {"time", "server_lifetime", "1200", "1200"},
           {"time with a fraction", "server_check_delay", "0.25", "0.25"},
           {"time with a point only in front", "server_check_delay", ".5", "0.5"},
           {"time with an exponent", "server_check_delay", "1e3", "1000"},
           {"long time as %g", "server_lifetime", "86400000", "8.64e+07"},
           {"overlong time", "server_lifetime", "1e300", "1e+09"},
           {"negative time", "server_lifetime", "-1", "!expected seconds"},
           {"infinite time", "server_lifetime", "inf", "!expected seconds"},
           {"no number", "server_lifetime", "nan", "!expected seconds"},
           {"time with a unit", "server_lifetime", "30s", "!expected seconds"},
           {"empty time", "server_lifetime", "", "!expected seconds"},
           {"hexadecimal time", "server_lifetime", "0x10", "!expected seconds"},
           {"true", "log_stats", "1", "1"},
           {"false", "log_stats", "0", "0"},
           {"any number is true", "tcp_defer_accept", "45", "1"},
           {"on is no boolean", "log_stats", "on", "!expected 0 or 1"},
           {"yes is no boolean", "log_stats", "yes", "!expected 0 or 1"},
           {"true is no boolean", "log_stats", "true", "!expected 0 or 1"},
           {"words in any case", "pool_mode", "Transaction", "transaction"},
           {"unknown word", "pool_mode", "tx", "!expected session, transaction, statement"},
           {"scram", "auth_type", "SCRAM-SHA-256", "scram-sha-256"},
           {"pam", "auth_type", "pam", "!pam is not supported yet"},
           {"ldap", "auth_type", "LDAP", "!ldap is not supported yet"},
           {"peer is for hba files", "auth_type", "peer", "!expected any, trust, plain, md5, cert, hba, scram-sha-256"},
           {"sslmode", "client_tls_sslmode", "verify-full", "verify-full"},
           {"sslmode spelled wrong", "client_tls_sslmode", "verify_full",
            "!expected disable, allow, prefer, require, verify-ca, verify-full"},
           {"unset is NULL", "auth_file", "", "NULL"},
           {"empty is not NULL", "auth_hba_file", "", ""},
           {"list as written", "admin_users", "a , b,", "a , b,"},
           {"protocols", "client_tls_protocols", "TLSv1.2 : tlsv1.3", "TLSv1.2 : tlsv1.3"},
           {"unknown protocol", "client_tls_protocols", "sslv3",
            "!expected secure, all, legacy, or tlsv1.0 to tlsv1.3"},
           {"no protocol", "client_tls_protocols", "tlsv1.2,!tlsv1.2", "!no version is left"},
           {"console as auth_dbname", "auth_dbname", "pgbouncer", "!that is the console, which has no passwords"},
           {"auth_dbname", "auth_dbname", "postgres", "postgres"},
           {"etcd", "cluster_dcs", "etcd://a:2379,b, [::1]:1", "etcd://a:2379,b:2379,[::1]:1"},
           {"etcd with TLS", "cluster_dcs", "ETCDS://a", "etcds://a:2379"},
           {"etcd, scheme repeated", "cluster_dcs", "etcd://a,etcd://b", "etcd://a:2379,b:2379"},
           {"etcd, schemes mixed", "cluster_dcs", "etcd://a,etcds://b", "!etcd and etcds cannot be mixed"},
           {"etcd without a scheme", "cluster_dcs", "a:2379",
            "!expected etcd://host:port,... or etcds://host:port,..."},
           {"etcd as http", "cluster_dcs", "http://a", "!expected etcd://host:port,... or etcds://host:port,..."},
           {"etcd with a login", "cluster_dcs", "etcd://u:p@a", "!expected host:port after the scheme"},
           {"etcd with an empty host", "cluster_dcs", "etcd://a,,b", "!expected host:port after the scheme"},
           {"no etcd", "cluster_dcs", "", ""},
           {"agents", "cluster_api", "http://a:8008/,b", "http://a:8008,b:8008"},
           {"http", "http_listen", "127.0.0.1:9127", "127.0.0.1:9127"},
           {"http everywhere", "http_listen", "*:9127", "*:9127"},
           {"http on IPv6", "http_listen", "[::]:9127", "[::]:9127"},
           {"http without a port", "http_listen", "127.0.0.1", "!expected host:port"},
           {"http off", "http_listen", "", ""},
       }) {
    EXPECT_EQ(set_and_show(row.key, row.value), row.shown) << row.name;
  }
}

TEST(PoolerSettings, a_refused_value_changes_nothing) {
  PoolerSettings settings = default_pooler_settings();
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"peer_id", "99999"},
                                                                                   {"pool_mode", "x"},
                                                                                   {"cluster_dcs", "etcd://a,,"},
                                                                                   {"client_tls_protocols", "all,x"}}) {
    std::string before = find_setting(key)->write(settings);
    EXPECT_NE(find_setting(key)->read(settings, value), std::nullopt) << key;
    EXPECT_EQ(find_setting(key)->write(settings), before) << key;
  }
}

TEST(PoolerSettings, protocols_that_are_left) {
  struct Row {
    const char *text, *versions;
  };
  for (const Row& row : std::vector<Row>{{"secure", "23"},
                                         {"default", "23"},
                                         {"all", "0123"},
                                         {"legacy", "0123"},
                                         {"tlsv1", "0123"},
                                         {"tlsv1.0", "0"},
                                         {"tlsv1.1:tlsv1.3", "13"},
                                         {"all,!tlsv1.0", "123"},
                                         {"ALL, !TLSv1.0, !tlsv1.3", "12"}}) {
    PoolerSettings settings;
    ASSERT_EQ(find_setting("server_tls_protocols")->read(settings, row.text), std::nullopt) << row.text;
    const TlsProtocols& p = settings.server_tls_protocols;
    std::string versions =
        std::string(p.v1_0 ? "0" : "") + (p.v1_1 ? "1" : "") + (p.v1_2 ? "2" : "") + (p.v1_3 ? "3" : "");
    EXPECT_EQ(versions, row.versions) << row.text;
  }
}

TEST(PoolerSettings, set) {
  PoolerSettings settings = default_pooler_settings();
  EXPECT_EQ(set_setting(settings, "max_client_conn", "7"), true);
  EXPECT_EQ(settings.max_client_conn, 7);
  EXPECT_EQ(set_setting(settings, "listen_port", "7"), false);  // fixed at start
  EXPECT_EQ(settings.listen_port, 6432);
  EXPECT_EQ(set_setting(settings, "nonsense", "7").error().text, "unknown parameter: pgbouncer/nonsense");
  EXPECT_EQ(set_setting(settings, "max_client_conn", "x\n" + std::string(500, 'y')).error().text,
            "invalid value \"x?" + std::string(118, 'y') + "...\" for parameter max_client_conn");
  EXPECT_EQ(set_setting(settings, "auth_type", "pam").error().text,
            "invalid value \"pam\" for parameter auth_type: pam is not supported yet");
}

TEST(PoolerSettings, show_config) {
  auto rows = show_config(default_pooler_settings());
  EXPECT_TRUE(std::ranges::is_sorted(rows, {}, &ConfigRow::key));
  auto find = [&](std::string_view key) { return *std::ranges::find(rows, key, &ConfigRow::key); };
  EXPECT_EQ(find("listen_port").value, "6432");
  EXPECT_FALSE(find("listen_port").changeable);
  EXPECT_EQ(find("unix_socket_mode").value, "511");
  EXPECT_EQ(find("unix_socket_mode").default_value, "0777");
  EXPECT_TRUE(find("max_client_conn").changeable);
  EXPECT_EQ(find("auth_user").value, std::nullopt);
  EXPECT_EQ(find("auth_user").default_value, std::nullopt);
  EXPECT_EQ(find("verbose").value, "0");
  EXPECT_EQ(find("verbose").default_value, std::nullopt);
}

TEST(PoolerSettings, a_reload_keeps_what_is_fixed_at_start) {
  PoolerSettings running = default_pooler_settings();
  PoolerSettings fresh = default_pooler_settings();
  running.listen_port = 1;
  running.max_client_conn = 1;
  fresh.listen_port = 2;
  fresh.max_client_conn = 2;
  fresh.cluster_scope = "other";
  PoolerSettings after = reloaded_settings(running, fresh);
  EXPECT_EQ(after.listen_port, 1);
  EXPECT_EQ(after.max_client_conn, 2);
  EXPECT_EQ(after.cluster_scope, "");
}

TEST(PoolerSettings, markdown_has_a_row_of_six_cells_for_each) {
  auto lines = split(settings_markdown(), '\n');
  EXPECT_EQ(lines.size(), setting_rows().size() + 1);  // the last one is empty
  EXPECT_EQ(lines[0], "| `admin_users` | list | empty | yes | E |  |");
  for (const std::string& line : lines) {
    if (!line.empty()) {
      EXPECT_EQ(std::ranges::count(line, '|'), 7) << line;
    }
  }
  EXPECT_NE(settings_markdown().find("| `resolv_conf` | text | empty | no | R | the resolver of"), std::string::npos);
  EXPECT_NE(settings_markdown().find("| `auth_user` | text | unset | yes |"), std::string::npos);
}

}  // namespace
}  // namespace pgdba::conf
