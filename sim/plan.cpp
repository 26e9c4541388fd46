#include "plan.h"

#include "focus.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgdba::sim {

namespace {

using Kind = Fault::Kind;
using model::SyncMode;

constexpr std::string_view kNames[] = {
    "kill_postmaster", "crash_backend",   "kill_agent",      "freeze_agent",    "kill_guardian",     "freeze_guardian",
    "freeze_postgres", "freeze_node",     "pause_machine",   "power_loss",      "kill_everything",   "cut_members",       "reject_members",
    "isolate_member",  "cut_etcd",        "flap",            "etcd_leader_change", "etcd_quorum_loss", "etcd_wipe",
    "etcd_restore",    "etcd_lies",       "delete_leader_key", "revoke_lease",  "slow_watch",        "block_replay",
    "busy_checkpointer", "panic_fsync",   "lose_cache",      "lose_disk",       "fail_job",          "disk_refuses",      "change_ttl",
    "change_count",    "pause_cluster",   "switchover",      "restart_request", "reinit_request",    "stop_outside",
    "start_outside",   "stop_agent",      "crash_after_promotion", "swap_faults"};
static_assert(std::size(kNames) == static_cast<size_t>(Kind::kCount));

// In asynchronous mode promise B rests on clocks and walls: what stops the walls, or the clock, is left out there.
bool fits_async(Kind kind) {
  switch (kind) {
    case Kind::freeze_guardian:
    case Kind::freeze_node:
    case Kind::pause_machine:
    case Kind::delete_leader_key:
    case Kind::revoke_lease:
    case Kind::etcd_wipe:
    case Kind::etcd_restore:
    case Kind::pause_cluster: return false;
    default: return true;
  }
}

double share(Random& random) { return static_cast<double>(random.below(1000)) / 1000.0; }
// Off in half of the seeds; else up to `most`.
double sometimes(Random& random, double most) { return random.chance(0.5) ? 0.0 : share(random) * most; }

void draw_cluster(Plan& plan, Random& random) {
  plan.members = random.chance(0.65) ? 3 : static_cast<int>(random.between(3, 6)) - (random.chance(0.15) ? 1 : 0);
  if (random.chance(0.03)) plan.members = 7;
  plan.mode = random.chance(0.8) ? model::SyncMode::quorum : random.chance(0.6) ? model::SyncMode::off : model::SyncMode::priority;
  plan.strict = random.chance(0.35);
  plan.node_count = plan.members > 2 && random.chance(0.35) ? static_cast<int>(random.between(1, plan.members - 1)) : 1;
  static constexpr Duration ttls[] = {2s, 3s, 3s, 3s, 5s, 10s};
  plan.ttl = ttls[random.below(6)];
  plan.tags.resize(static_cast<size_t>(plan.members));
  if (random.chance(0.25)) {
    for (size_t i = 1; i < plan.tags.size(); ++i) {
      plan.tags[i].nofailover = random.chance(0.25);
      plan.tags[i].nosync = random.chance(0.15);
      plan.tags[i].failover_priority = static_cast<int>(random.between(1, 2));
    }
  }
  // Strict mode without anybody who may be synchronous would accept no write, rightly.
  if (std::all_of(plan.tags.begin() + 1, plan.tags.end(), [](const model::Tags& t) { return t.nosync; })) plan.tags.back().nosync = false;
  plan.fresh = random.chance(0.12);
  plan.old_minor = random.chance(0.25);
  plan.length = draw(random, 20s, 45s);
}

void draw_speeds(Plan& plan, Random& random) {
  plan.latency_high = draw_skewed(random, 400us, 15ms);
  plan.slow_message = sometimes(random, 0.03);
  plan.slow_message_max = draw_skewed(random, 50ms, 1500ms);
  plan.lost_request = sometimes(random, 0.05);
  plan.lost_answer = sometimes(random, 0.08);
  plan.late_request = sometimes(random, 0.08);
  plan.late_max = draw_skewed(random, 1s, 8s);
  plan.drift = sometimes(random, 0.0005);
  plan.watch_lag = draw_skewed(random, 1ms, 500ms);
  plan.slow_reload = sometimes(random, 0.4);
  plan.slow_reload_max = draw_skewed(random, 50ms, 4s);
  plan.slow_obey = sometimes(random, 0.7);
  plan.slow_obey_max = draw_skewed(random, 100ms, 4s);
  plan.slow_kill = sometimes(random, 0.5);
  plan.slow_kill_max = draw_skewed(random, 50ms, 4s);
  plan.slow_exhaust = sometimes(random, 0.6);
  plan.slow_exhaust_max = draw_skewed(random, 200ms, 5s);
  plan.long_statement = sometimes(random, 0.1);
  plan.slow_reply = sometimes(random, 0.15);
  plan.slow_reply_max = draw_skewed(random, 50ms, 3s);
  plan.job_failure = sometimes(random, 0.3);
  plan.misread = sometimes(random, 0.02);
  plan.early_word = sometimes(random, 0.5);
  plan.disk = draw_skewed(random, 500us, 25ms);
  plan.writers = static_cast<int>(random.between(1, 4));
  plan.direct_writers = static_cast<int>(random.between(1, 2));
  plan.readers = static_cast<int>(random.between(1, 2));
  plan.think = draw_skewed(random, 20ms, 200ms);
}

void add(Plan& plan, Random& random, Kind kind, Time at) { plan.faults.push_back({at, kind, random.next()}); }

void draw_faults(Plan& plan, Random& random) {
  auto kinds = static_cast<uint64_t>(Kind::kCount);
  std::vector<Kind> on;
  std::vector<double> weight;
  double sum = 0;
  double keep = 0.1 + share(random) * 0.4;
  for (uint64_t i = 0; i < kinds; ++i) {
    auto kind = static_cast<Kind>(i);
    if (!random.chance(keep)) continue;
    if (kind == Kind::lose_cache) continue;  // a disk that lies breaks what PostgreSQL itself promises: only in the focus of h4
    if (plan.mode == model::SyncMode::off && !fits_async(kind)) continue;
    on.push_back(kind);
    weight.push_back(0.1 + share(random));
    sum += weight.back();
  }
  if (on.empty()) return;
  Duration mean = draw_skewed(random, 500ms, 8s);
  Time at = plan.fresh ? Time(6s) : Time(2s);
  while (true) {
    at += draw(random, 10ms, mean * 2);
    if (at > plan.length - 1s) return;
    double dice = share(random) * sum;
    size_t which = 0;
    while (which + 1 < on.size() && (dice -= weight[which]) > 0) ++which;
    add(plan, random, on[which], at);
  }
}

// Planned switchovers, deaths of primaries and pauses of poolers, and clients that write all the time.
void focus_on_poolers(Plan& plan, Random& random) {
  plan.mode = SyncMode::quorum;
  plan.ttl = 3s;
  plan.fresh = false;
  plan.tags.assign(plan.tags.size(), {});
  plan.strict = false;
  plan.lost_request = plan.lost_answer = plan.late_request = 0;
  plan.think = 25ms;
  plan.pooled_writers = 4;
  plan.pool_size = 3;
  plan.faults.clear();
  static constexpr Kind kinds[] = {Kind::switchover, Kind::switchover, Kind::power_loss, Kind::kill_postmaster, Kind::freeze_node,
                                   Kind::stop_outside, Kind::revoke_lease, Kind::reject_members, Kind::isolate_member,
                                   Kind::freeze_pooler, Kind::cut_pooler, Kind::cut_pooler, Kind::lag_pooler};
  for (Time at = 4s; at < plan.length - 2s; at += draw(random, 300ms, 3s)) add(plan, random, kinds[random.below(std::size(kinds))], at);
}

// With dice of their own, so that they change nothing of what else a seed draws.
void draw_poolers(Plan& plan) {
  Random random(plan.seed * 0x9E3779B97F4A7C15ull + 0x706f6f6c);
  if (plan.focus.empty() && random.chance(0.35)) return;
  plan.poolers = random.chance(0.5) ? 2 : 1;
  plan.pooled_writers = static_cast<int>(random.between(1, 4));
  plan.pooled_readers = random.chance(0.4) ? 1 : 0;
  plan.writers = std::max(0, plan.writers - plan.pooled_writers);  // the others go through the old model
  plan.pool_size = static_cast<int>(random.between(1, 3));
  plan.pool_statements = random.chance(0.4) ? 1 : 200;
  plan.pool_checks = random.chance(0.3);
  plan.pool_wait = random.chance(0.25) ? draw(random, 2s, 10s) : 120s;
  plan.pooler_backlog = sometimes(random, 0.05);
  if (random.chance(0.5)) return;
  const Duration mean = draw_skewed(random, 2s, 15s);
  for (Time at = 2s + draw(random, 10ms, mean); at < plan.length - 1s; at += draw(random, 10ms, mean * 2)) {
    add(plan, random, static_cast<Kind>(static_cast<int>(Kind::freeze_pooler) + static_cast<int>(random.below(4))), at);
  }
}

}  // namespace

