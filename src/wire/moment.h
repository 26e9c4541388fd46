// A moment in time in the forms that people and Patroni's date parser use.
//
// "2026-11-23T13:01:02.146127+00:00", "2026-11-23 13:01", "20261123T130102Z", with a blank before the zone or not, zone
// as "Z", "UTC", "GMT" or ±HH, ±HHMM, ±HH:MM. Names of months, times without a date and other zone names are refused:
// a switchover at a misread time is worse than a question back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace pgdba::wire {

struct Moment {
  WallTime time;      // UTC when `zone`, else as written
  bool zone = false;  // did the text name one?
};
std::optional<Moment> parse_moment(std::string_view text);

// Python's isoformat() of a moment in UTC, "2026-11-23T13:01:02.146127+00:00": no fraction when it is zero. str() of a
// Python datetime has a blank as separator.
std::string format_moment(WallTime time, char separator = 'T');

}  // namespace pgdba::wire
