// `pgdba cluster list` and `cluster forget`: the registry of this user.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "local/files.h"

namespace pgdba::cli {

Done list(Context& context) {
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  Terminal& terminal = context.terminal;
  wire::JsonValue clusters = wire::JsonValue::list();
  Table table({"NAME", "KIND", "SCOPE", "WHERE"});
  for (const Registered& entry : *known) {
    std::vector<std::string> endpoints;
    wire::JsonValue item, links = wire::JsonValue::list();
    for (const auto& member : entry.members) {
      if (member.endpoint.empty()) continue;
      endpoints.push_back(member.endpoint);
      links.add(member.endpoint);
    }
    std::string scope = entry.managed && entry.compose.empty() ? entry.name : entry.scope;
    item.set("name", entry.name)
        .set("kind", entry.kind())
        .set("managed", entry.managed)
        .set("scope", scope);
    item.set("data_dir", entry.managed ? wire::JsonValue(entry.root) : wire::JsonValue())
        .set("endpoints", std::move(links));
    if (!entry.compose.empty()) item.set("compose_dir", entry.compose);
    clusters.add(item.set("added", format_utc(entry.added)));
    table.row({{entry.name, Tint::bold, false},
               {entry.kind()},
               {scope},
               {!entry.compose.empty() ? entry.compose : entry.managed ? entry.root : join(endpoints, " ")}});
  }
  switch (terminal.options().format) {
    case Format::table:
      if (known->empty()) {
        terminal.say(
            "no cluster is known here; next: pgdba up   or   pgdba cluster connect --name N --patroni-url URL");
      } else {
        terminal.data(table.render(terminal));
      }
      break;
    case Format::tsv: terminal.data(table.tsv()); break;
    default: {
      wire::JsonValue out;
      terminal.show(out.set("schema_version", 1).set("clusters", std::move(clusters)));
    }
  }
  return Exit::done;
}

Done forget(Context& context, const std::string& name) {
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  auto entry = std::ranges::find(*known, name, &Registered::name);
  if (entry == known->end()) {
    std::vector<std::string> names;
    for (const Registered& other : *known) names.push_back(other.name);
    auto guess = nearest(name, names);
    return give_up(
        Exit::usage,
        fmt::format("no cluster is named {}{}", name, guess ? fmt::format("; did you mean {}?", *guess) : ""),
        "pgdba cluster list");
  }
  // Forgetting a cluster of this machine would leave processes and data that no command finds any more.
  if (entry->managed && local::exists(entry->root + "/cluster.json")) {
    return give_up(Exit::refused,
                   fmt::format("{} was made here by `pgdba up` and its data is in {}", name,
                               entry->compose.empty() ? entry->root : "the volumes of " + entry->compose),
                   fmt::format("pgdba down --name {} --purge", name));
  }
  if (context.terminal.options().dry_run) {
    context.terminal.data(fmt::format("would forget {}\n", name));
    return Exit::done;
  }
  auto removed = context.registry.remove(name);
  if (!removed) return tl::unexpected(removed.error());
  context.terminal.say(fmt::format("{} is forgotten; nothing was changed in the cluster itself", name));
  return Exit::done;
}

}  // namespace pgdba::cli
