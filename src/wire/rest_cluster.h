// GET /cluster and GET /history (patroni.md 2.5): made from a view, written, and read from any Patroni 3.x or 4.x.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/lsn.h"
#include "model/cluster.h"

namespace pgdba::wire {

struct MemberReport {
  std::string name;
  std::string role;   // leader, standby_leader, sync_standby, quorum_standby, replica
  std::string state;  // Patroni's word, or the replication state of a replica that has one
  std::string api_url;
  std::string host;  // of PostgreSQL; empty: not known
  std::optional<uint16_t> port;
  std::optional<uint32_t> timeline;
  bool pending_restart = false;
  std::map<std::string, model::ValueChange> pending_restart_reason;
  std::optional<model::ScheduledRestart> scheduled_restart;
  model::Tags tags;
  // Bytes behind the leader's last known position and own positions. nullopt: the leader, "unknown", or an answer of
  // a Patroni that does not say (before 4.1 there is only `lag`, the replayed one).
  std::optional<uint64_t> receive_lag;
  std::optional<uint64_t> replay_lag;
  std::optional<uint64_t> lag;
  std::optional<Lsn> receive_lsn;
  std::optional<Lsn> replay_lsn;
  std::optional<Lsn> lsn;
  [[nodiscard]] bool is_leader() const { return role == "leader" || role == "standby_leader"; }
  bool operator==(const MemberReport&) const = default;
};

struct ClusterReport {
  std::vector<MemberReport> members;  // sorted by name
  bool pause = false;
  std::optional<model::FailoverRequest> scheduled_switchover;
  std::string scope;  // empty in answers of Patroni before 4.0
  [[nodiscard]] const MemberReport* leader() const;
  bool operator==(const ClusterReport&) const = default;
};

ClusterReport make_cluster_report(const model::ClusterView& view, std::string_view scope);
std::string format_cluster_answer(const ClusterReport& report);
Result<ClusterReport> parse_cluster_answer(std::string_view text);

// The array of the `history` key, "[]" without one. Read it with parse_history() of cluster_json.h.
std::string format_history_answer(const std::optional<model::Keyed<std::vector<model::HistoryLine>>>& history);

// Where PostgreSQL of a member listens, from its conn_url ("postgres://host:port/db", IPv6 in brackets; 5432 if
// unsaid).
struct HostPort {
  std::string host;
  uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};
std::optional<HostPort> parse_conn_url(std::string_view url);

}  // namespace pgdba::wire
