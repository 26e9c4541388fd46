// What the core wants done. Plain data; the shell carries it out and reports a Completion for each.
//
// Every action has a lane. StopPg{immediate} and CancelJob overtake: a local action under way is ended for them and
// those queued behind it are dropped. Actions of one lane are carried out one after the other in the order given; lanes do not
// wait for each other. Where the order matters across lanes the core waits until it has *seen* the first effect.
// A lane whose action failed drops the actions queued behind it (Completion outcome `dropped`) and the core decides
// anew. The core never has more than one transaction in the dcs lane and one keepalive in the lease lane.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "model/cluster.h"
#include "model/key.h"
#include "model/local.h"

namespace pgdba::ha {

using ActionId = uint64_t;

// ---- lease lane -------------------------------------------------------------------------------------------------
struct GrantLease { Duration ttl; };              // -> Completion::lease, ttl answered
struct KeepAlive { model::LeaseId lease; };       // -> ttl answered (0: the lease is gone), era
// Compares MOD and LEASE of `leader` and puts pgdba/beat, so that the answer went through consensus (L1).
struct ProveLock { model::LeaseId lease; model::Revision leader_mod; model::Beat beat; };  // -> succeeded, era

// ---- dcs lane ---------------------------------------------------------------------------------------------------
struct Compare {
  enum class What { mod, create, lease };  // create == 0 or mod == 0: the key is absent
  model::Key key;
  What what = What::mod;
  int64_t value = 0;
};
// What is written; the alternative says to which kind of key.
using Value = std::variant<std::string /* leader, initialize */, model::SyncState, model::Status, model::Member,
                           std::vector<model::HistoryLine>, model::FailoverRequest, model::TermRecord, model::Released,
                           model::TimelineRecord, model::Promise, model::Suspicion, model::Intent, model::Switchover,
                           model::Beat>;
// config is written verbatim by the shell from the configured bootstrap.dcs (only at bootstrap and when it is missing).
struct PutBootstrapConfig {};
struct Write {
  model::Key key;
  std::variant<Value, PutBootstrapConfig> value;
  model::LeaseId lease = 0;
};
struct Txn {
  std::vector<Compare> compares;
  std::vector<Write> puts;
  std::vector<model::Key> deletes;
};                                                // -> succeeded or not, revision; or unknown
struct RevokeLease { model::LeaseId lease; };
struct ReadCluster {};                            // a linearizable reading; the next view has as_of >= its sending

// ---- local lane -------------------------------------------------------------------------------------------------
struct WriteFreezeRecord { model::FreezeRecord record; };  // fsynced, outside PGDATA
struct ClearFreezeRecord {};
struct ApplyConfig { model::PgConfig config; };   // files fsynced, then a reload where a server runs
struct StartPg {
  // Removes standby.signal after arming the guardian, and LocalPg::pristine ends before; else makes sure that it is there.
  bool as_primary = false;
};
struct StopPg {
  enum class Mode { fast, immediate };            // immediate: the guardian kills (postmaster first, then every descendant)
  Mode mode = Mode::immediate;
  Duration budget{};                              // fast only: then immediate
};                                                // done when stopped, all dead (G1) and standby.signal is back
// pg_promote once this configuration is in force (W7) and nothing streams in, unless `timeline` or a later one is known here
// already: PostgreSQL takes the next number after the highest that it knows (R1). Done when out of recovery.
struct Promote { model::PgConfig loaded; uint32_t timeline = 0; };
struct MeasureWal {};                             // sets LocalPg::wal_end
struct InitDb {};                                 // job; leaves a present, pristine data directory with novote unset
struct CreateUsers {};                            // after the first start: roles, pooler auth, post_bootstrap
struct EnsurePoolerAuth {};
struct Clone { std::string from; std::string conn_url; };   // job; wipes first; leaves novote set; interrupted = unusable
struct Rewind { std::string from; std::string conn_url; };  // job; interrupted = unusable
struct RecordTimeline { uint32_t timeline; std::string nonce; };  // durable, in the data directory
struct SkipTimelines { std::vector<uint32_t> taken; };  // stubs of .history files for numbers that etcd has already recorded
struct MarkNovote {};   // durable: this data directory is about to be replaced or rewound (W9)
struct ClearNovote {};
struct ProbeSync {};     // commits a probe and waits until its backend shows wait event SyncRep (Y3); -> succeeded
struct WriteWal {};      // a little WAL, flushed, so that standbys have something to confirm (Y2)
struct EndWalsender { int pid; std::string why; };
struct SyncSlots { std::vector<std::string> members; };  // physical slots on this node: exactly these members'

// ---- at once, in memory -------------------------------------------------------------------------------------------
// The guardian's page. A deadline arms it; nullopt disarms (standby, pause).
struct SetDeadline {
  std::optional<BootTime> deadline;
  model::LeaseId lease = 0;
  model::Revision leader_mod = 0;
  model::Term term = 0;
};
struct CancelJob {};     // ends a clone, rewind or initdb under way
struct Answer { uint64_t request = 0; bool ok = true; std::string text; };  // to an operator's request
struct Exit { int code = 0; };

// ---- probe lane (all at once, each with its own deadline) -----------------------------------------------------------
struct ProbePeer { std::string name; std::string conn_url; std::string api_url; };  // -> Peer in the next view
struct Checkpoint {};    // as long as the disk wants, so nothing may wait behind it
struct FetchHistory { std::string from; std::string conn_url; };  // leader's timeline, term and history -> View::upstream

enum class Lane { lease, dcs, local, memory, probe };

using Body = std::variant<GrantLease, KeepAlive, ProveLock, Txn, RevokeLease, ReadCluster, WriteFreezeRecord, ClearFreezeRecord,
                          ApplyConfig, StartPg, StopPg, Promote, Checkpoint, MeasureWal, InitDb, CreateUsers, EnsurePoolerAuth,
                          Clone, Rewind, RecordTimeline, SkipTimelines, MarkNovote, ClearNovote, ProbeSync, WriteWal, EndWalsender, SyncSlots,
                          SetDeadline, CancelJob, Answer, Exit, ProbePeer, FetchHistory>;

struct Action {
  ActionId id = 0;
  Body body;
  std::string reason;  // the log line, and what GET /patroni and golden tests show
};

Lane lane_of(const Body& body);
std::string_view name_of(const Body& body);
std::string describe(const Action& action);  // one line: name, arguments, reason

}  // namespace pgdba::ha
