// `pgdba cluster pause|resume`: maintenance mode, in force when every member that answers says so.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/action.h"

namespace pgdba::cli {

Done pause(Context& context, const PauseOptions& options) {
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  ClusterAction& action = **begun;
  Terminal& terminal = context.terminal;
  auto seen_by_all = [&](const Sight& sight) {
    return sight.answers > 0 && std::ranges::all_of(sight.members, [&](const MemberSight& member) {
             return !member.status || member.status->pause == options.pause;
           });
  };
  if (seen_by_all(action.before) && action.before.pause == options.pause) {
    terminal.say(options.pause ? "paused already; nothing was changed" : "not paused; nothing was changed");
    return Exit::done;
  }
  if (terminal.options().dry_run) {
    terminal.data(options.pause ? "would pause: no automatic failover until `pgdba cluster resume`\n"
                                : "would resume automatic failover\n");
    return Exit::done;
  }
  auto answer = action.send(best_endpoint(action.before), "PATCH", "/config",
                            options.pause ? "{\"pause\": true}" : "{\"pause\": null}", 10s);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status >= 300) return give_up(Exit::failed, message_of(*answer), action.status_command());
  auto after = action.wait_until(seen_by_all, context.loop.after(to_duration(options.timeout_s)));
  if (!after) {
    std::vector<std::string> late;
    for (const MemberSight& member : action.look_again().members) {
      if (member.status && member.status->pause != options.pause) late.push_back(member.name);
    }
    return give_up(Exit::timed_out, fmt::format("ordered, but not seen yet by {}", join(late, ", ")),
                   action.status_command());
  }
  std::vector<std::string> silent;
  for (const MemberSight& member : after->members) {
    if (!member.status) silent.push_back(member.name);
  }
  terminal.phase(options.pause ? "paused: no automatic failover until `pgdba cluster resume`"
                               : "resumed: failover is automatic again");
  if (!silent.empty()) terminal.warn(fmt::format("{} could not be asked and will see it later", join(silent, ", ")));
  return Exit::done;
}

}  // namespace pgdba::cli
