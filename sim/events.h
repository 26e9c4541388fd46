// Virtual time. The queue of everything that will happen in one world, ordered by (time, order of scheduling).
//
// Nothing in sim/ reads a real clock: `now` moves only when the next event runs. A process of a simulated node is a
// Process: what happens to it while it is stopped (SIGSTOP) waits in it, what happens after its death is lost.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/time.h"

namespace pgdba::sim {

using Time = Duration;  // since the beginning of the world; true time, which no member can read

class Events {
 public:
  using Fn = std::function<void()>;

  [[nodiscard]] Time now() const { return now_; }
  void at(Time when, Fn fn);
  void after(Duration delay, Fn fn) { at(now_ + delay, std::move(fn)); }
  // Runs the next event if it lies before `until`; otherwise moves `now` there and returns false.
  bool run_next(Time until);
  [[nodiscard]] uint64_t executed() const { return executed_; }

 private:
  struct Item {
    Time when;
    uint64_t order;
    Fn fn;
    bool operator>(const Item& other) const { return when != other.when ? when > other.when : order > other.order; }
  };
  std::vector<Item> heap_;
  Time now_{};
  uint64_t order_ = 0;
  uint64_t executed_ = 0;
};

// A process that can die and be stopped. `life` rises with each birth, so that late events know whom they were for.
class Process {
 public:
  [[nodiscard]] bool alive() const { return alive_; }
  [[nodiscard]] bool frozen() const { return frozen_; }
  [[nodiscard]] bool runs() const { return alive_ && !frozen_; }
  [[nodiscard]] uint64_t life() const { return life_; }
  void be_born();
  void die();
  void freeze() { frozen_ = true; }
  // What waited runs again, in order, from the queue `events`.
  void thaw(Events& events, Duration delay);
  // Runs `fn` now if the life is still the same; later if the process is stopped; never if it has ended.
  void run(uint64_t life, Events::Fn fn);

 private:
  bool alive_ = false;
  bool frozen_ = false;
  uint64_t life_ = 0;
  std::vector<Events::Fn> waiting_;
};

// Uniform in [low, high].
Duration draw(Random& random, Duration low, Duration high);
// Mostly near `low`, rarely near `high`: uniform in the logarithm. `low` must be positive.
Duration draw_skewed(Random& random, Duration low, Duration high);

}  // namespace pgdba::sim
