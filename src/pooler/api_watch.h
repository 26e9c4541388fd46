// Who leads the cluster, by Patroni's REST API: for clusters whose etcd is out of reach, and for any Patroni.
//
// Asks GET /cluster of one endpoint after another, twice a second, and at once when a worker sees something odd; gives each
// answer to `news`, on a thread of its own. There are no terms in that API. ApiFollower counts the changes of leader instead;
// invariants: the term rises with each change and only then; an answer of the past is never news of a leader; without a leader
// in the answer, or without an answer, workers hold when the last one is too old.
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

// What the answers of /cluster say, one after the other. Pure, for tests.
//
// A member writes its timeline down a while after it was promoted, so a new leader is at first reported with the timeline of the
// old one; and a member that is cut off goes on reporting the old leader. Hence: with the newest timeline seen, one change of leader
// is believed; the next one, and the way back, only with a newer timeline. A leader that keeps its place keeps its term, whatever
// its timeline (it was restarted, and its old connections with it).
class ApiFollower {
 public:
  ClusterNews follow(const std::string& body);

 private:
  bool believes(const ClusterMember& leader);

  std::string leader_;
  uint32_t timeline_ = 0;     // the newest that a leader was reported with
  bool moved_ = false;        // the leader has changed within it
  uint64_t term_ = 0;
};

}  // namespace pgdba::pooler
