// The rest of the decision table of POST /switchover and /failover (patroni.md 2.7): what the cluster says to a request
// that is well-formed. Texts are exact, patronictl compares some of them.
//
// Order of calls: parse_switchover_request(), precheck_switchover() on a fresh view, poll the candidates that it
// names (GET /patroni of each, at once, 2 s), judge_candidates(), write the `failover` key (or start our own
// choreography), then judge_progress() on each later view until it gives an answer.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/cluster.h"
#include "wire/rest_requests.h"
#include "wire/rest_status.h"

namespace pgdba::wire {

// The names to poll, or the answer that refuses. A scheduled request is not checked further and polls nobody.
// The synchronous mode is that of view.config; without one it counts as off.
Parsed<std::vector<std::string>> precheck_switchover(const SwitchoverRequest& request, const model::ClusterView& view);

struct PeerAnswer {
  std::string name;
  std::optional<NodeStatus> status;  // nullopt: not reachable
};
// Why this member cannot take over now ("not reachable", "not allowed to promote", …); nullopt: it can.
std::optional<std::string> failover_limitation(const PeerAnswer& peer);
// nullopt: at least one of them can take over.
std::optional<RestAnswer> judge_candidates(const SwitchoverRequest& request, const std::vector<PeerAnswer>& polled);

// After the request was written. `leader_before`: the leader at that time, may be empty. nullopt: wait on.
std::optional<RestAnswer> judge_progress(const SwitchoverRequest& request, std::string_view leader_before,
                                         const model::ClusterView& view);
// When waiting took too long; Patroni waits 2 * max(10 s, loop_wait).
RestAnswer switchover_status_unknown(const SwitchoverRequest& request, int64_t waited_seconds);
RestAnswer switchover_scheduled(const SwitchoverRequest& request);
RestAnswer switchover_not_written();

}  // namespace pgdba::wire
