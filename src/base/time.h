// The two clocks. Leases, deadlines and ages use BootTime (CLOCK_BOOTTIME: monotonic, counts suspend). WallTime is
// only shown to people and written to history. Nothing here reads a clock; the shells pass `now` in.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgdba {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;

struct BootClock {
  using rep = int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
};
using BootTime = BootClock::time_point;  // the epoch is the host's boot; comparable on one host only

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

// RFC 3339 in UTC with microseconds: "2026-11-23T13:01:02.146127Z".
std::string format_utc(WallTime time);
// As Patroni writes it, "…+00:00".
std::string format_utc_offset(WallTime time);
// Accepts "YYYY-MM-DD[T ]HH:MM:SS[.ffffff](Z|±HH[:MM])"; nothing else.
std::optional<WallTime> parse_utc(std::string_view text);

inline int64_t to_ms(Duration d) { return std::chrono::duration_cast<std::chrono::milliseconds>(d).count(); }

}  // namespace pgdba
