// `pgdba cluster restart|reload|reinit`: what is done to members one after the other. Replicas come first and the
// leader last, so that at most one node is away at a time.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/action.h"
#include "wire/patroni_rest.h"

namespace pgdba::cli {

namespace {

Outcome<std::vector<std::string>> chosen(const ClusterAction& action, const MembersOptions& options,
                                         bool all_by_default) {
  if (options.members.empty() && options.role.empty() && !options.pending && !all_by_default) {
    return give_up(Exit::usage, "say which member", "one of: " + join(action.before.names(), ", "));
  }
  std::vector<std::string> names;
  for (const std::string& name : options.members) {
    auto found = action.member(name);
    if (!found) return tl::unexpected(found.error());
    names.push_back(name);
  }
  if (names.empty()) names = action.before.names();
  bool wants_primary = options.role == "primary" || options.role == "leader";
  if (!options.role.empty() && !wants_primary && options.role != "replica")
    return give_up(Exit::usage, "--role is primary or replica, not " + options.role);
  std::erase_if(names, [&](const std::string& name) {
    const MemberSight* member = action.before.find(name);
    bool leads = action.before.leader == name;
    bool wrong_role = !options.role.empty() && leads != wants_primary;
    return wrong_role || (options.pending && !member->pending_restart.value_or(false));
  });
  std::ranges::stable_partition(names, [&](const std::string& name) { return action.before.leader != name; });
  return names;
}

// A member can only be asked itself.
Outcome<std::string> endpoint_of(const ClusterAction& action, const std::string& name) {
  const MemberSight* member = action.before.find(name);
  if (!member || member->endpoint.empty() || !member->status) {
    return give_up(Exit::unreachable,
                   fmt::format("{} does not answer here ({})", name, member ? member->state : "unknown"),
                   action.status_command());
  }
  return member->endpoint;
}

bool back_in(const Sight& sight, const std::string& name) {
  const MemberSight* member = sight.find(name);
  if (!member || !member->status) return false;
  return sight.leader == name ? sight.leader_answers : member->state == "streaming";
}

Exit summary(size_t done, size_t wanted) {
  return done == wanted ? Exit::done : done == 0 ? Exit::failed : Exit::partly;
}

Outcome<void> restart_one(ClusterAction& action, const MembersOptions& options, const std::string& name) {
  auto endpoint = endpoint_of(action, name);
  if (!endpoint) return tl::unexpected(endpoint.error());
  auto started = action.before.find(name)->status->postmaster_start_time;
  bool leads = action.before.leader == name;
  std::optional<WriteProbe> probe;
  if (leads && action.target.managed) {
    probe.emplace(action.target);
    probe->wait_acknowledged(3, 1s);
  }
  BootTime deadline = action.context.loop.after(to_duration(options.timeout_s));
  wire::RestartRequest request;
  request.restart_pending = options.pending;
  auto answer =
      action.send(*endpoint, "POST", "/restart", wire::format_restart_request(request), to_duration(options.timeout_s));
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status >= 300)
    return give_up(answer->status < 500 ? Exit::refused : Exit::failed,
                   fmt::format("{}: {}", name, message_of(*answer)), action.status_command());
  auto after = action.wait_until(
      [&](const Sight& sight) {
        const MemberSight* member = sight.find(name);
        return back_in(sight, name) && member->status->postmaster_start_time &&
               member->status->postmaster_start_time != started;
      },
      deadline);
  if (!after)
    return give_up(Exit::timed_out, fmt::format("{} was restarted ({}), but is not back in", name, message_of(*answer)),
                   action.status_command());
  action.context.terminal.phase(fmt::format("{} restarted{}{}", name, after->leader == name ? " and leads" : "",
                                            gap_text(probe ? &*probe : nullptr)));
  return {};
}

Outcome<void> reload_one(ClusterAction& action, const MembersOptions& options, const std::string& name) {
  auto endpoint = endpoint_of(action, name);
  if (!endpoint) return tl::unexpected(endpoint.error());
  auto answer = action.send(*endpoint, "POST", "/reload", "{}", to_duration(std::min(options.timeout_s, 10.0)));
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status >= 300)
    return give_up(Exit::failed, fmt::format("{}: {}", name, message_of(*answer)), action.status_command());
  action.context.terminal.phase(fmt::format("{}: {}", name, message_of(*answer)));
  return {};
}

