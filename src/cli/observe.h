// What a cluster looks like at this moment, from one parallel round of GET /patroni, /cluster and /history of every
// member: who leads, how far everybody is, who is missing.
//
// compose() is pure and has the rules; observe() fetches. Unknown is nullopt, never 0. What a member says about itself
// counts more than what another one has read in etcd.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/time.h"
#include "cli/target.h"
#include "wire/patroni_rest.h"

namespace pgdba::cli {

struct MemberSight {
  std::string name;
  std::string endpoint;  // where it was asked; empty: could not be asked from here
  std::string api_url;   // as published; empty: unknown
  std::string host;      // of PostgreSQL, as published
  std::optional<uint16_t> port;
  std::optional<std::string> role;  // leader, standby_leader, sync_standby, quorum_standby, replica
  std::string state;                // running, streaming, …; missing, unreachable; managed: stopped, killed, frozen
  std::optional<uint32_t> timeline;
  std::optional<Lsn> lsn;       // leader: flushed; replica: replayed
  std::optional<Lsn> received;  // replica
  std::optional<uint64_t> lag_bytes;
  std::optional<double> lag_seconds;
  std::optional<std::string> sync_state;  // quorum, sync, async; none for the leader
  std::optional<bool> pending_restart;
  std::optional<wire::NodeStatus> status;  // its own answer
  bool expected = true;
  // The leader counts on it: every acknowledged write is on enough such members.
  [[nodiscard]] bool in_sync() const { return role == "quorum_standby" || role == "sync_standby"; }
};

struct Sight {
  std::string scope;
  std::string system_identifier;
  std::optional<std::string> leader;  // holds the lock, as far as the members say
  bool leader_answers = false;        // and says itself that it is a running primary
  std::optional<WallTime> leader_since;
  bool pause = false;
  std::optional<model::FailoverRequest> scheduled_switchover;
  std::vector<MemberSight> members;  // sorted by name; the leader's name is among them
  std::vector<model::HistoryLine> history;
  std::vector<std::string> problems;      // sentences; empty: healthy
  std::optional<WallTime> dcs_last_seen;  // the newest that a member says
  BootTime measured_at{};                 // before the first request was sent
  int answers = 0;                        // members that answered at all
  [[nodiscard]] bool healthy() const { return leader && leader_answers && problems.empty(); }
  [[nodiscard]] const MemberSight* find(std::string_view name) const;
  [[nodiscard]] const MemberSight* leader_sight() const { return leader ? find(*leader) : nullptr; }
  [[nodiscard]] std::vector<std::string> names() const;
  // Quorum mode, and a replica that streams but is not counted on yet: it soon will be.
  [[nodiscard]] bool soon_in_sync(const MemberSight& member) const;
};

// One member's answers; nullopt: none that could be read.
struct MemberAnswers {
  Registered::Member asked;  // its name may be empty
  std::optional<wire::NodeStatus> status;
  std::optional<wire::ClusterReport> report;
  std::optional<std::vector<model::HistoryLine>> history;
  std::string problem;  // why there is no status
};

// Who answered at this origin. Patroni before 4.0 does not say its name: then the member whose published address it is,
// the only one published with that port, or for a primary the leader. Empty: cannot be told.
std::string member_name(const std::string& origin, const wire::NodeStatus& status, const wire::ClusterReport* report);

Sight compose(const std::vector<Registered::Member>& expected, const std::vector<MemberAnswers>& answers, WallTime now);

// `patience` counts for a member that does not answer; the others are not kept waiting longer than that.
Sight observe(Rest& rest, const Target& target, Duration patience);
Duration default_patience(const Target& target);  // 400 ms when all are on this machine, else 2 s

// The member that other requests should go to: the leader if it answers, else any that does. Empty: none.
std::string best_endpoint(const Sight& sight);

}  // namespace pgdba::cli
