// A position in PostgreSQL's write-ahead log: a 64-bit byte offset, written as two hexadecimal halves "X/X".
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba {

struct Lsn {
  uint64_t bytes = 0;  // 0 is PostgreSQL's InvalidXLogRecPtr

  [[nodiscard]] bool valid() const { return bytes != 0; }
  auto operator<=>(const Lsn&) const = default;
};

// "16/B374D848"; both halves upper-case hexadecimal without leading zeros, as pg_lsn prints them.
std::string format_lsn(Lsn lsn);
Result<Lsn> parse_lsn(std::string_view text);

// Bytes that `behind` lacks compared with `ahead`; 0 when it lacks nothing.
inline uint64_t lag_bytes(Lsn ahead, Lsn behind) { return ahead > behind ? ahead.bytes - behind.bytes : 0; }

}  // namespace pgdba