std::string_view to_string(Fault::Kind kind) {
  switch (kind) {
    case Kind::scene: return "scene";
    case Kind::freeze_pooler: return "freeze_pooler";
    case Kind::kill_pooler: return "kill_pooler";
    case Kind::cut_pooler: return "cut_pooler";
    case Kind::lag_pooler: return "lag_pooler";
    default: break;
  }
  return kNames[static_cast<size_t>(kind)];
}

Plan draw_plan(uint64_t seed, const std::string& focus, bool poolers) {
  Random random(seed);
  Plan plan;
  plan.seed = seed;
  plan.focus = focus;
  draw_cluster(plan, random);
  draw_speeds(plan, random);
  if (focus.empty()) {
    draw_faults(plan, random);
    if (poolers) draw_poolers(plan);
  } else if (focus == kPoolFocus) {
    draw_faults(plan, random);
    draw_poolers(plan);
    focus_on_poolers(plan, random);
  } else {
    apply_focus(plan, random);
  }
  std::stable_sort(plan.faults.begin(), plan.faults.end(), [](const Fault& a, const Fault& b) { return a.at < b.at; });
  return plan;
}

std::string describe(const Plan& plan) {
  std::string modes = plan.mode == model::SyncMode::off ? "async" : plan.mode == model::SyncMode::quorum ? "quorum" : "priority";
  std::string text = fmt::format("seed {}: {} members, {}{}, n = {}, ttl {} s, {}", plan.seed, plan.members, modes, plan.strict ? " strict" : "",
                                 plan.node_count, plan.ttl.count() / 1000000000, plan.fresh ? "from nothing" : "from a cold start");
  for (size_t i = 0; i < plan.tags.size(); ++i) {
    if (plan.tags[i].nofailover) text += fmt::format(", {} nofailover", static_cast<char>('a' + i));
    if (plan.tags[i].nosync) text += fmt::format(", {} nosync", static_cast<char>('a' + i));
  }
  return text;
}

}  // namespace pgdba::sim
