#include "conf/patroni_yaml.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/tags.h"

namespace pgdba::conf {
namespace {

constexpr const char* kSmall = R"(scope: demo
name: pg-primary
restapi:
  listen: 127.0.0.1:8008
etcd3:
  hosts: 127.0.0.1:2379
postgresql:
  listen: 127.0.0.1:5432
  data_dir: /data
  authentication:
    replication: {username: replicator, password: "rep-pass"}
)";

using Environment = std::vector<std::pair<std::string, std::string>>;

SettingsReading read(const std::string& text, const Environment& environment = {}) {
  return read_agent_settings({{"patroni.yml", text}}, environment);
}

std::string all(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

// The small file with one key of the top level replaced or added.
SettingsReading with(const std::string& key, const std::string& yaml) {
  std::string text;
  bool skipping = false;
  std::string small = kSmall;
  for (size_t at = 0; at < small.size();) {
    size_t end = small.find('\n', at) + 1;
    std::string line = small.substr(at, end - at);
    if (line[0] != ' ') skipping = line.starts_with(key + ":");
    if (!skipping) text += line;
    at = end;
  }
  return read(text + yaml + "\n");
}

TEST(PatroniYaml, the_least_that_is_needed) {
  auto r = read(kSmall);
  ASSERT_TRUE(r.ok()) << all(r.errors);
  EXPECT_EQ(all(r.warnings), "");
  const AgentSettings& s = r.settings;
  EXPECT_EQ(s.scope, "demo");
  EXPECT_EQ(s.name, "pg-primary");
  EXPECT_EQ(s.name_space, "/service");
  EXPECT_EQ(s.restapi.listen, (Address{"127.0.0.1", 8008}));
  EXPECT_EQ(s.restapi.connect_address, (Address{"127.0.0.1", 8008}));
  ASSERT_EQ(s.etcd.endpoints.size(), 1u);
  EXPECT_EQ(s.etcd.endpoints[0], (EtcdSettings::Endpoint{"http", {"127.0.0.1", 2379}}));
  EXPECT_FALSE(s.bootstrap.present);
  EXPECT_EQ(s.bootstrap.dcs_json, "{}");
  EXPECT_EQ(s.postgresql.listen_addresses, std::vector<std::string>{"127.0.0.1"});
  EXPECT_EQ(s.postgresql.port, 5432);
  EXPECT_EQ(s.postgresql.connect_address, (Address{"127.0.0.1", 5432}));
  EXPECT_EQ(s.postgresql.superuser.username, "postgres");
  EXPECT_EQ(s.postgresql.replication.username, "replicator");
  EXPECT_EQ(s.postgresql.replication.password.reveal(), "rep-pass");
  EXPECT_EQ(s.postgresql.rewind, s.postgresql.superuser);
  EXPECT_EQ(s.postgresql.pg_ctl_timeout, 60s);
  EXPECT_EQ(s.postgresql.pg_hba, std::nullopt);
  EXPECT_EQ(s.log.level, "INFO");
}

TEST(PatroniYaml, log_formats) {
  const std::string small = kSmall;
  auto warnings = [&](const std::string& log) { return all(read(small + "log: " + log + "\n").warnings); };
  auto format = [&](const std::string& log) { return read(small + "log: " + log + "\n").settings.log.format; };
  EXPECT_FALSE(format("{level: INFO}")) << "this project's own lines";
  EXPECT_EQ(format("{type: json}")->parts.size(), 3u);
  EXPECT_TRUE(format("{type: json, format: '%(message)s'}")->json);
  EXPECT_EQ(format("{format: '%(message)s'}")->parts.size(), 1u);
  EXPECT_EQ(format("{dateformat: '%H:%M'}")->parts.size(), 3u);
  EXPECT_NE(warnings("{format: '%(lineno)d'}").find("log.format: these fields stay empty, since nothing here has them: lineno"), std::string::npos);
  EXPECT_NE(warnings("{format: [message]}").find("log.format: ignored"), std::string::npos);
  EXPECT_NE(warnings("{type: json, format: [message, {asctime: [a]}, [b]]}").find("asctime was left out"), std::string::npos);
  EXPECT_NE(warnings("{dateformat: x, static_fields: {a: b}}").find("only for type: json"), std::string::npos);
  EXPECT_EQ(warnings("{type: json, format: [message, levelname: level], mode: 0640, dateformat: '%s', static_fields: {a: b}}"), "");
}

// A file as the field writes it, with every key that is acted on.
TEST(PatroniYaml, everything_that_is_read) {
  auto r = read(R"(scope: batman
namespace: /db/
name: postgresql0
restapi:
  listen: "[::]:8008"
  connect_address: 127.0.0.1:8009
  certfile: /etc/ssl/certs/a.pem
  keyfile: /etc/ssl/private/a.key
  keyfile_password: k
  cafile: /etc/ssl/ca.pem
  verify_client: optional
  ciphers: HIGH
  authentication: {username: admin, password: 0123}
  allowlist: [10.0.0.0/8, host1]
  allowlist_include_members: yes
  http_extra_headers: {X-A: '1', X-B: '2'}
  https_extra_headers: {X-B: '3'}
  request_queue_size: 64
  server_tokens: Minimal
etcd3:
  hosts: [10.0.0.1:2379, "[fd00::2]:2380", etcd3]
  protocol: https
  username: u
  password: p
  cacert: /ca
  cert: /c
  key: /k
  use_proxies: on
bootstrap:
  dcs: &dcs
    ttl: 30
    synchronous_mode: on
    maximum_lag_on_failover: 1048576
    check_timeline: no
    postgresql:
      use_pg_rewind: true
      parameters: {max_connections: 200, wal_level: replica, ratio: 0.5, note: "on", empty: ~}
      pg_hba:
      - host all all 0.0.0.0/0 md5
  initdb:
  - encoding: UTF8
  - data-checksums
  - locale: C.UTF-8
  - wal-segsize=32
  - no-sync: false
  pg_hba: [local all all peer]
postgresql:
  listen: 127.0.0.1,[::1]:5433
  connect_address: "[::1]:5433"
  data_dir: /data
  config_dir: /conf
  bin_dir: /usr/lib/postgresql/15/bin
  database: app
  pgpass: /tmp/pgpass
  authentication:
    superuser: {username: postgres, password: zalando, sslmode: verify-ca, sslpassword: sp, channel_binding: require}
    replication: {username: replicator, password: rep-pass}
    rewind: {username: rewinder, password: 12345}
  parameters: {unix_socket_directories: '..', Work_Mem: 64MB, autovacuum: off, random_page_cost: 1.10, shared_buffers: 0x10}
  pg_hba: [local all all trust, host replication replicator 127.0.0.1/32 scram-sha-256]
  pg_ident: []
  basebackup: {checkpoint: fast, max-rate: 100M, verbose: true}
  rewind: [progress, {sync-method: fsync}]
  use_pg_rewind: true
  remove_data_directory_on_rewind_failure: 1
  remove_data_directory_on_diverged_timelines: 'on'
  use_unix_socket: true
  use_unix_socket_repl: true
  pg_ctl_timeout: 2min
log: {type: json, level: debug, dir: /var/log/x, file_num: 2, file_size: 1000000, mode: 0640, deduplicate_heartbeat_logs: true, format: [message, asctime: "@timestamp"], static_fields: {app: patroni, rack: 7}, dateformat: "%H", max_queue_size: 99, traceback_level: DEBUG, loggers: {urllib3: WARNING}}
ctl: {insecure: true, cacert: /ca, certfile: /c, keyfile: /k, keyfile_password: kp, authentication: {username: cu, password: cp}}
tags: {nofailover: true, failover_priority: 0, clonefrom: false, zone: a, rack: 7, ssd: yes, quoted: '1'}
)");
  ASSERT_TRUE(r.ok()) << all(r.errors);
  EXPECT_EQ(all(r.warnings),
            "patroni.yml:51: postgresql.config_dir: not used: pgdba keeps the configuration files in data_dir and reads none from /conf; "
            "put what those set into postgresql.parameters, pg_hba and pg_ident\n"
            "known to Patroni, not acted on yet: log.loggers\n");
  const AgentSettings& s = r.settings;
  EXPECT_EQ(s.name_space, "/db/");
  EXPECT_EQ(s.restapi.listen, (Address{"", 8008}));
  EXPECT_EQ(s.restapi.connect_address, (Address{"127.0.0.1", 8009}));
  EXPECT_EQ(s.restapi.verify_client, RestapiSettings::VerifyClient::optional);
  EXPECT_EQ(s.restapi.password.reveal(), "0123");  // as written, not octal
  EXPECT_EQ(s.restapi.allowlist, (std::vector<std::string>{"10.0.0.0/8", "host1"}));
  EXPECT_TRUE(s.restapi.allowlist_include_members);
  EXPECT_EQ(s.restapi.extra_headers, (std::vector<std::pair<std::string, std::string>>{{"X-A", "1"}, {"X-B", "3"}}));
  EXPECT_EQ(s.restapi.request_queue_size, 64);
  EXPECT_EQ(s.restapi.server_tokens, "minimal");
  ASSERT_EQ(s.etcd.endpoints.size(), 3u);
  EXPECT_EQ(s.etcd.endpoints[1], (EtcdSettings::Endpoint{"https", {"fd00::2", 2380}}));
  EXPECT_EQ(s.etcd.endpoints[2], (EtcdSettings::Endpoint{"https", {"etcd3", 2379}}));
  EXPECT_TRUE(s.etcd.use_proxies);
  EXPECT_EQ(
      s.bootstrap.dcs_json,
      R"({"ttl":30,"synchronous_mode":true,"maximum_lag_on_failover":1048576,"check_timeline":false,"postgresql":)"
      R"({"use_pg_rewind":true,"parameters":{"max_connections":200,"wal_level":"replica","ratio":0.5,"note":"on","empty":null},)"
      R"("pg_hba":["host all all 0.0.0.0/0 md5"]}})");
  EXPECT_EQ(s.bootstrap.initdb,
            (std::vector<std::string>{"--encoding=UTF8", "--data-checksums", "--locale=C.UTF-8", "--wal-segsize=32"}));
  EXPECT_EQ(s.bootstrap.pg_hba, std::vector<std::string>{"local all all peer"});
  const PostgresqlSettings& pg = s.postgresql;
  EXPECT_EQ(pg.listen_addresses, (std::vector<std::string>{"127.0.0.1", "::1"}));
  EXPECT_EQ(pg.port, 5433);
  EXPECT_EQ(format_address(pg.connect_address), "[::1]:5433");
  EXPECT_EQ(pg.superuser.options,
            (std::map<std::string, std::string>{{"sslmode", "verify-ca"}, {"channel_binding", "require"}}));
  EXPECT_EQ(pg.superuser.sslpassword.reveal(), "sp");
  EXPECT_EQ(pg.rewind.password.reveal(), "12345");
  EXPECT_EQ(pg.parameters, (std::map<std::string, std::string>{{"unix_socket_directories", ".."},
                                                               {"work_mem", "64MB"},
                                                               {"autovacuum", "off"},
                                                               {"random_page_cost", "1.10"},
                                                               {"shared_buffers", "16"}}));
  EXPECT_EQ(pg.pg_hba->size(), 2u);
  EXPECT_TRUE(pg.pg_ident.has_value() && pg.pg_ident->empty());
  EXPECT_EQ(pg.basebackup, (std::vector<std::string>{"--checkpoint=fast", "--max-rate=100M", "--verbose"}));
  EXPECT_EQ(pg.rewind_options, (std::vector<std::string>{"--progress", "--sync-method=fsync"}));
  EXPECT_EQ(pg.use_pg_rewind, true);
  EXPECT_TRUE(pg.remove_data_directory_on_rewind_failure);
  EXPECT_TRUE(pg.remove_data_directory_on_diverged_timelines);
  EXPECT_TRUE(pg.use_unix_socket && pg.use_unix_socket_repl);
  EXPECT_EQ(pg.pg_ctl_timeout, 120s);
  EXPECT_EQ(s.log.type, "json");
  EXPECT_EQ(s.log.level, "DEBUG");
  EXPECT_EQ(s.log.mode, 0640);
  ASSERT_TRUE(s.log.format && s.log.format->json);
  ASSERT_EQ(s.log.format->parts.size(), 2u);
  EXPECT_EQ(s.log.format->parts[1].key, "@timestamp");
  EXPECT_EQ(s.log.format->static_fields, (std::vector<std::pair<std::string, std::string>>{{"app", "\"patroni\""}, {"rack", "7"}}));
  EXPECT_EQ(s.log.dateformat, "%H");
  EXPECT_EQ(s.log.max_queue_size, 99);
  EXPECT_EQ(s.postgresql.pgpass, "/tmp/pgpass");
  EXPECT_EQ(s.ctl.password.reveal(), "cp");
  EXPECT_TRUE(s.ctl.insecure);
  EXPECT_FALSE(s.tags.may_lead());
  EXPECT_EQ(model::published_tags(s.tags), (model::TagEntries{{"failover_priority", "0"},
                                                              {"nofailover", "true"},
                                                              {"quoted", "\"1\""},
                                                              {"rack", "7"},
                                                              {"ssd", "true"},
                                                              {"zone", "\"a\""}}));
}

TEST(PatroniYaml, every_mistake_is_told_at_once) {
  auto r = read(R"(name: [a]
restapi: 8008
etcd3: {hosts: ["a b:1"]}
postgresql:
  listen: [a]
  data_dir: ''
  use_pg_rewind: maybe
  pg_ctl_timeout: soon
  pg_hba: local all all trust
  parameters: {a: [1]}
  authentication:
    superuser: root
    replication: {username: on, password: [x]}
bootstrap: {dcs: [1], initdb: [pgdata, {encoding: [1]}, "D"]}
log: {level: loud, mode: 9999}
)");
  EXPECT_EQ(
      all(r.errors),
      "patroni.yml: scope: missing: the name of the cluster, the same on all its members\n"
      "patroni.yml:1: name: expected a text, got a list\n"
      "patroni.yml:2: restapi: expected a map, got the number 8008\n"
      "restapi.listen: missing: where the REST API answers, for example \"127.0.0.1:8008\"\n"
      "patroni.yml:3: etcd3.hosts: \"a b:1\" is not \"host:port\" or a URL\n"
      "patroni.yml:14: bootstrap.dcs: expected a map of dynamic settings, got a list\n"
      "patroni.yml:14: bootstrap.initdb: pgdata is not allowed for initdb: the agent decides it\n"
      "patroni.yml:14: bootstrap.initdb: the value of encoding must be a text or a number, not a list\n"
      "patroni.yml:14: bootstrap.initdb: \"D\" is not the long name of an option of initdb, like \"encoding\"\n"
      "patroni.yml:5: postgresql.listen: expected \"host:port\", got a list\n"
      "patroni.yml:6: postgresql.data_dir: missing: the directory of the database, for example "
      "/var/lib/postgresql/15/main\n"
      "patroni.yml:12: postgresql.authentication.superuser: expected a map, got a text\n"
      "patroni.yml:13: postgresql.authentication.replication.username: expected a text (put it in quotes), got the "
      "boolean on\n"
      "patroni.yml:13: postgresql.authentication.replication.password: expected a text, got a list\n"
      "patroni.yml:12: postgresql.authentication.replication.username: missing: the database user by which replicas "
      "stream\n"
      "patroni.yml:10: postgresql.parameters: the value of a must be a text, a number or a boolean, not a list\n"
      "patroni.yml:9: postgresql.pg_hba: expected a list of lines of pg_hba.conf, got a text\n"
      "patroni.yml:7: postgresql.use_pg_rewind: expected true or false, got a text\n"
      "patroni.yml:8: postgresql.pg_ctl_timeout: expected a number of seconds, or a text like \"30s\" or \"5min\", got "
      "a text\n"
      "patroni.yml:15: log.level: expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL, WARN, FATAL, got \"loud\"\n"
      "patroni.yml:15: log.mode: expected permission bits like 0640, got the number 9999\n");
}

TEST(PatroniYaml, unknown_and_idle_keys_are_named_once) {
  auto r = read(std::string(kSmall) + R"(  parmeters: {a: b}
  callbacks: {on_start: /x}
  wal_e: {command: x}
watchdog: {mode: automatic}
ttl: 30
nam: x
zzz: 1
)");
  EXPECT_TRUE(r.ok()) << all(r.errors);
  EXPECT_EQ(
      all(r.warnings),
      "patroni.yml:12: postgresql.parmeters: unknown, ignored; did you mean parameters?\n"
      "patroni.yml:16: ttl: no effect here: it belongs to the cluster; put it into bootstrap.dcs for a new one, or run "
      "`pgdba cluster config set ttl=…`\n"
      "patroni.yml:17: nam: unknown, ignored; did you mean name?\n"
      "patroni.yml:18: zzz: unknown, ignored\n"
      "known to Patroni, not acted on yet: postgresql.callbacks, postgresql.wal_e, watchdog\n");
}

TEST(PatroniYaml, a_watchdog_that_is_off_is_no_news) {
  EXPECT_EQ(all(read(std::string(kSmall) + "watchdog: {mode: off}\n").warnings), "");
}

TEST(PatroniYaml, a_password_is_in_no_message) {
  for (const char* password : {"[hunter2]", "{hunter2: 1}", "true", "hunter2"}) {
    auto r =
        read(fmt::format("{}restapi2: 1\netcd3: {{url: 'http://u:hunter2@bad host'}}\nctl: {{authentication: "
                         "{{username: a, password: {}}}}}\n",
                         kSmall, password));
    EXPECT_EQ((all(r.errors) + all(r.warnings)).find("hunter2"), std::string::npos) << all(r.errors) << all(r.warnings);
  }
  auto r = read(std::string(kSmall) + "ctl: {authentication: {username: a, password: true}}\n");
  EXPECT_EQ(all(r.errors),
            "patroni.yml:12: ctl.authentication.password: expected a text, got a boolean (put it in quotes)\n");
}

TEST(PatroniYaml, addresses) {
  struct Row {
    const char* listen;
    std::vector<std::string> hosts;  // empty: refused
    uint16_t port;
    const char* connect;
  };
  const Row rows[] = {
      {"127.0.0.1:5433", {"127.0.0.1"}, 5433, "127.0.0.1:5433"},
      {"'*:5432'", {"*"}, 5432, "localhost:5432"},
      {"0.0.0.0:5432", {"0.0.0.0"}, 5432, "localhost:5432"},
      {"'*,10.0.0.1:5432'", {"*", "10.0.0.1"}, 5432, "10.0.0.1:5432"},
      {"localhost", {"localhost"}, 5432, "localhost:5432"},
      {"'[::1]:7'", {"::1"}, 7, "[::1]:7"},
      {"'[::1]'", {"::1"}, 5432, "[::1]:5432"},
      {"':5432'", {"*"}, 5432, "localhost:5432"},
      {"'a:0'", {}, 0, ""},
      {"'a:65536'", {}, 0, ""},
      {"'a:b'", {}, 0, ""},
      {"'a b:5432'", {}, 0, ""},
      {"'[::1:5432'", {}, 0, ""},
      {"'a\\:5432'", {}, 0, ""},
  };
  for (const Row& row : rows) {
    auto r =
        with("postgresql",
             fmt::format("postgresql: {{listen: {}, data_dir: /d, authentication: {{replication: {{username: r}}}}}}",
                         row.listen));
    EXPECT_EQ(r.ok(), !row.hosts.empty()) << row.listen << "\n" << all(r.errors);
    if (!r.ok() || row.hosts.empty()) continue;
    EXPECT_EQ(r.settings.postgresql.listen_addresses, row.hosts) << row.listen;
    EXPECT_EQ(r.settings.postgresql.port, row.port) << row.listen;
    EXPECT_EQ(format_address(r.settings.postgresql.connect_address), row.connect) << row.listen;
    EXPECT_EQ(r.warnings.size(),
              std::string(row.connect).starts_with("localhost") && row.hosts[0] != "localhost" ? 1u : 0u)
        << row.listen;
  }
}

TEST(PatroniYaml, etcd_in_all_spellings) {
  struct Row {
    const char* yaml;
    std::string endpoints;  // empty: refused
    std::string login;
  };
  const Row rows[] = {
      {"etcd3: {host: h}", "http://h:2379", ""},
      {"etcd3: {host: 'h:1'}", "http://h:1", ""},
      {"etcd3: {hosts: 'a:1, b ,c:3,'}", "http://a:1 http://b:2379 http://c:3", ""},
      {"etcd3: {hosts: [a, 'https://b:2']}", "http://a:2379 https://b:2", ""},
      {"etcd3: {host: h, protocol: HTTPS}", "https://h:2379", ""},
      {"etcd3: {host: h, cacert: /ca}", "https://h:2379", ""},
      {"etcd3: {url: 'https://us%40er:p%3Aw@h:2/x'}", "https://h:2", "us@er p:w"},
      {"etcd3: {url: 'http://h', username: a, password: b}", "http://h:2379", "a b"},
      {"etcd3: {proxy: 'http://h:2'}", "http://h:2", ""},
      {"etcd: {host: h}", "http://h:2379", ""},
      {"etcd3: {}", "", ""},
      {"etcd3: {srv: example.org}", "", ""},
      {"etcd3: {hosts: []}", "", ""},
      {"etcd3: {hosts: {a: b}}", "", ""},
      {"etcd3: {url: 'ftp://h'}", "", ""},
      {"etcd3: {protocol: tcp, host: h}", "", ""},
      {"etcd3: 5", "", ""},
      {"", "", ""},
  };
  for (const Row& row : rows) {
    auto r = with("etcd3", row.yaml);
    EXPECT_EQ(r.ok(), !row.endpoints.empty()) << row.yaml << "\n" << all(r.errors);
    if (!r.ok()) continue;
    std::string endpoints;
    for (const auto& e : r.settings.etcd.endpoints)
      endpoints += (endpoints.empty() ? "" : " ") + e.protocol + "://" + format_address(e.address);
    EXPECT_EQ(endpoints, row.endpoints) << row.yaml;
    std::string login =
        r.settings.etcd.username + (r.settings.etcd.username.empty() ? "" : " ") + r.settings.etcd.password.reveal();
    EXPECT_EQ(login, row.login) << row.yaml;
  }
  EXPECT_TRUE(with("etcd3", "etcd3: {proxy: 'http://h:2'}").settings.etcd.use_proxies);
  EXPECT_EQ(with("etcd3", "etcd: {host: h}").warnings.size(), 1u);
}

TEST(PatroniYaml, program_options) {
  auto options = [](const char* yaml) { return with("bootstrap", fmt::format("bootstrap: {{initdb: {}}}", yaml)); };
  EXPECT_EQ(options("{encoding: UTF8, data-checksums: true, locale: }").settings.bootstrap.initdb,
            (std::vector<std::string>{"--encoding=UTF8", "--data-checksums", "--locale"}));
  EXPECT_EQ(options("['--encoding=UTF8', '-data-checksums']").settings.bootstrap.initdb,
            (std::vector<std::string>{"--encoding=UTF8", "--data-checksums"}));
  for (const char* bad :
       {"[pgdata]", "['pgdata=/x']", "[{pwfile: /etc/shadow}]", "[pwf]", "[--pgd]", "{version: 1}", "[5]", "[[a]]",
        "[{a: 1, b: 2}]", "text", "['a b']", "['x;y']", "['']", "[{encoding: \"a\\nb\"}]", "['--']", "[nosy]"}) {
    EXPECT_FALSE(options(bad).ok()) << bad;
  }
  auto clone = [](const char* yaml) {
    return with("postgresql", fmt::format("postgresql: {{listen: 'a:1', data_dir: /d, basebackup: {}, authentication: "
                                          "{{replication: {{username: r}}}}}}",
                                          yaml));
  };
  EXPECT_TRUE(clone("[{compress: server-lz4}, no-slot]").ok());
  for (const char* bad :
       {"[dbname=x]", "[{compress: 9}]", "[compress]", "[write-recovery-conf]", "[{host: a}]", "[wal]"}) {
    EXPECT_FALSE(clone(bad).ok()) << bad;
  }
}

TEST(PatroniYaml, names) {
  for (const char* bad :
       {"name: ''", "name: a/b", "name: 'a,b'", "name: é", "name: __patroni_strict_sync_replica_placeholder__",
        "name: 1234567890123456789012345678901234567890123456789012345678901234"}) {
    EXPECT_FALSE(with("name", bad).ok()) << bad;
  }
  EXPECT_EQ(with("name", "name: 1").settings.name, "1");
  EXPECT_FALSE(with("scope", "scope: a/b").ok());
  EXPECT_EQ(with("namespace", "namespace: db").settings.name_space, "db");
}

TEST(PatroniYaml, environment_wins_over_the_file) {
  auto r = read(kSmall, {{"PATRONI_NAME", "other"},
                         {"PATRONI_SCOPE", ""},
                         {"PATRONI_POSTGRESQL_LISTEN", "127.0.0.2:6000"},
                         {"PATRONI_ETCD3_HOSTS", "'a:1','b:2'"},
                         {"PATRONI_ETCD3_PASSWORD", "on"},
                         {"PATRONI_ETCD3_USERNAME", "root"},
                         {"PATRONI_SUPERUSER_PASSWORD", "007"},
                         {"PATRONI_REPLICATION_SSLMODE", "require"},
                         {"PATRONI_RESTAPI_USERNAME", "u"},
                         {"PATRONI_RESTAPI_PASSWORD", "no"},
                         {"PATRONI_RESTAPI_ALLOWLIST", "10.0.0.0/8, h"},
                         {"PATRONI_RESTAPI_HTTP_EXTRA_HEADERS", "X-A: 1"},
                         {"PATRONI_LOGLEVEL", "WARN"},
                         {"PATRONI_LOG_MODE", "0600"},
                         {"PATRONI_KUBERNETES_NAMESPACE", "x"},
                         {"PATRONI_POSTGRESQL_DATADIR", "x"}});
  ASSERT_TRUE(r.ok()) << all(r.errors);
  EXPECT_EQ(r.settings.name, "other");
  EXPECT_EQ(r.settings.scope, "demo");
  EXPECT_EQ(r.settings.postgresql.port, 6000);
  EXPECT_EQ(r.settings.etcd.endpoints.size(), 2u);
  EXPECT_EQ(r.settings.etcd.password.reveal(), "on");
  EXPECT_EQ(r.settings.postgresql.superuser.password.reveal(), "007");
  EXPECT_EQ(r.settings.postgresql.replication.options.at("sslmode"), "require");
  EXPECT_EQ(r.settings.postgresql.replication.username, "replicator");
  EXPECT_EQ(r.settings.restapi.password.reveal(), "no");
  EXPECT_EQ(r.settings.restapi.allowlist, (std::vector<std::string>{"10.0.0.0/8", "h"}));
  EXPECT_EQ(r.settings.restapi.extra_headers.size(), 1u);
  EXPECT_EQ(r.settings.log.level, "WARNING");
  EXPECT_EQ(r.settings.log.mode, 0600);
  EXPECT_EQ(all(r.warnings),
            "PATRONI_POSTGRESQL_DATADIR: unknown, ignored; did you mean PATRONI_POSTGRESQL_DATA_DIR?\n"
            "known to Patroni, not acted on yet: PATRONI_KUBERNETES_NAMESPACE\n");
  auto bad = read(kSmall, {{"PATRONI_POSTGRESQL_LISTEN", "nowhere:x"}, {"PATRONI_RESTAPI_ALLOWLIST", "[a"}});
  EXPECT_EQ(bad.errors.size(), 1u);  // a variable that is no YAML is told first
  EXPECT_TRUE(bad.errors[0].starts_with("PATRONI_RESTAPI_ALLOWLIST")) << bad.errors[0];
}

TEST(PatroniYaml, without_a_file) {
  auto whole = read_agent_settings({}, {{"PATRONI_CONFIGURATION", kSmall}, {"PATRONI_NAME", "ignored"}});
  ASSERT_TRUE(whole.ok()) << all(whole.errors);
  EXPECT_EQ(whole.settings.name, "pg-primary");
  auto single = read_agent_settings({}, {{"PATRONI_NAME", "n"},
                                         {"PATRONI_SCOPE", "s"},
                                         {"PATRONI_RESTAPI_LISTEN", "127.0.0.1:8008"},
                                         {"PATRONI_ETCD3_HOST", "h:2379"},
                                         {"PATRONI_POSTGRESQL_LISTEN", "127.0.0.1:5432"},
                                         {"PATRONI_POSTGRESQL_DATA_DIR", "/d"},
                                         {"PATRONI_REPLICATION_USERNAME", "r"}});
  ASSERT_TRUE(single.ok()) << all(single.errors);
  EXPECT_FALSE(read_agent_settings({}, {}).ok());
  for (const char* none : {"", "[]"}) EXPECT_FALSE(read(none).ok()) << none;
}

TEST(PatroniYaml, a_directory_of_files_merges_in_order) {
  auto r = read_agent_settings({{"1.yml", kSmall},
                                {"2.yml", "name: second\npostgresql: {data_dir: /other, pg_hba: ~}\nnamespace: /x\n"},
                                {"3.yml", "namespace:"}},
                               {});
  ASSERT_TRUE(r.ok()) << all(r.errors);
  EXPECT_EQ(r.settings.name, "second");
  EXPECT_EQ(r.settings.postgresql.data_dir, "/other");
  EXPECT_EQ(r.settings.postgresql.port, 5432);
  EXPECT_EQ(r.settings.name_space, "/service");
  auto bad = read_agent_settings({{"1.yml", kSmall}, {"2.yml", "\n\npostgresql: {listen: [x]}\n"}}, {});
  EXPECT_EQ(all(bad.errors), "2.yml:3: postgresql.listen: expected \"host:port\", got a list\n");
}

TEST(PatroniYaml, restapi_rules) {
  EXPECT_FALSE(with("restapi", "restapi: {listen: '127.0.0.1'}").ok());
  EXPECT_FALSE(with("restapi", "restapi: {listen: 'a:1', authentication: {username: x}}").ok());
  EXPECT_FALSE(with("restapi", "restapi: {listen: 'a:1', verify_client: required}").ok());
  EXPECT_FALSE(with("restapi", "restapi: {listen: 'a:1', http_extra_headers: {\"a\\r\\nb\": c}}").ok());
  auto any = with("restapi", "restapi: {listen: '*:8008'}");
  EXPECT_TRUE(any.ok());
  EXPECT_EQ(any.settings.restapi.listen, (Address{"", 8008}));
  EXPECT_EQ(any.settings.restapi.connect_address.host, "localhost");
  EXPECT_EQ(any.warnings.size(), 1u);
}

TEST(PatroniYaml, contradicting_tags) {
  auto r = with("tags", "tags: {nofailover: true, failover_priority: 1, nosync: false, sync_priority: 0}");
  EXPECT_EQ(all(r.warnings),
            "patroni.yml:12: tags: Conflicting configuration between nofailover: True and failover_priority: 1. "
            "Defaulting to nofailover: True\n"
            "patroni.yml:12: tags: Conflicting configuration between nosync: False and sync_priority: 0. Defaulting to "
            "nosync: False\n");
  EXPECT_FALSE(with("tags", "tags: []").ok());
}

}  // namespace
}  // namespace pgdba::conf
