// How many servers and clients there may be, over all workers: the limits are exact.
//
// Counted by name of database and user. Taken before a connection is opened, given back when it has ended.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "pool/core.h"
#include "pooler/peer_pools.h"

namespace pgdba::pooler {

class Limits : public pool::Ledger {
 public:
  void configure(const pool::Settings& settings);

  // Before the first pool: how many workers there are.
  void set_workers(size_t workers) { workers_ = workers; }

  Verdict take_server(const pool::Pool& pool, int limit) override;
  void give_server(const pool::Pool& pool) override;
  void give_server(const std::string& database, const std::string& user);
  pool::PoolShare* share(const pool::Pool& pool) override;
  void drop_share(const pool::Pool& pool) override;

  // Empty: one more client of this user here is fine, and is counted. Else why not.
  std::string take_client(const pool::Client& client, const pool::Database& database);
  void give_client(const pool::Client& client, const pool::Database& database);
  // From now on every new client is told this.
  void close(std::string why);
  [[nodiscard]] int clients() const;  // that are in, on all workers

  // Connections of clients, in or not. Those that are not in yet cost a descriptor and some memory, and anybody can open
  // them: beyond `most` the oldest of them has to go.
  void set_most_logins(int most) { most_logins_ = most; }
  void connected() { ++connections_; }
  void disconnected() { --connections_; }
  [[nodiscard]] bool too_many_logins() const { return connections_ - clients() > most_logins_; }

  PeerPools peers;

 private:
  mutable std::mutex mutex_;
  pool::Settings settings_;
  int clients_ = 0;
  std::atomic<int> connections_ = 0, most_logins_ = 100;
  std::string closed_;
  struct Shared {
    int servers = 0;
    std::unique_ptr<pool::PoolShare> share;
    int pools = 0;  // of workers, that point at it
  };
  size_t workers_ = 1;
  std::map<std::pair<std::string, std::string>, Shared> pools_;  // by database and user
  std::map<std::string, int> servers_of_database_, servers_of_user_, clients_of_database_, clients_of_user_;
};

}  // namespace pgdba::pooler
