// One reading of this node's PostgreSQL: its data directory, its processes, and what its own queries answered.
//
// pg/ and guardian/ measure it, ha/ decides on it, sim/ makes it up. Everything that could not be read is nullopt;
// nothing is remembered from an earlier reading.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/time.h"
#include "model/cluster.h"

namespace pgdba::model {

enum class DataDir {
  empty,     // absent or empty
  unusable,  // a mark says so (half-made clone, interrupted rewind or initdb), or pg_control cannot be read
  present,
};

enum class PgProcess {
  stopped,   // no postmaster of this data directory
  starting,  // a postmaster that does not answer queries yet
  running,
  stopping,  // told to stop, not gone
};

enum class ControlState { unknown, shut_down, shut_down_in_recovery, shutting_down, in_crash_recovery, in_archive_recovery, in_production };

// pg_controldata.
struct ControlFile {
  uint64_t system_id = 0;
  ControlState state = ControlState::unknown;
  uint32_t timeline = 0;  // of the latest checkpoint
  Lsn checkpoint;         // start of the latest checkpoint record
  bool checksums = false;
};

// synchronous_standby_names, as far as we write it.
struct SyncNames {
  enum class Kind { none, any, first };
  Kind kind = Kind::none;
  int count = 0;                 // how many must have flushed
  std::set<std::string> names;   // may hold kSyncPlaceholder
  bool operator==(const SyncNames&) const = default;
};

// A row of pg_stat_replication.
struct ReplicationRow {
  int pid = 0;
  std::string application_name;
  std::string client_addr;  // empty: unix socket
  std::string state;        // "streaming", "catchup", "startup", "backup"
  std::string sync_state;   // "async", "potential", "sync", "quorum"
  Lsn sent, write, flush, replay;
  std::string usename;      // these two are only shown
  int sync_priority = 0;
  bool operator==(const ReplicationRow&) const = default;
};

// What this node's PostgreSQL is meant to be configured as, beside the parameters that come from the dynamic
// configuration. ApplyConfig writes all of it; `loaded` in LocalPg tells what the running server has taken.
struct PgConfig {
  enum class Upstream {
    frozen,   // no conninfo, failing restore_command that reports `freeze_nonce`: nothing can stream in
    none,     // no conninfo; an ordinary start or a primary
    member,   // streams from `upstream_member`
  };
  Upstream upstream = Upstream::frozen;
  std::string upstream_member;
  std::string upstream_conn_url;  // postgres://host:port/… as the member key says
  std::string freeze_nonce;
  SyncNames sync_names;
  bool gate_closed = true;  // pg_hba rejects every client but ours and replication
  Term term = 0;            // pgdba.term; 0 on a standby
  bool operator==(const PgConfig&) const = default;
};

// What a running server answered to the one observation query.
struct PgAnswers {
  BootTime asked_at{};      // before the query was sent
  bool in_recovery = true;
  uint32_t timeline = 0;    // of the last record written (primary) or of the last valid record received or replayed
  Lsn insert_lsn;           // primary: end of WAL inserted; else 0
  Lsn flush_lsn;            // primary: flushed; standby: flushed by the walreceiver or replayed, whichever is further
  Lsn replay_lsn;
  // Standby: it has come to the end of the WAL on its disk since its postmaster started (W4). Without this its
  // position is not known, however far `flush_lsn` is.
  bool wal_exhausted = false;
  std::string streaming_from;     // member name whose walsender feeds our walreceiver; empty: no walreceiver streams
  uint32_t streaming_timeline = 0;
  bool replay_paused = false;
  // Standby: the nonce for which the freeze is proved (W3): the startup process has called the probe with it twice for one
  // segment, and since then has found nothing more to read, with no walreceiver (it waits for the retry interval, or came
  // back for that segment twice more at an unchanged replay LSN). Empty: not proved.
  std::string frozen_nonce;
  std::vector<ReplicationRow> replication;
  int weak_commit_settings = 0;   // roles and databases configured with synchronous_commit below on
  int client_sessions = 0;        // client backends that are not ours
  int client_transactions = 0;    // of these, inside a transaction
  bool pooler_auth_present = false;  // primary: the pooler's role and function are as pg/users.cpp makes them

  // Shown in REST and in the member key; nothing is decided on them.
  int server_version = 0;                   // 150020
  std::optional<WallTime> started;          // pg_postmaster_start_time()
  Lsn written_lsn;                          // standby: written by the walreceiver or replayed, whichever is further
  Lsn upstream_end_lsn;                     // standby: the walreceiver's latest_end_lsn; 0 without one
  std::optional<WallTime> replay_timestamp;  // pg_last_xact_replay_timestamp()
  std::map<std::string, ValueChange> pending_restart;  // settings that wait for a restart
};

struct LocalPg {
  BootTime measured_at{};
  DataDir data = DataDir::empty;
  std::string unusable_why;
  std::optional<ControlFile> control;
  bool standby_signal = false;
  bool novote = false;                              // the durable mark of a fresh or re-made data directory (W9)
  // An initdb of ours made it and it has never been written to since: it holds nothing of anybody's, whatever became of the
  // cluster that it was made for.
  bool pristine = false;
  std::map<uint32_t, std::string> timeline_nonces;  // timeline -> nonce, as this data directory remembers (R1)
  std::map<uint32_t, Lsn> timeline_starts;          // timeline -> LSN where it begins, from the local history files; 1 -> 0

  PgProcess process = PgProcess::stopped;
  bool guardian_alive = false;
  // G1: every process of the last postmaster is gone and nothing is attached to its shared memory.
  bool all_dead = true;
  uint64_t incarnation = 0;        // changes with each postmaster; 0: none has been seen
  bool exit_unexpected = false;    // the last postmaster ended although nobody here had told it to
  bool exit_after_panic = false;   // its log says PANIC on an fsync or write of WAL (H4)
  // End of the last valid record on disk and its timeline. Stopped: after MeasureWal. Stopping: when pg_control says "shut
  // down", which it says after the last backend has gone and the shutdown record is on disk.
  std::optional<Position> wal_end;

  PgConfig on_disk;                // what the files say
  std::optional<PgConfig> loaded;  // what the running server has taken; nullopt: not running or did not answer
  std::optional<PgAnswers> answers;
  bool query_timed_out = false;    // the server runs, but the last observation query got no answer in time
};

// The local record outside PGDATA that says: this member is freezing or frozen (4.3 step 1). Survives everything.
struct FreezeRecord {
  Term term = 0;
  std::string leader;
  uint64_t etcd_cluster_id = 0;
  std::string nonce;
  bool operator==(const FreezeRecord&) const = default;
};

}  // namespace pgdba::model
