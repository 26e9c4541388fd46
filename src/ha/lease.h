// The lease under which this member holds its keys, and the proof that it still owns the leader lock.
//
// Invariant: deadline() is never later than the moment until which etcd guarantees that nobody else can own the lock.
// It moves only on a proof (L1): a keepalive was answered, and then a transaction that compares MOD and LEASE of
// `leader` and writes pgdba/beat succeeded under the same raft term. It counts from the time the keepalive was *sent*,
// for the shorter of the TTL answered and the one configured (L2). An acquisition does not move it (W14): it takes the
// last keepalive of this very lease. One keepalive is in flight at a time.
//
// When the configured ttl changes, an owner takes a second lease first and moves the key to it by compare-and-swap, under
// the same term (L5): move_to(), begin_move() and moved(). No proof is under way meanwhile: it would compare the old
// revision, fail, and look like a lost lock.
//
// The caller asks next() at every step and hands every completion of GrantLease, KeepAlive and ProveLock to completed().
#pragma once

#include <optional>

#include "ha/action.h"
#include "ha/rules.h"
#include "ha/settings.h"
#include "ha/view.h"

namespace pgdba::ha {

class Lease {
 public:
  explicit Lease(const Rules& rules) : rules_(rules) {}

  // What the lease lane should do now, if anything. At most one action is under way.
  std::optional<Body> next(BootTime now, const Budgets& budgets);
  void sent(ActionId id, const Body& body);
  void completed(const Completion& completion, const Budgets& budgets);

  // An acquisition is sent. A keepalive that is answered only after this says nothing about the deadline it begins with: it
  // needs the proof of every later one (L1).
  void taking() { taking_ = {kept_at_, kept_ttl_, kept_era_}; }
  // The acquisition succeeded at revision `leader_mod`; in another raft term than the keepalive, that one proves nothing.
  void acquired(model::Revision leader_mod, model::Term term, BootTime now, const Budgets& budgets, Era era = {});
  // A restarted agent goes on with what the guardian's page says; nothing is proved anew by that.
  void adopt(const Page& page);
  // A lease of the new ttl, to which the owner should move its key; 0: none.
  [[nodiscard]] model::LeaseId move_to() const { return owns_lock() ? spare_lease_ : 0; }
  [[nodiscard]] bool may_move() const { return in_flight_ == 0 || kind_ != Kind::prove; }
  void begin_move() { moving_ = true; }
  void move_ended() { moving_ = false; }  // it did not happen
  void moved(model::Revision leader_mod, const Budgets& budgets);  // also when the view showed it before the answer came
  // A put under this lease was refused: is it gone?
  void ask_now() { urgent_ = true; }
  // The lock is given up or lost. The lease stays for the member key.
  void forget_lock();
  // etcd was replaced: what was answered until now, or is under way, was said by another one.
  void forget_answers();

  [[nodiscard]] model::LeaseId id() const { return lease_; }
  [[nodiscard]] model::Revision lock_mod() const { return lock_mod_; }
  [[nodiscard]] bool owns_lock() const { return lock_mod_ != 0 && !lost_; }
  // The compare of a proof failed, or the lease is gone: somebody else may own the lock by now.
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] std::optional<BootTime> deadline() const { return deadline_; }
  // Fresh enough to take the lock with it (W14: the deadline starts from this keepalive).
  [[nodiscard]] bool spare_fresh(BootTime now, const Budgets& budgets) const;
  [[nodiscard]] BootTime wake_at(const Budgets& budgets) const;
  [[nodiscard]] bool in_flight() const { return in_flight_ != 0; }

 private:
  void remember_keepalive(const Completion& completion);

  const Rules& rules_;
  model::LeaseId lease_ = 0;
  Duration granted_ttl_{};
  model::LeaseId spare_lease_ = 0;  // granted for another ttl while the lock is held
  Completion spare_;
  Duration spare_ttl_{};
  model::Revision lock_mod_ = 0;
  model::Term term_ = 0;
  bool lost_ = false;
  bool moving_ = false;
  std::optional<BootTime> deadline_;

  ActionId in_flight_ = 0;
  enum class Kind { grant, keepalive, prove } kind_ = Kind::grant;
  Duration asked_ttl_{};
  model::LeaseId asked_for_ = 0;  // the lease of the keepalive in flight: its answer says nothing about another one
  BootTime last_try_{};
  bool urgent_ = true;         // the next action does not wait for the period
  bool prove_next_ = false;
  struct Kept {
    BootTime at{};
    Duration ttl{};
    Era era;
  };
  Kept taking_;                // the last answered keepalive when the acquisition was sent
  BootTime kept_at_{};         // sending time of the last answered keepalive
  Duration kept_ttl_{};
  Era kept_era_;
  int64_t beats_ = 0;
};

}  // namespace pgdba::ha
