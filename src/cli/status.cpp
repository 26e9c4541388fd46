// `pgdba status`, `pgdba cluster status`: one parallel round of requests, then one answer.
#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/status_view.h"

namespace pgdba::cli {

namespace {

// Nagios: 0 fine, 1 serves but something is wrong, 2 does not serve, 3 nobody could be asked.
int check_code(const Target& target, const FullSight& full) {
  if (full.sight.answers == 0) return target.managed ? 2 : 3;
  if (!full.sight.leader || !full.sight.leader_answers) return 2;
  return full.sight.problems.empty() && !full.sight.pause ? 0 : 1;
}

std::string check_line(const Target& target, const FullSight& full) {
  static constexpr const char* kWords[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
  std::vector<std::string> parts = full.sight.problems;
  if (full.sight.pause) parts.emplace_back("paused");
  std::string summary = parts.empty() ? fmt::format("leader {}, {} members", full.sight.leader.value_or("none"),
                                                    full.sight.members.size())
                                      : join(parts, "; ");
  uint64_t worst = 0;
  for (const MemberSight& member : full.sight.members) worst = std::max(worst, member.lag_bytes.value_or(0));
  return fmt::format("PGDBA {} - {}: {} | members={} answering={} max_lag_bytes={}\n", kWords[check_code(target, full)],
                     target.name.empty() ? full.sight.scope : target.name, summary, full.sight.members.size(),
                     full.sight.answers, worst);
}

}  // namespace

Done status(Context& context, const StatusOptions& options) {
  auto target = find_target(context, options.target);
  if (!target) {
    // A monitoring system must not take "no such cluster" for a warning.
    if (!options.check) return tl::unexpected(target.error());
    context.terminal.data("PGDBA UNKNOWN - " + target.error().text + "\n");
    return static_cast<Exit>(3);
  }
  std::optional<local::ActAs> act;
  if (target->managed) {
    auto identity = identity_of(*target);
    if (!identity) return tl::unexpected(identity.error());
    act.emplace(*identity);
  }
  Rest rest(context.loop, target->credentials, target->tls);
  Duration patience = options.timeout_s
                          ? std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*options.timeout_s))
                          : default_patience(*target);
  FullSight full = look(rest, *target, patience);
  if (options.check) {
    context.terminal.data(check_line(*target, full));
    return static_cast<Exit>(check_code(*target, full));
  }
  print_status(context.terminal, *target, full, context.loop.now());
  if (full.sight.answers > 0) return full.sight.leader ? Exit::done : Exit::failed;
  std::string next = target->managed ? "pgdba up --name " + target->name
                                     : "pgdba cluster status --patroni-url URL   with another address";
  return give_up(Exit::unreachable, "no member answers", next);
}

}  // namespace pgdba::cli
