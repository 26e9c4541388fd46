// Every message that the pooler writes itself, one function each, which appends the whole message to `out`.
//
// Invariant: `out` grows by one well-framed message, or not at all and the function gives false: more than 65,535 items
// or more than kMaxMessage bytes. A NUL within a text ends it. Several messages go into one string and one send.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "wire/pg_parse.h"

namespace pgdba::wire {

// To the client

// Severity goes out as both S and V; empty detail and hint are left out.
bool append_error(std::string& out, const ErrorFields& fields);
bool append_notice(std::string& out, const ErrorFields& fields);

bool append_authentication_ok(std::string& out);
bool append_authentication_cleartext(std::string& out);
bool append_authentication_md5(std::string& out, std::string_view salt);  // 4 bytes, else false
bool append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms);
bool append_authentication_sasl_continue(std::string& out, std::string_view data);
bool append_authentication_sasl_final(std::string& out, std::string_view data);

bool append_parameter_status(std::string& out, std::string_view name, std::string_view value);
bool append_backend_key_data(std::string& out, const CancelKey& key);
bool append_ready_for_query(std::string& out, char status);
// Answers a client that asked for a newer minor version or for `_pq_.` options; `minor` is the one that is used.
bool append_negotiate_protocol_version(std::string& out, uint16_t minor, std::span<const std::string> unknown_options);

bool append_row_description(std::string& out, std::span<const Column> columns);
bool append_data_row(std::string& out, std::span<const Value> values);
bool append_command_complete(std::string& out, std::string_view tag);
bool append_empty_query_response(std::string& out);
bool append_parse_complete(std::string& out);
bool append_bind_complete(std::string& out);
bool append_close_complete(std::string& out);
bool append_no_data(std::string& out);
bool append_parameter_description(std::string& out, std::span<const uint32_t> oids);

// To the server

bool append_query(std::string& out, std::string_view sql);
bool append_parse(std::string& out, std::string_view name, std::string_view query, std::span<const uint32_t> oids);
// With the OIDs as ParseMessage has them.
bool append_parse_raw(std::string& out, std::string_view name, std::string_view query, std::string_view oids);
bool append_bind(std::string& out, std::string_view portal, std::string_view statement, std::span<const Value> values);
// The message up to BindMessage::rest, whose `rest` bytes the caller sends behind it.
bool append_bind_head(std::string& out, std::string_view portal, std::string_view statement, size_t rest);
bool append_describe(std::string& out, char kind, std::string_view name);
bool append_close(std::string& out, char kind, std::string_view name);
bool append_execute(std::string& out, std::string_view portal, int32_t max_rows = 0);
bool append_sync(std::string& out);
bool append_flush(std::string& out);
bool append_terminate(std::string& out);
bool append_password(std::string& out, std::string_view password);
bool append_sasl_initial_response(std::string& out, std::string_view mechanism, Value data);
bool append_sasl_response(std::string& out, std::string_view data);
bool append_copy_fail(std::string& out, std::string_view reason);

}  // namespace pgdba::wire
