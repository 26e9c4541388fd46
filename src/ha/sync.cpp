#include "ha/sync.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace pgdba::ha {

using model::SyncNames;
using model::SyncState;

namespace {

std::set<std::string> real_names(const SyncNames& names) {
  std::set<std::string> out = names.names;
  out.erase(std::string(model::kSyncPlaceholder));
  return out;
}

bool only_placeholder(const SyncNames& names) { return names.kind != SyncNames::Kind::none && real_names(names).empty(); }

SyncNames placeholder() { return {SyncNames::Kind::any, 1, {std::string(model::kSyncPlaceholder)}}; }

std::string text(const SyncNames& names) {
  if (names.kind == SyncNames::Kind::none) return "''";
  return fmt::format("{} {} ({})", names.kind == SyncNames::Kind::any ? "ANY" : "FIRST", names.count, fmt::join(names.names, ","));
}

std::string text(const SyncState& sync) {
  if (sync.standbys.empty()) return "leader only";
  return fmt::format("{{{}}} quorum {}", fmt::join(sync.standbys, ","), sync.quorum);
}

// How many of sync_standby ∪ S there are.
int union_size(const std::set<std::string>& voters, const std::set<std::string>& names) {
  std::set<std::string> both = voters;
  both.insert(names.begin(), names.end());
  return static_cast<int>(both.size());
}

}  // namespace

bool sync_invariant(const SyncState& sync, const SyncNames& names) {
  if (sync.standbys.empty()) return true;
  if (names.kind == SyncNames::Kind::none) return false;
  if (only_placeholder(names)) return true;
  return union_size(sync.standbys, real_names(names)) <= sync.quorum + names.count;
}

SyncNames sync_mixture(const SyncNames& from, const SyncNames& to) {
  // A walsender that goes by the placeholder counts nobody, not even itself.
  if (from.kind == SyncNames::Kind::none || only_placeholder(from)) return to;
  if (to.kind == SyncNames::Kind::none || only_placeholder(to)) return from;
  SyncNames both = to;
  both.names.insert(from.names.begin(), from.names.end());
  both.count = std::min(from.count, to.count);
  return both;
}

void SyncDuty::restart(Postmaster postmaster) {
  confirmed_since_start_ = false;
  waits_proved_ = false;
  if (!rules_.y4_restart_unconfirmed) return;
  unknown_earlier_ = true;
  // The walsenders of an earlier postmaster are gone, and what was acknowledged by their lists is what `sync` allowed then.
  // (Kept over into another tenure of the lock they forbade every change of a sync set whose members had all to be dropped.)
  if (postmaster == Postmaster::fresh) unconfirmed_.clear();
  unknown_count_ = postmaster == Postmaster::same;
  seen_.reset();
  confirmed_ = false;
}

void SyncDuty::names_changing(const SyncNames& from, const SyncNames& to) {
  std::vector<SyncNames> earlier = {from, sync_mixture(from, to)};
  for (const SyncNames& old : unconfirmed_) earlier.push_back(sync_mixture(old, to));
  for (const SyncNames& names : earlier) {
    if (names != to && !only_placeholder(names) && std::ranges::find(unconfirmed_, names) == unconfirmed_.end()) unconfirmed_.push_back(names);
  }
  if (from.kind == SyncNames::Kind::none) waits_proved_ = false;
  seen_.reset();
  confirmed_ = false;
}

void SyncDuty::probe_done(bool waited) { waits_proved_ = waits_proved_ || waited; }

bool SyncDuty::may_set(const SyncState& sync, const SyncNames& from, const SyncNames& to) const {
  if (!sync_invariant(sync, to)) return false;
  if (!rules_.y1_order) return true;
  if (!sync_invariant(sync, sync_mixture(from, to))) return false;
  if (only_placeholder(from)) return true;  // towards() has seen that every walsender reads it: no list of before is left in one
  return std::ranges::all_of(unconfirmed_, [&](const SyncNames& old) { return sync_invariant(sync, sync_mixture(old, to)); });
}

