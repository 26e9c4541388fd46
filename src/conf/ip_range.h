// IP addresses as bytes, and ranges of them, for access rules.
//
// Only what inet_pton takes is an address: no names, no leading zeros, no zone. A range whose address has bits outside
// its mask contains nothing, as in PgBouncer.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace pgdba::conf {

// Network order; `size` is 4, 16, or 0 for no IP address at all (a unix socket).
struct IpAddress {
  std::array<uint8_t, 16> bytes{};
  uint8_t size = 0;
  bool operator==(const IpAddress&) const = default;
};
std::optional<IpAddress> parse_ip(std::string_view text);

// From the bytes of sin_addr or sin6_addr. Any other number of bytes is no IP address.
IpAddress ip_from_bytes(std::span<const uint8_t> bytes);

struct IpRange {
  IpAddress base;
  IpAddress mask;  // of the same size
  [[nodiscard]] bool contains(const IpAddress& address) const;
  [[nodiscard]] bool has_bits_outside_mask() const;
};
// `bits` leading ones; nullopt when there are more than the address has.
std::optional<IpRange> make_range(const IpAddress& base, int64_t bits);

}  // namespace pgdba::conf
