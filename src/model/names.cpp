#include "model/names.h"

#include <array>
#include <cstdint>
#include <fmt/format.h>

namespace pgdba::model {

namespace {

constexpr std::array<std::string_view, 15> kStates = {
    "initializing new cluster", "initdb failed", "running custom bootstrap script", "custom bootstrap failed",
    "creating replica",         "running",       "starting",                        "starting after custom bootstrap",
    "start failed",             "restarting",    "restart failed",                  "stopping",
    "stopped",                  "stop failed",   "crashed"};

// The next code point of UTF-8 text; a byte that is not UTF-8 counts as itself.
uint32_t take_code_point(std::string_view& text) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t first = byte(0);
  size_t length = first < 0x80 ? 1 : (first & 0xE0) == 0xC0 ? 2 : (first & 0xF0) == 0xE0 ? 3 : (first & 0xF8) == 0xF0 ? 4 : 1;
  if (length > text.size()) length = 1;
  uint32_t code = length == 1 ? first : first & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) code = (code << 6) | (byte(i) & 0x3F);
  text.remove_prefix(length);
  return code;
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::uninitialized: return "uninitialized";
    case Role::primary: return "primary";
    case Role::replica: return "replica";
    case Role::standby_leader: return "standby_leader";
    case Role::demoted: return "demoted";
    case Role::promoted: return "promoted";
  }
  return "uninitialized";
}

std::optional<Role> parse_role(std::string_view text) {
  if (text == "master") return Role::primary;
  for (Role role : {Role::uninitialized, Role::primary, Role::replica, Role::standby_leader, Role::demoted, Role::promoted}) {
    if (to_string(role) == text) return role;
  }
  return std::nullopt;
}

std::string_view to_string(PgState state) { return kStates.at(static_cast<size_t>(state)); }

std::optional<PgState> parse_pg_state(std::string_view text) {
  for (size_t i = 0; i < kStates.size(); ++i) {
    if (kStates[i] == text) return static_cast<PgState>(i);
  }
  return std::nullopt;
}

std::string slot_name(std::string_view member) {
  std::string out;
  while (!member.empty()) {
    uint32_t c = take_code_point(member);
    if (c >= 'A' && c <= 'Z') c = c - 'A' + 'a';
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_') {
      out += static_cast<char>(c);
    } else if (c == '-' || c == '.') {
      out += '_';
    } else {
      out += fmt::format("u{:04}", c);
    }
  }
  return out.substr(0, 63);
}

}  // namespace pgdba::model
