// The core's inside. One step is decide(): what is forbidden first (fence), then the one situation that this member is
// in, each in a file of its own:
//
//   core.cpp       step, fence, which situation it is
//   absorb.cpp     completions and etcd's news
//   member.cpp     what this member knows of its data, asks others and publishes; its configuration
//   freeze.cpp     suspicion, freeze, promise, unfreeze (4.1-4.3, 4.5)
//   takeover.cpp   the acquisition transactions and their answers (4.4, return, switchover's end, lease race)
//   rebuild.cpp    keys that etcd lacks: bootstrap, an etcd that was replaced (W13)
//   primary.cpp    the owner of the lock: start or promote, lead, keep the sync set (6), the gate
//   crash.cpp      the owner whose postgres died (5)
//   switchover.cpp planned change and shutdown (7)
//   standby.cpp    follow, clone, rewind (8)
//
// Rule of the whole: every decision is taken anew from the view. What is remembered here is only what no view can show:
// what is under way, since when something has been so, and which of our writes have no answer yet.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ha/core.h"
#include "ha/lease.h"
#include "ha/sync.h"

namespace pgdba::ha {

// Cause of a term that begins only so that the cluster's keys are in etcd again: its leader lets the lock go at once.
inline constexpr const char* kOnlyKeys = "keys";

// Why a transaction was sent: what its answer means.
enum class TxnFor { other, acquire, move_lease, release, promise, withdraw, sync_write, switchover, suspicion, initialize, member, status, upkeep };

template <class T>
Compare unchanged(model::KeyKind kind, const std::optional<model::Keyed<T>>& key) {
  return Compare{model::Key{kind, {}}, Compare::What::mod, key ? key->mod : 0};
}

struct Core::Impl {
  Impl(Self self_, Rules rules_) : self(std::move(self_)), rules(rules_), lease(rules), sync(rules), last_config(self.bootstrap_config) {
    b = budgets_for(model::adjust(last_config.timings, false).ttl);
  }

  Self self;
  Rules rules;
  Budgets b = budgets_for(30s);
  Lease lease;
  SyncDuty sync;

  // ---- the step under way ---------------------------------------------------------------------------------------
  const View* v = nullptr;
  Decision d;
  BootTime now{};
  [[nodiscard]] const model::ClusterView& c() const { return *v->cluster; }
  [[nodiscard]] const model::LocalPg& pg() const { return v->pg; }
  // A `config` key that is gone changes nothing: what was in force stays until the leader has written it again. (Patroni's
  // default is asynchronous mode: falling back to it would drop the sync set because somebody deleted a key.)
  [[nodiscard]] const model::DynamicConfig& config() const { return c().config ? c().config->value : last_config; }

  // ---- given out and not completed --------------------------------------------------------------------------------
  struct Pending {
    Lane lane;
    Body body;
    TxnFor purpose;
    BootTime at;
  };
  ActionId next_id = 1;
  std::map<ActionId, Pending> pending;
  BootTime local_done_at{};         // decide on local state only from observations after this
  model::Revision seen_at_least = 0;  // our own writes: a view below this revision is too old to decide on
  BootTime read_after{};            // a lost compare or no answer: decide only on a view as of this or later

  ActionId emit(Body body, std::string reason, TxnFor purpose = TxnFor::other);
  [[nodiscard]] bool lane_idle(Lane lane) const;
  [[nodiscard]] bool local_ready() const;  // the lane is idle and the observation is newer than its last action
  [[nodiscard]] bool dcs_ready() const;    // the lane is idle and the view contains all that we know we wrote
  template <class T>
  [[nodiscard]] bool under_way() const {
    for (const auto& [id, p] : pending) {
      if (std::holds_alternative<T>(p.body)) return true;
    }
    return false;
  }
  void wake(BootTime at) { if (at < d.wake_at) d.wake_at = at; }
  void observe(Duration every) { if (every < d.observe_every) d.observe_every = every; }

