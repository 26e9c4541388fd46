// A host and a port: the value, and the one spelling in which it is written.
#pragma once

#include <cstdint>
#include <string>

namespace pgdba::conf {

struct Address {
  std::string host;  // without brackets; empty: any
  uint16_t port = 0;
  bool operator==(const Address&) const = default;
};
// "host:port", IPv6 in brackets.
std::string format_address(const Address& address);

}  // namespace pgdba::conf
