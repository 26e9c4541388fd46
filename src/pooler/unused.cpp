// What nobody uses any more: empty pools, and databases that "*" made.
#include <algorithm>

#include "net/log.h"
#include "pooler/directory.h"

namespace pgdba::pooler {

namespace {

constexpr pool::Moment kSweep = 1'000'000;
constexpr size_t kMostUnused = 1000;  // "*" makes a database of any name, also for who does not get in

}  // namespace

void ClientDirectory::drop_unused(pool::Moment now) {
  if (now - swept_at_ < kSweep) return;
  swept_at_ = now;
  const conf::PoolerSettings& settings = loaded_->config.settings;
  pool::Core& core = worker_->core();
  std::vector<pool::Pool*> late;
  std::unordered_map<const pool::Database*, bool> used;
  for (const auto& pool : core.pools()) {
    if (pool->clients != 0 || pool->servers != 0) {
      empty_since_.erase(pool.get());
      used[pool->database] = true;
      continue;
    }
    const pool::Moment since = empty_since_.try_emplace(pool.get(), now).first->second;
    if (settings.pool_idle_timeout.count() > 0 && now - since > settings.pool_idle_timeout.count()) late.push_back(pool.get());
  }
  std::vector<std::string> gone;
  std::vector<std::pair<pool::Moment, std::string>> unused;
  for (auto& [name, entry] : databases_) {
    if (!entry->database.automatic) continue;
    if (used.contains(&entry->database)) {
      entry->used_at = now;
    } else if (settings.autodb_idle_timeout.count() > 0 && now - entry->used_at > settings.autodb_idle_timeout.count()) {
      log::info("pooler", "auto-database was not used for {} s and is forgotten: db = {}", settings.autodb_idle_timeout.count() / 1'000'000, name);
      gone.push_back(name);
    } else if (databases_.size() > kMostUnused) {
      unused.emplace_back(entry->used_at, name);
    }
  }
  if (unused.size() > kMostUnused) {
    std::ranges::sort(unused);
    unused.resize(unused.size() - kMostUnused);
    log::warning("pooler", "so many auto-databases are unused that {} are forgotten; the last one: db = {}", unused.size(), unused.back().second);
    for (auto& [since, name] : unused) gone.push_back(std::move(name));
  }
  for (const std::string& name : gone) {
    for (const auto& pool : core.pools()) {
      if (pool->database == &databases_.find(name)->second->database && std::find(late.begin(), late.end(), pool.get()) == late.end()) {
        late.push_back(pool.get());
      }
    }
  }
  for (pool::Pool* pool : late) {
    if (core.drop_pool(*pool)) empty_since_.erase(pool);
  }
  for (const std::string& name : gone) {
    auto found = databases_.find(name);
    bool has_pool = false;
    for (const auto& pool : core.pools()) has_pool = has_pool || pool->database == &found->second->database;
    if (has_pool) continue;
    databases_.erase(found);
  }
}

pool::Pool* ClientDirectory::pool_of(const std::string& name, const std::string& user) {
  pool::Core& core = worker_->core();
  if (pool::Pool* known = core.find_pool(name, user)) return known;
  pool::Database* made = database(name);
  return made == nullptr ? nullptr : &core.pool_for(*made, user, settings_of(user));
}

bool ClientDirectory::is_current(const pool::Server& server, const pool::Pool& pool) const {
  auto found = databases_.find(pool.database->name);
  return found != databases_.end() && server.config >= found->second->changed_in;
}

}  // namespace pgdba::pooler
