// Bytes in a block of exactly their size, so that AddressSanitizer sees the first one read too many.
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>

namespace pgdba::wire {

class ExactCopy {
 public:
  explicit ExactCopy(std::string_view bytes) : bytes_(new char[bytes.size()]), size_(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), bytes_.get());
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_;
};

}  // namespace pgdba::wire