bool SyncDuty::may_become(const SyncState& now, const SyncState& wanted, const SyncNames& current) const {
  if (wanted.standbys.empty()) return true;
  if (!sync_invariant(wanted, current)) return false;
  if (!rules_.y2_confirm) return true;
  if (unknown_earlier_ && rules_.y4_restart_unconfirmed) {
    // Whatever was in force satisfies the invariant with `now`; it still does when the quorum rises with each new voter.
    if (now.standbys.empty()) return false;
    int added = union_size(now.standbys, wanted.standbys) - static_cast<int>(now.standbys.size());
    if (wanted.quorum - now.quorum < added) return false;
  }
  return std::ranges::all_of(unconfirmed_, [&](const SyncNames& names) { return sync_invariant(wanted, names); });
}

void SyncDuty::observe_confirmation(const SyncInput& in) {
  if (!seen_ || *seen_ != in.loaded) {
    // What was in force until now may still release a commit somewhere, even if it was confirmed a moment ago.
    if (seen_) names_changing(*seen_, in.loaded);
    // Out of an empty list each walsender's priority shows that it has read the new one; a changed count does not show.
    all_must_reach_ = unknown_count_ || std::ranges::any_of(unconfirmed_, [&](const SyncNames& old) {
                        return old.kind != SyncNames::Kind::none && old.count < in.loaded.count;
                      });
    seen_ = in.loaded;
    confirm_at_ = in.insert_lsn;
    confirmed_ = false;
    settling_ = earlier_may_release() ? 2 : 0;
  }
  if (confirmed_ || in.loaded.kind == SyncNames::Kind::none || only_placeholder(in.loaded)) return;
  // A walsender that still has the old list may release a commit by it, and the members of the new one need not have that.
  // So what they have to confirm is read when every walsender is known to have the new list: one reading shows that they
  // have, the next one begins after it.
  if (std::ranges::any_of(in.rows, [&](const model::ReplicationRow& row) {
        return row.state == "streaming" && in.loaded.names.contains(row.application_name) != (row.sync_priority > 0);
      })) {
    if (earlier_may_release()) settling_ = 2;
    return;
  }
  if (settling_ > 0) {
    if (--settling_ > 0) return;
    confirm_at_ = in.insert_lsn;
  }
  int flushed = 0;
  std::set<std::string> counted;
  for (const model::ReplicationRow& row : in.rows) {
    bool listed = in.loaded.names.contains(row.application_name);
    if (row.state != "streaming") continue;
    if (!listed || !counted.insert(row.application_name).second) continue;
    if (row.flush >= confirm_at_) {
      ++flushed;
    } else if (all_must_reach_) {
      return;
    }
  }
  if (flushed < in.loaded.count) return;
  confirmed_ = true;
  confirmed_since_start_ = true;
  unknown_earlier_ = unknown_count_ = false;
  unconfirmed_.clear();
}

// The mutation of W6 goes on with whatever leader `sync` names.
std::string SyncDuty::leader_of(const SyncInput& in) const {
  return rules_.w6_takeover_writes_sync || !in.sync || in.sync->leader.empty() ? in.self : in.sync->leader;
}

