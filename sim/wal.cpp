#include "wal.h"

#include <algorithm>

namespace pgdba::sim {

size_t common_prefix(const Wal& a, const Wal& b) {
  // Agreement at an index implies agreement before it: binary search.
  size_t low = 0;
  size_t high = std::min(a.size(), b.size());
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (a[middle] == b[middle]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace pgdba::sim
