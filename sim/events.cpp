#include "events.h"

#include <algorithm>
#include <cmath>

namespace pgdba::sim {

void Events::at(Time when, Fn fn) {
  heap_.push_back({std::max(when, now_), order_++, std::move(fn)});
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
}

bool Events::run_next(Time until) {
  if (heap_.empty() || heap_.front().when > until) {
    now_ = std::max(now_, until);
    return false;
  }
  std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
  Item item = std::move(heap_.back());
  heap_.pop_back();
  now_ = item.when;
  ++executed_;
  item.fn();
  return true;
}

void Process::be_born() {
  alive_ = true;
  frozen_ = false;
  ++life_;
  waiting_.clear();
}

void Process::die() {
  alive_ = false;
  frozen_ = false;
  ++life_;
  waiting_.clear();
}

void Process::thaw(Events& events, Duration delay) {
  if (!frozen_) return;
  uint64_t life = life_;
  events.after(delay, [this, life] {
    if (life_ != life || !frozen_) return;
    frozen_ = false;
    std::vector<Events::Fn> waiting = std::move(waiting_);
    waiting_.clear();
    for (Events::Fn& fn : waiting) run(life, std::move(fn));
  });
}

void Process::run(uint64_t life, Events::Fn fn) {
  if (life_ != life || !alive_) return;
  if (frozen_) {
    waiting_.push_back(std::move(fn));
    return;
  }
  fn();
}

Duration draw(Random& random, Duration low, Duration high) {
  if (high <= low) return low;
  return Duration(random.between(low.count(), high.count()));
}

Duration draw_skewed(Random& random, Duration low, Duration high) {
  if (high <= low) return low;
  double share = static_cast<double>(random.below(1u << 20)) / static_cast<double>(1u << 20);
  double value = static_cast<double>(low.count()) * std::pow(static_cast<double>(high.count()) / static_cast<double>(low.count()), share);
  return Duration(static_cast<int64_t>(value));
}

}  // namespace pgdba::sim
