// Private to wire/: the parts that member keys, GET /patroni and GET /cluster have in common.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "model/cluster.h"
#include "wire/json_tools.h"

namespace pgdba::wire {

model::Tags tags_of(const js::object& parent);
// Writes "tags" when there are any.
void write_tags(JsonWriter& writer, const model::Tags& tags);

using PendingRestart = std::map<std::string, model::ValueChange>;
PendingRestart pending_restart_of(const js::object& parent);
// Writes "pending_restart" and "pending_restart_reason" when `pending`.
void write_pending_restart(JsonWriter& writer, bool pending, const PendingRestart& reason);

std::optional<model::ScheduledRestart> scheduled_restart_of(const js::object& parent);
void write_scheduled_restart(JsonWriter& writer, const std::optional<model::ScheduledRestart>& restart);

// A timeline, or 0 for anything that is none.
uint32_t timeline_of(const js::object& parent);

}  // namespace pgdba::wire
