#include "focus.h"

#include <map>
#include <string>

namespace pgdba::sim {

namespace {

using Kind = Fault::Kind;
using model::SyncMode;

struct Recipe {
  SyncMode mode = SyncMode::quorum;
  std::vector<Kind> kinds;
  Duration mean = 1500ms;  // between two faults
  void (*tune)(Plan&, Random&) = nullptr;
};

void faster_clients(Plan& plan) {
  plan.think = 15ms;
  plan.writers = 4;
  plan.direct_writers = 3;
}

// Nothing goes wrong by itself: the scene is the whole fault.
void calm(Plan& plan, Random&) {
  faster_clients(plan);
  plan.latency_high = 2ms;
  plan.watch_lag = 20ms;
  plan.disk = 2ms;
  plan.slow_message = plan.lost_request = plan.lost_answer = plan.late_request = plan.drift = 0;
  plan.slow_reload = plan.slow_obey = plan.slow_kill = plan.slow_exhaust = plan.slow_reply = plan.long_statement = 0;
  plan.old_minor = plan.strict = false;
}

void calm_and_long(Plan& plan, Random& random) {
  calm(plan, random);
  plan.ttl = 5s;
}

const std::map<std::string_view, Recipe>& recipes() {
  static const std::map<std::string_view, Recipe> all = {
      {"w1", {SyncMode::quorum, {Kind::scene}, 4s, calm_and_long}},
      {"w2", {SyncMode::quorum, {Kind::scene}, 4s, calm_and_long}},
      {"w4", {SyncMode::quorum, {Kind::scene}, 4s,
              [](Plan& plan, Random& random) {
                calm(plan, random);
                plan.slow_obey = 1;
                plan.slow_obey_max = 1500ms;
              }}},
      {"w6", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"w9", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"w11", {SyncMode::quorum, {Kind::scene}, 4s,
               [](Plan& plan, Random& random) {
                 calm(plan, random);
                 plan.readers = 6;
                 plan.ttl = 10s;
               }}},
      {"w14", {SyncMode::quorum, {Kind::scene}, 4s, calm_and_long}},
      {"l3", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"l5", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"h2", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"s1", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"y1", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"y4", {SyncMode::quorum, {Kind::scene}, 4s, calm_and_long}},
      {"r2", {SyncMode::quorum, {Kind::scene}, 4s, calm}},
      {"w3", {SyncMode::quorum, {Kind::delete_leader_key, Kind::cut_etcd, Kind::freeze_agent, Kind::revoke_lease}, 2s,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.slow_obey = 0.8;
                plan.slow_obey_max = 2s;
              }}},
      {"w5", {SyncMode::quorum, {Kind::change_count, Kind::change_count, Kind::swap_faults, Kind::kill_everything, Kind::delete_leader_key, Kind::power_loss}, 1s,
              [](Plan& plan, Random& random) {
                faster_clients(plan);
                plan.members = 4 + static_cast<int>(random.below(2));
              }}},
      {"w7", {SyncMode::quorum, {Kind::kill_everything, Kind::crash_after_promotion, Kind::delete_leader_key, Kind::crash_after_promotion}, 2s,
              [](Plan& plan, Random&) { faster_clients(plan); }}},
      {"w8", {SyncMode::quorum, {Kind::kill_everything, Kind::delete_leader_key, Kind::power_loss, Kind::cut_members}, 1500ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.members = 4;
                plan.node_count = 1;
                plan.tags.assign(4, {});
                plan.tags[3].nofailover = true;
                plan.latency_high = 15ms;
              }}},
      {"w12", {SyncMode::quorum, {Kind::reject_members}, 1s, [](Plan& plan, Random&) { plan.watch_lag = 200ms; }}},
      {"w13", {SyncMode::quorum, {Kind::etcd_restore, Kind::delete_leader_key, Kind::reject_members, Kind::kill_agent, Kind::kill_everything}, 1500ms,
               [](Plan& plan, Random&) { faster_clients(plan); }}},
      {"l1", {SyncMode::off, {Kind::etcd_lies}, 6s, [](Plan& plan, Random&) { faster_clients(plan); }}},
      {"l2", {SyncMode::off, {Kind::change_ttl, Kind::cut_etcd, Kind::cut_etcd, Kind::isolate_member}, 1500ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.slow_message = 0.3;
                plan.slow_message_max = 700ms;
              }}},
      {"g1", {SyncMode::off, {Kind::kill_postmaster}, 3s,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.slow_kill = 1.0;
                plan.slow_kill_max = 4s;
                plan.long_statement = 0.5;
              }}},
      {"g2", {SyncMode::off, {Kind::start_outside}, 5s, [](Plan& plan, Random&) { faster_clients(plan); }}},
      {"g4", {SyncMode::quorum, {Kind::kill_postmaster, Kind::crash_backend, Kind::cut_members, Kind::stop_outside, Kind::isolate_member, Kind::power_loss}, 1500ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.readers = 6;
                plan.latency_high = 15ms;
              }}},
      {"h1", {SyncMode::quorum, {Kind::kill_postmaster, Kind::crash_backend, Kind::cut_members}, 1500ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.latency_high = 15ms;
              }}},
      {"h3", {SyncMode::quorum, {Kind::crash_backend, Kind::isolate_member, Kind::cut_members, Kind::power_loss}, 1s,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.readers = 6;
                plan.latency_high = 15ms;
              }}},
      {"h4", {SyncMode::quorum, {Kind::lose_cache, Kind::panic_fsync, Kind::crash_backend}, 3s, [](Plan& plan, Random&) { faster_clients(plan); }}},
      {"y2", {SyncMode::quorum, {Kind::swap_faults, Kind::power_loss, Kind::change_count, Kind::cut_members}, 1200ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.latency_high = 15ms;
                plan.slow_reload = 0.4;
              }}},
      {"y3", {SyncMode::quorum, {Kind::swap_faults, Kind::busy_checkpointer, Kind::busy_checkpointer, Kind::kill_everything}, 1200ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.strict = false;
                plan.ttl = 2s;
                plan.old_minor = true;
              }}},
      {"r1", {SyncMode::quorum, {Kind::crash_after_promotion, Kind::power_loss, Kind::kill_everything, Kind::delete_leader_key}, 1200ms,
              [](Plan& plan, Random&) { faster_clients(plan); }}},
      {"r3", {SyncMode::quorum, {Kind::kill_everything, Kind::isolate_member, Kind::cut_members, Kind::power_loss}, 1500ms,
              [](Plan& plan, Random&) {
                faster_clients(plan);
                plan.latency_high = 15ms;
              }}},
  };
  return all;
}

}  // namespace

