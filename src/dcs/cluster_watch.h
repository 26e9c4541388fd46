// Keeps model::ClusterView current: one linearizable reading, then the watch from the revision after it, and readings
// again when the watch lost its place, when etcd is another one, or when nothing has proved lately that it is current.
//
// Invariant: everything that etcd had committed before view()->as_of is in view(). So `as_of` moves only
// - to the time at which a linearizable reading was sent, once it was answered, and
// - to the time at which a write of our own was sent, once the watch has shown the revision that etcd gave to it.
// That a watch is alive proves nothing: a member that is cut off from its quorum answers, too.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "dcs/store.h"
#include "model/cluster.h"
#include "net/loop.h"

namespace pgdba::dcs {

class ClusterWatch {
 public:
  // `changed` is called on the loop after the view has changed (not for a mere move of as_of).
  ClusterWatch(net::Loop& loop, Store& store, std::string prefix, std::function<void()> changed);
  ClusterWatch(const ClusterWatch&) = delete;
  ClusterWatch& operator=(const ClusterWatch&) = delete;

  Task<void> run();  // the watch; until cancelled
  Task<void> stay_fresh();  // reads when as_of is older than the freshness wanted; until cancelled

  // nullptr until the first reading. The pointer stays; what it points to changes only between two waits.
  [[nodiscard]] const model::ClusterView* view() const { return have_ ? &view_ : nullptr; }

  // A linearizable reading now; after success as_of >= the time of the call.
  Task<Result<void>> read(BootTime deadline);

  // A write of our own below the prefix was sent at `sent` and answered with `revision`.
  void wrote(BootTime sent, model::Revision revision);

  // How old as_of may grow before somebody asks etcd again. ttl / 5 notices a silent etcd in time for the lease.
  void want_fresh(Duration age) { freshness_ = age; }

  // Grows with each etcd that takes the place of another: another cluster id, or revisions that went back.
  [[nodiscard]] uint64_t epoch() const { return epoch_; }

  // Why etcd is not heard; empty while it is.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

 private:
  void take(wire::etcd::Range range, BootTime sent, model::Revision revision_when_sent);
  void settle_proofs();
  void heard();
  void failed(const Error& error, const char* doing);

  struct Proof {
    BootTime sent;
    model::Revision revision;
  };

  net::Loop& loop_;
  Store& store_;
  std::string prefix_;
  std::function<void()> changed_;
  Duration freshness_ = 1s;
  model::ClusterView view_;
  bool have_ = false;
  uint64_t epoch_ = 0;
  net::Event first_;             // view_ has been filled
  std::vector<Proof> proofs_;    // answered writes whose revision the watch has not shown yet
  std::string trouble_;
};

}  // namespace pgdba::dcs
