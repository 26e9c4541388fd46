// What is known about each etcd endpoint, and in which order to try them. No I/O.
//
// Keeps two guards over every answer: it must come from the cluster that we know, and an idempotent answer must not
// be of an older raft term than one seen before (that member is behind, perhaps cut off).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/http.h"
#include "net/http_client.h"
#include "wire/etcd.h"

namespace pgdba::dcs {

struct Endpoint {
  net::Url url;
  BootTime proved{};                  // when it last answered what only a working quorum (or etcd leader) can answer
  std::optional<BootTime> failed;     // since its last good answer
  uint64_t foreign_cluster = 0;       // it answered as a member of this other cluster
  std::vector<std::unique_ptr<net::HttpConnection>> idle;
};

class Endpoints {
 public:
  explicit Endpoints(std::vector<net::Url> urls);

  size_t size() const { return list_.size(); }
  Endpoint& at(size_t i) { return list_[i]; }

  // Sticky: the one that answered last, then those without a failure, then the failed ones, the oldest failure first.
  std::vector<size_t> order() const;

  // The guards. An error (conflict: another cluster; unavailable: an older term) means: do not use this answer.
  // `term_before`: for an answer behind which a quorum stands, the term that had been seen when it was asked for; else 0.
  Result<void> check(size_t i, const wire::etcd::Header& header, bool idempotent, uint64_t term_before);
  void succeeded(size_t i, BootTime now, bool quorum);
  void failed(size_t i, BootTime now, const Error& why);

  uint64_t cluster() const { return cluster_; }
  uint64_t raft_term() const { return raft_term_; }
  uint64_t foreign_cluster() const { return foreign_; }
  bool all_foreign() const;  // every endpoint that answers says so
  void accept_cluster(uint64_t id);

 private:
  std::vector<Endpoint> list_;
  size_t preferred_ = 0;
  bool announced_ = false;
  uint64_t cluster_ = 0;    // 0: not known yet
  uint64_t foreign_ = 0;
  uint64_t raft_term_ = 0;  // the newest seen in cluster_
};

}  // namespace pgdba::dcs
