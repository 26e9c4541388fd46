// The leader's duty: which synchronous_standby_names and which `sync` key, and in which order they change (section 6).
//
// Invariant (Y1): for the SSN in force and every earlier one that is not yet confirmed, with S its real names and n its
// count, |sync_standby ∪ S| <= quorum + n, or sync_standby is empty. Then any quorum + 1 members of sync_standby
// contain a holder of every acknowledged write. An SSN of which only the placeholder is a name acknowledges nothing and
// so breaks nothing; an empty SSN lets commits through alone and is allowed only while sync_standby is empty.
//
// A new SSN is confirmed when n members of S have flushed X, the insert LSN read after it took force, and every
// walsender shows by its priority that it has read the new list (Y2); all connected members of S when n rose. Leaving
// "leader only", and every start as primary, goes through the placeholder and a commit that was seen to wait (Y3).
//
// Each walsender reads a changed list by itself: until the last one has, one with the new count counts others that are
// named by the old list only. So while a list changes, min(n, n') of S ∪ S' may acknowledge, and the invariant must hold for
// that mixture as well (found by the simulator: ANY 3 (c,d,e) -> ANY 2 (c,e) let c and d acknowledge, and e elect alone).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ha/rules.h"
#include "model/cluster.h"
#include "model/local.h"

namespace pgdba::ha {

bool sync_invariant(const model::SyncState& sync, const model::SyncNames& names);
// What may acknowledge while some walsenders have read `to` and others still go by `from`.
model::SyncNames sync_mixture(const model::SyncNames& from, const model::SyncNames& to);

// What one step wants; the caller does it and comes back with the next observation.
struct SyncStep {
  enum class What { nothing, set_names, write_sync, probe, write_wal, wait };
  What what = What::nothing;
  model::SyncNames names;   // set_names
  model::SyncState sync;    // write_sync
  std::string reason;
};

struct SyncInput {
  model::SyncMode mode = model::SyncMode::off;
  bool strict = false;
  int node_count = 1;
  std::string self;
  std::optional<model::SyncState> sync;         // as in etcd, at a revision not older than our last write
  model::SyncNames loaded;                      // in force on this primary
  Lsn insert_lsn;                               // from the same observation
  std::vector<model::ReplicationRow> rows;      // from the same observation
  std::vector<std::string> active;              // members that may and should be synchronous now, best first
  bool leaving = false;                         // a voter asks to be dropped, for its data is to be replaced
  bool may_degrade = true;                      // nobody is active for long enough to write "leader only"
};

class SyncDuty {
 public:
  explicit SyncDuty(const Rules& rules) : rules_(rules) {}

  // Nothing that was known about confirmation holds any more: a new postmaster started as primary, or an agent has
  // begun beside a running one, or a write of `sync` had no answer (Y4).
  enum class Postmaster { fresh, same };
  void restart(Postmaster postmaster);
  void names_changing(const model::SyncNames& from, const model::SyncNames& to);  // ApplyConfig with other names was given out
  void probe_done(bool waited);

  SyncStep next(const SyncInput& in);

  // n members of the sync set have flushed everything up to the first observation after the last restart() (the gate).
  [[nodiscard]] bool confirmed_since_start() const { return confirmed_since_start_; }
  [[nodiscard]] bool confirmed() const { return confirmed_ && unconfirmed_.empty(); }

 private:
  bool may_set(const model::SyncState& sync, const model::SyncNames& from, const model::SyncNames& to) const;
  bool may_become(const model::SyncState& now, const model::SyncState& wanted, const model::SyncNames& current) const;
  void observe_confirmation(const SyncInput& in);
  [[nodiscard]] std::string leader_of(const SyncInput& in) const;
  SyncStep towards(const SyncInput& in, const model::SyncState& target_sync, const model::SyncNames& target_names);

  const Rules& rules_;
  std::vector<model::SyncNames> unconfirmed_;  // earlier names that may still have let a commit through
  bool unknown_earlier_ = true;                // names from before this agent's time may have let commits through
  std::optional<model::SyncNames> seen_;       // the names that X below belongs to
  // A list of before, other than the placeholder, may still be in force in some walsender.
  [[nodiscard]] bool earlier_may_release() const { return !unconfirmed_.empty() || unknown_count_; }
  int settling_ = 0;                           // readings that show every walsender with the new list, until X is read
  Lsn confirm_at_;                             // X
  bool confirmed_ = false;
  bool confirmed_since_start_ = false;
  bool all_must_reach_ = false;                // the count rose, or may have: each walsender reads it by itself
  bool unknown_count_ = false;
  bool waits_proved_ = false;
};

}  // namespace pgdba::ha
