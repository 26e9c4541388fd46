// Seeded random numbers (xoshiro256**, seeded by splitmix64): the same seed gives the same sequence everywhere.
#pragma once

#include <cstdint>

namespace pgdba {

class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t next();
  uint64_t below(uint64_t bound);             // 0 … bound - 1; 0 when bound is 0
  int64_t between(int64_t low, int64_t high);  // both included
  bool chance(double probability);

 private:
  uint64_t state_[4];
};

}  // namespace pgdba
