// The bodies of PostgreSQL's messages, as views into the bytes they came in.
//
// A function gets one body without its head and gives nothing when the body is not exactly such a message (too short,
// something left over, a wrong count). Invariant: parse(append(x)) == x, with the functions of pg_build.h. The views
// live as long as the bytes. Counts are checked against the bytes that are there before anything is allocated.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "wire/pg_startup.h"

namespace pgdba::wire {

// From the server

enum class AuthKind { ok, cleartext, md5, sasl, sasl_continue, sasl_final, unsupported };  // unsupported: GSS, SSPI, …

struct Authentication {
  AuthKind kind = AuthKind::unsupported;
  uint32_t code = 0;                         // as sent
  std::string_view data;                     // md5: the salt of 4 bytes; sasl_*: the mechanism's message
  std::vector<std::string_view> mechanisms;  // sasl
};
std::optional<Authentication> parse_authentication(std::string_view body);

// ErrorResponse and NoticeResponse; fields of other kinds are passed over.
struct ErrorFields {
  std::string_view severity = {};            // V, never translated; S from a server that sends no V
  std::string_view localized_severity = {};  // S
  std::string_view sqlstate = {};
  std::string_view message = {};
  std::string_view detail = {};
  std::string_view hint = {};
  bool operator==(const ErrorFields&) const = default;
};
std::optional<ErrorFields> parse_error_response(std::string_view body);

struct ParameterStatus {
  std::string_view name;
  std::string_view value;
};
std::optional<ParameterStatus> parse_parameter_status(std::string_view body);

std::optional<CancelKey> parse_backend_key_data(std::string_view body);  // a copy: it is kept

std::optional<char> parse_ready_for_query(std::string_view body);  // 'I', 'T' or 'E'

std::optional<std::string_view> parse_command_complete(std::string_view body);  // the tag

struct NegotiateProtocolVersion {
  uint32_t version = 0;
  std::vector<std::string_view> unknown_options;
};
std::optional<NegotiateProtocolVersion> parse_negotiate_protocol_version(std::string_view body);

struct Column {
  std::string_view name = {};
  uint32_t type = 25;  // text
  int16_t size = -1;
  uint32_t table = 0;
  uint16_t attribute = 0;
  int32_t modifier = -1;
  uint16_t format = 0;  // 0 text, 1 binary
  bool operator==(const Column&) const = default;
};
std::optional<std::vector<Column>> parse_row_description(std::string_view body);

using Value = std::optional<std::string_view>;  // none is NULL
std::optional<std::vector<Value>> parse_data_row(std::string_view body);

// Four bytes for each type OID, as they came; ParameterDescription's whole list.
std::optional<std::string_view> parse_parameter_description(std::string_view body);

// From the client

std::optional<std::string_view> parse_query(std::string_view body);
std::optional<std::string_view> parse_copy_fail(std::string_view body);  // the reason

struct ParseMessage {
  std::string_view name;
  std::string_view query;
  std::string_view oids;  // four bytes each, as they came
};
std::optional<ParseMessage> parse_parse(std::string_view body);

// What a pooler has to know of a Bind. To rename the statement, replace statement.size() bytes at statement_offset and
// change the length; append_bind_head() gives all that comes before `rest`.
struct BindMessage {
  std::string_view portal;
  std::string_view statement;
  size_t statement_offset = 0;  // within the body
  std::string_view rest;        // formats and values, not checked: the server does that
};
// Also for the first part of a long body, as soon as both names are in it.
std::optional<BindMessage> parse_bind(std::string_view body);

struct BindValues {
  std::vector<uint16_t> formats;
  std::vector<Value> values;
  std::vector<uint16_t> result_formats;
};
std::optional<BindValues> parse_bind_values(std::string_view rest);

// Describe and Close.
struct NamedMessage {
  char kind = 'S';  // 'S' a statement, 'P' a portal
  std::string_view name;
};
std::optional<NamedMessage> parse_describe_or_close(std::string_view body);

struct ExecuteMessage {
  std::string_view portal;
  int32_t max_rows = 0;  // 0 or less: all
};
std::optional<ExecuteMessage> parse_execute(std::string_view body);

std::optional<std::string_view> parse_password(std::string_view body);

struct SaslInitialResponse {
  std::string_view mechanism;
  std::optional<std::string_view> data;
};
std::optional<SaslInitialResponse> parse_sasl_initial_response(std::string_view body);
// A SASLResponse is its whole body.

}  // namespace pgdba::wire
