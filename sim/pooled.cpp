// The poolers and their clients together, and the judge of what clients are told.
#include "world.h"

namespace pgdba::sim {

Pooled::Pooled(World& world) : world_(world) {
  const Plan& plan = world.plan;
  pool::Settings settings;
  settings.pool_mode = pool::PoolMode::transaction;
  settings.default_pool_size = plan.pool_size;
  settings.max_prepared_statements = plan.pool_statements;
  settings.server_connect_timeout = std::chrono::seconds(5);
  settings.server_check_delay = plan.pool_checks ? std::chrono::milliseconds(300) : std::chrono::seconds(30);
  settings.server_lifetime = plan.pool_checks ? std::chrono::seconds(5) : std::chrono::seconds(3600);
  settings.query_wait_timeout = std::chrono::duration_cast<pool::Micros>(plan.pool_wait);
  settings.rules = world.options.pool_rules;
  for (int i = 0; i < plan.poolers; ++i) poolers_.push_back(std::make_unique<SimPooler>(world, i, settings));
  for (int i = 0; i < plan.pooled_writers; ++i) clients_.push_back(std::make_unique<PooledClient>(world, *this, i, false));
  for (int i = 0; i < plan.pooled_readers; ++i) clients_.push_back(std::make_unique<PooledClient>(world, *this, plan.pooled_writers + i, true));
}

void Pooled::start() {
  for (const auto& pooler : poolers_) pooler->start();
  for (const auto& client : clients_) {
    world_.events.after(draw(world_.pooled_random, 0ms, 200ms), [each = client.get()] { each->start(); });
  }
}

void Pooled::etcd_event() {
  for (const auto& pooler : poolers_) pooler->etcd_event();
}

void Pooled::heal() {
  for (const auto& pooler : poolers_) pooler->thaw();
}

bool Pooled::served(Time since, std::string* missing) const {
  for (const auto& client : clients_) {
    if (client->last_served() > since) continue;
    if (missing != nullptr) {
      *missing = "not served: " + client->summary();
      for (const auto& pooler : poolers_) *missing += "\n    " + pooler->summary();
    }
    return false;
  }
  return true;
}

void Pooled::written(const std::vector<std::string>& tags, RecordId record, int member) {
  const Checkers& checkers = world_.checkers;
  for (const std::string& tag : tags) {
    Known& known = tags_[tag];
    if (known.written) world_.checkers.violate("bytes", fmt::format("{} is executed a second time, by {}", tag, world_.name(member)));
    if (known.denied) world_.checkers.violate("bytes", fmt::format("{} is written by {} after its client was told that it failed", tag, world_.name(member)));
    known.written = true;
    known.record = record;
    known.member = member;
    known.late = checkers.newest() >= 0 && checkers.newest() != member && world_.node(member).pg.loaded().term < checkers.newest_term();
  }
}

void Pooled::told_ok(const std::string& tag) {
  const Known& known = tags_[tag];
  const Records& records = world_.records;
  if (!known.written || !records[known.record].acknowledged) {
    world_.checkers.violate("A", fmt::format("the client of {} was told that it is committed, and {}", tag,
                                             known.written ? "no server had said so" : "no server has executed it"));
    return;
  }
  const int newest = world_.checkers.newest();
  if (newest < 0 || newest == known.member) return;
  const DataDirectory& dir = world_.node(newest).pg.dir;
  if (dir.kind != model::DataDir::present || holds(records, dir.wal, known.record)) return;
  // In asynchronous mode, and by a fault that destroys data, a write may be lost between its answer's leaving and its arrival.
  if (!world_.checkers.counts_copies() && !known.late) return;
  world_.checkers.violate("B", fmt::format("{}, written by {}{}, is told to be committed, and {} of term {} lacks it", tag, world_.name(known.member),
                                           known.late ? " after a newer term had a primary" : "", world_.name(newest), world_.checkers.newest_term()));
}

void Pooled::told_failed(const std::string& tag, const std::string& why) {
  Known& known = tags_[tag];
  known.denied = true;
  if (known.written) {
    world_.checkers.violate("bytes", fmt::format("{} was told to have failed ({}), and {} has written it", tag, why, world_.name(known.member)));
  }
}

}  // namespace pgdba::sim
