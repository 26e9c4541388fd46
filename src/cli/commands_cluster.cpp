#include <CLI/CLI.hpp>
#include <memory>

#include "cli/arguments.h"

namespace pgdba::cli {

namespace {

void add_connect(CLI::App& group, Parsed& parsed) {
  auto options = std::make_shared<ConnectOptions>();
  CLI::App* command =
      group.add_subcommand("connect", "Register a cluster that pgdba or Patroni runs, from the address of any member");
  command->add_option("--name", options->name, "What it is called here")->type_name("NAME")->required();
  command->add_option("--patroni-url", options->patroni_url, "REST address of one or more members")
      ->type_name("URL[,URL]")
      ->required();
  command->add_option("--pg-host", options->pg_host, "Where its PostgreSQL is reached from here, if not as published")
      ->type_name("HOST");
  command
      ->add_option("--pg-port", options->pg_port,
                   "Port of the first member there; the next members are on the next ports")
      ->type_name("PORT")
      ->check(CLI::Range(1, 65535));
  command->add_option("--cacert", options->cacert, "Certificates that https members must have been signed with")
      ->type_name("FILE");
  command->add_flag("--replace", options->replace, "Replace an entry of this name");
  command->add_option("--timeout", options->timeout_s, "Seconds to wait for an answer (5)")
      ->check(CLI::Range(0.0, 1e6))->type_name("S");
  command->add_flag("--dry-run", parsed.terminal.dry_run, "Say what was found; register nothing");
  command->add_flag("-y,--yes", parsed.terminal.yes, "Accepted; nothing is asked");
  add_output(*command, parsed);
  command->footer(
      "Examples:\n"
      "  pgdba cluster connect --name prod --patroni-url http://db1:8008,http://db2:8008\n"
      "  pgdba cluster connect --name local-ha --patroni-url http://localhost:8008 --pg-host localhost\n"
      "Credentials of the REST API come from PGDBA_REST_USER and PGDBA_REST_PASSWORD, or from ~/.pgdba/credentials\n"
      "(mode 0600, lines NAME:USER:PASSWORD, * for any cluster).");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return connect(context, *options); }; });
}

void add_registry(CLI::App& group, Parsed& parsed) {
  CLI::App* all = group.add_subcommand("list", "The clusters that are known here");
  add_watch(*all, parsed);
  add_output(*all, parsed);
  all->callback([&parsed] { parsed.run = list; });
  auto name = std::make_shared<std::string>();
  CLI::App* command =
      group.add_subcommand("forget", "Remove a cluster from the list; the cluster itself is not touched");
  auto* positional = command->add_option("cluster", *name, "The cluster")->type_name("NAME");
  command->add_option("--name", *name, "The same")->type_name("NAME")->excludes(positional);
  add_consent(*command, parsed);
  add_output(*command, parsed);
  command->callback([name, &parsed] {
    if (name->empty()) throw CLI::RequiredError("NAME");
    parsed.run = [name](Context& context) { return forget(context, *name); };
  });
}

void add_history(CLI::App& group, Parsed& parsed) {
  auto target = std::make_shared<TargetOptions>();
  CLI::App* command = group.add_subcommand("history", "When and why the primary changed");
  add_target(*command, *target, true);
  add_watch(*command, parsed);
  add_output(*command, parsed);
  command->callback(
      [target, &parsed] { parsed.run = [target](Context& context) { return history(context, *target); }; });
}

void add_move(CLI::App& group, Parsed& parsed, bool failover) {
  auto options = std::make_shared<MoveOptions>();
  options->failover = failover;
  CLI::App* command =
      failover ? group.add_subcommand("failover",
                                      "Make a member the leader although there is none, or against the usual choice")
               : group.add_subcommand("switchover", "Move the leader to another member without losing a write");
  add_target(*command, options->target, true);
  command
      ->add_option("--candidate", options->candidate, failover ? "The new leader" : "The new leader (the best replica)")
      ->type_name("MEMBER");
  if (failover)
    command->add_flag("--allow-data-loss", options->allow_data_loss,
                      "Accept that acknowledged writes which the candidate lacks are lost");
  command->add_option("--timeout", options->timeout_s, "Seconds to wait for the new leader (60)")
      ->check(CLI::Range(0.0, 1e6))->type_name("S");
  add_consent(*command, parsed);
  add_output(*command, parsed);
  command->footer(failover ? "Example:\n  pgdba cluster failover --candidate pg-replica-1"
                           : "Examples:\n  pgdba cluster switchover\n  pgdba cluster switchover --candidate "
                             "pg-replica-1 --yes\n  pgdba cluster switchover --dry-run");
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return move_leader(context, *options); }; });
}

