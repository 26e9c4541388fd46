#include "wire/rest_switchover.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace pgdba::wire {

namespace {

using model::ClusterView;

std::string_view action_of(const SwitchoverRequest& r) {
  return r.switchover ? "switchover" : "failover";
}
std::string_view title_of(const SwitchoverRequest& r) {
  return r.switchover ? "Switchover" : "Failover";
}

std::string leader_of(const ClusterView& view) {
  return view.leader ? view.leader->value : "";
}

// The leader recorded in `sync` or one of its standbys; names compare without case, as in Patroni.
bool in_sync(const ClusterView& view, std::string_view name) {
  if (!view.sync || view.sync->value.leader.empty()) return false;
  return std::ranges::any_of(view.sync->value.standbys,
                             [&](const std::string& standby) { return iequals(standby, name); });
}

}  // namespace

Parsed<std::vector<std::string>> precheck_switchover(const SwitchoverRequest& r, const ClusterView& view) {
  if (r.scheduled_at) return std::vector<std::string>();
  auto refuse = [](std::string text) { return tl::unexpected(RestAnswer{412, std::move(text)}); };
  std::string leader = leader_of(view);
  bool must_be_sync = view.config && view.config->value.synchronous_mode == model::SyncMode::priority;
  if (!r.leader.empty() && r.leader != leader) return refuse("leader name does not match");
  if (!r.candidate.empty()) {
    if (r.switchover && must_be_sync && !in_sync(view, r.candidate))
      return refuse("candidate name does not match with sync_standby");
    if (!view.members.contains(r.candidate)) return refuse("candidate does not exists");
    return std::vector<std::string>{r.candidate};
  }
  std::vector<std::string> names;
  for (const auto& [name, member] : view.members) {
    if (must_be_sync ? in_sync(view, name) : name != leader && !member.value.api_url.empty()) names.push_back(name);
  }
  if (!names.empty()) return names;
  return refuse(
      fmt::format("{} is not possible: {}", action_of(r),
                  must_be_sync ? "can not find sync_standby" : "cluster does not have members except leader"));
}

std::optional<std::string> failover_limitation(const PeerAnswer& peer) {
  if (!peer.status || !peer.status->has_position()) return "not reachable";
  if (!peer.status->tags.may_lead()) return "not allowed to promote";
  if (peer.status->watchdog_failed) return "not watchdog capable";
  return std::nullopt;
}

std::optional<RestAnswer> judge_candidates(const SwitchoverRequest& r, const std::vector<PeerAnswer>& polled) {
  if (r.scheduled_at) return std::nullopt;
  if (std::ranges::any_of(polled, [](const PeerAnswer& peer) { return !failover_limitation(peer); }))
    return std::nullopt;
  return RestAnswer{412, fmt::format("{} is not possible: no good candidates have been found", action_of(r))};
}

std::optional<RestAnswer> judge_progress(const SwitchoverRequest& r, std::string_view leader_before,
                                         const ClusterView& view) {
  std::string leader = leader_of(view);
  if (!leader.empty() && leader != leader_before) {
    std::string_view verb = r.switchover ? "switched" : "failed";
    if (r.candidate.empty() || r.candidate == leader) {
      return RestAnswer{200, fmt::format("Successfully {} over to \"{}\"", verb, leader)};
    }
    verb = r.switchover ? "Switched" : "Failed";
    return RestAnswer{200, fmt::format("{} over to \"{}\" instead of \"{}\"", verb, leader, r.candidate)};
  }
  if (!view.failover || !view.failover->value.present()) return RestAnswer{503, fmt::format("{} failed", title_of(r))};
  return std::nullopt;
}

RestAnswer switchover_status_unknown(const SwitchoverRequest& r, int64_t waited_seconds) {
  return {503, fmt::format("{} status unknown after {} seconds; operation may still be in progress", title_of(r),
                           waited_seconds)};
}

RestAnswer switchover_scheduled(const SwitchoverRequest& r) {
  return {202, fmt::format("{} scheduled", title_of(r))};
}

RestAnswer switchover_not_written() {
  return {503, "failed to write failover key into DCS"};
}

}  // namespace pgdba::wire
