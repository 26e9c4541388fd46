// One switch for each named rule of the safety design, so that the simulator can show that it would notice the rule's
// absence. All are on in the product; only sim/ turns one off, one at a time.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace pgdba::ha {

struct Rules {
  // elections (section 4)
  bool w1_compare_promises = true;     // the take-over compares every promise it counts and consumes it
  bool w2_withdraw_by_cas = true;      // a promise that may be in flight is withdrawn by compare-and-swap before streaming
  bool w3_freeze_proof = true;         // a promise waits for the proof that the walreceiver is gone
  bool w4_position_after_freeze = true;   // the position is read after the proof, with local WAL exhausted
  bool w5_quorum_from_key = true;      // promises needed = sync.quorum + 1, read at the compared revision
  bool w6_takeover_writes_sync = true; // every acquisition rewrites sync
  bool w7_ssn_before_promotion = true; // ANY n' (V') is loaded before pg_promote
  bool w8_not_behind_nofailover = true;   // the candidate is not behind a promise of a member that may not lead
  bool w9_no_clone_of_voter = true;    // a voter's data is not replaced; the replacement is no voter until confirmed
  bool w11_stop_at_other_owner = true; // immediate stop at the first sight of another owner
  bool w12_suspect_before_freeze = true;  // q + 1 suspicions, one freeze per term and ttl
  bool w13_etcd_reset = true;          // etcd wiped or restored: withdraw; no take-over before the lease path wrote
  bool w14_deadline_from_keepalive = true;  // an acquisition does not move the deadline
  // lock (section 2)
  bool l1_proof_is_a_write = true;     // the proof of the lock goes through consensus
  bool l2_ttl_answered = true;         // the deadline uses the ttl that etcd answered, from the time sent
  bool l3_frozen_voters_always = true; // the lease path needs frozen voters too
  bool l5_readopt_by_lease = true;     // a restarted agent adopts by lease and revision, never by its name alone
  // walls (section 3)
  bool g1_all_dead = true;             // hand-over and restart wait until every backend is gone
  bool g2_standby_signal_at_rest = true;
  bool g4_gate = true;                 // no client before the end of WAL is on n members
  bool h3_agent_restarts = true;       // restart_after_crash = off
  // crash (section 5)
  bool h1_handover_covers_end = true;  // hand over only to a member that has flushed the end of the leader's WAL
  bool h2_cancel_before_restart = true;   // an unanswered hand-over is cancelled before a restart
  bool h4_not_behind_voters = true;    // restart in place only if own WAL end >= every voter's flushed position
  // synchronous replication (section 6)
  bool y1_order = true;                // |sync_standby ∪ S| <= quorum + n at every instant
  bool y2_confirm = true;              // a new SSN is believed only when n members flushed X
  bool y3_probe_checkpointer = true;   // leaving "leader only" is proved by a commit that waits
  bool y4_restart_unconfirmed = true;  // a leader agent that starts or got no answer rewrites sync first
  // rejoin (section 8)
  bool r1_unique_timelines = true;     // positions compare by term; the nonce must match
  bool r2_keep_other_copy = true;      // no rewind or wipe before n other voters flushed the promotion LSN
  bool r3_rewind_past_fork = true;     // any WAL on disk past the fork means rewind
  // switchover (section 7)
  bool s1_abort_by_cas = true;         // to resume, the switchover key is set to aborted first
};

// Every switch by its name ("w1" … ), for the command line of the simulator and its mutation test.
struct RuleName {
  std::string_view name;
  bool Rules::*flag;
  std::string_view what;
};
const std::vector<RuleName>& rule_names();
std::optional<bool Rules::*> find_rule(std::string_view name);

}  // namespace pgdba::ha
