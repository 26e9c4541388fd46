#include "ha/lease.h"

#include <algorithm>

namespace pgdba::ha {

std::optional<Body> Lease::next(BootTime now, const Budgets& budgets) {
  if (in_flight_ != 0) return std::nullopt;
  if (prove_next_ && owns_lock() && !moving_) {
    return ProveLock{lease_, lock_mod_, model::Beat{term_, ++beats_}};
  }
  prove_next_ = false;
  bool other_ttl = granted_ttl_ != budgets.ttl && granted_ttl_.count() != 0 && spare_ttl_ != budgets.ttl;
  if (!urgent_ && now < last_try_ + budgets.renew_every && !other_ttl) return std::nullopt;
  if (lease_ == 0 || (other_ttl && !urgent_)) return GrantLease{budgets.ttl};
  return KeepAlive{lease_};
}

void Lease::sent(ActionId id, const Body& body) {
  in_flight_ = id;
  if (const auto* grant = std::get_if<GrantLease>(&body)) {
    kind_ = Kind::grant;
    asked_ttl_ = grant->ttl;  // the configuration may be another one when the answer comes
  }
  if (const auto* keep = std::get_if<KeepAlive>(&body)) {
    kind_ = Kind::keepalive;
    asked_for_ = keep->lease;
  }
  if (std::holds_alternative<ProveLock>(body)) kind_ = Kind::prove;
}

void Lease::remember_keepalive(const Completion& c) {
  kept_at_ = rules_.l2_ttl_answered ? c.sent_at : c.answered_at;
  kept_ttl_ = c.ttl;
  kept_era_ = c.era;
}

void Lease::completed(const Completion& c, const Budgets& budgets) {
  if (c.id != in_flight_) return;
  in_flight_ = 0;
  urgent_ = false;
  last_try_ = c.sent_at;
  bool answered = c.outcome == Completion::Outcome::done;
  switch (kind_) {
    case Kind::grant:
      if (!answered) return;
      if (owns_lock()) {
        spare_lease_ = c.lease;
        spare_ttl_ = asked_ttl_;
        spare_ = c;
        return;
      }
      lease_ = c.lease;
      granted_ttl_ = asked_ttl_;
      remember_keepalive(c);
      return;
    case Kind::keepalive:
      if (!answered) {
        urgent_ = true;  // the shell's own deadline has paced it
        return;
      }
      if (asked_for_ != lease_) {  // the lock was moved to another lease meanwhile
        urgent_ = true;
        return;
      }
      if (c.ttl.count() <= 0) {  // the lease ran out
        if (owns_lock()) lost_ = true;
        lease_ = 0;
        granted_ttl_ = {};
        urgent_ = true;
        return;
      }
      remember_keepalive(c);
      if (granted_ttl_.count() == 0) granted_ttl_ = c.ttl;  // adopted: for how long it was granted is only known now
      prove_next_ = owns_lock();
      return;
    case Kind::prove: {
      prove_next_ = false;
      if (!answered) {
        urgent_ = true;
        return;
      }
      if (!c.succeeded) {
        lost_ = true;
        return;
      }
      if (rules_.l1_proof_is_a_write && c.era != kept_era_) {
        urgent_ = true;  // the keepalive went to an etcd leader of another raft term: ask again
        return;
      }
      Duration ttl = rules_.l2_ttl_answered ? std::min(kept_ttl_, budgets.ttl) : budgets.ttl;
      auto proved = kept_at_ + ttl - budgets.margin;
      deadline_ = std::max(deadline_.value_or(proved), proved);
      return;
    }
  }
}

void Lease::acquired(model::Revision leader_mod, model::Term term, BootTime now, const Budgets& budgets, Era era) {
  lock_mod_ = leader_mod;
  term_ = term;
  lost_ = moving_ = false;
  if (rules_.w14_deadline_from_keepalive) {
    const bool same = !rules_.l1_proof_is_a_write || era.raft_term == 0 || era == taking_.era;
    deadline_ = taking_.at + (same ? std::min(taking_.ttl, budgets.ttl) - budgets.margin : Duration(0));
  } else {
    deadline_ = now + budgets.ttl - budgets.margin;
  }
  urgent_ = true;
}

void Lease::moved(model::Revision leader_mod, const Budgets& budgets) {
  moving_ = false;
  if (spare_lease_ == 0) return;
  lease_ = spare_lease_;
  granted_ttl_ = spare_ttl_;
  remember_keepalive(spare_);
  spare_lease_ = 0;
  spare_ttl_ = {};
  lock_mod_ = leader_mod;
  deadline_ = kept_at_ + std::min(kept_ttl_, budgets.ttl) - budgets.margin;
  prove_next_ = false;
  urgent_ = true;
}

void Lease::adopt(const Page& page) {
  lease_ = page.lease;
  lock_mod_ = page.leader_mod;
  term_ = page.term;
  deadline_ = page.deadline;
  urgent_ = true;
}

void Lease::forget_lock() {
  lock_mod_ = 0;
  term_ = 0;
  lost_ = moving_ = false;
  deadline_.reset();
  prove_next_ = false;
  spare_lease_ = 0;
  spare_ttl_ = {};
}

void Lease::forget_answers() {
  kept_ttl_ = {};
  kept_era_ = {};
  taking_ = {};
  asked_for_ = 0;
  prove_next_ = false;
  urgent_ = true;
}

bool Lease::spare_fresh(BootTime now, const Budgets& budgets) const {
  return lease_ != 0 && kept_ttl_.count() > 0 && now < kept_at_ + std::min(kept_ttl_, budgets.ttl) / 2;
}

BootTime Lease::wake_at(const Budgets& budgets) const { return last_try_ + budgets.renew_every; }

}  // namespace pgdba::ha
