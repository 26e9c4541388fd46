// What etcd says about one cluster, key by key, as plain values.
//
// ClusterView is one consistent reading of everything below /service/<scope>/. The structs are the meanings of the
// values (wire/ has their JSON); the comments name the key. Keys below pgdba/ are ours, the others are Patroni's.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/time.h"
#include "model/config.h"
#include "model/names.h"

namespace pgdba::model {

using Revision = int64_t;  // etcd's; 0 means "the key does not exist"
using LeaseId = int64_t;   // etcd's; 0 means "no lease"
using Term = int64_t;      // ours; rises by one each time the primary changes; 0 means "none seen"

// A key with what etcd knows about it.
template <class T>
struct Keyed {
  T value{};
  Revision mod = 0;
  Revision create = 0;
  LeaseId lease = 0;
  bool operator==(const Keyed&) const = default;
};

// A position in WAL that can be compared between nodes: by the term in which the timeline of the last valid record
// was begun, then by the end of that record. The timeline number itself is carried for people and for the files.
struct Position {
  Term term = 0;
  uint32_t timeline = 0;
  Lsn lsn;

  std::strong_ordering operator<=>(const Position& other) const {
    if (auto by_term = term <=> other.term; by_term != 0) return by_term;
    return lsn <=> other.lsn;
  }
  bool operator==(const Position& other) const { return term == other.term && lsn == other.lsn; }
};

struct Tags {
  bool nofailover = false;
  int failover_priority = 1;
  bool nosync = false;
  bool noloadbalance = false;
  bool clonefrom = false;
  // Every other tag as JSON text, for tag_ filters and for passing through. Holds a tag of the fields above as well
  // when its text is not what the field alone would give ("nofailover": "1"); the field is the meaning.
  std::map<std::string, std::string> other;
  [[nodiscard]] bool may_lead() const { return !nofailover && failover_priority > 0; }
  bool operator==(const Tags&) const = default;
};

// A setting that waits for a restart.
struct ValueChange {
  std::string old_value;
  std::string new_value;
  bool operator==(const ValueChange&) const = default;
};

// A restart that a member was asked to make later.
struct ScheduledRestart {
  std::string schedule;               // ISO 8601 with zone, as stored
  std::string postmaster_start_time;  // of the postmaster that is meant, as stored; empty in REST answers
  std::map<std::string, std::string> filters;  // role, postgres_version, …: JSON texts
  bool operator==(const ScheduledRestart&) const = default;
};

// members/<name>, leased.
struct Member {
  std::string conn_url;  // postgres://host:port/database
  std::string api_url;   // http://host:port/patroni
  PgState state = PgState::stopped;
  Role role = Role::uninitialized;
  std::string version;        // Patroni's; numeric
  std::string pgdba_version;  // empty: this member runs Patroni
  Tags tags;
  std::optional<Lsn> xlog_location;
  std::optional<Lsn> replay_lsn;
  std::optional<Lsn> receive_lsn;
  std::string replication_state;
  uint32_t timeline = 0;
  bool pending_restart = false;
  std::map<std::string, ValueChange> pending_restart_reason;
  std::optional<ScheduledRestart> scheduled_restart;
  std::string proxy_url;
  bool pause = false;
  bool checkpoint_after_promote_pending = false;
  // Ours. The newest term that this member has seen.
  Term term = 0;
  // Leader only: the newest term in which n members of the sync set have flushed the promotion LSN (R2, the gate).
  Term ready_term = 0;
  // Ours: this member must not be in the sync set (its data is being replaced, it stops, or it is not proved yet).
  bool leaving_sync = false;
  // Ours: this member has seen that etcd was wiped or restored, and the leader has not rewritten `sync` since (W13).
  bool etcd_reset = false;
  [[nodiscard]] bool runs_pgdba() const { return !pgdba_version.empty(); }
  bool operator==(const Member&) const = default;
};

// sync. An absent key, or one without a leader, means that synchronous mode is not active.
struct SyncState {
  std::string leader;
  int quorum = 0;
  std::set<std::string> standbys;  // empty with a leader: "leader only"
  bool operator==(const SyncState&) const = default;
};

// status: the primary's position as of its last cycle, and the slots it keeps.
struct Status {
  Lsn optime;
  std::map<std::string, Lsn> slots;
  std::vector<std::string> retain_slots;
  bool operator==(const Status&) const = default;
};

// failover: a request by an operator. Neither leader nor candidate: no request.
struct FailoverRequest {
  std::string leader;     // set: a switchover away from it
  std::string candidate;  // empty: any
  std::optional<WallTime> scheduled_at;
  [[nodiscard]] bool present() const { return !leader.empty() || !candidate.empty(); }
  bool operator==(const FailoverRequest&) const = default;
};

// history: one line per finished timeline.
struct HistoryLine {
  uint32_t timeline = 0;
  Lsn switch_lsn;
  std::string reason;
  std::string timestamp;  // ISO 8601 with zone, as stored; may be empty in old entries
  std::string new_leader;
  bool operator==(const HistoryLine&) const = default;
};

// pgdba/term, written by every acquisition of the lock; `term` rises only when the primary changes.
struct TermRecord {
  Term term = 0;
  std::string leader;
  std::string from;   // the leader before; empty at bootstrap
  std::string cause;  // bootstrap, failover, switchover, handover, return, lease, keys
  uint32_t timeline = 0;
  bool operator==(const TermRecord&) const = default;
};

// pgdba/timeline/<tli>: who began this timeline, and the nonce that its data directories carry.
struct TimelineRecord {
  Term term = 0;
  std::string node;
  std::string nonce;
  // Where `node` was on the timeline before when it recorded this one: what is not past it is an ancestor of this timeline,
  // which leaves its parent there or later. 0: unknown.
  uint32_t parent = 0;
  Lsn begins{};
  bool operator==(const TimelineRecord&) const = default;
};

// pgdba/promise/<name>. Active: this member acknowledges nobody and cannot start to.
struct Promise {
  enum class State { active, withdrawn, consumed };
  State state = State::withdrawn;
  Term term = 0;        // of the leader that it was frozen against
  std::string leader;   // that leader
  Position position;    // meaningful only when active
  bool may_lead = false;
  std::string run_id;   // of the agent that wrote it
  bool operator==(const Promise&) const = default;
};

// pgdba/suspect/<name>, leased: this member has evidence that the leader of `term` is dead.
struct Suspicion {
  Term term = 0;
  std::string leader;
  std::string evidence;  // for people: "connection ended, ports 5432 and 8008 refuse"
  bool operator==(const Suspicion&) const = default;
};

// pgdba/intent/<name>, leased: a member that goes down on purpose is not suspected before its lease ends.
struct Intent {
  enum class Kind { stop, restart };
  Kind kind = Kind::stop;
  int64_t until_unix_ms = 0;  // for people; what counts is that the lease still holds the key
  bool operator==(const Intent&) const = default;
};

// pgdba/switchover: the choreography of a planned change of primary.
struct Switchover {
  enum class State { draining, stopped, done, aborted };
  State state = State::draining;
  std::string from;
  std::string to;
  Term term = 0;
  bool handover = false;  // postgres of `from` died or its agent stops: nothing to drain
  bool refused = false;   // aborted before it began: nothing was drained or stopped
  int64_t hold_ms = 0;  // poolers hold for this long from the moment they see the key
  std::optional<Lsn> shutdown_lsn;  // end of the shutdown checkpoint record, in state stopped
  std::string reason;               // of an abort
  bool operator==(const Switchover&) const = default;
};

// pgdba/pooler/<id>, leased: one pooler's part in the choreography.
struct PoolerRecord {
  enum class State { open, holding, drained };
  State state = State::open;
  Term term = 0;  // the newest term it has seen
  int64_t held = 0;
  int64_t in_flight = 0;
  bool operator==(const PoolerRecord&) const = default;
};

// pgdba/beat: written by each proof of the lock.
struct Beat {
  Term term = 0;
  int64_t count = 0;
  bool operator==(const Beat&) const = default;
};

// pgdba/released, written in the transaction that deletes `leader`: the key did not expire, its owner let it go (L3).
struct Released {
  Term term = 0;
  std::string leader;
  bool operator==(const Released&) const = default;
};

struct ClusterView {
  Revision revision = 0;      // of the reading
  uint64_t cluster_id = 0;    // etcd's; another one means that etcd was wiped or restored
  uint64_t raft_term = 0;     // etcd's
  // Everything committed before this moment is in the view: the time at which the linearizable reading, or the last
  // proof that the watch is current, was *sent*.
  BootTime as_of{};

