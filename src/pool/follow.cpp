#include "pool/follow.h"

#include <algorithm>
#include <array>

namespace pgdba::pool {

std::span<const RuleName> rule_names() {
  static constexpr std::array<RuleName, 8> names{{{"newest_term_only", &Rules::newest_term_only},
                                                  {"fresh_view_only", &Rules::fresh_view_only},
                                                  {"hold_in_switchover", &Rules::hold_in_switchover},
                                                  {"owes_nothing", &Rules::owes_nothing},
                                                  {"verify_first", &Rules::verify_first},
                                                  {"doubt_is_said", &Rules::doubt_is_said},
                                                  {"own_parameters", &Rules::own_parameters},
                                                  {"whole_messages", &Rules::whole_messages}}};
  return names;
}

std::optional<bool Rules::*> find_rule(std::string_view name) {
  for (const RuleName& rule : rule_names()) {
    if (rule.name == name) return rule.flag;
  }
  return std::nullopt;
}

Leadership leadership_of(const std::optional<LeaderKey>& leader, const std::optional<TermKey>& term) {
  Leadership out;
  if (leader) out.leader = leader->leader;
  if (term) out.last_own = term->term;
  if (leader && (!term || leader->create > term->mod)) {
    out.term = static_cast<uint64_t>(leader->create);
    return out;
  }
  out.own_term = term.has_value();
  out.term = out.last_own;
  if (leader && term->leader != leader->leader) out.leader.clear();  // cannot be; so nobody is lent
  return out;
}

uint64_t Succession::number_of(Leadership& now, uint64_t etcd, uint64_t system_identifier) {
  const uint64_t created = now.own_term || now.leader.empty() ? 0 : now.term;
  const bool other_etcd = etcd != etcd_;
  const bool other_cluster = system_identifier != 0 && system_identifier_ != 0 && system_identifier != system_identifier_;
  const bool older = number_ != 0 && !other_cluster && !(created != 0 && other_etcd) &&
                     (now.last_own < last_own_ || (now.last_own == last_own_ && created < created_));
  if (older) {
    now.leader.clear();
    return number_;
  }
  const bool same_patroni = created != 0 && created_ != 0 && now.leader == leader_ && !other_etcd;
  const bool same = number_ != 0 && !other_cluster && now.last_own == last_own_ && (created == created_ || same_patroni) &&
                    !(created != 0 && other_etcd);
  if (!same) ++number_;
  leader_ = now.leader;
  last_own_ = now.last_own;
  created_ = created;
  etcd_ = etcd;
  if (system_identifier != 0) system_identifier_ = system_identifier;
  return number_;
}

Micros LockTtl::follow(Micros configured, int64_t lock_mod) {
  const bool longer_counts = ttl_.count() == 0 || lock_mod != lock_mod_;
  ttl_ = longer_counts ? configured : std::min(ttl_, configured);
  lock_mod_ = lock_mod;
  return ttl_;
}

RouteState primary_route(const ClusterState& state, const Rules& rules) {
  RouteState route;
  const bool switching = state.switching && rules.hold_in_switchover;
  route.term = state.number;
  route.fresh_until = state.fresh_until;
  route.open = state.known && state.leader_reachable && !switching;
  if (!route.open) route.why = !state.known ? "the cluster is not known yet" : switching ? "a switchover" : "no leader";
  return route;
}

RouteState reader_route(const ClusterState& state) {
  RouteState route;
  route.open = state.known && state.any_member;
  return route;
}

std::string_view verify_question() {
  return "SELECT pg_catalog.pg_is_in_recovery(), (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
         " pg_catalog.current_setting('pgdba.term', true)";
}

std::string judge_server(const Server& server, const std::vector<std::optional<std::string>>& row, const Expected& expected) {
  if (row.size() != 3 || !row[0] || !row[1]) return "the server did not say what it is";
  if (expected.system_identifier != 0 && *row[1] != std::to_string(expected.system_identifier)) return "the server belongs to another cluster";
  if (server.pool->database->route != Route::primary) return {};
  if (*row[0] != "f") return "the server is not (yet) primary";
  if (server.term != expected.number) return "the primary has moved";
  // Its own word for which term it serves; written before it was promoted (ha.md, G5).
  if (expected.own_term && row[2] != std::to_string(expected.term)) return "the server serves another term";
  return {};
}

SwitchoverHold::Change SwitchoverHold::follow(const std::optional<SwitchoverKey>& key, const std::optional<std::string>& leader,
                                              uint64_t term, Moment now) {
  // One that drains, of the leader that we follow: hold. Anything else: do not; also one that its agent did not live to end.
  if (!key || key->step == SwitchoverKey::Step::over || key->term < term) seen_ = 0;
  else if (key->step == SwitchoverKey::Step::draining || seen_ == 0) seen_ = key->mod;
  const bool holds = seen_ != 0 && seen_ != given_up_ && leader && *leader == key->from;
  Change change = Change::none;
  if (holds && draining_ != seen_) {
    draining_ = seen_;
    until_ = now + key->hold;
    change = Change::begins;
  }
  // While nobody owns the key, the switchover is in its last step: the route is closed anyway.
  if (draining_ != 0 && !holds) {
    draining_ = 0;
    change = Change::over;
  }
  if (draining_ != 0 && now >= until_) {
    given_up_ = draining_;
    draining_ = 0;
    change = Change::gives_up;
  }
  return change;
}

Part part_of(int64_t holding_for, int in_flight) {
  if (holding_for == 0) return Part::open;
  return in_flight == 0 ? Part::drained : Part::holding;
}

bool must_write(int64_t written_at, Part written, uint64_t written_term, Part wanted, uint64_t wanted_term, int64_t holding_for) {
  if (written_at == 0 || wanted != written || wanted_term != written_term) return true;
  return wanted == Part::drained && written_at <= holding_for;
}

}  // namespace pgdba::pool
