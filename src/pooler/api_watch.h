// Who leads the cluster, by Patroni's REST API: for clusters whose etcd is out of reach, and for any Patroni.
//
// Asks GET /cluster of one endpoint after another, twice a second, and at once when a worker sees something odd; gives each
// answer to `news`, on a thread of its own. There are no terms in that API: the leader's timeline stands for one, since each
// change of primary begins a new one. Invariants: a timeline below the newest seen is never news of a leader; without a
// leader in the answer, or without an answer, workers hold when the last one is too old.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "pooler/leader_watch.h"

namespace pgdba::pooler {

class ApiWatch {
 public:
  struct Options {
    std::vector<std::string> endpoints;  // "http://host:8008"
    std::string ca_file;
  };
  ApiWatch(Options options, std::function<void(const ClusterNews&)> news);
  ~ApiWatch();
  ApiWatch(const ApiWatch&) = delete;
  ApiWatch& operator=(const ApiWatch&) = delete;

  Result<void> start();
  void look();  // at once; from any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What one answer of /cluster says. `newest`: the highest timeline seen so far. Pure, for tests.
ClusterNews news_from_cluster_answer(const std::string& body, uint64_t newest);

}  // namespace pgdba::pooler
