// A stream of a server's messages: each body that is taken is written again and must give the same bytes.
#include "target.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace {

using namespace pgdba::wire;

bool write_authentication(std::string& out, std::string_view body) {
  auto found = parse_authentication(body);
  if (!found) return false;
  switch (found->kind) {
    case AuthKind::ok: return append_authentication_ok(out);
    case AuthKind::cleartext: return append_authentication_cleartext(out);
    case AuthKind::md5: return append_authentication_md5(out, found->data);
    case AuthKind::sasl: return append_authentication_sasl(out, found->mechanisms);
    case AuthKind::sasl_continue: return append_authentication_sasl_continue(out, found->data);
    case AuthKind::sasl_final: return append_authentication_sasl_final(out, found->data);
    case AuthKind::unsupported: return false;
  }
  return false;
}

// Unknown fields and the order are lost, so the fields are compared, not the bytes.
void check_error(std::string_view body) {
  auto fields = parse_error_response(body);
  if (!fields) return;
  std::string out;
  CHECK(append_error(out, *fields));
  auto again = parse_error_response(std::string_view(out).substr(kHeadSize));
  if (fields->localized_severity.empty()) fields->localized_severity = fields->severity;
  CHECK(again && *again == *fields);
}

// False when the body is not taken.
bool write_again(const Message& message, std::string& out) {
  std::string_view body = message.body;
  switch (message.type) {
    case backend::authentication: return write_authentication(out, body);
    case backend::parameter_status: {
      auto found = parse_parameter_status(body);
      return found && append_parameter_status(out, found->name, found->value);
    }
    case backend::backend_key_data: {
      auto key = parse_backend_key_data(body);
      return key && append_backend_key_data(out, *key);
    }
    case backend::ready_for_query: {
      auto status = parse_ready_for_query(body);
      return status && append_ready_for_query(out, *status);
    }
    case backend::command_complete: {
      auto tag = parse_command_complete(body);
      return tag && append_command_complete(out, *tag);
    }
    case backend::row_description: {
      auto columns = parse_row_description(body);
      return columns && append_row_description(out, *columns);
    }
    case backend::data_row: {
      auto values = parse_data_row(body);
      return values && append_data_row(out, *values);
    }
    case backend::error_response:
    case backend::notice_response: check_error(body); return false;
    case backend::parameter_description: (void)parse_parameter_description(body); return false;
    case backend::negotiate_protocol_version: (void)parse_negotiate_protocol_version(body); return false;
    default: return false;
  }
}

}  // namespace

FUZZ_TARGET(pg_backend) {
  Message message;
  while (read_message(data, message) == Scan::complete) {
    std::string out;
    if (write_again(message, out)) CHECK(out == data.substr(0, message.size()));
    data.remove_prefix(message.size());
  }
}
