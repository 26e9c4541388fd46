// `pgdba cluster config show|set`: the dynamic configuration that all members read from etcd.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <iterator>

#include "base/text.h"
#include "cli/action.h"
#include "conf/patroni_yaml.h"
#include "local/files.h"
#include "wire/config_json.h"

namespace pgdba::cli {

namespace {

Outcome<std::string> fetch(ClusterAction& action) {
  auto answer = action.send(best_endpoint(action.before), "GET", "/config", "", 5s);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status != 200) return give_up(Exit::failed, message_of(*answer), action.status_command());
  return answer->body;
}

Outcome<std::string> read_document(const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    local::ActAsCaller caller;
    auto read = local::read_file(file);
    if (!read) return tl::unexpected(as_failure(read.error()));
    text = std::move(*read);
  }
  auto json = conf::yaml_to_json({file == "-" ? "stdin" : file, text});  // JSON is YAML
  if (!json) return give_up(Exit::usage, json.error().text);
  return *json;
}

// All that was asked for as one patch.
Outcome<std::string> build_patch(const ConfigOptions& options) {
  std::string patch = "{}";
  auto merge = [&](const std::string& more) -> Outcome<void> {
    // A removal must stay in the patch, so they are merged as trees and not as patches.
    auto base = wire::parse_json_value(patch), add = wire::parse_json_value(more);
    if (!base || !add || !add->as_object()) return give_up(Exit::usage, "the document is no map of settings");
    auto merged = [](auto&& self, wire::JsonValue into, const wire::JsonValue& from) -> wire::JsonValue {
      if (!into.as_object() || !from.as_object()) return from;
      for (const auto& [name, value] : *from.as_object()) into.set(name, self(self, into[name], value));
      return into;
    };
    patch = wire::format_json_value(merged(merged, *base, *add), JsonStyle::compact);
    return {};
  };
  if (!options.file.empty()) {
    auto document = read_document(options.file);
    if (!document) return document;
    if (auto done = merge(*document); !done) return tl::unexpected(done.error());
  }
  for (const std::string& assignment : options.assignments) {
    auto one = wire::config_patch_from_assignment(assignment);
    if (!one)
      return give_up(Exit::usage, one.error().text,
                     "pgdba cluster config set postgresql.parameters.work_mem=8MB   (null removes)");
    if (auto done = merge(*one); !done) return tl::unexpected(done.error());
  }
  return patch;
}

std::string describe_changes(const std::vector<wire::ConfigChange>& changes) {
  std::string out;
  for (const auto& change : changes) {
    out += fmt::format("  {}: {} -> {}\n", change.path, change.before.empty() ? "(not set)" : change.before,
                       change.after.empty() ? "(not set)" : change.after);
  }
  return out;
}

}  // namespace

Done config_show(Context& context, const ConfigOptions& options) {
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  auto text = fetch(**begun);
  if (!text) return tl::unexpected(text.error());
  auto value = wire::parse_json_value(*text);
  if (!value) return give_up(Exit::failed, value.error().text);
  // People read the settings themselves, as YAML that `config set --file` takes; scripts get the envelope of all commands.
  const Terminal& terminal = context.terminal;
  switch (terminal.options().format) {
    case Format::table: terminal.data(wire::format_yaml_value(*value)); break;
    case Format::tsv: {
      Table table({"PATH", "VALUE"});
      auto settings = wire::diff_config("{}", *text);
      if (!settings) return give_up(Exit::failed, settings.error().text);
      for (const auto& setting : *settings) table.row({{setting.path}, {setting.after}});
      terminal.data(table.tsv());
      break;
    }
    default: {
      wire::JsonValue out;
      terminal.show(out.set("schema_version", 1).set("scope", (*begun)->before.scope).set("config", std::move(*value)));
    }
  }
  return Exit::done;
}

Done config_set(Context& context, const ConfigOptions& options) {
  if (options.assignments.empty() && options.file.empty())
    return give_up(Exit::usage, "nothing to set", "pgdba cluster config set ttl=5 postgresql.parameters.work_mem=8MB");
  auto patch = build_patch(options);
  if (!patch) return tl::unexpected(patch.error());
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  ClusterAction& action = **begun;
  Terminal& terminal = context.terminal;
  auto current = fetch(action);
  if (!current) return tl::unexpected(current.error());
  auto patched = wire::patch_config(*current, *patch);
  if (!patched) return give_up(Exit::failed, patched.error().text);
  if (!patched->changed) {
    terminal.say("it is like that already; nothing was changed");
    return Exit::done;
  }
  // What was wrong before is not this command's doing.
  std::vector<std::string> old_problems = wire::check_dynamic_config(*current);
  std::vector<std::string> problems = wire::check_dynamic_config(patched->json);
  std::erase_if(problems, [&](const std::string& problem) {
    return std::ranges::find(old_problems, problem) != old_problems.end();
  });
  if (!problems.empty()) return give_up(Exit::refused, join(problems, "; "), "pgdba cluster config show");
  auto changes = wire::diff_config(*current, patched->json);
  if (!changes) return give_up(Exit::failed, changes.error().text);
  if (terminal.options().dry_run) {
    terminal.data("would change\n" + describe_changes(*changes));
    return Exit::done;
  }
  terminal.say("changes for all members:\n" +
               std::string(trim(describe_changes(*changes)).empty()
                               ? ""
                               : describe_changes(*changes).substr(0, describe_changes(*changes).size() - 1)));
  if (auto sure = terminal.confirm("Write them?"); !sure) return tl::unexpected(sure.error());
  auto answer = action.send(best_endpoint(action.before), "PATCH", "/config", *patch, 10s);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status == 409)
    return give_up(Exit::failed, "somebody else changed the configuration meanwhile: " + message_of(*answer),
                   "the same command again");
  if (answer->status >= 300)
    return give_up(answer->status < 500 ? Exit::refused : Exit::failed, message_of(*answer),
                   "pgdba cluster config show");
  // Patroni answers by what its last round saw: for a moment still what was.
  auto in_force = [&](const Sight&) {
    auto now = fetch(action);
    auto rest = now ? wire::diff_config(patched->json, *now) : fail(Errc::unavailable, "");
    return rest && rest->empty();
  };
  if (!action.wait_until(in_force, context.loop.after(10s)))
    return give_up(Exit::failed, "the configuration is not what was written", "pgdba cluster config show");
  terminal.phase("written; members apply what PostgreSQL accepts of it");
  // Which settings wait for a restart is known when the members have reloaded.
  bool parameters = std::ranges::any_of(
      *changes, [](const wire::ConfigChange& change) { return change.path.starts_with("postgresql.parameters"); });
  if (!parameters) return Exit::done;
  auto pending = action.wait_until(
      [](const Sight& sight) {
        return std::ranges::all_of(sight.members, [](const MemberSight& member) {
          return !member.status || member.pending_restart.value_or(false);
        });
      },
      context.loop.after(1s));
  Sight seen = pending ? *pending : action.look_again();
  std::vector<std::string> names;
  for (const MemberSight& member : seen.members) {
    if (member.pending_restart.value_or(false)) names.push_back(member.name);
  }
  if (!names.empty())
    terminal.warn(
        fmt::format("takes effect after a restart of {}: pgdba cluster restart --pending", join(names, ", ")));
  return Exit::done;
}

}  // namespace pgdba::cli