Outcome<void> reinit_one(ClusterAction& action, const MembersOptions& options, const std::string& name) {
  auto endpoint = endpoint_of(action, name);
  if (!endpoint) return tl::unexpected(endpoint.error());
  auto started = action.before.find(name)->status->postmaster_start_time;
  BootTime deadline = action.context.loop.after(to_duration(options.timeout_s));
  wire::ReinitializeRequest request;
  request.force = options.force;
  auto answer = action.send(*endpoint, "POST", "/reinitialize", wire::format_reinitialize_request(request),
                            to_duration(std::min(options.timeout_s, 30.0)));
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status >= 300)
    return give_up(Exit::refused, fmt::format("{}: {}", name, message_of(*answer)), action.status_command());
  // Its data directory is another one when PostgreSQL runs again and was started anew.
  auto after = action.wait_until(
      [&](const Sight& sight) {
        const MemberSight* member = sight.find(name);
        return back_in(sight, name) && member->status->postmaster_start_time &&
               member->status->postmaster_start_time != started;
      },
      deadline);
  if (!after)
    return give_up(Exit::timed_out, fmt::format("{} is being cloned, but does not stream yet", name),
                   action.status_command());
  action.context.terminal.phase(fmt::format("{} was cloned anew and streams", name));
  return {};
}

using One = Outcome<void> (*)(ClusterAction&, const MembersOptions&, const std::string&);

Done for_each(ClusterAction& action, const MembersOptions& options, const std::vector<std::string>& names, One one) {
  action.context.terminal.restart_clock();
  size_t done = 0;
  std::optional<Failure> last;
  for (const std::string& name : names) {
    auto result = one(action, options, name);
    if (result) {
      ++done;
    } else if (last) {
      action.terminal().failure(*last);
      last = result.error();
    } else {
      last = result.error();
    }
    // The next one only while this one is back: never two nodes away at once.
    if (!result && one != reload_one) break;
  }
  if (!last) return Exit::done;
  if (summary(done, names.size()) == Exit::partly) last->exit = Exit::partly;
  return tl::unexpected(*last);
}

}  // namespace

Done restart(Context& context, const MembersOptions& options) {
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  ClusterAction& action = **begun;
  auto names = chosen(action, options, true);
  if (!names) return tl::unexpected(names.error());
  if (names->empty()) {
    context.terminal.say("no member to restart");
    return Exit::done;
  }
  bool leader = std::ranges::any_of(*names, [&](const std::string& name) { return action.before.leader == name; });
  if (context.terminal.options().dry_run) {
    context.terminal.data(fmt::format("would restart {}\n", join(*names, ", ")));
    return Exit::done;
  }
  auto sure = context.terminal.confirm(
      fmt::format("Restart PostgreSQL of {}?{}", join(*names, ", "),
                  leader ? " The leader is among them: writes are away for its restart." : ""));
  if (!sure) return tl::unexpected(sure.error());
  return for_each(action, options, *names, restart_one);
}

Done reload(Context& context, const MembersOptions& options) {
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  auto names = chosen(**begun, options, true);
  if (!names) return tl::unexpected(names.error());
  if (context.terminal.options().dry_run) {
    context.terminal.data(fmt::format("would reload {}\n", join(*names, ", ")));
    return Exit::done;
  }
  return for_each(**begun, options, *names, reload_one);
}

Done reinit(Context& context, const MembersOptions& options) {
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  ClusterAction& action = **begun;
  auto names = chosen(action, options, false);
  if (!names) return tl::unexpected(names.error());
  for (const std::string& name : *names) {
    if (action.before.leader == name)
      return give_up(Exit::refused, fmt::format("{} is the leader; its data is the cluster's", name),
                     "pgdba cluster switchover, then reinit");
  }
  if (!action.before.leader_answers)
    return give_up(Exit::refused, "there is no running leader to clone from", action.status_command());
  if (context.terminal.options().dry_run) {
    context.terminal.data(
        fmt::format("would delete the data of {} and clone it from the cluster\n", join(*names, ", ")));
    return Exit::done;
  }
  auto sure =
      context.terminal.confirm(fmt::format("Delete the data directory of {} and clone it anew?", join(*names, ", ")));
  if (!sure) return tl::unexpected(sure.error());
  return for_each(action, options, *names, reinit_one);
}

}  // namespace pgdba::cli
