// Who leads the cluster, by etcd's watch: what the workers may lend on, and this pooler's part in a planned switchover.
//
// Runs on a thread of its own (net::Loop) and gives each change to `news`, which is called there. Invariants:
//   - `primary` is only what the key `leader` and the newest term say; without them the workers hold ("last known" counts
//     for nothing);
//   - a reading serves for ttl/2 from the moment at which it was proved current (ha.md, section 3, third wall); while etcd
//     is away, as long as the leader's own agent has proved the lock, which it tells over REST, or a moment from Patroni's
//     word that it leads (failsafe mode);
//   - in a switchover "drained" is written only after every worker has stopped lending and nothing is in flight, and lending
//     starts again only when the switchover was aborted, has given another leader, or the time to hold is over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "base/time.h"
#include "conf/pooler_settings.h"

namespace pgdba::pooler {

struct ClusterMember {
  std::string name;
  std::string host;
  int port = 5432;
  bool leader = false;
  bool running = false;
  std::string role;          // as Patroni's key says
  std::string state;
  uint32_t timeline = 0;
  int64_t lag_bytes = -1;    // behind the primary's last known position; -1: not known
};

struct ClusterNews {
  bool known = false;        // etcd has been read
  uint64_t term = 0;         // ours, or under a Patroni leader the create revision of its key
  bool own_term = false;     // `term` is the setting pgdba.term of the leader's server
  uint64_t number = 0;       // of this leadership (pool/follow.h); 0: `term` by itself rises with each
  uint64_t system_identifier = 0;
  std::string leader;        // empty: nobody
  std::string leader_url;    // of its REST API, where that is what was asked
  bool switching = false;    // a planned switchover drains
  int64_t as_of_us = 0;        // when this was proved current, on CLOCK_BOOTTIME
  int64_t fresh_until_us = 0;  // on CLOCK_BOOTTIME
  std::vector<ClusterMember> members;
  std::string trouble;       // why etcd is not heard

  // What servers are lent under: whoever was lent under less belongs to the past.
  [[nodiscard]] uint64_t leadership() const { return number != 0 ? number : term; }
};

class LeaderWatch {
 public:
  struct Options {
    std::vector<std::string> endpoints;
    std::string user;
    Secret password;
    std::string ca_file;
    std::string scope;
    std::string name_space;
    int port = 0;            // that this process alone listens on; 0: others do, too
    Duration hold = 30s;     // failover_hold_timeout
  };
  struct Load {
    int in_flight = 0;
    int held = 0;
  };
  // Asks all workers; `answer` may be called on any thread.
  using AskLoad = std::function<void(std::function<void(Load)> answer)>;

  LeaderWatch(Options options, std::function<void(const ClusterNews&)> news, AskLoad ask_load);
  ~LeaderWatch();  // gives up its registration, bounded in time
  LeaderWatch(const LeaderWatch&) = delete;
  LeaderWatch& operator=(const LeaderWatch&) = delete;

  Result<void> start();
  // A worker has seen something odd (a server that went away, one that refuses to write): look at once.
  void look();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgdba::pooler
