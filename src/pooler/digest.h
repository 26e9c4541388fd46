// The digest by which a prepared statement is known on servers: SHA-256, cut to 128 bits.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace pgdba::pooler {

std::array<uint8_t, 16> statement_digest(std::string_view body);

}  // namespace pgdba::pooler
