#include "ha/rules.h"

namespace pgdba::ha {

const std::vector<RuleName>& rule_names() {
  static const std::vector<RuleName> names = {
      {"w1", &Rules::w1_compare_promises, "the take-over compares and consumes the promises it counts"},
      {"w2", &Rules::w2_withdraw_by_cas, "a promise in flight is withdrawn by compare-and-swap"},
      {"w3", &Rules::w3_freeze_proof, "the freeze is proved before the promise"},
      {"w4", &Rules::w4_position_after_freeze, "the position is read after the freeze, at the end of local WAL"},
      {"w5", &Rules::w5_quorum_from_key, "promises needed come from the sync key"},
      {"w6", &Rules::w6_takeover_writes_sync, "an acquisition rewrites sync"},
      {"w7", &Rules::w7_ssn_before_promotion, "synchronous_standby_names is loaded before promotion"},
      {"w8", &Rules::w8_not_behind_nofailover, "the candidate is behind no promise it counts"},
      {"w9", &Rules::w9_no_clone_of_voter, "a voter's data directory is not replaced"},
      {"w11", &Rules::w11_stop_at_other_owner, "immediate stop at the first sight of another owner"},
      {"w12", &Rules::w12_suspect_before_freeze, "q + 1 suspicions before a freeze"},
      {"w13", &Rules::w13_etcd_reset, "an etcd that was wiped or restored is noticed"},
      {"w14", &Rules::w14_deadline_from_keepalive, "an acquisition does not move the deadline"},
      {"l1", &Rules::l1_proof_is_a_write, "the proof of the lock is a write"},
      {"l2", &Rules::l2_ttl_answered, "the deadline counts the ttl answered from the time sent"},
      {"l3", &Rules::l3_frozen_voters_always, "the lease path needs frozen voters"},
      {"l5", &Rules::l5_readopt_by_lease, "a restarted agent adopts by lease and revision"},
      {"g1", &Rules::g1_all_dead, "no hand-over or restart while a backend lives"},
      {"g2", &Rules::g2_standby_signal_at_rest, "a data directory at rest has standby.signal"},
      {"g4", &Rules::g4_gate, "no client before the end of WAL is on n members"},
      {"h1", &Rules::h1_handover_covers_end, "a hand-over covers the leader's end of WAL"},
      {"h2", &Rules::h2_cancel_before_restart, "a hand-over is cancelled before a restart"},
      {"h3", &Rules::h3_agent_restarts, "only the agent restarts postgres"},
      {"h4", &Rules::h4_not_behind_voters, "no restart in place behind a voter"},
      {"s1", &Rules::s1_abort_by_cas, "a switchover is aborted by compare-and-swap before the old leader resumes"},
      {"y1", &Rules::y1_order, "sync and synchronous_standby_names change in the safe order"},
      {"y2", &Rules::y2_confirm, "a new synchronous_standby_names is confirmed before it is believed"},
      {"y3", &Rules::y3_probe_checkpointer, "leaving leader-only is proved by a commit that waits"},
      {"y4", &Rules::y4_restart_unconfirmed, "a restarted leader agent takes its sync set as unconfirmed"},
      {"r1", &Rules::r1_unique_timelines, "positions compare by term and nonce"},
      {"r2", &Rules::r2_keep_other_copy, "no rewind or wipe before n others have the promotion LSN"},
      {"r3", &Rules::r3_rewind_past_fork, "WAL past the fork means rewind"},
  };
  return names;
}

std::optional<bool Rules::*> find_rule(std::string_view name) {
  for (const RuleName& rule : rule_names()) {
    if (rule.name == name) return rule.flag;
  }
  return std::nullopt;
}

}  // namespace pgdba::ha
