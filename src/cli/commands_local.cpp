#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/text.h"
#include "cli/arguments.h"

namespace pgdba::cli {

namespace {

// The options live as long as the parser's callbacks.
template <class Options>
std::shared_ptr<Options> make(Options options = {}) {
  return std::make_shared<Options>(std::move(options));
}

void add_up(CLI::App& app, Parsed& parsed) {
  auto options = make<UpOptions>();
  CLI::App* command = app.add_subcommand("up", "Make a cluster on this machine, or start the one that is there");
  command->add_option("--name", options->name, "Its name (local-ha)")->type_name("NAME");
  command->add_option("--nodes", options->nodes, "PostgreSQL nodes, 1 to 7 (3); etcd always has 3 members")
      ->type_name("N");
  command
      ->add_option("--data-dir", options->data_dir,
                   "Folder for all of it (~/.local/share/pgdba/NAME, as root /var/lib/pgdba/NAME)")
      ->type_name("DIR");
  command
      ->add_option("--pg-bin-dir", options->pg_bin_dir, "Folder of PostgreSQL's programs (the newest tested one found)")
      ->type_name("DIR");
  command->add_option("--port-offset", options->port_offset, "Added to the ports 5432…, 8008…, 6432 (0)")
      ->type_name("N");
  command
      ->add_option("--profile", options->profile,
                   "fast: failover in seconds, ttl 3 s (default here); standard: ttl 10 s, for slow or shared machines")
      ->type_name("P");
  command->add_flag("--docker", options->docker,
                    "In containers: the compose project of deployments/docker, with its .env");
  command
      ->add_option("--compose-dir", options->compose_dir,
                   "With --docker: folder of docker-compose.yml (deployments/docker beside this program's folder)")
      ->type_name("DIR");
  command->add_option("--timeout", options->timeout_s, "Seconds to wait until it is ready (90)")
      ->check(CLI::Range(0.0, 1e6))->type_name("S");
  command->add_flag("--dry-run", parsed.terminal.dry_run, "Check and say what would be done; change nothing");
  command->add_flag("-y,--yes", parsed.terminal.yes, "Accepted; `up` asks nothing");
  add_output(*command, parsed);
  command->footer(
      "Examples:\n"
      "  pgdba up\n"
      "  pgdba up --name two --port-offset 100          a second cluster beside the first\n"
      "  pgdba up --nodes 5 --profile standard\n"
      "  pgdba up -o json > cluster.json                for scripts: progress is on stderr\n"
      "  pgdba up --docker                              the same in containers; down, logs, psql … know it, too\n"
      "With --docker, ports, passwords and timings are those of .env beside docker-compose.yml; where there is none, one is\n"
      "made with two random passwords.\n"
      "It may be called again at any time: it starts what is down, also after a reboot, and changes nothing else.");
  command->callback([options, &parsed] { parsed.run = [options](Context& context) { return up(context, *options); }; });
}

void add_down(CLI::App& app, Parsed& parsed) {
  auto options = make<DownOptions>();
  CLI::App* command = app.add_subcommand("down", "Stop a cluster of this machine; its data stays");
  add_target(*command, options->target, false);
  command->add_flag("--purge", options->purge,
                    "Delete everything, and make sure that no process, port or file is left");
  command->add_option("--timeout", options->timeout_s, "Seconds that a node may take to stop before it is killed (60)")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("S");
  add_consent(*command, parsed);
  add_output(*command, parsed);
  command->footer(
      "Examples:\n  pgdba down                  `pgdba up` brings it back\n  pgdba down --purge --yes    nothing is "
      "left");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return down(context, *options); }; });
}

void add_env(CLI::App& app, Parsed& parsed) {
  auto options = make<EnvOptions>();
  CLI::App* command =
      app.add_subcommand("env", "Print shell variables that make psql and every libpq program find the leader");
  add_target(*command, options->target, false);
  add_output(*command, parsed);
  command->footer(
      "Example:\n  eval \"$(pgdba env)\" && psql -c 'select now()'\nIt sets PGPASSFILE (a file of mode 0600), never "
      "PGPASSWORD.");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return env(context, *options); }; });
}

void add_psql(CLI::App& app, Parsed& parsed) {
  auto options = make<PsqlOptions>();
  CLI::App* command = app.add_subcommand("psql", "Become psql, connected to the leader");
  add_target(*command, options->target, false);
  command->add_flag("--replica", options->replica, "Connect to a replica instead (read-only)");
  command->add_option("arguments", options->arguments, "For psql, after --")->type_name("ARG");
  command->footer(
      "Examples:\n  pgdba psql\n  pgdba psql -- -c 'select pg_is_in_recovery()'\n  pgdba psql --replica -- -f "
      "report.sql");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return psql(context, *options); }; });
}

