#include "base/lsn.h"

#include <charconv>
#include <fmt/format.h>

namespace pgdba {

std::string format_lsn(Lsn lsn) {
  return fmt::format("{:X}/{:X}", static_cast<uint32_t>(lsn.bytes >> 32), static_cast<uint32_t>(lsn.bytes));
}

Result<Lsn> parse_lsn(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return fail(Errc::invalid, fmt::format("'{}' is not an LSN (X/X)", text));
  uint32_t halves[2] = {0, 0};
  std::string_view parts[2] = {text.substr(0, slash), text.substr(slash + 1)};
  for (int i = 0; i < 2; ++i) {
    const char* end = parts[i].data() + parts[i].size();
    auto [stop, error] = std::from_chars(parts[i].data(), end, halves[i], 16);
    if (error != std::errc() || stop != end || parts[i].empty()) {
      return fail(Errc::invalid, fmt::format("'{}' is not an LSN (X/X)", text));
    }
  }
  return Lsn{(static_cast<uint64_t>(halves[0]) << 32) | halves[1]};
}

}  // namespace pgdba