  std::optional<Keyed<std::string>> initialize;  // "" while somebody bootstraps, else the system identifier
  std::optional<Keyed<DynamicConfig>> config;
  std::optional<Keyed<std::string>> leader;
  std::optional<Keyed<SyncState>> sync;
  std::optional<Keyed<Status>> status;
  std::optional<Keyed<std::vector<HistoryLine>>> history;
  std::optional<Keyed<FailoverRequest>> failover;
  std::optional<Keyed<std::map<std::string, std::string>>> failsafe;  // member name to api_url
  std::map<std::string, Keyed<Member>> members;

  std::optional<Keyed<TermRecord>> term;
  std::optional<Keyed<Beat>> beat;
  std::optional<Keyed<Released>> released;
  std::optional<Keyed<Switchover>> switchover;
  std::map<std::string, Keyed<Promise>> promises;
  std::map<uint32_t, Keyed<TimelineRecord>> timelines;
  std::map<std::string, Keyed<Suspicion>> suspects;
  std::map<std::string, Keyed<Intent>> intents;
  std::map<std::string, Keyed<PoolerRecord>> poolers;

  std::string config_json;  // the text of `config`, which has more keys than DynamicConfig; empty: none
  // Keys whose value could not be read, and their revision: their field above is as it was before, or absent.
  std::map<std::string, Revision> unreadable;
  bool operator==(const ClusterView&) const = default;
};

}  // namespace pgdba::model
