#include "base/units.h"

#include <charconv>
#include <cmath>
#include <span>

#include "base/text.h"

namespace pgdba {

namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr Unit kSizes[] = {{"B", 1}, {"kB", 1LL << 10}, {"MB", 1LL << 20}, {"GB", 1LL << 30}, {"TB", 1LL << 40}};
constexpr Unit kTimes[] = {{"us", 1'000},           {"ms", 1'000'000},        {"s", 1'000'000'000},
                           {"min", 60'000'000'000}, {"h", 3'600'000'000'000}, {"d", 86'400'000'000'000}};

// Numbers beyond 2^63 do not fit; the bound is exact in a double.
std::optional<int64_t> to_int64(double value) {
  value = std::nearbyint(value);
  if (!(value > -9223372036854775808.0 && value < 9223372036854775808.0)) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::optional<int64_t> parse_with_unit(std::string_view text, std::span<const Unit> units, int64_t bare) {
  text = trim(text);
  if (text.size() > 64) return std::nullopt;
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  auto [whole_stop, whole_error] = std::from_chars(text.data(), end, whole);
  double number = 0;
  auto [stop, error] = std::from_chars(text.data(), end, number, std::chars_format::general);
  if (error != std::errc()) return std::nullopt;
  int64_t factor = bare;
  std::string_view unit = trim(text.substr(static_cast<size_t>(stop - text.data())));
  if (!unit.empty()) {
    factor = 0;
    for (const Unit& known : units) {
      if (known.name == unit) factor = known.factor;
    }
    if (factor == 0) return std::nullopt;
  }
  // Whole numbers stay exact beyond the 53 bits of a double.
  int64_t product = 0;
  if (whole_error == std::errc() && whole_stop == stop) {
    if (__builtin_mul_overflow(whole, factor, &product)) return std::nullopt;
    return product;
  }
  return to_int64(number * static_cast<double>(factor));
}

}  // namespace

std::optional<bool> parse_bool(std::string_view text) {
  for (std::string_view word : {"on", "true", "yes", "1"}) {
    if (iequals(text, word)) return true;
  }
  for (std::string_view word : {"off", "false", "no", "0"}) {
    if (iequals(text, word)) return false;
  }
  return std::nullopt;
}

std::optional<int64_t> parse_bytes(std::string_view text, int64_t bare) {
  return parse_with_unit(text, kSizes, bare);
}

std::optional<Duration> parse_duration(std::string_view text, Duration bare) {
  auto nanoseconds = parse_with_unit(text, kTimes, bare.count());
  if (!nanoseconds) return std::nullopt;
  return Duration(*nanoseconds);
}

}  // namespace pgdba
