// GET /metrics and GET /health: text made of a Snapshot. Pure.
//
// The metrics have the names and labels of prometheus-community's pgbouncer_exporter, so that its dashboards and alerts
// go on working without it; ours follow, with the prefix pgdba_pooler_.
#pragma once

#include <string>

#include "pooler/console/snapshot.h"

namespace pgdba::pooler {

std::string metrics_text(const Snapshot& snapshot);

struct Health {
  bool serves = false;  // every database of role primary has a primary that is known
  std::string json;
};
Health health_of(const Snapshot& snapshot);

}  // namespace pgdba::pooler
