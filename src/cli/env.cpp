// `eval "$(pgdba env)"`: afterwards plain psql, pg_dump and every libpq program talk to the leader, whoever it is, and
// $PGDBA_POOLER_URL is what an application should be given.
#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/status_view.h"

namespace pgdba::cli {

namespace {

// For a POSIX shell: single quotes take everything but themselves.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

}  // namespace

Done env(Context& context, const EnvOptions& options) {
  auto target = find_target(context, options.target);
  if (!target) return tl::unexpected(target.error());
  std::vector<std::string> hosts, ports;
  if (target->local) {
    for (const auto& node : target->local->nodes) {
      hosts.emplace_back("127.0.0.1");
      ports.push_back(std::to_string(node.pg_port));
    }
  } else if (!target->pg_host.empty()) {
    for (size_t i = 0; i < std::max<size_t>(1, target->members.size()); ++i) {
      hosts.push_back(target->pg_host);
      ports.push_back(std::to_string((target->pg_port ? target->pg_port : 5432) + i));
    }
  } else {
    return give_up(Exit::failed,
                   fmt::format("how PostgreSQL of {} is reached from here is not known",
                               target->name.empty() ? "this cluster" : target->name),
                   "pgdba cluster connect --replace … --pg-host HOST --pg-port PORT");
  }
  std::vector<std::pair<std::string, std::string>> variables;
  const Urls urls = urls_of(*target, {});
  if (!urls.pooler.libpq.empty()) {
    variables = {{"PGDBA_POOLER_URL", urls.pooler.libpq},
                 {"PGDBA_POOLER_RO_URL", urls.pooler_ro},
                 {"PGDBA_POOLER_JDBC_URL", urls.pooler.jdbc}};
  }
  const std::vector<std::pair<std::string, std::string>> libpq = {
      {"PGHOST", join(hosts, ",")}, {"PGPORT", join(ports, ",")},           {"PGUSER", "postgres"},
      {"PGDATABASE", "postgres"},   {"PGTARGETSESSIONATTRS", "read-write"}, {"PGCONNECT_TIMEOUT", "3"}};
  variables.insert(variables.end(), libpq.begin(), libpq.end());
  if (target->local) variables.emplace_back("PGPASSFILE", target->local->passfile());
  const Terminal& terminal = context.terminal;
  if (terminal.options().format == Format::json || terminal.options().format == Format::yaml) {
    wire::JsonValue out;
    out.set("schema_version", 1);
    for (const auto& [name, value] : variables) out.set(name, value);
    terminal.show(out);
    return Exit::done;
  }
  for (const auto& [name, value] : variables) terminal.data(fmt::format("export {}={}\n", name, shell_quoted(value)));
  if (terminal.tty_out())
    terminal.say(fmt::format("# this is for the shell:  eval \"$(pgdba env{})\"", target->flag()));
  return Exit::done;
}

}  // namespace pgdba::cli