  // ---- remembered -----------------------------------------------------------------------------------------------
  bool first = true;
  bool exiting = false;
  std::optional<uint64_t> cluster_id;
  uint64_t raft_term = 0;
  model::Revision newest_revision = 0;
  model::DynamicConfig last_config;
  model::Revision last_config_mod = 0;
  model::ClusterView remembered;  // of before a wipe: sync, term, timelines, initialize
  std::set<std::string> remembered_members;
  BootTime reset_since{};         // when etcd_reset_at was set
  uint32_t foreign_timeline = 0;  // begun here or streamed, and etcd certainly has no record of it
  std::optional<model::Revision> etcd_reset_at;  // W13: no take-over before leader and sync were written after this
  model::Term newest_term = 0;                   // ever seen by this member
  BootTime leader_seen_at{};                     // the leader key was last seen owned
  BootTime leftovers_at{};   // when the last attempt was made to end what a dead postmaster left
  BootTime stopped_since{};                      // our PostgreSQL is seen stopped since then; 0: it is not
  BootTime started_since{};                      // our PostgreSQL was first seen after its last start
  bool acquire_uncertain = false;                // an acquisition without an answer
  model::Revision acquire_over = 0;              // the revision of `leader` that the last acquisition compared
  std::optional<model::Revision> acquire_late;   // the same of one that had no answer and may land late

  bool by_name = false;          // the mutation of L5: a lock that bears our name is taken for ours
  bool may_write = false;        // our PostgreSQL may be out of recovery
  uint64_t may_write_incarnation = 0;
  std::optional<BootTime> page_deadline;  // what we last wrote to the guardian's page
  bool page_armed = false;

  // leader
  bool led = false;              // in this tenure of the lock our PostgreSQL has been a primary
  uint64_t led_incarnation = 0;
  bool bump_sync = false;        // Y4
  bool users_done = false;
  bool checkpoint_done = false;  // after promotion
  bool checkpoint_asked = false;
  BootTime tenure_since{};
  BootTime active_since_empty{};
  bool active_empty = false;
  BootTime wal_written_at{};
  bool sync_confirmed = false;   // as of the last step
  BootTime status_at{};
  std::vector<std::string> slots_given;
  BootTime slots_at{};
  BootTime pooler_auth_at{};  // EnsurePoolerAuth was given
  struct Stream {
    BootTime last_streaming{};
    Lsn join_at;          // flush this far before being listed
    bool caught_up = false;
  };
  std::map<std::string, Stream> streams;
  bool promote_given = false;
  BootTime promote_since{};
  uint64_t promote_incarnation = 0;
  bool promotion_failed = false;  // the lock goes as soon as postgres is stopped

  // crash
  BootTime silent_since{};  // begin of the first of the readings in a row that our PostgreSQL did not answer
  BootTime crashed_at{};
  bool crashed = false;
  bool handover_tried = false;
  bool offer_uncertain = false;  // a write of the switchover key has no answer and may still land
  bool election_asked = false;

  // switchover and shutdown
  std::optional<Request> shutdown;
  BootTime shutdown_since{};
  bool switchover_checkpointed = false;
  BootTime switchover_since{};
  bool switching = false;     // in pause: this member has a part in a switchover, restart or re-making that is not over
  bool planned_stop = false;  // the stop of our primary was ours: a switchover or a shutdown
  BootTime passing_since{};   // the lock is offered to the candidate
  std::set<std::string> switchover_poolers;
  std::optional<uint64_t> restart_request;
  bool restart_stopped = false;
  std::optional<uint64_t> restart_answered;
  std::optional<uint64_t> reinit_request;
  bool reinit_go = false;
  std::string refused_request;  // of the failover key, told once

  // standby
  struct Doubt {                // of the present leader (4.2)
    model::Term term = 0;
    int failed = 0;
    BootTime last_probe{};
    BootTime last_failed{};
    std::string evidence;
  } doubt;
  std::pair<model::Revision, BootTime> switchover_seen;  // revision of the key and when this member first saw it
  std::pair<model::Revision, BootTime> failover_seen{};  // the request's revision, and when it was first seen
  BootTime history_asked{};
  BootTime peers_asked{};
  std::optional<BootTime> no_cluster_since;  // seen by this agent; nobody has begun to bootstrap
  model::LeaseId bootstrap_lease = 0;  // under which we asked for `initialize`; ours may be another one since
  bool leave_sync = false;      // our data is to be replaced: the leader must drop us from the sync set first (W9)

