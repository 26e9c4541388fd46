// Small helpers on text that the standard library lacks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgdba {

std::vector<std::string> split(std::string_view text, char separator);  // "a,,b" gives three; "" gives none
std::string_view trim(std::string_view text);                           // white space on both ends
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string lower(std::string_view text);  // ASCII only
bool iequals(std::string_view a, std::string_view b);
std::optional<int64_t> parse_int(std::string_view text);  // the whole text, decimal

// The candidate closest to `word` when it is close enough to be a slip of the keyboard ("did you mean").
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace pgdba