SyncStep SyncDuty::next(const SyncInput& in) {
  observe_confirmation(in);
  SyncState sync = in.sync.value_or(SyncState{});
  const std::string named = leader_of(in);

  if (in.mode == model::SyncMode::off) {
    if (in.sync && !sync.leader.empty()) {
      return {SyncStep::What::write_sync, {}, SyncState{}, "synchronous mode is off"};
    }
    if (in.loaded.kind != SyncNames::Kind::none) return {SyncStep::What::set_names, {}, {}, "synchronous mode is off"};
    return {};
  }
  if (sync.leader != in.self && rules_.w6_takeover_writes_sync) {  // an acquisition writes it; after synchronous mode was switched on it is absent
    if (in.loaded.kind == SyncNames::Kind::none || only_placeholder(in.loaded)) {
      return {SyncStep::What::write_sync, {}, SyncState{named, 0, {}}, "synchronous mode begins with the leader only"};
    }
    return {SyncStep::What::wait, {}, {}, "sync names another leader"};
  }

  // Only somebody else's hand makes it so. Nothing may be acknowledged alone while others may lead.
  if (in.loaded.kind == SyncNames::Kind::none && !sync.standbys.empty() && rules_.y1_order) {
    return {SyncStep::What::set_names, placeholder(), {}, "etcd names voters: commits have to wait"};
  }

  // Voters that etcd names may be waited for before they stream: their return then costs no more than the confirmation.
  if (in.active.empty() && !in.may_degrade && in.mode == model::SyncMode::quorum && !sync.standbys.empty() && only_placeholder(in.loaded)) {
    const int n = std::max(1, static_cast<int>(sync.standbys.size()) - sync.quorum);
    return towards(in, sync, {SyncNames::Kind::any, n, sync.standbys});
  }
  if (in.active.empty()) {
    bool leader_only = sync.standbys.empty();
    if (in.strict) {
      if (!leader_only && in.leaving && in.may_degrade && only_placeholder(in.loaded)) {
        // Only this leader may lead then, and it still commits nothing alone.
        return {SyncStep::What::write_sync, {}, SyncState{named, 0, {}}, "the last voters ask to be dropped: their data is to be replaced"};
      }
      if (only_placeholder(in.loaded)) return {SyncStep::What::wait, {}, {}, "nobody streams; strict mode keeps commits waiting"};
      if (leader_only || (in.leaving && in.may_degrade)) return {SyncStep::What::set_names, placeholder(), {}, "nobody streams; strict mode keeps commits waiting"};
      return {SyncStep::What::wait, {}, {}, "nobody streams; strict mode keeps commits waiting"};
    }
    if (!leader_only) {
      if (!in.may_degrade) return {SyncStep::What::wait, {}, {}, "nobody streams; waiting before the leader may commit alone"};
      return {SyncStep::What::write_sync, {}, SyncState{named, 0, {}}, "no member streams: only this leader may lead from now on"};
    }
    if (in.loaded.kind != SyncNames::Kind::none) {
      return {SyncStep::What::set_names, {}, {}, "etcd says that only the leader may lead: commits need nobody"};
    }
    return {};
  }

  SyncNames names;
  SyncState target{named, 0, {}};
  if (in.mode == model::SyncMode::quorum) {
    target.standbys = {in.active.begin(), in.active.end()};
    int n = std::clamp(in.node_count, 1, static_cast<int>(in.active.size()));
    names = {SyncNames::Kind::any, n, target.standbys};
    target.quorum = static_cast<int>(in.active.size()) - n;
  } else {
    auto count = std::min<size_t>(in.active.size(), static_cast<size_t>(std::max(1, in.node_count)));
    target.standbys = {in.active.begin(), in.active.begin() + static_cast<long>(count)};
    names = {SyncNames::Kind::first, static_cast<int>(count), target.standbys};
  }
  return towards(in, target, names);
}

