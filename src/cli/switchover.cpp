// `pgdba cluster switchover` and `cluster failover`: another leader, by the cluster's own protocol (POST /switchover,
// /failover). What is unsafe is refused here with numbers before anything is sent; the members have the last word.
#include <fmt/format.h>

#include "base/text.h"
#include "cli/action.h"
#include "wire/patroni_rest.h"

namespace pgdba::cli {

namespace {

// Without synchronous replication only this bounds what a new leader may lack; Patroni's default of the setting.
constexpr uint64_t kFarBehind = 1048576;

bool sync_mode(const Sight& sight) {
  for (const MemberSight& member : sight.members) {
    if (member.in_sync()) return true;
  }
  return false;
}

// Why this member should not lead now; empty: it can.
std::string objection(const Sight& sight, const MemberSight& candidate) {
  if (!candidate.status) return fmt::format("{} is {}", candidate.name, candidate.state);
  if (candidate.status->tags.nofailover) return fmt::format("{} has the tag nofailover", candidate.name);
  if (!candidate.status->replica) return fmt::format("PostgreSQL of {} is {}", candidate.name, candidate.state);
  const MemberSight* leader = sight.leader_sight();
  if (leader && leader->timeline && candidate.timeline && *candidate.timeline < *leader->timeline) {
    return fmt::format("{} is on timeline {}, the leader on {}", candidate.name, *candidate.timeline,
                       *leader->timeline);
  }
  if (leader && candidate.lag_bytes && *candidate.lag_bytes > kFarBehind) {
    return fmt::format("{} is {} ({} bytes) behind {}", candidate.name, human_bytes(*candidate.lag_bytes),
                       *candidate.lag_bytes, leader->name);
  }
  return {};
}

// What a forced leader would lack, in words.
std::string possible_loss(const Sight& sight, const MemberSight& candidate) {
  if (!candidate.received) return fmt::format("{} has told no position", candidate.name);
  for (const MemberSight& other : sight.members) {
    std::optional<Lsn> theirs =
        other.status && other.status->primary ? std::optional(other.status->primary->location) : other.received;
    if (other.name != candidate.name && theirs && *theirs > *candidate.received) {
      return fmt::format("{} has received WAL up to {}, {} up to {}: {} more bytes", candidate.name,
                         format_lsn(*candidate.received), other.name, format_lsn(*theirs),
                         lag_bytes(*theirs, *candidate.received));
    }
  }
  return {};
}

Outcome<void> check_safe(const ClusterAction& action, const MoveOptions& options) {
  const Sight& before = action.before;
  const char* verb = options.failover ? "failover" : "switchover";
  if (!options.candidate.empty()) {
    auto candidate = action.member(options.candidate);
    if (!candidate) return tl::unexpected(candidate.error());
    if (before.leader == options.candidate)
      return give_up(Exit::refused, fmt::format("{} is the leader already", options.candidate),
                     action.status_command());
    std::string why = objection(before, **candidate);
    if (options.failover && !why.empty() && options.allow_data_loss && (*candidate)->status) why.clear();
    if (!why.empty())
      return give_up(Exit::refused, fmt::format("{} to {}: {}", verb, options.candidate, why), action.status_command());
    bool outside = sync_mode(before) && !(*candidate)->in_sync();
    if (outside && !options.failover) {
      return give_up(
          Exit::refused,
          fmt::format("{} is not in the synchronous set, so it may lack acknowledged writes", options.candidate),
          "a candidate whose SYNC is quorum or sync: " + action.status_command());
    }
    std::string loss = options.failover && !before.leader_answers ? possible_loss(before, **candidate) : std::string();
    if ((outside || !loss.empty()) && !options.allow_data_loss) {
      std::string reason =
          outside ? fmt::format("{} is not in the synchronous set and may lack acknowledged writes", options.candidate)
                  : loss;
      return give_up(Exit::refused, "failover would lose data: " + reason,
                     "another candidate, or the same command with --allow-data-loss");
    }
    return {};
  }
  std::vector<std::string> reasons;
  for (const MemberSight& member : before.members) {
    if (member.name == before.leader) continue;
    std::string why = objection(before, member);
    if (why.empty() && sync_mode(before) && !member.in_sync()) why = member.name + " is not in the synchronous set";
    if (why.empty()) return {};
    reasons.push_back(why);
  }
  return give_up(
      Exit::refused,
      fmt::format("no member can take over: {}", reasons.empty() ? "there is no other" : join(reasons, "; ")),
      action.status_command());
}

// A member that has just come back streams a moment before the leader counts on it: that is worth a wait, not a refusal.
Outcome<void> check_safe_soon(ClusterAction& action, const MoveOptions& options) {
  auto coming = [&](const Sight& sight) {
    return std::ranges::any_of(sight.members, [&](const MemberSight& member) {
      return (options.candidate.empty() || member.name == options.candidate) && sight.soon_in_sync(member);
    });
  };
  auto safe = check_safe(action, options);
  if (safe || options.failover || !coming(action.before)) return safe;
  auto later = action.wait_until([&](const Sight& sight) { return !coming(sight); }, action.context.loop.after(5s));
  if (later) action.before = *later;
  return check_safe(action, options);
}

}  // namespace

Done move_leader(Context& context, const MoveOptions& options) {
  auto begun = ClusterAction::begin(context, options.target);
  if (!begun) return tl::unexpected(begun.error());
  ClusterAction& action = **begun;
  Terminal& terminal = context.terminal;
  const Sight& before = action.before;
  if (options.failover && options.candidate.empty())
    return give_up(
        Exit::usage, "failover needs --candidate MEMBER",
        "pgdba cluster failover --candidate " + (before.members.size() > 1 ? before.members.back().name : "MEMBER"));
  if (!options.failover && !before.leader) {
    return give_up(Exit::refused, "there is no leader to switch over from",
                   "pgdba cluster failover --candidate MEMBER");
  }
  if (auto safe = check_safe_soon(action, options); !safe) return tl::unexpected(safe.error());
  std::string to = options.candidate.empty() ? "the best replica" : options.candidate;
  std::string from = before.leader.value_or("nobody");
  if (terminal.options().dry_run) {
    terminal.data(fmt::format("would {} from {} to {}\n", options.failover ? "fail over" : "switch over", from, to));
    return Exit::done;
  }
  std::string question = fmt::format("{} cluster {} from {} to {}?", options.failover ? "Fail over" : "Switch over",
                                     action.target.name.empty() ? before.scope : action.target.name, from, to);
  if (options.allow_data_loss) question += " Acknowledged writes may be lost.";
  if (auto sure = terminal.confirm(question); !sure) return tl::unexpected(sure.error());

  std::optional<WriteProbe> probe;
  if (action.target.managed) {
    probe.emplace(action.target);
    probe->wait_acknowledged(3, 1s);
  }
  wire::SwitchoverRequest request;
  request.switchover = !options.failover;
  request.leader = options.failover ? "" : *before.leader;
  request.candidate = options.candidate;
  terminal.restart_clock();
  BootTime deadline = context.loop.after(to_duration(options.timeout_s));
  auto answer = action.send(best_endpoint(before), "POST", options.failover ? "/failover" : "/switchover",
                            wire::format_switchover_request(request), to_duration(options.timeout_s));
  if (!answer && answer.error().exit != Exit::timed_out) return tl::unexpected(answer.error());
  if (answer && answer->status >= 400 && answer->status < 500)
    return give_up(Exit::refused, message_of(*answer), action.status_command());
  bool unsure = !answer || answer->status >= 500;
  // The member's word is not the effect: a running primary with the lock is.
  auto after = action.wait_until(
      [&](const Sight& sight) {
        if (unsure && sight.leader == before.leader && sight.leader_answers && answer)
          return true;  // it said that it failed, and so it looks
        return sight.leader && sight.leader_answers && sight.leader != before.leader;
      },
      deadline);
  if (!after)
    return give_up(Exit::timed_out, answer ? message_of(*answer) : answer.error().text, action.status_command());
  if (after->leader == before.leader) return give_up(Exit::failed, message_of(*answer), action.status_command());
  if (!options.candidate.empty() && after->leader != options.candidate) {
    return give_up(Exit::partly,
                   fmt::format("{} leads now, not {}: {}", *after->leader, options.candidate,
                               answer ? message_of(*answer) : "no answer"),
                   action.status_command());
  }
  terminal.phase(fmt::format("{} leads{}", *after->leader, gap_text(probe ? &*probe : nullptr)));
  probe.reset();
  const MemberSight* old = before.leader ? after->find(*before.leader) : nullptr;
  if (old != nullptr && old->status) {  // it answers: a member that is gone need not follow
    auto follows = action.wait_until(
        [&](const Sight& sight) {
          const MemberSight* member = sight.find(from);
          return member != nullptr && member->state == "streaming" && sight.leader == after->leader;
        },
        std::max(deadline, context.loop.after(10s)));
    if (!follows) return give_up(Exit::partly, fmt::format("{} leads, but {} does not follow yet", *after->leader, from), action.status_command());
    terminal.phase(fmt::format("{} follows", from));
  }
  if (terminal.options().format == Format::json || terminal.options().format == Format::yaml) {
    wire::JsonValue out;
    terminal.show(out.set("schema_version", 1)
                      .set("from", before.leader)
                      .set("to", after->leader)
                      .set("seconds", terminal.elapsed_seconds()));
  }
  return Exit::done;
}

}  // namespace pgdba::cli
