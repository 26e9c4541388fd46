// GET /metrics: Prometheus' text exposition with the names, order, HELP and TYPE lines of Patroni 4.1 (patroni.md 2.8),
// so that existing dashboards and alerts go on working; our own metrics (pgdba_…) follow after the last of Patroni's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/rest_status.h"

namespace pgdba::wire {

struct OwnMetric {
  std::string name;  // "pgdba_…"
  std::string help;
  std::string type;   // gauge or counter
  std::string value;  // as printed
};

struct MetricsInput {
  const NodeStatus* status = nullptr;  // never null
  bool failsafe_mode_enabled = false;
  bool failsafe_member = false;  // own name is in the failsafe key
  int failover_priority = 1;     // 0 when this node may not lead
  std::vector<OwnMetric> own;
};

std::string format_metrics(const MetricsInput& input);

// "4.1.4" as "040104".
std::string padded_version(std::string_view version);

}  // namespace pgdba::wire
