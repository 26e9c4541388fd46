// POST /restart, /reinitialize and /failsafe: conditions that need only this node's state are checked here with Patroni's
// texts; whether it may be done is the core's decision.
#include <fmt/format.h>

#include "agent/rest/api.h"

namespace pgdba::agent::rest {

using wire::RestAnswer;

Task<RestAnswer> Api::restart(const Call& call) {
  const wire::NodeStatus status = node_.status();
  auto request = wire::parse_restart_request(call.body, status.pause, node_.wall());
  if (!request) co_return request.error();
  if (request->schedule) {
    if (node_.restart_planned()) co_return RestAnswer{409, "Another restart is already scheduled", false};
    node_.plan_restart(PlannedRestart{*request, status.postmaster_start_time});
    co_return RestAnswer{202, "Restart scheduled", false};
  }
  if (status.state == model::PgState::starting) co_return RestAnswer{503, "postgres is still starting", false};
  if (!conditions_hold(*request, status)) co_return RestAnswer{503, "restart conditions are not satisfied", false};
  const Duration budget = request->timeout.value_or(node_.dynamic().primary_start_timeout);
  auto answer = co_await node_.operate(ha::Request::Kind::restart, false, node_.now() + budget);
  if (!answer) {
    // It has begun, and goes on; or it has not, and is dropped.
    if (node_.status().state != model::PgState::running) co_return RestAnswer{503, "postgres is still starting", false};
    co_return RestAnswer{503, "restart failed: it could not begin in time, and is not tried any more", false};
  }
  if (!answer->ok) co_return RestAnswer{503, answer->text.empty() ? "restart failed" : answer->text, false};
  co_return RestAnswer{200, "restarted successfully", false};
}

RestAnswer Api::delete_restart() {
  if (!node_.restart_planned()) return RestAnswer{404, "no restarts are scheduled", false};
  node_.plan_restart(std::nullopt);
  return RestAnswer{200, "scheduled restart deleted", false};
}

Task<RestAnswer> Api::reinitialize(const Call& call) {
  auto request = wire::parse_reinitialize_request(call.body);
  if (!request) co_return request.error();
  if (node_.believes_leader()) co_return RestAnswer{503, "I am the leader, can not reinitialize", false};
  const model::ClusterView* view = node_.cluster();
  if (view == nullptr || !view->leader) co_return RestAnswer{503, "Cluster has no leader, can not reinitialize", false};
  auto answer = co_await node_.operate(ha::Request::Kind::reinitialize, request->force, node_.now() + 2s);
  // A refusal comes at once. Otherwise the node leaves the synchronous set first, and goes on after this answer.
  if (!answer && answer.error().code == Errc::timeout) co_return RestAnswer{200, "reinitialize started", false};
  if (!answer) co_return RestAnswer{503, answer.error().text, false};
  if (!answer->ok) co_return RestAnswer{503, answer->text, false};
  co_return RestAnswer{200, "reinitialize started", false};
}

RestAnswer Api::failsafe(const Call& call) const {
  auto request = wire::parse_failsafe_request(call.body);
  if (!request) return request.error();
  if (node_.believes_leader()) return RestAnswer{500, "Running as a leader", false};
  if (!node_.dynamic().failsafe_mode) return RestAnswer{502, "Failsafe mode is not enabled", true};
  // A consent binds this node until t_received + ttl, also after a restart (F1). As long as nothing keeps it, none is given.
  return RestAnswer{503, "this node does not give consents yet", true};
}

}  // namespace pgdba::agent::rest
