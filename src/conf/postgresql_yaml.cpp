#include "conf/postgresql_yaml.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "conf/address.h"
#include "conf/effective.h"
#include "conf/program_options.h"

namespace pgdba::conf {

namespace {

using Kind = YamlNode::Kind;

Login read_login(Section& parent, std::string_view name) {
  Section s = parent.section(name);
  Login login;
  login.username = s.text_or("username", "");
  login.password = s.secret("password");
  login.sslpassword = s.secret("sslpassword");
  for (const char* option : {"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "gssencmode",
                             "channel_binding", "sslnegotiation"}) {
    if (auto text = s.text(option)) login.options[option] = *text;
  }
  s.finish();
  return login;
}

void read_authentication(Section& postgresql, PostgresqlSettings& out) {
  Section s = postgresql.section("authentication");
  out.superuser = read_login(s, "superuser");
  out.replication = read_login(s, "replication");
  bool own_rewind = s.has("rewind");
  out.rewind = read_login(s, "rewind");
  s.finish();
  if (out.superuser.username.empty()) out.superuser.username = "postgres";
  if (out.replication.username.empty()) {
    s.missing("replication.username", "the database user by which replicas stream");
  }
  if (!own_rewind) {
    out.rewind = out.superuser;
  } else if (out.rewind.username.empty()) {
    s.missing("rewind.username", "the database user for pg_rewind");
  }
}

void read_addresses(Section& s, PostgresqlSettings& out) {
  if (auto listen = s.address_text("listen")) {
    if (auto parsed = parse_listen(*listen, 5432)) {
      out.listen_addresses = parsed->hosts;
      out.port = parsed->port;
    } else {
      s.error("listen", "expected \"host:port\", for example \"127.0.0.1:5432\" or \"*:5432\"");
    }
  } else if (!s.has("listen")) {
    s.missing("listen", "where PostgreSQL answers, for example \"127.0.0.1:5432\"");
  }
  if (auto connect = s.address_text("connect_address")) {
    if (auto address = parse_address(*connect, out.port == 0 ? 5432 : out.port)) {
      out.connect_address = *address;
    } else {
      s.error("connect_address", "expected \"host:port\" by which other members reach this PostgreSQL");
    }
  } else if (!s.has("connect_address") && !out.listen_addresses.empty()) {
    auto usable = std::ranges::find_if_not(out.listen_addresses, is_wildcard);
    out.connect_address = {usable == out.listen_addresses.end() ? "localhost" : *usable, out.port};
    if (usable == out.listen_addresses.end()) {
      s.warn("connect_address", "missing; \"localhost\" is published, so that no other host can reach this PostgreSQL");
    }
  }
}

// As PostgreSQL reads it. YAML's own spellings of whole numbers (010, 1_000, 1:30) mean nothing to it.
std::string setting_text(const YamlNode& value) {
  if (value.kind == Kind::boolean) return value.boolean ? "on" : "off";
  if (value.kind == Kind::integer) return fmt::format("{}", value.integer);
  return value.text;
}

void read_parameters(Section& s, PostgresqlSettings& out) {
  const YamlNode* node = s.get("parameters");
  if (!node) return;
  if (node->kind != Kind::map) {
    s.wrong("parameters", "a map");
    return;
  }
  for (const auto& [name, value] : node->map) {
    std::string path = fmt::format("parameters.{}", name);
    if (value.is_null()) continue;
    if (!value.is_scalar()) {
      s.error("parameters",
              fmt::format("the value of {} must be a text, a number or a boolean, not {}", name, describe(value)));
      continue;
    }
    if (is_controlled(lower(name))) {
      s.warn("parameters", fmt::format("{} has no effect in a member's own file; all members must agree on it: "
                                       "`pgdba cluster config set postgresql.parameters.{}=…`",
                                       name, lower(name)));
    }
    out.parameters[lower(name)] = setting_text(value);
  }
}

void mark_custom_methods(Section& top, Section& s) {
  const YamlNode* postgresql = top.get("postgresql");
  if (!postgresql) return;
  for (const auto& [name, value] : postgresql->map) {
    if (value.kind == Kind::map && value.find("command")) s.known_but_idle({name});
  }
}

}  // namespace

void read_postgresql(Section& top, AgentSettings& settings) {
  Section s = top.section("postgresql");
  PostgresqlSettings& out = settings.postgresql;
  read_addresses(s, out);
  auto data_dir = s.text("data_dir");
  out.data_dir = data_dir.value_or("");
  if (data_dir ? data_dir->empty() : !s.has("data_dir")) {
    s.missing("data_dir", "the directory of the database, for example /var/lib/postgresql/15/main");
  }
  // What holds at rest must lie where a plain `pg_ctl start -D` finds it, so the files cannot go elsewhere.
  if (std::string folder = s.text_or("config_dir", out.data_dir); folder != out.data_dir) {
    s.warn("config_dir", fmt::format("not used: pgdba keeps the configuration files in data_dir and reads none from {}; put what those "
                                     "set into postgresql.parameters, pg_hba and pg_ident", folder));
  }
  out.bin_dir = s.text_or("bin_dir", "");
  out.database = s.text_or("database", "postgres");
  out.pgpass = s.text_or("pgpass", "");
  if (!out.pgpass.empty() && !out.pgpass.starts_with('/')) {
    s.warn("pgpass", "not used: it must be an absolute path, since agent and PostgreSQL run in different folders");
    out.pgpass.clear();
  }
  read_authentication(s, out);
  read_parameters(s, out);
  out.pg_hba = s.texts("pg_hba", "a list of lines of pg_hba.conf");
  out.pg_ident = s.texts("pg_ident", "a list of lines of pg_ident.conf");
  out.basebackup = read_program_options(s, "basebackup", kBasebackupOptions);
  out.rewind_options = read_program_options(s, "rewind", kRewindOptions);
  out.use_pg_rewind = s.boolean("use_pg_rewind");
  out.remove_data_directory_on_rewind_failure = s.boolean("remove_data_directory_on_rewind_failure").value_or(false);
  out.remove_data_directory_on_diverged_timelines =
      s.boolean("remove_data_directory_on_diverged_timelines").value_or(false);
  out.use_unix_socket = s.boolean("use_unix_socket").value_or(false);
  out.use_unix_socket_repl = s.boolean("use_unix_socket_repl").value_or(false);
  out.pg_ctl_timeout = s.seconds("pg_ctl_timeout", 60s);
  if (s.get("use_slots")) s.warn("use_slots", "no effect here: it belongs to the cluster");
  if (const YamlNode* methods = s.get("create_replica_methods"); methods && methods->kind == Kind::list) {
    bool only_basebackup = std::ranges::all_of(methods->list, [](const YamlNode& m) { return m.text == "basebackup"; });
    if (!only_basebackup)
      s.warn("create_replica_methods", "only basebackup is supported yet; the others are passed over");
  }
  s.known_but_idle({"proxy_address", "bin_name", "config_base_name", "custom_conf", "krbsrvname", "parameters_primary",
                    "parameters_replica", "parameters_standby_leader", "pg_hba_primary", "pg_hba_replica",
                    "pg_hba_standby_leader", "pg_ident_primary", "pg_ident_replica", "pg_ident_standby_leader",
                    "recovery_conf", "callbacks", "create_replica_method", "pre_promote", "before_stop"});
  mark_custom_methods(top, s);
  s.finish();
}

}  // namespace pgdba::conf
