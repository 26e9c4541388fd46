// The one place where the version is written.
#pragma once

#include <string_view>

namespace pgdba {

inline constexpr std::string_view kVersion = "0.1.0";
// The Patroni whose REST API, keys and configuration the agent speaks; tools compare it, so it stays numeric.
inline constexpr std::string_view kPatroniVersion = "4.1.4";

}  // namespace pgdba
