// From argv to one command. Everything of CLI11 stays in arguments.cpp and commands_*.cpp: its exit codes and its
// answers to mistakes are not ours.
#pragma once

#include <functional>
#include <string>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace pgdba::cli {

// What the parser fills in. `run` is set by the subcommand that was given.
struct Parsed {
  TerminalOptions terminal;
  std::optional<double> watch_s;  // repeat until interrupted
  std::function<Done(Context&)> run;
};

void add_local_commands(CLI::App& app, Parsed& parsed);    // up down status env psql logs stop start kill freeze thaw
void add_cluster_commands(CLI::App& app, Parsed& parsed);  // cluster …

// Options that many commands share.
void add_output(CLI::App& command, Parsed& parsed);                      // -o, --color
void add_watch(CLI::App& command, Parsed& parsed);                       // --watch[=S], for commands that only read
void add_consent(CLI::App& command, Parsed& parsed);                     // --yes, --dry-run
void add_target(CLI::App& command, TargetOptions& target, bool by_url);  // --name, and --patroni-url, --cacert
CLI::App* add_status(CLI::App& parent, Parsed& parsed);                  // twice: `status` and `cluster status`

}  // namespace pgdba::cli
