#include "agent/planned_restart.h"

#include <fmt/format.h>

#include <chrono>

#include "base/json_writer.h"
#include "model/names.h"
#include "wire/moment.h"

namespace pgdba::agent {

RestartVerdict judge(const PlannedRestart& plan, const wire::NodeStatus& status, WallTime now, Duration loop_wait) {
  if (status.postmaster_start_time && plan.postmaster_started && *status.postmaster_start_time != *plan.postmaster_started) {
    return {RestartDue::drop, "postgres was restarted since it was scheduled"};
  }
  if (status.pause || !plan.request.schedule || now < *plan.request.schedule) return {};
  if (now - *plan.request.schedule > loop_wait * 3 / 2 + std::chrono::seconds(1)) return {RestartDue::drop, "its time has passed"};
  if (status.state == model::PgState::starting) return {};
  if (!conditions_hold(plan.request, status)) return {RestartDue::drop, "restart conditions are not satisfied"};
  return {RestartDue::now, {}};
}

bool conditions_hold(const wire::RestartRequest& request, const wire::NodeStatus& status) {
  if (request.role && *request.role != status.role) return false;
  if (request.postgres_version && status.server_version && *status.server_version >= *request.postgres_version) return false;
  return !request.restart_pending || status.pending_restart;
}

model::ScheduledRestart record_of(const PlannedRestart& plan) {
  model::ScheduledRestart out;
  if (plan.request.schedule) out.schedule = wire::format_moment(*plan.request.schedule);
  if (plan.postmaster_started) out.postmaster_start_time = wire::format_moment(*plan.postmaster_started, ' ');
  const wire::RestartRequest& r = plan.request;
  if (r.role) out.filters["role"] = json_quote(model::to_string(*r.role));
  if (r.postgres_version) {
    const int v = *r.postgres_version;
    out.filters["postgres_version"] = json_quote(v >= 100000 ? fmt::format("{}.{}", v / 10000, v % 10000)
                                                             : fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100));
  }
  if (r.timeout) out.filters["timeout"] = std::to_string(std::chrono::ceil<std::chrono::seconds>(*r.timeout).count());
  if (r.restart_pending) out.filters["restart_pending"] = "true";
  return out;
}

}  // namespace pgdba::agent
