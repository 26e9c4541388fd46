#include "base/time.h"

#include <charconv>
#include <fmt/format.h>

namespace pgdba {

namespace {

std::string format_with(WallTime time, std::string_view zone) {
  using namespace std::chrono;
  auto day = floor<days>(time);
  year_month_day date{day};
  hh_mm_ss clock{time - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count(), zone);
}

// Reads exactly `digits` digits at the front of `text` and drops them.
std::optional<int> take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc() || stop != text.data() + digits || value < 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string format_utc(WallTime time) { return format_with(time, "Z"); }
std::string format_utc_offset(WallTime time) { return format_with(time, "+00:00"); }

std::optional<WallTime> parse_utc(std::string_view text) {
  using namespace std::chrono;
  auto year_ = take_number(text, 4);
  if (!year_ || !take(text, "-")) return std::nullopt;
  auto month_ = take_number(text, 2);
  if (!month_ || !take(text, "-")) return std::nullopt;
  auto day_ = take_number(text, 2);
  if (!day_ || !take(text, "T ")) return std::nullopt;
  auto hour = take_number(text, 2);
  if (!hour || *hour > 23 || !take(text, ":")) return std::nullopt;
  auto minute = take_number(text, 2);
  if (!minute || *minute > 59 || !take(text, ":")) return std::nullopt;
  auto second = take_number(text, 2);
  if (!second || *second > 60) return std::nullopt;
  int64_t micros = 0;
  if (take(text, ".")) {
    int64_t scale = 100000;
    size_t digits = 0;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      micros += (text.front() - '0') * scale;
      scale /= 10;
      text.remove_prefix(1);
      ++digits;
    }
    if (digits == 0) return std::nullopt;
  }
  int offset_minutes = 0;
  if (!take(text, "Zz")) {
    if (text.empty()) return std::nullopt;
    int sign = text.front() == '-' ? -1 : 1;
    if (!take(text, "+-")) return std::nullopt;
    auto hours_ = take_number(text, 2);
    if (!hours_) return std::nullopt;
    take(text, ":");
    auto minutes_ = text.empty() ? std::optional<int>(0) : take_number(text, 2);
    if (!minutes_) return std::nullopt;
    offset_minutes = sign * (*hours_ * 60 + *minutes_);
  }
  if (!text.empty()) return std::nullopt;
  year_month_day date{year{*year_}, month{static_cast<unsigned>(*month_)}, day{static_cast<unsigned>(*day_)}};
  if (!date.ok()) return std::nullopt;
  return sys_days{date} + hours{*hour} + minutes{*minute} + seconds{*second} + microseconds{micros} -
         minutes{offset_minutes};
}

}  // namespace pgdba
