#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <thread>

#include "base/text.h"
#include "base/version.h"
#include "cli/main.h"

namespace pgdba::cli {

namespace {

constexpr const char* kAbout =
    "PostgreSQL that fails over by itself and loses no acknowledged write.\n"
    "A cluster on this machine in one command, and the command line for any cluster that pgdba or Patroni runs.";

constexpr const char* kExamples =
    "Begin here:\n"
    "  pgdba up                            three PostgreSQL nodes and three etcd members on 127.0.0.1\n"
    "  pgdba up --docker                   the same in containers; every command below knows them, too\n"
    "  eval \"$(pgdba env)\" && psql         talk to the leader, whoever it is\n"
    "  pgdba status --watch                see who leads and how far everybody is\n"
    "  pgdba kill primary                  break it; `pgdba start` brings the node back\n"
    "  pgdba cluster switchover            move the leader without losing a write\n"
    "  pgdba down --purge                  remove everything\n"
    "\n"
    "A cluster that others run:\n"
    "  pgdba cluster connect --name prod --patroni-url http://db1:8008\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 refused as unsafe, 4 timed out, 5 unreachable, 6 partly done;\n"
    "            status --check: 0, 1, 2, 3 as Nagios.\n"
    "`pgdba COMMAND --help` has examples for each command.";

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_name().empty() && !command->get_group().empty()) out.push_back(command->get_name());
  }
  return out;
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
  }
  return out;
}

const CLI::App* deepest(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().back();
  return at;
}

std::string path_of(const CLI::App& app, const CLI::App* at) {
  std::string out;
  for (; at && at != &app; at = at->get_parent()) out = at->get_name() + (out.empty() ? "" : " ") + out;
  return out.empty() ? "pgdba" : "pgdba " + out;
}

int usage_error(const std::string& text, const std::string& next) {
  Terminal({}).failure({Exit::usage, text, next});
  return static_cast<int>(Exit::usage);
}

// A group without a command, or with an unknown one.
int which_command(const CLI::App& app, const CLI::App* group, const std::vector<std::string>& extras) {
  std::string path = path_of(app, group);
  std::vector<std::string> names = names_of(*group);
  if (extras.empty())
    return usage_error(fmt::format("which command? {} is one of: {}", path + " …", join(names, ", ")),
                       group == &app ? "pgdba up   or   pgdba --help" : path + " --help");
  if (extras.front().starts_with("-")) {
    auto guess = nearest(extras.front(), flags_of(*group));
    return usage_error(
        fmt::format("unknown option {}{}", extras.front(), guess ? fmt::format("; did you mean {}?", *guess) : ""),
        path + " --help");
  }
  auto guess = nearest(extras.front(), names);
  std::string text = fmt::format("unknown command {}", extras.front());
  if (guess)
    return usage_error(text + fmt::format("; did you mean {} {}?", path, *guess), fmt::format("{} {}", path, *guess));
  return usage_error(fmt::format("{}; {} has: {}", text, path, join(names, ", ")), path + " --help");
}

// CLI11 says "The following argument was not expected: --node".
int explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* at = deepest(app);
  std::string path = path_of(app, at);
  std::string text = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    std::vector<std::string> extras = at->remaining();
    if (extras.empty()) extras = app.remaining(true);
    std::string first = extras.empty() ? text : extras.front();
    std::string name = first.substr(0, first.find('='));
    auto guess = nearest(name, flags_of(*at));
    if (!name.starts_with("-"))
      return usage_error(fmt::format("{} takes no argument {}", path, first), path + " --help");
    return usage_error(
        fmt::format("{} has no option {}{}", path, name, guess ? fmt::format("; did you mean {}?", *guess) : ""),
        path + " --help");
  }
  return usage_error(text, path + " --help");
}

int run_command(const Parsed& parsed, Context& context) {
  context.terminal.begin();
  Done done = parsed.run(context);
  if (done) {
    if (*done == Exit::done) context.terminal.outcome({});
    return static_cast<int>(*done);
  }
  context.terminal.failure(done.error());
  context.terminal.outcome(done.error());
  return static_cast<int>(done.error().exit);
}

