#include "world.h"

#include <algorithm>

namespace pgdba::sim {

World::World(uint64_t seed, const Options& o) : World(draw_plan(seed, o.focus, o.poolers), o) {}

World::World(Plan p, Options o)
    : options(std::move(o)), plan(std::move(p)), random(plan.seed * 0x9E3779B97F4A7C15ull + 1), pooled_random(plan.seed * 0x9E3779B97F4A7C15ull + 2), network(events, random, plan), etcd(*this),
      checkers(*this), clients(*this) {
  static const char* names[] = {"a", "b", "c", "d", "e", "f", "g"};
  for (int i = 0; i < plan.members; ++i) {
    nodes_.push_back(std::make_unique<Node>(*this, i, names[i], plan.tags[static_cast<size_t>(i)]));
  }
  slow_watches_.resize(nodes_.size());
  if (plan.poolers > 0) pooled = std::make_unique<Pooled>(*this);
}

World::~World() = default;

int World::find(const std::string& wanted) const {
  for (const auto& candidate : nodes_) {
    if (candidate->name == wanted) return candidate->index;
  }
  return -1;
}

void World::add_note(std::string text) { trace.push_back(fmt::format("{:9.4f} {}", std::chrono::duration<double>(events.now()).count(), text)); }

Duration World::ttl_now() const { return etcd.state().config ? etcd.state().config->value.timings.ttl : plan.ttl; }

model::DynamicConfig World::bootstrap_config() const {
  model::DynamicConfig config;
  config.timings = {plan.ttl, plan.ttl / 3, plan.ttl / 3};
  config.synchronous_mode = plan.mode;
  config.synchronous_mode_strict = plan.strict;
  config.synchronous_node_count = plan.node_count;
  config.postgresql.use_pg_rewind = true;
  // Loss of unreplicated data is the promise of asynchronous mode; the lag limit is not under test.
  config.maximum_lag_on_failover = 1u << 30;
  return config;
}

Duration World::watch_delay(int member) const {
  const SlowWatch& slow = slow_watches_[static_cast<size_t>(member)];
  return events.now() < slow.until ? slow.lag : Duration{};
}

void World::slow_watch(int member, Duration lag, Time until) { slow_watches_[static_cast<size_t>(member)] = {lag, until}; }

void World::pg_event(int member) {
  if (nodes_.size() == static_cast<size_t>(plan.members)) node(member).postgres_changed();
}

void World::etcd_changed() {
  for (const auto& each : nodes_) {
    if (each->agent.alive() && each->shell) each->shell->etcd_event();
  }
  clients.etcd_event();
  if (pooled) pooled->etcd_event();
}

int World::leader() const { return etcd.state().leader ? find(etcd.state().leader->value) : -1; }

void World::make_first_data(Postgres& pg) {
  DataDirectory& dir = pg.dir;
  dir = {};
  dir.kind = model::DataDir::present;
  dir.system_id = 7000000000000000000ull + static_cast<uint64_t>(next_pid());
  dir.standby_signal = false;
  dir.control = model::ControlState::shut_down;
  dir.known_timelines.insert(1);
  Record record;
  record.kind = Record::Kind::initdb;
  record.end = Lsn{0x1000100};
  dir.wal.push_back(records.add(record));
  dir.timeline_starts[1] = Lsn{};
}

// Data exists on every member, everything is stopped, etcd remembers who led.
void World::cold_start() {
  Postgres& first = node(0).pg;
  make_first_data(first);
  for (int i = 0; i < 5; ++i) first.append(Record::Kind::other);
  first.append(Record::Kind::shutdown);
  std::string nonce = "first";
  for (const auto& each : nodes_) {
    DataDirectory& dir = each->pg.dir;
    if (each->index != 0) dir = first.dir;
    dir.standby_signal = true;
    dir.nonces[1] = nonce;
    dir.pooler_auth = true;
    dir.checkpoint = dir.wal.size() - 1;
    dir.control = each->index == 0 ? model::ControlState::shut_down : model::ControlState::shut_down_in_recovery;
  }
  etcd.put({model::KeyKind::initialize, {}}, std::to_string(first.dir.system_id));
  etcd.put_config(bootstrap_config());
  etcd.put({model::KeyKind::term, {}}, model::TermRecord{1, node(0).name, "", "bootstrap", 1});
  etcd.put({model::KeyKind::timeline, "1"}, model::TimelineRecord{1, node(0).name, nonce, 0, {}});
  if (plan.mode == model::SyncMode::off) return;
  model::SyncState sync;
  sync.leader = node(0).name;
  for (const auto& each : nodes_) {
    if (each->index != 0 && !each->tags.nosync) sync.standbys.insert(each->name);
  }
  if (plan.mode == model::SyncMode::quorum) {
    sync.quorum = std::max(0, static_cast<int>(sync.standbys.size()) - plan.node_count);
  } else {
    while (static_cast<int>(sync.standbys.size()) > plan.node_count) sync.standbys.erase(std::prev(sync.standbys.end()));
  }
  etcd.put({model::KeyKind::sync, {}}, sync);
}

void World::begin() {
  note("{}", describe(plan));
  if (!plan.fresh) cold_start();
  for (const auto& each : nodes_) {
    events.after(draw(random, 0ms, 300ms), [member = each.get()] { member->start_agent(); });
  }
  clients.start();
  if (pooled) pooled->start();
  for (size_t i = 0; i < plan.faults.size(); ++i) {
    if (options.without.contains(i)) continue;
    events.at(plan.faults[i].at, [this, i] {
      if (!healing_) inject(*this, plan.faults[i]);
    });
  }
}

void World::run_until(Time until) {
  while (!checkers.violation() && events.run_next(until)) {
  }
}

Verdict World::run() {
  Verdict verdict;
  begin();
  run_until(plan.length);
  if (!checkers.violation() && options.liveness) live(verdict);
  verdict.violation = checkers.violation();
  verdict.acknowledged = checkers.acknowledged();
  verdict.events = events.executed();
  verdict.primaries = checkers.primaries();
  verdict.longest_gap = clients.journal().longest_gap;
  if (pooled) verdict.pooled = pooled->journal();
  verdict.faults = plan.faults.size() - options.without.size();
  for (const auto& each : nodes_) verdict.steps += each->shell ? each->shell->steps() : 0;
  for (const auto& each : graveyard_) verdict.steps += each->steps();
  return verdict;
}

void World::live(Verdict& verdict) {
  heal();
  Time begun = events.now();
  std::string missing;
  Time well_since{};
  bool well = false;
  while (events.now() - begun < plan.patience) {
    run_until(events.now() + 100ms);
    if (checkers.violation()) return;
    bool now_well = settled(&missing);
    if (now_well && !well) well_since = events.now();
    well = now_well;
    // It must stay so, and acknowledge something, before the world is believed to be well.
    if (well && events.now() - well_since >= 500ms && checkers.last_acknowledged() > well_since &&
        (!pooled || pooled->served(well_since, &missing))) {
      verdict.settled_after = well_since - begun;
      return;
    }
  }
  if (waits_for_a_person()) {
    verdict.waits = true;
    return;
  }
  std::string states;
  for (const auto& each : nodes_) {
    states += fmt::format("\n    {}: {}\n       {}", each->name, each->shell ? each->shell->state() + "\n       " + each->shell->summary() : "no agent", each->pg.summary());
  }
  bool writes = leader() >= 0 && node(leader()).pg.is_primary() && node(leader()).pg.takes_clients();
  checkers.violate(writes && !well ? "D" : "C", missing + states);
}

bool World::settled(std::string* missing) {
  auto no = [missing](std::string why) {
    if (missing != nullptr) *missing = std::move(why);
    return false;
  };
  int owner = leader();
  if (owner < 0) return no("nobody owns the leader key");
  Postgres& primary = node(owner).pg;
  if (!primary.is_primary()) return no(fmt::format("the leader {} is no primary", name(owner)));
  if (!primary.takes_clients()) return no(fmt::format("the gate of {} is closed", name(owner)));
  const model::ClusterView& state = etcd.state();
  std::set<std::string> eligible;
  for (const auto& each : nodes_) {
    const Postgres& pg = each->pg;
    if (!each->agent.alive()) return no(each->name + " has no agent");
    if (!state.members.contains(each->name)) return no(each->name + " has no member key");
    if (each->freeze_record) return no(each->name + " is frozen");
    if (auto promise = state.promises.find(each->name);
        promise != state.promises.end() && promise->second.value.state == model::Promise::State::active) {
      return no(each->name + " has an active promise");
    }
    if (each->index == owner) continue;
    if (pg.dir.kind != model::DataDir::present) return no(fmt::format("{}: data directory: {}", each->name, pg.dir.why));
    if (!pg.streams_from(owner)) return no(fmt::format("{} does not stream from {}", each->name, name(owner)));
    if (common_prefix(pg.dir.wal, primary.dir.wal) < pg.dir.wal.size()) return no(each->name + " has other records than the primary");
    if (pg.dir.wal.size() + 200 < primary.dir.wal.size()) return no(each->name + " lags");
    if (!pg.takes_clients()) return no(fmt::format("the gate of {} is closed", each->name));
    if (!each->tags.nosync) eligible.insert(each->name);
  }
  const auto& config = state.config;
  if (!config) return no("the config key is missing");
  if (config->value.synchronous_mode == model::SyncMode::off) return true;
  if (!state.sync || state.sync->value.leader != name(owner)) return no("sync names another leader");
  const model::SyncState& sync = state.sync->value;
  size_t wanted = eligible.size();
  if (config->value.synchronous_mode == model::SyncMode::priority) {
    wanted = std::min(wanted, static_cast<size_t>(config->value.synchronous_node_count));
  }
  if (sync.standbys.size() < wanted) return no("the sync set is not full: " + describe(sync));
  return true;
}

bool World::waits_for_a_person() const {
  const model::ClusterView& state = etcd.state();
  if (state.leader) return false;
  auto says = [](const Node& node, std::string_view text) { return node.shell && node.shell->state().find(text) != std::string::npos; };
  // etcd was wiped, and every agent has been restarted since: which member led last, and with which sync set, is written
  // nowhere. Any choice could lose a write that only another one has.
  if (!state.initialize && !state.term && !state.sync) {
    return std::ranges::all_of(nodes_, [&](const auto& each) {
      return each->pg.dir.kind != model::DataDir::present || says(*each, "etcd holds no trace of this cluster");
    });
  }
  // etcd was restored to before the newest timeline, and every agent has been restarted since: who led on it, and with which
  // sync set, is written nowhere.
  if (std::ranges::all_of(nodes_, [&](const auto& each) {
        return each->pg.dir.kind != model::DataDir::present || says(*each, "timeline is not the one that etcd knows");
      })) {
    return etcd_replaced_at_ > 0;
  }
  // The leader's data is gone or doubtful, the writes are on voters alone, and none of those may lead: the operator has
  // forbidden what would save them, and may allow it.
  if (!state.sync || state.sync->value.leader.empty()) {  // asynchronous mode
    return std::ranges::all_of(nodes_, [&](const auto& each) {
      return each->pg.dir.kind != model::DataDir::present || (!each->tags.may_lead() && says(*each, "this member may not lead")) ||
             (each->pg.dir.novote && says(*each, "our WAL may be incomplete"));
    });
  }
  if (state.sync->value.standbys.empty()) return false;
  int last = find(state.sync->value.leader);
  if (last < 0) return false;
  const DataDirectory& leaders = nodes_[static_cast<size_t>(last)]->pg.dir;
  if (leaders.kind == model::DataDir::present && !leaders.novote && !says(*nodes_[static_cast<size_t>(last)], "the voters decide")) return false;
  int frozen = 0;
  for (const std::string& name : state.sync->value.standbys) {
    int voter = find(name);
    if (voter < 0) return false;
    const Node& node = *nodes_[static_cast<size_t>(voter)];
    if (node.pg.dir.kind != model::DataDir::present) continue;
    if (node.tags.may_lead() || !says(node, "none of the frozen voters may lead")) return false;
    ++frozen;
  }
  return frozen > state.sync->value.quorum;
}

bool World::may_destroy_data() {
  if (healing_) return false;
  if (!settled()) return false;
  // An etcd that was replaced is repaired when the leader has written its keys again and every member has read so (W13).
  const model::ClusterView& state = etcd.state();
  if (state.revision < etcd_replaced_at_ || (state.sync && state.sync->mod <= etcd_replaced_at_)) return false;
  if (std::ranges::any_of(state.members, [](const auto& m) { return m.second.value.etcd_reset; })) return false;
  // A voter without a vote is damage, too.
  for (const auto& each : nodes_) {
    if (each->pg.dir.novote && state.sync && state.sync->value.standbys.contains(each->name)) return false;
  }
  // What only one disk holds is not promised.
  if (plan.mode != model::SyncMode::off && (!etcd.state().sync || etcd.state().sync->value.standbys.empty())) return false;
  data_at_risk_ = false;
  return true;
}

void World::data_destroyed() {
  data_at_risk_ = true;
  checkers.on_data_lost();
}

void World::etcd_replaced() {
  data_destroyed();
  etcd_replaced_at_ = etcd.state().revision;
}

void World::when(std::function<bool()> condition, std::function<void()> then, Duration limit) {
  Time end = events.now() + limit;
  events.after(2ms, [this, condition = std::move(condition), then = std::move(then), end]() mutable {
    if (healing_ || events.now() >= end) return;
    if (condition()) return then();
    when(std::move(condition), std::move(then), end - events.now());
  });
}

void World::heal() {
  note("---- everything is healed; no fault comes any more");
  healing_ = true;
  network.heal();
  etcd.stop_lying();
  if (pooled) pooled->heal();
  etcd.release_holds();
  while (!etcd.available()) etcd.end_stall();
  for (SlowWatch& slow : slow_watches_) slow = {};
  plan.lost_answer = plan.lost_request = plan.late_request = plan.job_failure = plan.misread = 0;
  for (const auto& each : nodes_) {
    each->disk_refuses = false;
    each->clock.go_on(events.now());
    each->supervised = true;
    for (Process* process : {&each->pg.server, &each->guardian, &each->agent}) process->thaw(events, draw(random, 0ms, 5ms));
    if (!each->powered) {
      each->power_on();
    } else if (!each->agent.alive()) {
      events.after(draw(random, 0ms, 2s), [member = each.get()] { member->start_agent(); });
    }
  }
  if (etcd.state().config && etcd.state().config->value.pause) {
    model::DynamicConfig config = etcd.state().config->value;
    config.pause = false;
    etcd.put_config(config);
  }
}

}  // namespace pgdba::sim