SyncStep SyncDuty::towards(const SyncInput& in, const SyncState& target, const SyncNames& names) {
  SyncState sync = in.sync.value_or(SyncState{});
  using What = SyncStep::What;

  // Y3: nobody can tell from settings whether commits wait already. Only a commit that waits shows it.
  if (rules_.y3_probe_checkpointer && !waits_proved_) {
    if (!only_placeholder(in.loaded)) {
      if (!sync_invariant(sync, placeholder())) return {What::wait, {}, {}, "sync does not allow the placeholder"};
      return {What::set_names, placeholder(), {}, "commits must be seen to wait before names are believed"};
    }
    return {What::probe, {}, {}, "a commit must be seen to wait"};
  }

  // A walsender that still goes by names of before counts itself, and must not be counted by those that read the next.
  if (rules_.y2_confirm && only_placeholder(in.loaded) && in.loaded != names &&
      std::ranges::any_of(in.rows, [](const model::ReplicationRow& row) { return row.sync_priority > 0; })) {
    return {What::wait, {}, {}, "a walsender has not read the placeholder yet"};
  }

  bool at_target = sync == target && in.loaded == names;
  if (at_target && confirmed()) return {};

  // Clients wait at the gate for the first confirmation, and what is in force has it sooner than a change of it would. And
  // lists that follow each other faster than they can be confirmed would never be.
  auto listed = [&](const std::string& name) { return in.loaded.names.contains(name); };
  const bool real = in.loaded.kind != SyncNames::Kind::none && !only_placeholder(in.loaded);
  const bool able = real && sync_invariant(sync, in.loaded) && std::ranges::count_if(in.active, listed) >= in.loaded.count;
  const bool first = !confirmed_since_start_ && in.loaded != names && std::ranges::all_of(in.active, listed);
  if (able && (settling_ > 0 || first)) {
    return {What::write_wal, {}, {}, fmt::format("{} waits for confirmation at {}", text(in.loaded), format_lsn(confirm_at_))};
  }

  bool leaving_leader_only = sync.standbys.empty() && !target.standbys.empty();
  bool may_write = !leaving_leader_only || !rules_.y2_confirm || (in.loaded == names && confirmed());
  if (!rules_.y1_order) {  // the mutation: PostgreSQL first, then etcd, whatever changes
    if (in.loaded != names) return {What::set_names, names, {}, "unordered"};
    if (sync != target) return {What::write_sync, {}, target, "unordered"};
  }
  if (sync != target && may_write && may_become(sync, target, in.loaded) && (in.loaded == names || may_set(target, in.loaded, names))) {
    return {What::write_sync, {}, target, fmt::format("sync: {} -> {}", text(sync), text(target))};
  }
  if (in.loaded != names && may_set(sync, in.loaded, names)) {
    return {What::set_names, names, {}, fmt::format("synchronous_standby_names: {} -> {}", text(in.loaded), text(names))};
  }
  // Neither end may move alone: a voter set and quorum that satisfy both.
  std::set<std::string> staying;
  for (const std::string& voter : sync.standbys) {
    if (std::ranges::find(in.active, voter) != in.active.end()) staying.insert(voter);
  }
  std::set<std::string> all = sync.standbys;
  all.insert(target.standbys.begin(), target.standbys.end());
  for (const std::set<std::string>& voters : {target.standbys, staying, sync.standbys, all}) {
    if (voters.empty() || !may_write) continue;
    SyncState between{leader_of(in), 0, voters};
    auto raise = [&](const SyncNames& n) {
      if (only_placeholder(n) || n.kind == SyncNames::Kind::none) return;
      between.quorum = std::max(between.quorum, union_size(voters, real_names(n)) - n.count);
    };
    raise(in.loaded);
    raise(names);
    raise(sync_mixture(in.loaded, names));
    for (const SyncNames& old : unconfirmed_) raise(sync_mixture(old, names));
    for (const SyncNames& old : unconfirmed_) raise(old);
    if (unknown_earlier_ && !sync.standbys.empty()) {  // as may_become() wants it
      between.quorum = std::max(between.quorum, sync.quorum + union_size(sync.standbys, voters) - static_cast<int>(sync.standbys.size()));
    }
    if (between.quorum >= static_cast<int>(voters.size()) || between == sync) continue;  // Y5: it would elect nobody
    if (may_become(sync, between, in.loaded)) {
      return {What::write_sync, {}, between, fmt::format("sync: {} -> {} on the way to {}", text(sync), text(between), text(target))};
    }
  }
  // Or commits confirmed by those voters alone who stay, which lets the others go next.
  int needed = std::max(1, static_cast<int>(sync.standbys.size()) - sync.quorum);
  SyncNames fewer{names.kind, needed, staying};
  if (static_cast<int>(staying.size()) >= needed && in.loaded != fewer && may_set(sync, in.loaded, fewer)) {
    if (fewer.kind == SyncNames::Kind::first) fewer.count = static_cast<int>(staying.size());
    return {What::set_names, fewer, {}, fmt::format("synchronous_standby_names: {} -> {} on the way to {}", text(in.loaded), text(fewer), text(names))};
  }
  if (!confirmed_) return {What::write_wal, {}, {}, fmt::format("{} waits for confirmation at {}", text(in.loaded), format_lsn(confirm_at_))};
  return {What::wait, {}, {}, "no safe change of sync is possible now"};
}

}  // namespace pgdba::ha
