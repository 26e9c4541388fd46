// Keys that etcd lacks: those of a cluster that is yet to be made, and those of one whose etcd was wiped or restored (W13).
#include <algorithm>
#include <fmt/format.h>

#include "ha/impl.h"

namespace pgdba::ha {

using model::Key;
using model::KeyKind;

// etcd was wiped or restored from an old snapshot (W13). Only the leader of the newest term that this agent remembers may
// write the cluster's keys again, with the sync set as it was, and only on the word of |V| - q voters that they have seen
// no newer term: any q + 1 voters who could have elected somebody else share one with them.
void Core::Impl::restore_cluster() {
  d.state = "etcd was wiped or restored: waiting for the last leader to write the cluster's keys again";
  observe(100ms);
  if (stopped() && remembered.term && remembered.term->value.leader != self.name && !paused()) start_standby(d.state);
  if (!lane_idle(Lane::local) || (stopped() && !pg().all_dead)) return;
  if (!dcs_ready() || !present() || !remembered.term || !remembered.initialize) return;
  if (remembered.term->value.leader != self.name || remembered.term->value.term < newest_term) {
    // An old snapshot may name us, and our keepalives would keep the key alive for ever.
    if (c().leader && c().leader->value == self.name) {
      emit(Txn{{unchanged(KeyKind::leader, c().leader)}, {}, {Key{KeyKind::leader, {}}}}, "a restored etcd names a former leader", TxnFor::upkeep);
      return;
    }
    return name_last_leader();
  }
  if (remembered.initialize->value != fmt::format("{}", pg().control->system_id)) return;
  if (c().term && c().term->value.term > newest_term) return;
  const bool serving = running() && !pg().answers->in_recovery;  // in pause, where nothing has stopped it
  if (serving && pg().answers->timeline != remembered.term->value.timeline) return;
  model::SyncState same = remembered.sync ? remembered.sync->value : model::SyncState{};
  if (!same.leader.empty() && same.leader != self.name) return;
  int words = 0;
  for (const auto& [name, member] : c().members) {
    if (member.value.term > newest_term) return;
    if (member.mod > *etcd_reset_at && member.value.term > 0 && same.standbys.contains(name)) ++words;
  }
  int needed = static_cast<int>(same.standbys.size()) - same.quorum;
  if (words < needed) {
    d.state = fmt::format("etcd was wiped or restored: {} of {} voters say that they know no newer term", words, needed);
    return;
  }
  Txn txn;
  txn.compares.push_back(unchanged(KeyKind::leader, c().leader));
  txn.compares.push_back(unchanged(KeyKind::sync, c().sync));
  txn.compares.push_back(unchanged(KeyKind::initialize, c().initialize));
  txn.puts.push_back(Write{Key{KeyKind::initialize, {}}, Value{remembered.initialize->value}, 0});
  if (!c().config) txn.puts.push_back(Write{Key{KeyKind::config, {}}, PutBootstrapConfig{}, 0});
  for (const auto& [timeline, record] : remembered.timelines) {
    txn.puts.push_back(Write{Key{KeyKind::timeline, fmt::format("{}", timeline)}, Value{record.value}, 0});
  }
  // After a PANIC on our WAL the voters decide (H4), which they can once the keys are there.
  const bool whole = !rules.h4_not_behind_voters || (!pg().novote && !(stopped() && pg().exit_after_panic));
  std::optional<uint32_t> begins;
  if (whole && !serving && !at_rest_on_own_timeline()) begins = std::max(next_timeline(), remembered.timelines.empty() ? 1 : remembered.timelines.rbegin()->first + 1);
  std::optional<model::SyncState> sync_again;
  if (!same.leader.empty()) sync_again = same;
  take_lock(std::move(txn), whole ? "return" : kOnlyKeys, begins, sync_again, "the last leader writes the keys again", serving);
}

// The agent of the last leader may have been restarted since etcd was replaced, and remember nothing. Somebody who does
// names it: term and timelines as they were, and "leader only" in place of a sync set of which we may have missed the
// last change. So nobody but that leader may lead, and it has every acknowledged write.
//
// That it is the last one is the word of every member that was ever seen here: each says, after the reset, that it knows
// of no newer term. A newer leader would be one of them; its data directory knows the timeline that it began, whatever its
// agent has forgotten (note_cluster()).
void Core::Impl::name_last_leader() {
  if (remembered.term->value.term < newest_term || now < reset_since + 2 * b.ttl) return;
  if (remembered.initialize->value != fmt::format("{}", pg().control->system_id)) return;
  if (c().leader || (c().term && c().term->value.term >= remembered.term->value.term)) return;
  for (const std::string& name : remembered_members) {
    auto member = c().members.find(name);
    if (member == c().members.end() || member->second.mod <= *etcd_reset_at) {
      d.state = fmt::format("etcd was wiped or restored: {}, the last leader, has to write the keys again; waiting for the word of {}",
                            remembered.term->value.leader, name);
      return;
    }
    if (member->second.value.term > newest_term) return;
  }
  if (!remembered_members.contains(remembered.term->value.leader)) return;
  Txn txn;
  for (Compare compare : {unchanged(KeyKind::leader, c().leader), unchanged(KeyKind::sync, c().sync),
                          unchanged(KeyKind::term, c().term), unchanged(KeyKind::initialize, c().initialize)}) {
    txn.compares.push_back(compare);
  }
  txn.puts.push_back(Write{Key{KeyKind::initialize, {}}, Value{remembered.initialize->value}, 0});
  if (!c().config) txn.puts.push_back(Write{Key{KeyKind::config, {}}, PutBootstrapConfig{}, 0});
  for (const auto& [timeline, record] : remembered.timelines) {
    txn.puts.push_back(Write{Key{KeyKind::timeline, fmt::format("{}", timeline)}, Value{record.value}, 0});
  }
  txn.puts.push_back(Write{Key{KeyKind::term, {}}, Value{remembered.term->value}, 0});
  if (remembered.sync) {
    txn.puts.push_back(Write{Key{KeyKind::sync, {}}, Value{model::SyncState{remembered.term->value.leader, 0, {}}}, 0});
  }
  emit(std::move(txn), fmt::format("{} was the last leader, of term {}", remembered.term->value.leader, remembered.term->value.term), TxnFor::upkeep);
}

void Core::Impl::bootstrap() {
  observe(100ms);
  if (!dcs_ready()) return;
  auto key = Key{KeyKind::initialize, {}};
  if (!c().initialize) {
    if (!self.may_bootstrap || !self.tags.may_lead()) {
      d.state = "waiting for another member to bootstrap";
      return;
    }
    if (!no_cluster_since) no_cluster_since = now;
    if (now < *no_cluster_since + self.bootstrap_delay) {
      d.state = "leaving it to another member to bootstrap";
      return;
    }
    // Leased: when the bootstrapping member dies, another one may begin.
    d.state = "trying to bootstrap a new cluster";
    if (lease.id() == 0) return;
    bootstrap_lease = lease.id();
    emit(Txn{{Compare{key, Compare::What::create, 0}}, {Write{key, Value{std::string()}, lease.id()}}, {}},
         "trying to bootstrap a new cluster", TxnFor::initialize);
    return;
  }
  no_cluster_since.reset();
  if (!c().initialize->value.empty()) return;
  if (c().initialize->lease != bootstrap_lease || bootstrap_lease == 0) {
    d.state = "waiting for leader to bootstrap";
    return;
  }
  d.state = "bootstrapping a new cluster";
  // What an earlier attempt of ours has left, pristine, does for this one.
  if (pg().data != model::DataDir::present) {
    if (local_ready()) emit(InitDb{}, "won the bootstrap race");
    return;
  }
  if (!present() || !local_ready()) return;
  Txn txn;
  txn.compares.push_back(unchanged(KeyKind::initialize, c().initialize));
  txn.compares.push_back(Compare{Key{KeyKind::leader, {}}, Compare::What::create, 0});
  txn.puts.push_back(Write{key, Value{fmt::format("{}", pg().control->system_id)}, 0});
  if (!c().config) txn.puts.push_back(Write{Key{KeyKind::config, {}}, PutBootstrapConfig{}, 0});
  take_lock(std::move(txn), "bootstrap", 1, std::nullopt, "initialized a new cluster");
}

}  // namespace pgdba::ha
