// Private to conf/: how a value of each type is read and written in the pooler's file.
//
// Readers change `out` only when they take the text. The result is nullopt, or what is wrong (conf/pooler_settings.h).
// Integers are strtol's with base 0 ("0700" is octal), times decimal seconds, words of an enum in any case. A boolean
// is an integer as in PgBouncer, where 2 is true as well; "on" and "yes" are not.
#pragma once

#include <string>
#include <string_view>

#include "conf/pooler_settings.h"

namespace pgdba::conf {

std::optional<int64_t> parse_c_integer(std::string_view text);
std::optional<microseconds> parse_seconds(std::string_view text);
std::string format_seconds(microseconds time);  // as printf's %g

// A text of the user's inside a sentence: not too long, and without control characters.
std::string shown(std::string_view text);

ReadProblem read_value(std::string_view text, std::string& out);
ReadProblem read_value(std::string_view text, int32_t& out);
ReadProblem read_value(std::string_view text, uint32_t& out);
ReadProblem read_value(std::string_view text, bool& out);
ReadProblem read_value(std::string_view text, seconds& out);
ReadProblem read_value(std::string_view text, microseconds& out);
ReadProblem read_value(std::string_view text, PoolMode& out);
ReadProblem read_value(std::string_view text, AuthType& out);
ReadProblem read_value(std::string_view text, SslMode& out);
ReadProblem read_value(std::string_view text, NameList& out);
ReadProblem read_value(std::string_view text, TlsProtocols& out);
ReadProblem read_value(std::string_view text, DcsEndpoints& out);
ReadProblem read_value(std::string_view text, ApiEndpoints& out);
ReadProblem read_value(std::string_view text, std::optional<Address>& out);

std::string write_value(const std::string& value);
std::string write_value(int32_t value);
std::string write_value(uint32_t value);
std::string write_value(bool value);
std::string write_value(seconds value);
std::string write_value(microseconds value);
std::string write_value(PoolMode value);
std::string write_value(AuthType value);
std::string write_value(SslMode value);
std::string write_value(const NameList& value);
std::string write_value(const TlsProtocols& value);
std::string write_value(const DcsEndpoints& value);
std::string write_value(const ApiEndpoints& value);
std::string write_value(const std::optional<Address>& value);

}  // namespace pgdba::conf
