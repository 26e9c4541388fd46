// The other actions of the agent's local lane: jobs on a stopped data directory, marks, and small work by SQL.
//
// Jobs (init_db, clone, rewind) set the mark `unusable` before the first byte and take it away after the last fsync, so
// an interrupted one is known as such (DataDir::unusable). Cancelling a job kills its child process. Their children
// work in the data directory (cwd), by which a restarted agent finds and ends what its predecessor left running.
// Passwords reach a child only by a file of mode 0600.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "model/local.h"
#include "net/task.h"
#include "pg/server.h"

namespace pgdba::pg {

// How far a job is, for people; updated while it runs.
struct Progress {
  std::string step;  // "wiping", "pg_basebackup", "crash recovery", "pg_rewind", "configuring"
  int64_t done_kib = 0;
  int64_t total_kib = 0;  // 0: not known
};

// InitDb. The data directory must be empty or unusable; leaves it present, with standby.signal, without novote.
Task<Result<void>> init_db(Server& server, Progress* progress, BootTime deadline);
// Clone {from, conn_url}: wipes (once the source has answered), pg_basebackup, standby.signal, novote, configuration
// files (frozen until the next apply). denied: the folder holds something that is no data directory of PostgreSQL.
Task<Result<void>> clone(Server& server, std::string conn_url, Progress* progress, BootTime deadline);
// Rewind {from, conn_url}: recovery if it was not shut down cleanly (a primary in single-user mode, a standby frozen
// and with the gate closed), a rehearsal (--dry-run), pg_rewind, then as after a clone. unavailable: the source does
// not answer, nothing was changed. invalid: pg_rewind says that it cannot be done (WAL missing, …); data usable as
// before. Failures after the rehearsal leave the mark `unusable`.
Task<Result<void>> rewind(Server& server, std::string conn_url, Progress* progress, BootTime deadline);
// The contents of the data directory with its tablespaces and an outside pg_wal; leaves the mark `unusable`.
Task<Result<void>> wipe(Server& server, BootTime deadline);

// CreateUsers, on a running primary: superuser, replication, rewind with its grants, pooler auth, post_bootstrap.
// Passwords are sent as SCRAM verifiers, and statements are not logged. `with_post_bootstrap`: after initdb only.
Task<Result<void>> create_users(Server& server, bool with_post_bootstrap, BootTime deadline);
// EnsurePoolerAuth: the role and `pgdba.user_lookup(text)` (SECURITY DEFINER, returns name and secret).
Task<Result<void>> ensure_pooler_auth(Server& server, BootTime deadline);

// ProbeSync (Y3): commits a probe in a session of its own until that backend is seen in wait event SyncRep, then lets
// it go. False: it was not seen to wait by the deadline.
Task<Result<bool>> probe_sync(Server& server, BootTime deadline);
// WriteWal: a small record, flushed here, waiting for nobody.
Task<Result<void>> write_wal(Server& server, BootTime deadline);
// EndWalsender. A pid that is no walsender (any more) is left alone: done.
Task<Result<void>> end_walsender(Server& server, int pid, BootTime deadline);
// SyncSlots: a physical slot with reserved WAL for each member, no other inactive physical slot.
Task<Result<void>> sync_slots(Server& server, std::vector<std::string> members, BootTime deadline);

// Marks and records. Blocking for an fsync: call through net::Loop::offload where the loop matters.
Result<void> write_freeze_record(const Layout& layout, const model::FreezeRecord& record);
Result<void> clear_freeze_record(const Layout& layout);
Result<std::optional<model::FreezeRecord>> read_freeze_record(
    const Layout& layout);  // invalid: it is there but cannot be read
Result<void> record_timeline(const Layout& layout, uint32_t timeline, const std::string& nonce);
Result<void> mark_novote(const Layout& layout);
Result<void> clear_novote(const Layout& layout);
// SkipTimelines: stubs of history files, so that a promotion takes a number above all of `taken`. Call just before
// promote(); they are removed again when this node starts as a standby or gets an upstream.
Result<void> skip_timelines(const Layout& layout, const std::vector<uint32_t>& taken);

// FetchHistory: what a server says of itself, over a replication connection with the replication login.
struct UpstreamAnswer {
  uint64_t system_id = 0;
  model::Term term = 0;  // its pgdba.term; 0: none
  uint32_t timeline = 0;
  Lsn flush_lsn;                 // how far its WAL is flushed
  std::map<uint32_t, Lsn> ends;  // timeline -> where its history leaves it
  bool in_recovery = true;
};
Task<Result<UpstreamAnswer>> fetch_history(Server& server, std::string conn_url, BootTime deadline);

}  // namespace pgdba::pg
