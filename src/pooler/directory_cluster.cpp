// Where the servers are: hosts in turn, or the members of the cluster by their role.
#include "pooler/directory.h"

#include <algorithm>
#include <chrono>

#include "conf/pooler_rules.h"
#include "net/log.h"
#include "pool/follow.h"

namespace pgdba::pooler {

Result<Target> ClientDirectory::target_of(const pool::Pool& pool) {
  auto found = databases_.find(pool.database->name);
  if (found == databases_.end() || found->second->conf == nullptr) return fail(Errc::not_found, "database \"" + pool.database->name + "\" is no longer configured");
  Entry& entry = *found->second;
  const auto& former = entry.former_users;
  if (entry.conf->user && pool.user != *entry.conf->user && std::find(former.begin(), former.end(), pool.user) != former.end()) {
    return fail(Errc::not_found, "the user of database \"" + pool.database->name + "\" has changed: connect again");
  }
  if (pool.database->route != pool::Route::fixed) return cluster_target(pool, entry);
  const auto& hosts = entry.conf->hosts;
  if (hosts.empty()) return Target{.host = "/var/run/postgresql", .port = entry.conf->port, .member = {}, .term = 0};
  if (entry.conf->load_balance_hosts == conf::LoadBalanceHosts::disable) {
    // One host for all, until it fails.
    if (pool.failure && pool.failure->at > entry.failed_at) {
      entry.failed_at = pool.failure->at;
      ++entry.next_host;
    }
    return Target{.host = hosts[entry.next_host % hosts.size()], .port = entry.conf->port, .member = {}, .term = 0};
  }
  return Target{.host = hosts[entry.next_host++ % hosts.size()], .port = entry.conf->port, .member = {}, .term = 0};
}

std::vector<const ClusterMember*> ClientDirectory::members_for(pool::Route route, const Entry& entry, int slack) const {
  std::vector<const ClusterMember*> out;
  const ClusterMember* leader = nullptr;
  for (const ClusterMember& member : news_.members) {
    if (member.host.empty()) continue;
    if (member.leader) leader = &member;
    else if (route != pool::Route::primary && member.running &&
             (!entry.conf->max_lag || (member.lag_bytes >= 0 && member.lag_bytes <= *entry.conf->max_lag * slack))) out.push_back(&member);
  }
  // Without a replica that is near enough, reads go to the primary: stale answers would be worse.
  if (leader != nullptr && (route != pool::Route::replica || out.empty())) out.push_back(leader);
  return out;
}

// Connections for reads stay where they are for an hour; the replica at their other end may lead by now, or be far behind. A
// member says where it is about once a second, so a busy primary makes it look behind: there is twice the lag's room before
// what works is given up.
void ClientDirectory::retire_readers() {
  for (const pool::Route route : {pool::Route::replica, pool::Route::any}) {
    std::map<std::string_view, std::vector<const ClusterMember*>> by_database;
    auto keep = [&](const pool::Server& server) {
      const std::string& database = server.pool->database->name;
      auto found = databases_.find(database);
      if (found == databases_.end() || found->second->conf == nullptr) return true;
      auto [at, is_new] = by_database.try_emplace(database);
      if (is_new) at->second = members_for(route, *found->second, 2);
      if (at->second.empty()) return true;
      return std::ranges::any_of(at->second, [&](const ClusterMember* member) { return member->name == server.member; });
    };
    worker_->core().retire(route, keep, "the cluster has changed");
  }
}

// Where a database with a role leads just now.
Result<Target> ClientDirectory::cluster_target(const pool::Pool& pool, const Entry& entry) {
  const pool::Route route = pool.database->route;
  const std::vector<const ClusterMember*> members = members_for(route, entry, 1);
  if (members.empty()) return fail(Errc::unavailable, "no member of the cluster is known to lead there");
  const ClusterMember* chosen = route == pool::Route::primary ? members.back() : members[next_replica_++ % members.size()];
  return Target{.host = chosen->host, .port = chosen->port, .member = chosen->name,
                .term = route == pool::Route::primary ? news_.leadership() : 0};
}

void ClientDirectory::apply(const ClusterNews& news) {
  const bool moved = news.leadership() != news_.leadership();
  news_ = news;
  bool leader_known = false;
  for (const ClusterMember& member : news.members) leader_known = leader_known || (member.leader && !member.host.empty());
  const pool::ClusterState state{.known = news.known, .leader_reachable = leader_known, .any_member = !news.members.empty(),
                                 .switching = news.switching, .number = news.leadership(), .fresh_until = news.fresh_until_us};
  const pool::RouteState readers = pool::reader_route(state);
  pool::Core& core = worker_->core();
  if (moved) log::info("pooler", "the primary is {} term={}", news.leader.empty() ? "not known" : news.leader, news.term);
  const pool::RouteState before = core.route(pool::Route::primary);
  core.set_route(pool::Route::primary, pool::primary_route(state, settings_.rules));
  note_change(before, moved);
  core.set_route(pool::Route::replica, readers);
  core.set_route(pool::Route::any, readers);
  retire_readers();
  if (!questions_.empty() && !core.is_open(pool::Route::primary)) answer_from_memory();
}

void ClientDirectory::note_change(const pool::RouteState& before, bool moved) {
  pool::Core& core = worker_->core();
  const pool::RouteState& now = core.route(pool::Route::primary);
  const bool stale = before.open && before.fresh_until != 0 && core.now() > before.fresh_until;
  if (closed_since_ == 0 && stale) closed_since_ = before.fresh_until;
  if (closed_since_ == 0 && !now.open) closed_since_ = core.now();
  if (!now.open) return;
  if (moved || closed_since_ != 0) {
    change_.at = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    change_.held_us = closed_since_ == 0 ? 0 : core.now() - closed_since_;
  }
  closed_since_ = 0;
}

std::string ClientDirectory::verify_query(const pool::Pool& pool) {
  if (pool.database->route == pool::Route::fixed) return {};
  return std::string(pool::verify_question());
}

std::string ClientDirectory::judge(const pool::Server& server, const std::vector<std::optional<std::string>>& row) {
  return pool::judge_server(server, row, {.system_identifier = news_.system_identifier, .number = news_.leadership(), .term = news_.term,
                                    .own_term = news_.own_term});
}

}  // namespace pgdba::pooler
