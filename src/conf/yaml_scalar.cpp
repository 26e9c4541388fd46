// What a plain scalar means in YAML 1.1, by PyYAML's patterns.
#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.h"
#include "conf/yaml_tree.h"

namespace pgdba::conf {

namespace {

using Kind = YamlNode::Kind;

bool all_of(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kDigitsAndBar = "0123456789_";

std::string without_bars(std::string_view text) {
  std::string out(text);
  std::erase(out, '_');
  return out;
}

// "1:30:05" as 5405; each part but the first has one or two digits below 60.
std::optional<int64_t> sexagesimal(std::string_view text) {
  int64_t value = 0;
  bool first = true;
  for (const std::string& part : split(text, ':')) {
    std::string digits = first ? without_bars(part) : part;
    auto number = parse_int(digits);
    if (!number || !all_of(digits, kDigits) || (!first && (digits.size() > 2 || *number > 59))) return std::nullopt;
    if (__builtin_mul_overflow(value, 60, &value) || __builtin_add_overflow(value, *number, &value))
      return std::nullopt;
    first = false;
  }
  return value;
}

struct Whole {
  bool matches = false;            // it has the form of an integer
  std::optional<int64_t> value{};  // nullopt: too large
};

Whole digits_in_base(std::string_view digits, int base, bool negative) {
  std::string clean = without_bars(digits);
  if (clean.empty()) clean = "0";
  if (negative) clean.insert(clean.begin(), '-');
  int64_t value = 0;
  auto [stop, error] = std::from_chars(clean.data(), clean.data() + clean.size(), value, base);
  if (error != std::errc()) return {true, std::nullopt};
  return {true, value};
}

Whole whole_number(std::string_view text) {
  bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return {};
  if (text.starts_with("0b"))
    return text.size() > 2 && all_of(text.substr(2), "01_") ? digits_in_base(text.substr(2), 2, negative) : Whole{};
  if (text.starts_with("0x")) {
    return text.size() > 2 && all_of(text.substr(2), "0123456789abcdefABCDEF_")
               ? digits_in_base(text.substr(2), 16, negative)
               : Whole{};
  }
  if (text.front() == '0') return all_of(text, "01234567_") ? digits_in_base(text, 8, negative) : Whole{};
  if (kDigits.find(text.front()) == std::string_view::npos) return {};
  if (all_of(text, kDigitsAndBar)) return digits_in_base(text, 10, negative);
  if (text.find(':') == std::string_view::npos) return {};
  auto value = sexagesimal(text);
  if (!value) return {};
  return {true, negative ? -*value : *value};
}

// Digits and bars around one point, and an exponent only with its sign: everything else is a text to PyYAML.
std::optional<double> fraction(std::string_view text) {
  std::string_view unsigned_text = text;
  if (text.starts_with('-') || text.starts_with('+')) unsigned_text.remove_prefix(1);
  auto exponent = unsigned_text.find_first_of("eE");
  std::string_view mantissa = unsigned_text.substr(0, exponent);
  auto point = mantissa.find('.');
  if (point == std::string_view::npos) return std::nullopt;
  std::string_view before = mantissa.substr(0, point);
  std::string_view after = mantissa.substr(point + 1);
  if (!all_of(before, kDigitsAndBar) || !all_of(after, kDigitsAndBar)) return std::nullopt;
  if (before.starts_with('_') || after.starts_with('_')) return std::nullopt;
  if (before.empty() && (after.empty() || unsigned_text.size() != text.size())) return std::nullopt;
  if (exponent != std::string_view::npos) {
    std::string_view power = unsigned_text.substr(exponent + 1);
    if (power.size() < 2 || (power.front() != '-' && power.front() != '+') || !all_of(power.substr(1), kDigits))
      return std::nullopt;
  }
  std::string clean = without_bars(text.starts_with('+') ? text.substr(1) : text);
  double value = 0;
  auto [stop, error] = std::from_chars(clean.data(), clean.data() + clean.size(), value);
  if (error != std::errc() || stop != clean.data() + clean.size()) return std::nullopt;
  return value;
}

bool is_word(std::string_view text, std::string_view word) {
  // "yes", "Yes" and "YES", but not "yEs".
  if (!iequals(text, word)) return false;
  auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  bool rest_lower = std::ranges::none_of(text.substr(1), upper);
  bool all_upper = std::ranges::all_of(text, upper);
  return rest_lower || all_upper;
}

}  // namespace

YamlNode resolve_scalar(std::string text) {
  YamlNode out;
  out.text = std::move(text);
  out.kind = Kind::text;
  const std::string& t = out.text;
  if (t.empty() || t == "~" || is_word(t, "null")) {
    out.kind = Kind::null;
    return out;
  }
  if (t.size() > 64) return out;  // no number is as long
  for (std::string_view word : {"yes", "true", "on", "no", "false", "off"}) {
    if (!is_word(t, word)) continue;
    out.kind = Kind::boolean;
    out.boolean = word == "yes" || word == "true" || word == "on";
    return out;
  }
  if (Whole whole = whole_number(t); whole.matches) {
    if (!whole.value) return out;  // does not fit: kept as a text rather than rounded
    out.kind = Kind::integer;
    out.integer = *whole.value;
  } else if (auto value = fraction(t)) {
    out.kind = Kind::number;
    out.number = *value;
  }
  return out;
}

}  // namespace pgdba::conf
