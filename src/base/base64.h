// Base64 as in RFC 4648, section 4: with padding, without line breaks.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pgdba {

std::string base64_encode(std::string_view bytes);
// None for anything but one canonical encoding: bad characters, missing padding, stray bits.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace pgdba