void add_logs(CLI::App& app, Parsed& parsed) {
  auto options = make<LogsOptions>();
  CLI::App* command =
      app.add_subcommand("logs", "Logs of all nodes, etcd, the pooler and the supervisor as one stream, ordered by time");
  command->add_option("source", options->sources, "Only these: a member, etcd, etcd1, pooler, supervisor")->type_name("SOURCE");
  add_target(*command, options->target, false);
  command->add_flag("-f,--follow", options->follow, "Go on with what is written from now on");
  command->add_option("-n,--lines", options->lines, "Last lines of each source to begin with (200; 0: all)")
      ->type_name("N");
  add_output(*command, parsed);
  command->footer("Examples:\n  pgdba logs -f\n  pgdba logs pg-primary -n 50\n  pgdba logs etcd supervisor");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return logs(context, *options); }; });
}

struct VerbText {
  Verb verb;
  const char* name;
  const char* about;
  const char* footer;
};

void add_verb(CLI::App& app, Parsed& parsed, const VerbText& text) {
  auto options = make<VerbOptions>();
  options->verb = text.verb;
  CLI::App* command = app.add_subcommand(text.name, text.about);
  command->add_option("target", options->what, "A member, primary, replica, etcd1, etcd-leader, pooler, all")
      ->type_name("TARGET");
  add_target(*command, options->target, false);
  auto no_wait = make<bool>();
  command->add_flag("--no-wait", *no_wait,
                    "Return when the processes are as wanted; do not watch what the cluster makes of it");
  command->add_option("--timeout", options->timeout_s, "Seconds to wait (60)")
      ->check(CLI::Range(0.0, 1e6))->type_name("S");
  add_consent(*command, parsed);
  add_output(*command, parsed);
  command->footer(text.footer);
  command->callback([options, no_wait, &parsed] {
    options->wait = !*no_wait;
    parsed.run = [options](Context& context) { return act_on(context, *options); };
  });
}

}  // namespace

CLI::App* add_status(CLI::App& parent, Parsed& parsed) {
  auto options = make<StatusOptions>();
  CLI::App* command = parent.add_subcommand("status", "Who leads, how far everybody is, what is wrong");
  add_target(*command, options->target, true);
  add_watch(*command, parsed);
  command->add_flag("--check", options->check,
                    "One line and the exit codes of a Nagios plug-in: 0 fine, 1 degraded, 2 no leader, 3 unknown");
  command
      ->add_option("--timeout", options->timeout_s,
                   "Seconds to wait for members that do not answer (0.4 here, 2 elsewhere)")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("S");
  add_output(*command, parsed);
  command->footer(
      "Examples:\n"
      "  pgdba status\n"
      "  pgdba status --watch=0.5\n"
      "  pgdba status -o json | jq .leader\n"
      "  pgdba cluster status --patroni-url http://db1:8008,http://db2:8008\n"
      "Unknown is `-` in the table and null in JSON, never 0. Exit code 1 without a leader, 5 when nobody answers.");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return status(context, *options); }; });
  return command;
}

void add_local_commands(CLI::App& app, Parsed& parsed) {
  add_up(app, parsed);
  add_down(app, parsed);
  add_status(app, parsed);
  add_env(app, parsed);
  add_psql(app, parsed);
  add_logs(app, parsed);
  static constexpr VerbText kVerbs[] = {
      {Verb::stop, "stop", "Stop a node or an etcd member cleanly; it stays down until `start`",
       "Examples:\n  pgdba stop primary         it hands over at once\n  pgdba stop etcd-leader"},
      {Verb::start, "start", "Start what was stopped or killed (without TARGET: everything that is down)",
       "Examples:\n  pgdba start\n  pgdba start pg-primary"},
      {Verb::kill, "kill", "SIGKILL to every process of a node at once: agent, guardian, PostgreSQL",
       "Examples:\n  pgdba kill primary         as a power failure; then watch: pgdba status\n  pgdba kill etcd1"},
      {Verb::freeze, "freeze", "SIGSTOP to every process of a node: it hangs, its connections stay open",
       "Example:\n  pgdba freeze primary       `pgdba thaw` continues it"},
      {Verb::thaw, "thaw", "SIGCONT to what was frozen (without TARGET: everything that is frozen)",
       "Example:\n  pgdba thaw"}};
  for (const VerbText& text : kVerbs) add_verb(app, parsed, text);
}

}  // namespace pgdba::cli
