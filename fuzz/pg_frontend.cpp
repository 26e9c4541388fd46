// A stream of a client's messages: each body that is taken is written again and must give the same bytes.
#include "target.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace {

using namespace pgdba::wire;

// What comes after a login's messages depends on what was asked, so all three are tried.
bool write_password(std::string& out, std::string_view body) {
  (void)append_sasl_response(out, body);
  CHECK(out.substr(kHeadSize) == body);
  out.clear();
  if (auto initial = parse_sasl_initial_response(body)) {
    append_sasl_initial_response(out, initial->mechanism, initial->data);
    CHECK(out.substr(kHeadSize) == body);
    out.clear();
  }
  auto password = parse_password(body);
  return password && append_password(out, *password);
}

bool write_bind(std::string& out, std::string_view body) {
  auto bind = parse_bind(body);
  if (!bind) return false;
  CHECK(body.substr(bind->statement_offset, bind->statement.size()) == bind->statement);
  append_bind_head(out, bind->portal, bind->statement, bind->rest.size());
  if (auto values = parse_bind_values(bind->rest);
      values && values->formats.empty() && values->result_formats.empty()) {
    std::string whole;
    append_bind(whole, bind->portal, bind->statement, values->values);
    CHECK(whole.substr(kHeadSize) == body);
  }
  out += bind->rest;
  return true;
}

// False when the body is not taken.
bool write_again(const Message& message, std::string& out) {
  std::string_view body = message.body;
  switch (message.type) {
    case frontend::query: {
      auto query = parse_query(body);
      return query && append_query(out, *query);
    }
    case frontend::parse: {
      auto parse = parse_parse(body);
      return parse && append_parse_raw(out, parse->name, parse->query, parse->oids);
    }
    case frontend::bind: return write_bind(out, body);
    case frontend::describe: {
      auto target = parse_describe_or_close(body);
      return target && append_describe(out, target->kind, target->name);
    }
    case frontend::close: {
      auto target = parse_describe_or_close(body);
      return target && append_close(out, target->kind, target->name);
    }
    case frontend::execute: {
      auto execute = parse_execute(body);
      return execute && append_execute(out, execute->portal, execute->max_rows);
    }
    case frontend::password: return write_password(out, body);
    case frontend::copy_fail: {
      auto reason = parse_copy_fail(body);
      return reason && append_copy_fail(out, *reason);
    }
    default: return false;
  }
}

}  // namespace

FUZZ_TARGET(pg_frontend) {
  Message message;
  while (read_message(data, message) == Scan::complete) {
    std::string out;
    if (write_again(message, out)) CHECK(out == data.substr(0, message.size()));
    data.remove_prefix(message.size());
  }
}
