// Values with units, spelled as PostgreSQL and Patroni accept them: "64MB", "16kB", "30min", "on".
//
// Units are case-sensitive as in PostgreSQL (kB, MB, GB, TB, B; us, ms, s, min, h, d); blanks around the number and
// the unit are allowed, fractions ("1.5GB") are rounded to the nearest byte or millisecond. A number without a unit is
// in the unit that the caller names. Anything else, and anything that overflows, is nullopt.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/time.h"

namespace pgdba {

// on/off, true/false, yes/no, 1/0, in any case; nothing else.
std::optional<bool> parse_bool(std::string_view text);

// Bytes; a bare number counts `bare` bytes each (1, or 8192 for a setting counted in blocks). May be negative ("-1").
std::optional<int64_t> parse_bytes(std::string_view text, int64_t bare = 1);

// A length of time; a bare number counts in units of `bare`. May be negative.
std::optional<Duration> parse_duration(std::string_view text, Duration bare = 1s);

}  // namespace pgdba
