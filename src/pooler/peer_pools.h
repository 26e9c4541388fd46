// How many connections carry cancel requests to each peer, over all workers: no more than its pool_size at once, and who
// comes when there are so many waits for its turn, first in, first out. PgBouncer's [peers] pool_size.
//
// Call in this order: take(); when it said yes, or has called `go`: sent() once the request is on its way, give() when the
// connection has ended, also if it never began.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

namespace pgdba::pooler {

class PeerPools {
 public:
  static constexpr size_t kMostWaiting = 256;  // to one peer; anybody may send a cancel request

  // `go` is called on the thread of whoever calls give().
  using Go = std::function<void()>;
  enum class Verdict { go, wait, refused };
  // most <= 0: no limit.
  Verdict take(int peer, int most, Go go);
  void sent(int peer);
  void give(int peer, bool was_sent);

  struct Figures {
    int waiting = 0, connecting = 0, sent = 0;
  };
  [[nodiscard]] Figures figures(int peer) const;

 private:
  struct Peer {
    int most = 0, connecting = 0, sent = 0;
    std::deque<Go> waiting;
  };
  mutable std::mutex mutex_;
  std::map<int, Peer> peers_;
};

}  // namespace pgdba::pooler