  // freeze
  struct Freezing {
    model::Term term = 0;
    std::string leader;
    std::string nonce;
    BootTime since{};
    BootTime config_at{};       // frozen configuration loaded
    bool promise_sent = false;  // may be in flight
    bool uncertain = false;     // no answer to it
    BootTime promised_at{};     // first seen active
    bool catching_up = false;   // W8
    std::optional<model::Position> early;  // the mutations of W3 and W4
    BootTime candidate_since{};
    std::string said;           // while it waits: what for
  };
  std::optional<Freezing> fz;
  model::Revision withdrawn_mod = 0;
  std::map<model::Term, BootTime> frozen_in_vain;
  uint64_t nonces = 0;

  model::Member last_member;
  model::LeaseId last_member_lease = 0;
  BootTime member_at{};
  model::Revision member_mod = 0;  // of the last write of it that was answered
  bool member_lost = false;  // the last write of it was refused or not answered

  // ---- core.cpp ---------------------------------------------------------------------------------------------------
  Decision step(const View& view);
  void absorb();
  void absorb_txn(const Completion& done, const Pending& was);
  void begin_tenure(model::Revision leader_mod, model::Term term, Era era);
  void note_cluster();
  void begin();
  bool fence();
  [[nodiscard]] bool may_be_a_primary() const;
  void arm();
  void decide();
  void decide_paused();
  void requests();
  void keep_member_key();
  void stop_now(const std::string& why);
  void started(bool ok, const std::string& text);  // a StartPg ended; answers the restart that was asked for
  bool may_start();                                // not so soon after one that failed
  int failed_starts = 0;                           // in a row
  BootTime start_retry_at{};
  // Asks how far our WAL goes; not in a tight loop when it cannot be read.
  void measure(const std::string& why);
  BootTime measure_retry_at{};
  std::string measure_problem;
  BootTime mark_retry_at{};                        // of a MarkNovote that failed
  [[nodiscard]] bool may_become_primary();  // the deadline is known and lies ahead
  [[nodiscard]] bool owner() const;  // the view shows the lock under our lease at our revision
  // PostgreSQL counts connections, not names (E5b). A slot keeps the second connection of a member out; without slots one that
  // reconnects counts twice until end_doubles() has ended the older one, and only n = 1 is true all the same.
  [[nodiscard]] int sync_node_count() const { return config().postgresql.use_slots ? std::max(1, config().synchronous_node_count) : 1; }
  [[nodiscard]] bool sync_wanted() const { return config().synchronous_mode != model::SyncMode::off; }
  [[nodiscard]] bool sync_active() const { return c().sync && !c().sync->value.leader.empty(); }
  [[nodiscard]] std::string leader_name() const { return c().leader ? c().leader->value : ""; }
  [[nodiscard]] std::optional<model::Term> term_of(uint32_t timeline) const;
  [[nodiscard]] model::Position position_on(uint32_t timeline, Lsn lsn) const;  // of a timeline that etcd does not know: the newest term
  // Our newest timeline came by streaming before its nonce was noted here; true: it is being noted now.
  bool note_streamed_timeline();
  [[nodiscard]] std::optional<model::Position> own_position() const;
  [[nodiscard]] bool present() const { return pg().data == model::DataDir::present && pg().control.has_value(); }
  [[nodiscard]] bool running() const { return pg().process == model::PgProcess::running && pg().answers.has_value(); }
  [[nodiscard]] bool stopped() const { return pg().process == model::PgProcess::stopped; }
  [[nodiscard]] bool i_am_voter() const;
  void probe(const std::string& name, Duration at_most_every);
  void probe_all(Duration at_most_every);
  model::PgConfig standby_config(model::PgConfig::Upstream upstream) const;
  [[nodiscard]] bool loaded_is(const model::PgConfig& want) const;
  // Brings the files, and the running server where there is one, to `want`; true when that is so already.
  bool configured(const model::PgConfig& want, const std::string& why);

  // ---- freeze.cpp -------------------------------------------------------------------------------------------------
  void watch_leader();               // suspicion of a leader that we should stream from
  [[nodiscard]] bool suspected_enough() const;
  [[nodiscard]] bool election_wanted(std::string& why) const;
  [[nodiscard]] bool switchover_open() const;  // of the present leader and term, and not expired
  void begin_freeze(const std::string& why);
  void frozen();                     // a record is on disk or a freeze has begun
  void freezing();
  void promised(const model::Keyed<model::Promise>& mine);
  void start_frozen();
  void withdraw(const std::string& why);
  void unfreeze(const std::string& why);