const std::vector<Focus>& focuses() {
  static const std::vector<Focus> all = {
      {"w1", 20}, {"w2", 20},  {"w3", 20}, {"w4", 20},  {"w5", 60},  {"w6", 20}, {"w7", 20},  {"w8", 60}, {"w9", 20}, {"w11", 20},
      {"w12", 20}, {"w13", 600}, {"w14", 20}, {"l1", 20}, {"l2", 20}, {"l3", 20}, {"l5", 20},  {"g1", 20},  {"g2", 20}, {"g4", 20},
      {"h1", 20}, {"h2", 20},  {"h3", 60}, {"h4", 60},  {"y1", 20}, {"y2", 200}, {"y3", 200}, {"y4", 20}, {"r1", 20}, {"r2", 20},
      {"r3", 20, true}, {"s1", 20},
  };
  return all;
}

void apply_focus(Plan& plan, Random& random) {
  auto found = recipes().find(plan.focus);
  if (found == recipes().end()) return;
  const Recipe& recipe = found->second;
  plan.members = 3;
  plan.mode = recipe.mode;
  plan.fresh = false;
  plan.ttl = random.chance(0.5) ? 2s : 3s;
  plan.node_count = 1;
  plan.job_failure = 0;
  if (recipe.tune != nullptr) recipe.tune(plan, random);
  if (plan.tags.size() != static_cast<size_t>(plan.members) || plan.focus != "w8") {
    plan.tags.assign(static_cast<size_t>(plan.members), {});
  }
  plan.length = 40s;
  Time at = 2s;
  while (true) {
    at += draw(random, 10ms, recipe.mean * 2);
    if (at > plan.length - 1s) return;
    plan.faults.push_back({at, recipe.kinds[random.below(recipe.kinds.size())], random.next()});
  }
}

}  // namespace pgdba::sim
