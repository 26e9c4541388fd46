// The body of GET /patroni and of every health check (patroni.md 2.4), written and read.
//
// NodeStatus is what one member says about itself. agent/ fills it, format_status_answer() writes it, and the command
// line and the peers' polls read the answers of any Patroni 3.x or 4.x, or of our own agent, with
// parse_status_answer(). What a member did not say is nullopt or empty, never 0. parse(format(x)) == x.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/lsn.h"
#include "base/time.h"
#include "model/cluster.h"
#include "model/names.h"

namespace pgdba::wire {

inline constexpr size_t kMaxAnswer = 4 * 1024 * 1024;

// One row of pg_stat_replication.
struct WalSender {
  std::string usename;
  std::string application_name;
  std::string client_addr;  // empty: null, a unix socket
  std::string state;
  std::string sync_state;
  int sync_priority = 0;
  bool operator==(const WalSender&) const = default;
};

struct PrimaryXlog {
  Lsn location;  // flushed
  bool operator==(const PrimaryXlog&) const = default;
};

struct ReplicaXlog {
  Lsn received;
  Lsn replayed;
  std::optional<WallTime> replayed_timestamp;
  bool paused = false;
  bool operator==(const ReplicaXlog&) const = default;
};

enum class SyncRole { none, sync_standby, quorum_standby };

// What only our agent says, under the key "pgdba"; Patroni's readers ignore it.
struct PgdbaStatus {
  std::string version;
  model::Term term = 0;
  // How much longer the lock is proved to be ours; absent on anybody but the leader. 0 or less: it ran out.
  std::optional<int64_t> lock_ms;
  std::optional<model::Position> position;  // absent: this member has none to vote with (W4, R1)
  bool frozen = false;                      // it acknowledges nobody (an active promise)
  bool gate_open = true;                    // false: PostgreSQL runs but lets no client in yet (G4)
  bool no_data = false;                     // its data directory is empty, or marked as half-made: nothing of it counts
  bool operator==(const PgdbaStatus&) const = default;
};

struct NodeStatus {
  std::optional<model::PgState> state;  // nullopt is written as "unknown": it should be running but did not answer
  model::Role role = model::Role::uninitialized;

  // Present only when PostgreSQL answered. Without a position peers count this member as unreachable.
  std::optional<WallTime> postmaster_start_time;
  std::optional<int> server_version;  // 150020
  std::optional<PrimaryXlog> primary;
  std::optional<ReplicaXlog> replica;
  SyncRole sync_role = SyncRole::none;
  std::optional<uint32_t> timeline;
  std::string replication_state;  // "streaming" or "in archive recovery"; empty: neither
  std::vector<WalSender> replication;

  bool pause = false;
  bool cluster_unlocked = false;
  bool failsafe_mode_is_active = false;
  std::optional<int64_t> dcs_last_seen;  // seconds since 1970
  model::Tags tags;                      // with the passing nosync of a member that leaves the sync set
  std::string system_identifier;
  bool pending_restart = false;
  std::map<std::string, model::ValueChange> pending_restart_reason;
  std::string patroni_version;
  std::string scope;
  std::string name;
  std::optional<model::ScheduledRestart> scheduled_restart;
  bool watchdog_failed = false;
  std::optional<PgdbaStatus> pgdba;  // absent: this member runs Patroni

  // Patroni's own test: "xlog" is there, so the member can be compared in an election.
  [[nodiscard]] bool has_position() const { return primary.has_value() || replica.has_value(); }
  // The greatest position that it has; nullopt when it named none.
  [[nodiscard]] std::optional<Lsn> wal_position() const;
  bool operator==(const NodeStatus&) const = default;
};

std::string format_status_answer(const NodeStatus& status);
// An error when the text is not a JSON object with a role; unknown and missing fields are no error.
Result<NodeStatus> parse_status_answer(std::string_view text);

}  // namespace pgdba::wire
