#include "conf/ip_range.h"

#include <algorithm>

#include "base/text.h"

namespace pgdba::conf {

namespace {

constexpr size_t kLongestAddress = 45;

bool parse_v4(std::string_view text, std::span<uint8_t> out) {
  auto parts = split(text, '.');
  if (parts.size() != 4) return false;
  for (size_t i = 0; i < 4; ++i) {
    const std::string& part = parts[i];
    auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (part.empty() || part.size() > 3 || !std::ranges::all_of(part, digit)) return false;
    if (part.size() > 1 && part[0] == '0') return false;
    int value = 0;
    for (char c : part) value = value * 10 + (c - '0');
    if (value > 255) return false;
    out[i] = static_cast<uint8_t>(value);
  }
  return true;
}

std::optional<uint16_t> parse_group(std::string_view text) {
  if (text.empty() || text.size() > 4) return std::nullopt;
  int value = 0;
  for (char c : text) {
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<uint16_t>(value);
}

// Groups with colons between them, the last one perhaps as a.b.c.d; the bytes, or nullopt.
std::optional<std::vector<uint8_t>> parse_groups(std::string_view text, bool may_end_in_v4) {
  std::vector<uint8_t> out;
  auto parts = split(text, ':');
  for (size_t i = 0; i < parts.size(); ++i) {
    if (may_end_in_v4 && i + 1 == parts.size() && parts[i].find('.') != std::string::npos) {
      std::array<uint8_t, 4> v4{};
      if (!parse_v4(parts[i], v4)) return std::nullopt;
      out.insert(out.end(), v4.begin(), v4.end());
    } else {
      auto group = parse_group(parts[i]);
      if (!group) return std::nullopt;
      out.push_back(static_cast<uint8_t>(*group >> 8));
      out.push_back(static_cast<uint8_t>(*group & 0xff));
    }
  }
  return out;
}

bool parse_v6(std::string_view text, std::span<uint8_t, 16> out) {
  auto gap = text.find("::");
  if (gap == std::string_view::npos) {
    auto bytes = parse_groups(text, true);
    if (!bytes || bytes->size() != 16) return false;
    std::ranges::copy(*bytes, out.begin());
    return true;
  }
  auto front = parse_groups(text.substr(0, gap), false);
  auto back = parse_groups(text.substr(gap + 2), true);
  if (!front || !back || front->size() + back->size() > 14) return false;
  std::ranges::copy(*front, out.begin());
  std::ranges::copy(*back, out.end() - static_cast<std::ptrdiff_t>(back->size()));
  return true;
}

}  // namespace

std::optional<IpAddress> parse_ip(std::string_view text) {
  IpAddress out;
  if (text.size() > kLongestAddress) return std::nullopt;
  bool v6 = text.find(':') != std::string_view::npos;
  out.size = v6 ? 16 : 4;
  if (v6 ? !parse_v6(text, out.bytes) : !parse_v4(text, out.bytes)) return std::nullopt;
  return out;
}

IpAddress ip_from_bytes(std::span<const uint8_t> bytes) {
  IpAddress out;
  if (bytes.size() != 4 && bytes.size() != 16) return out;
  out.size = static_cast<uint8_t>(bytes.size());
  std::ranges::copy(bytes, out.bytes.begin());
  return out;
}

bool IpRange::contains(const IpAddress& address) const {
  if (address.size != base.size || mask.size != base.size || base.size == 0) return false;
  for (size_t i = 0; i < base.size; ++i) {
    if ((address.bytes[i] & mask.bytes[i]) != base.bytes[i]) return false;
  }
  return true;
}

bool IpRange::has_bits_outside_mask() const {
  for (size_t i = 0; i < base.size; ++i) {
    if ((base.bytes[i] & ~mask.bytes[i]) != 0) return true;
  }
  return false;
}

std::optional<IpRange> make_range(const IpAddress& base, int64_t bits) {
  if (bits < 0 || bits > base.size * 8) return std::nullopt;
  IpRange out{base, {}};
  out.mask.size = base.size;
  for (size_t i = 0; i < static_cast<size_t>(bits); ++i)
    out.mask.bytes[i / 8] = static_cast<uint8_t>(out.mask.bytes[i / 8] | (0x80 >> (i % 8)));
  return out;
}

}  // namespace pgdba::conf
