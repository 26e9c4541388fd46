// What the workers know of each other's part of one pool: how many servers lie idle and how long clients have waited there.
//
// Without it each worker would have a pool of its own, and a client could wait in one while a server idles in another.
// Every worker writes only its own side and reads the others'. Each of the two moves "a client begins to wait" and "a server
// becomes idle" first publishes itself and then looks at the other sides (all sequentially consistent), so that of two
// simultaneous ones at least one sees the other: no client waits beside an idle server.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pgdba::pool {

inline constexpr size_t kMaxWorkers = 64;

struct PoolShare {
  struct alignas(64) Side {
    std::atomic<int> idle{0};
    std::atomic<int> waiting{0};
    std::atomic<int64_t> oldest{0};  // since when the head of that queue waits; 0: nobody
  };
  std::array<Side, kMaxWorkers> sides;
  alignas(64) std::atomic<int> sides_waiting{0};  // how many of them have `waiting`; changed after it, read before it
  std::atomic<int> servers{0};  // of the pool, on all workers; the ledger's
  size_t workers = 1;

  // Another worker with an idle server; `self` when there is none.
  [[nodiscard]] size_t idle_beside(size_t self) const {
    for (size_t i = 0; i < workers; ++i) {
      if (i != self && sides[i].idle.load() > 0) return i;
    }
    return self;
  }
  // The other worker whose client has waited longest, if it has waited since before `before`; else `self`.
  [[nodiscard]] size_t longest_waiting_beside(size_t self, int64_t before) const {
    size_t found = self;
    for (size_t i = 0; i < workers; ++i) {
      if (i == self || sides[i].waiting.load() == 0) continue;
      const int64_t oldest = sides[i].oldest.load();
      if (oldest == 0 || oldest >= before) continue;
      before = oldest;
      found = i;
    }
    return found;
  }
};

}  // namespace pgdba::pool