struct MembersText {
  const char* name;
  const char* about;
  Done (*run)(Context&, const MembersOptions&);
  const char* footer;
};

void add_members(CLI::App& group, Parsed& parsed, const MembersText& text) {
  auto options = std::make_shared<MembersOptions>();
  CLI::App* command = group.add_subcommand(text.name, text.about);
  command->add_option("member", options->members, "These members")->type_name("MEMBER");
  add_target(*command, options->target, true);
  std::string name = text.name;
  if (name != "reinit")
    command->add_option("--role", options->role, "Only members of this role: primary, replica")->type_name("ROLE");
  if (name == "restart")
    command->add_flag("--pending", options->pending, "Only members with a setting that waits for a restart");
  if (name == "reinit") command->add_flag("--force", options->force, "Also when another job runs on that member");
  command->add_option("--timeout", options->timeout_s, "Seconds for each member (120)")
      ->check(CLI::Range(0.0, 1e6))->type_name("S");
  add_consent(*command, parsed);
  add_output(*command, parsed);
  command->footer(text.footer);
  auto run = text.run;
  command->callback(
      [options, run, &parsed] { parsed.run = [options, run](Context& context) { return run(context, *options); }; });
}

void add_pause(CLI::App& group, Parsed& parsed, bool pause_it) {
  auto options = std::make_shared<PauseOptions>();
  options->pause = pause_it;
  CLI::App* command = pause_it ? group.add_subcommand("pause", "Maintenance mode: no automatic failover")
                               : group.add_subcommand("resume", "End of maintenance mode");
  add_target(*command, options->target, true);
  command->add_option("--timeout", options->timeout_s, "Seconds until every member must have seen it (30)")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("S");
  add_consent(*command, parsed);
  add_output(*command, parsed);
  command->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return pause(context, *options); }; });
}

void add_config(CLI::App& group, Parsed& parsed) {
  CLI::App* config = group.add_subcommand("config", "The configuration that all members share");
  auto shown = std::make_shared<ConfigOptions>();
  CLI::App* show = config->add_subcommand("show", "Print it, as YAML that `config set --file` takes");
  add_target(*show, shown->target, true);
  add_watch(*show, parsed);
  add_output(*show, parsed);
  show->callback([shown, &parsed] { parsed.run = [shown](Context& context) { return config_show(context, *shown); }; });
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* set = config->add_subcommand("set", "Change settings for all members");
  set->add_option("assignment", options->assignments, "PATH=VALUE; null removes")->type_name("PATH=VALUE");
  set->add_option("--file", options->file, "Merge in a YAML or JSON document (-: stdin)")->type_name("FILE");
  add_target(*set, options->target, true);
  add_consent(*set, parsed);
  add_output(*set, parsed);
  set->footer(
      "Examples:\n"
      "  pgdba cluster config set ttl=10 loop_wait=3\n"
      "  pgdba cluster config set postgresql.parameters.work_mem=8MB\n"
      "  pgdba cluster config set postgresql.parameters.work_mem=null\n"
      "  pgdba cluster config set --file changes.yml --dry-run");
  config->allow_extras();
  set->callback(
      [options, &parsed] { parsed.run = [options](Context& context) { return config_set(context, *options); }; });
}

}  // namespace

void add_cluster_commands(CLI::App& app, Parsed& parsed) {
  CLI::App* group = app.add_subcommand("cluster", "Commands for any cluster that pgdba or Patroni runs");
  add_connect(*group, parsed);
  add_registry(*group, parsed);
  add_status(*group, parsed);
  add_history(*group, parsed);
  add_move(*group, parsed, false);
  add_move(*group, parsed, true);
  static constexpr MembersText kMembers[] = {
      {"restart", "Restart PostgreSQL of members, replicas first and one at a time", restart,
       "Examples:\n  pgdba cluster restart pg-replica-1\n  pgdba cluster restart --pending --yes"},
      {"reload", "Let members read their configuration again", reload, "Example:\n  pgdba cluster reload"},
      {"reinit", "Delete a replica's data and clone it anew", reinit, "Example:\n  pgdba cluster reinit pg-replica-1"}};
  for (const MembersText& text : kMembers) add_members(*group, parsed, text);
  add_pause(*group, parsed, true);
  add_pause(*group, parsed, false);
  add_config(*group, parsed);
  group->allow_extras();
  group->footer(
      "Examples:\n  pgdba cluster connect --name prod --patroni-url http://db1:8008\n  pgdba cluster status --name "
      "prod\n  pgdba cluster switchover --name prod");
}

}  // namespace pgdba::cli
