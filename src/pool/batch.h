// One send in the making: pieces of what was received, and small pieces of our own between them, in order and without
// copying what only passes through. A worker has one and reuses it; it is empty between two events.
//
// The pieces are views: what they show must stay until take() has been sent. Our own bytes lie in a fixed arena, so they do.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

#include "pool/host.h"

namespace pgdba::pool {

class Batch {
 public:
  [[nodiscard]] bool empty() const { return count_ == 0; }
  // No room for the largest single step of a relay (eight pieces, kMaxOwn bytes): send first.
  [[nodiscard]] bool full() const { return count_ + 8 > slices_.size() || used_ + kMaxOwn > arena_.size(); }

  // Bytes that pass through; joins with the piece before where they touch.
  void pass(const char* begin, const char* end) {
    if (begin == end) return;
    const auto size = static_cast<size_t>(end - begin);
    if (count_ > 0) {
      Slice& last = slices_[count_ - 1];
      if (last.data + last.size == begin) {
        last.size += size;
        return;
      }
    }
    slices_[count_++] = {begin, size};
  }
  void pass(std::string_view bytes) { pass(bytes.data(), bytes.data() + bytes.size()); }

  static constexpr size_t kMaxOwn = 512;
  // Room for `size` (at most kMaxOwn) bytes of our own.
  char* own(size_t size) {
    char* at = arena_.data() + used_;
    used_ += size;
    pass(at, at + size);
    return at;
  }
  void own(std::string_view bytes) { std::memcpy(own(bytes.size()), bytes.data(), bytes.size()); }

  [[nodiscard]] std::span<const Slice> take() const { return {slices_.data(), count_}; }
  void clear() {
    count_ = 0;
    used_ = 0;
  }

 private:
  std::array<Slice, 64> slices_;
  std::array<char, 8192> arena_;
  size_t count_ = 0;
  size_t used_ = 0;
};

}  // namespace pgdba::pool
