// POST /restart with "schedule": kept in memory and shown in the member key and GET /patroni, as Patroni does; it is gone with
// the agent. Pure: the agent asks judge() in each of its steps while there is one.
#pragma once

#include <optional>
#include <string>

#include "base/time.h"
#include "model/cluster.h"
#include "wire/rest_requests.h"
#include "wire/rest_status.h"

namespace pgdba::agent {

struct PlannedRestart {
  wire::RestartRequest request;  // with its schedule
  std::optional<WallTime> postmaster_started;  // of the postmaster that is meant: another one needs no restart any more
};

enum class RestartDue { wait, now, drop };
struct RestartVerdict {
  RestartDue due = RestartDue::wait;
  std::string why;  // of a drop
};
// `loop_wait`: after its time it is carried out within one and a half of them, and then it is stale.
RestartVerdict judge(const PlannedRestart& plan, const wire::NodeStatus& status, WallTime now, Duration loop_wait);

// Role, version and "pending" as asked for.
bool conditions_hold(const wire::RestartRequest& request, const wire::NodeStatus& status);

// As it stands in the member key.
model::ScheduledRestart record_of(const PlannedRestart& plan);

}  // namespace pgdba::agent