int run(const Parsed& parsed) {
  Context context{Terminal(parsed.terminal), Registry::of_caller(), {}};
  if (!parsed.watch_s) return run_command(parsed, context);
  for (;;) {
    if (context.terminal.tty_out() && context.terminal.table()) context.terminal.data("\x1b[H\x1b[2J");
    run_command(parsed, context);
    std::this_thread::sleep_for(std::chrono::duration<double>(*parsed.watch_s));
  }
}

}  // namespace

void add_output(CLI::App& command, Parsed& parsed) {
  static const std::map<std::string, Format> formats = {
      {"table", Format::table}, {"json", Format::json}, {"yaml", Format::yaml}, {"tsv", Format::tsv}};
  static const std::map<std::string, Colour> colours = {
      {"auto", Colour::automatic}, {"always", Colour::always}, {"never", Colour::never}};
  auto checked = [](const auto& words) {
    std::vector<std::string> names;
    for (const auto& [name, value] : words) names.push_back(name);
    return join(names, ", ");
  };
  command
      .add_option_function<std::string>(
          "-o,--output",
          [&parsed, checked](const std::string& word) {
            auto found = formats.find(word);
            if (found == formats.end())
              throw CLI::ValidationError("-o", fmt::format("{} is none of {}", word, checked(formats)));
            parsed.terminal.format = found->second;
          },
          "table, json, yaml or tsv")
      ->type_name("FORMAT");
  command
      .add_option_function<std::string>(
          "--color",
          [&parsed, checked](const std::string& word) {
            auto found = colours.find(word);
            if (found == colours.end())
              throw CLI::ValidationError("--color", fmt::format("{} is none of {}", word, checked(colours)));
            parsed.terminal.colour = found->second;
          },
          "auto (also obeys NO_COLOR), always or never")
      ->type_name("WHEN");
}

void add_watch(CLI::App& command, Parsed& parsed) {
  auto text = std::make_shared<std::string>();
  auto* option = command.add_option("--watch", *text, "Repeat each S seconds (2) until interrupted")
                     ->expected(0, 1)
                     ->type_name("S");
  // Runs before the command's own callback.
  command.parse_complete_callback([text, option, &parsed] {
    if (option->count() == 0) return;
    char* end = nullptr;
    double seconds = text->empty() ? 2 : std::strtod(text->c_str(), &end);
    if (!text->empty() && (*end != '\0' || !(seconds > 0)))
      throw CLI::ValidationError("--watch", *text + " is no number of seconds");
    parsed.watch_s = std::max(0.05, seconds);
  });
}

void add_consent(CLI::App& command, Parsed& parsed) {
  command.add_flag("-y,--yes", parsed.terminal.yes, "Answer every question with yes");
  command.add_flag("--dry-run", parsed.terminal.dry_run, "Check and say what would be done; change nothing");
}

void add_target(CLI::App& command, TargetOptions& target, bool by_url) {
  command.add_option("--name", target.name, "The cluster; not needed when only one is known")->type_name("NAME");
  if (!by_url) return;
  command
      .add_option("--patroni-url", target.patroni_url,
                  "A cluster that is not registered, by the REST address of one or more members")
      ->type_name("URL[,URL]");
  command.add_option("--cacert", target.cacert, "Certificates that https members must have been signed with")
      ->type_name("FILE");
}

int main(int argc, char** argv) {
  CLI::App app(kAbout, "pgdba");
  Parsed parsed;
  bool version = false;
  app.add_flag("-V,--version", version, "Print the version");
  app.footer(kExamples);
  app.get_formatter()->column_width(26);
  add_local_commands(app, parsed);
  add_cluster_commands(app, parsed);
  app.allow_extras();  // an unknown word is ours to explain; set last, for subcommands would inherit it
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return 0;
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  if (version) {
    std::cout << fmt::format("pgdba {} (REST API, etcd keys and patroni.yml of Patroni {}; PostgreSQL 13 to 18)\n",
                             kVersion, kPatroniVersion);
    return 0;
  }
  const CLI::App* at = deepest(app);
  if (!parsed.run) return which_command(app, at, at->remaining());
  if (!app.remaining().empty()) return which_command(app, &app, app.remaining());
  return run(parsed);
}

}  // namespace pgdba::cli
