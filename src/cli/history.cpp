// `pgdba cluster history`: one line for each time the primary changed.
#include <fmt/format.h>

#include "cli/action.h"

namespace pgdba::cli {

Done history(Context& context, const TargetOptions& target) {
  auto action = ClusterAction::begin(context, target);
  if (!action) return tl::unexpected(action.error());
  Terminal& terminal = context.terminal;
  Table table({"TL", "LSN", "TIME", "NEW LEADER", "REASON"});
  wire::JsonValue lines = wire::JsonValue::list();
  for (const model::HistoryLine& line : (*action)->before.history) {
    table.row({{fmt::format("{}", line.timeline), Tint::none, true},
               {format_lsn(line.switch_lsn), Tint::none, true},
               {line.timestamp},
               {line.new_leader},
               {line.reason}});
    auto time = parse_utc(line.timestamp);
    wire::JsonValue item;
    item.set("timeline", int64_t{line.timeline}).set("lsn", format_lsn(line.switch_lsn)).set("reason", line.reason);
    item.set("time", time ? wire::JsonValue(format_utc(*time)) : wire::JsonValue());
    lines.add(item.set("new_leader", line.new_leader.empty() ? wire::JsonValue() : wire::JsonValue(line.new_leader)));
  }
  switch (terminal.options().format) {
    case Format::table:
      if ((*action)->before.history.empty())
        terminal.say("the primary has not changed since the cluster was made");
      else
        terminal.data(table.render(terminal));
      break;
    case Format::tsv: terminal.data(table.tsv()); break;
    default: {
      wire::JsonValue out;
      terminal.show(
          out.set("schema_version", 1).set("scope", (*action)->before.scope).set("history", std::move(lines)));
    }
  }
  return Exit::done;
}

}  // namespace pgdba::cli
