#include "pooler/auth_answer.h"

#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pooler {

AuthAnswer read_auth_answer(std::string_view bytes) {
  AuthAnswer out;
  const auto mistake = [&](std::string_view text) {
    out.problem = text;
    out.of_config = true;
  };
  wire::Message message;
  while (wire::read_message(bytes, message, kMaxAuthAnswer) == wire::Scan::complete) {
    bytes.remove_prefix(message.size());
    if (message.type == wire::backend::error_response) {
      auto fields = wire::parse_error_response(message.body);
      out.problem = fields && !fields->message.empty() ? std::string(fields->message) : "error";
      // A server that ends says nothing about the query.
      out.of_config = fields && fields->severity == "ERROR";
    } else if (message.type == wire::backend::row_description) {
      auto columns = wire::parse_row_description(message.body);
      if (!columns || columns->size() != 2) mistake("auth_query has to return two columns");
    } else if (message.type == wire::backend::data_row) {
      auto values = wire::parse_data_row(message.body);
      if (values && values->size() == 2) out.secret = Secret(std::string((*values)[1].value_or("")));
    } else if (message.type == wire::backend::ready_for_query) {
      out.ready = true;
      return out;
    }
  }
  if (bytes.size() > kMaxAuthAnswer) {
    mistake("the answer of auth_query is too long");
    out.ready = true;
  }
  return out;
}

}  // namespace pgdba::pooler
