// Which handler answers a request, and the status code of every health check (patroni.md 2.2 and 2.3), as pure
// functions. Load balancers see nothing but these codes, so Patroni's routing by substring is copied with its quirks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/lsn.h"
#include "base/time.h"
#include "wire/rest_status.h"

namespace pgdba::wire {

// A request target taken apart: "/replica?lag=1MB&tag_zone=a". Parameters are percent-decoded, "+" is a blank, the
// order is kept, one without a value is dropped (as Python's parse_qs does).
struct RestTarget {
  std::string path;
  std::vector<std::pair<std::string, std::string>> parameters;
  [[nodiscard]] std::optional<std::string_view> parameter(std::string_view name) const;  // the first of that name
};
RestTarget parse_target(std::string_view target);

enum class Route {
  health,  // generic: health_code() and the status JSON; a bare answer for HEAD and OPTIONS
  // Bare answers
  liveness,
  readiness,
  // GET
  patroni,
  cluster,
  history,
  get_config,
  metrics,
  get_failsafe,
  // What changes something
  patch_config,
  put_config,
  reload,
  restart,
  delete_restart,
  failover,
  switchover,
  delete_switchover,
  reinitialize,
  post_failsafe,
  mpp,
  sigterm,
  unsupported,  // 501
};
Route route(std::string_view method, std::string_view path);
// Must the caller show credentials? (patroni.md 2.6: everything that changes something, except /mpp.)
bool is_unsafe(Route route);

struct HealthInput {
  const NodeStatus* status = nullptr;  // of this node, never null
  bool has_cluster = false;            // a view younger than ttl is cached
  bool believes_leader = false;        // the lock is proved to be ours until some future moment
  bool standby_cluster = false;
  bool noloadbalance = false;
  Lsn leader_lsn;  // the greater of status.optime and the walreceiver's latest_end_lsn; invalid: unknown
  // As configured, without the passing nosync.
  const model::Tags* tags = nullptr;  // never null
};
// 200 or 503.
int health_code(const HealthInput& input, const RestTarget& target);

struct LivenessInput {
  bool paused = false;
  bool running_primary = false;
  Duration since_last_cycle{};  // how late the loop is: now minus the planned time of its next run
  Duration ttl{};
};
int liveness_code(const LivenessInput& input);

struct ReadinessInput {
  const NodeStatus* status = nullptr;
  bool believes_leader = false;
  bool has_cluster = false;
  bool failsafe_active = false;
  Lsn leader_lsn;                  // as above
  uint64_t default_lag = 1048576;  // maximum_lag_on_failover
};
int readiness_code(const ReadinessInput& input, const RestTarget& target);

}  // namespace pgdba::wire
