// POST /switchover and /failover: Patroni's checks, then the `failover` key; the leader's core acts on it. The answer waits
// for the effect to be seen in etcd.
#include <fmt/format.h>

#include <algorithm>

#include "agent/rest/api.h"
#include "wire/cluster_json.h"
#include "wire/keys.h"

namespace pgdba::agent::rest {

using wire::RestAnswer;

namespace {

// Why the leader did not do it, which its core leaves in the switchover's record. What was refused before anything began is
// no failure.
RestAnswer with_reason(RestAnswer answer, const model::ClusterView& view, model::Revision ordered_at) {
  if (answer.code < 400 || !view.switchover || view.switchover->mod <= ordered_at) return answer;
  const model::Switchover& record = view.switchover->value;
  if (record.state != model::Switchover::State::aborted) return answer;
  if (record.refused) {
    answer.code = 412;
    answer.text = "switchover is not possible: no good candidates have been found";
  }
  answer.why = record.reason;
  return answer;
}

constexpr Duration kAskBudget = 2s;  // Patroni's
constexpr Duration kWriteBudget = 5s;

bool in_progress(const model::ClusterView& view) {
  if (!view.switchover) return false;
  const auto state = view.switchover->value.state;
  return (state == model::Switchover::State::draining || state == model::Switchover::State::stopped) && view.leader &&
         view.leader->value == view.switchover->value.from;
}

}  // namespace

Task<RestAnswer> Api::switchover(const Call& call, bool is_switchover) {
  const model::ClusterView* view = node_.cluster();
  if (view == nullptr) co_return RestAnswer{503, "etcd has not been read yet", true};
  const bool paused = view->config && view->config->value.pause;
  auto request = wire::parse_switchover_request(is_switchover, call.body, paused, node_.wall());
  if (!request) co_return request.error();
  // The leader carries it out, and in pause nobody elects one.
  if (paused && !view->leader) {
    co_return RestAnswer{503, fmt::format("{} is not possible: there is no leader, and in the paused state nobody becomes one; resume first", is_switchover ? "switchover" : "failover"), false};
  }
  auto to_ask = wire::precheck_switchover(*request, *view);
  if (!to_ask) co_return to_ask.error();
  // Two orders at once: Patroni lets the second overwrite the first. Here the second would only confuse what already runs.
  if (!request->scheduled_at && (in_progress(*view) || (view->failover && view->failover->value.present() && !view->failover->value.scheduled_at))) {
    co_return RestAnswer{503, fmt::format("{} is already in progress", view->failover && view->failover->value.leader.empty() ? "failover" : "switchover"), false};
  }

  if (!request->scheduled_at) {
    std::vector<Task<Result<wire::NodeStatus>>> questions;
    const BootTime deadline = node_.now() + kAskBudget;
    for (const std::string& name : *to_ask) {
      auto member = view->members.find(name);
      questions.push_back(node_.ask(member == view->members.end() ? std::string() : member->second.value.api_url, deadline));
    }
    std::vector<Result<wire::NodeStatus>> answers = co_await net::all(loop_, std::move(questions));
    std::vector<wire::PeerAnswer> polled;
    for (size_t i = 0; i < answers.size(); ++i) {
      wire::PeerAnswer answer;
      answer.name = (*to_ask)[i];
      if (answers[i]) answer.status = std::move(*answers[i]);
      polled.push_back(std::move(answer));
    }
    if (auto refusal = wire::judge_candidates(*request, polled)) co_return *refusal;
  }

  view = node_.cluster();
  const std::string leader_before = view->leader ? view->leader->value : std::string();
  model::FailoverRequest order;
  if (request->switchover) order.leader = request->leader;
  order.candidate = request->candidate;
  order.scheduled_at = request->scheduled_at;
  dcs::Txn txn;
  const std::string key(wire::keys::failover);
  txn.compares.push_back(dcs::Compare::mod_is(key, view->failover ? view->failover->mod : 0));
  txn.then_ops.push_back(dcs::Op::put(key, wire::format_failover(order)));
  auto written = co_await node_.write(std::move(txn), node_.now() + kWriteBudget);
  if (!written || !written->succeeded) co_return wire::switchover_not_written();
  if (request->scheduled_at) co_return wire::switchover_scheduled(*request);

  const Duration patience = 2 * std::max<Duration>(10s, node_.dynamic().timings.loop_wait);
  const BootTime started = node_.now();
  const model::Revision ordered_at = written->header.revision;
  while (node_.now() < started + patience) {
    view = node_.cluster();
    // A view from before our own write would say that the request has been dropped.
    if (view->revision >= ordered_at) {
      if (auto verdict = wire::judge_progress(*request, leader_before, *view)) co_return with_reason(*verdict, *view, ordered_at);
    }
    co_await node_.changed(std::min(started + patience, node_.now() + 500ms));
  }
  co_return wire::switchover_status_unknown(*request, std::chrono::duration_cast<std::chrono::seconds>(patience).count());
}

Task<RestAnswer> Api::delete_switchover() {
  const model::ClusterView* view = node_.cluster();
  if (view == nullptr) co_return RestAnswer{503, "etcd has not been read yet", true};
  if (!view->failover || !view->failover->value.present() || !view->failover->value.scheduled_at) {
    co_return RestAnswer{404, "no switchover is scheduled", false};
  }
  dcs::Txn txn;
  const std::string key(wire::keys::failover);
  txn.compares.push_back(dcs::Compare::mod_is(key, view->failover->mod));
  txn.then_ops.push_back(dcs::Op::put(key, wire::format_failover({})));
  auto written = co_await node_.write(std::move(txn), node_.now() + kWriteBudget);
  if (!written || !written->succeeded) co_return RestAnswer{409, "", true};
  co_return RestAnswer{200, "scheduled switchover deleted", false};
}

}  // namespace pgdba::agent::rest