  // ---- takeover.cpp -----------------------------------------------------------------------------------------------
  void try_takeover(const model::Keyed<model::Promise>& mine);
  void take_lock(Txn txn, const std::string& cause, std::optional<uint32_t> new_timeline, std::optional<model::SyncState> new_sync,
                 const std::string& why, bool same_primary = false);
  [[nodiscard]] uint32_t next_timeline() const;
  [[nodiscard]] bool at_rest_on_own_timeline() const;
  [[nodiscard]] model::SyncState sync_after(const std::string& old_leader) const;
  void try_return();
  bool own_wal_is_whole();
  void try_switchover_end();
  void race();
  void restore_cluster();
  void name_last_leader();  // of a cluster whose etcd was replaced, by a member that remembers it
  void bootstrap();
  void release_lock(const std::string& why);

  // ---- primary.cpp ------------------------------------------------------------------------------------------------
  void own_lock();
  void become_primary();
  [[nodiscard]] bool begins_a_timeline() const;
  void start_as_primary(const std::string& why);
  void lead();
  void keep_sync(model::PgConfig& want);
  std::vector<std::string> active_members();
  bool give_slots();
  void housekeeping();
  void end_doubles();

  // ---- crash.cpp --------------------------------------------------------------------------------------------------
  [[nodiscard]] bool heir(const std::string& name, const model::Member& member) const;
  void silent();
  [[nodiscard]] bool untrue_end() const;
  bool give_way();                   // true: it has the step
  struct {
    BootTime first{};                // an owner that is no answering primary since then; 0: it is
    BootTime since{};                // the last time that it had just tried in earnest
    BootTime recovering{};           // it tries now
  } unable;
  BootTime stand_back_until{};       // after the lock was let go for that
  void handle_crash();
  void restart_in_place(const std::string& why);
  bool abort_switchover(const std::string& why);  // true when no switchover of ours is open any more

  // ---- switchover.cpp ---------------------------------------------------------------------------------------------
  bool switchover_duty();            // of a running primary; true: it has the step
  void begin_switchover(const std::string& candidate, bool by_failover_key);
  std::optional<std::string> undrained_pooler(bool grace_over);
  void note_switching();
  // Maintenance mode, and no order of a person, or switchover that the pause fell into, is on its way here.
  [[nodiscard]] bool paused() const { return config().pause && !switching; }
  void pass_lock();                  // postgres is stopped on purpose: let the candidate take the lock
  std::string pick_candidate(const std::string& wanted, std::string& refusal);
  void clear_failover_key(const std::string& why);
  bool shut_down();

  // ---- standby.cpp ------------------------------------------------------------------------------------------------
  void no_leader();
  void follow();
  [[nodiscard]] bool of_another_cluster() const;  // our data, by its system identifier
  void refuse_foreign_data();
  void clone(const std::string& why);
  void start_standby(const std::string& why);
  // Whether our WAL is an ancestor of the leader's.
  enum class Fit { unknown, fits, rewind, clone };
  Fit fit(std::string& why);
  [[nodiscard]] bool before_fork(const std::string& leader, model::Term term) const;
  void ask_history(const std::string& leader, const model::Member& member, model::Term term);
  // Has all that the leader had when it was asked, after our last start.
  bool caught_up();
  struct {
    BootTime started{};
    model::Term term = -1;
    Lsn end;
  } catch_up;
  // Whether this data directory may be destroyed now, as far as the others are concerned; `waiting` says what for.
  bool may_replace(bool by_clone, std::string& waiting);
  void rejoin(const std::string& why, bool by_clone);
  void mend(const std::string& why, bool rewindable);
  struct {
    model::Term term = -1;
    int count = 0;
    BootTime at{};
  } failed_rewinds;  // in a row, in one term
  [[nodiscard]] BootTime leader_seen_first(model::Term term) const { return term_seen.first == term ? term_seen.second : now; }
  std::pair<model::Term, BootTime> term_seen{-1, {}};
  // Fresh from a clone or rewind, of which the leader of this term was the source: its WAL fits that leader's by construction.
  model::Term trust_term = -1;
  model::Term job_term = -1;         // of the clone or rewind under way
  [[nodiscard]] bool trusted() const { return c().term && trust_term == c().term->value.term; }
  std::pair<Lsn, BootTime> ahead_seen;  // our end of WAL that was past the leader's, and when it was first seen
  BootTime clone_retry_at{};
};

}  // namespace pgdba::ha
