#include "wire/pg_build.h"

#include "wire/pg_writer.h"

namespace pgdba::wire {
namespace {

bool append_bare(std::string& out, char type) {
  return MessageWriter(out, type).finish();
}

bool append_text(std::string& out, char type, std::string_view text) {
  return MessageWriter(out, type).text(text).finish();
}

bool append_fields(std::string& out, char type, const ErrorFields& fields) {
  MessageWriter writer(out, type);
  std::string_view shown = fields.localized_severity.empty() ? fields.severity : fields.localized_severity;
  writer.u8('S').text(shown).u8('V').text(fields.severity);
  writer.u8('C').text(fields.sqlstate).u8('M').text(fields.message);
  if (!fields.detail.empty()) writer.u8('D').text(fields.detail);
  if (!fields.hint.empty()) writer.u8('H').text(fields.hint);
  return writer.u8('\0').finish();
}

bool append_authentication(std::string& out, uint32_t code, std::string_view data) {
  return MessageWriter(out, backend::authentication).u32(code).bytes(data).finish();
}

bool append_oids(MessageWriter& writer, std::span<const uint32_t> oids) {
  writer.count(oids.size());
  for (uint32_t oid : oids) writer.u32(oid);
  return writer.finish();
}

void write_values(MessageWriter& writer, std::span<const Value> values) {
  writer.count(values.size());
  for (const Value& value : values) {
    if (value) {
      writer.counted(*value);
    } else {
      writer.u32(0xffffffff);
    }
  }
}

}  // namespace

bool append_error(std::string& out, const ErrorFields& fields) {
  return append_fields(out, backend::error_response, fields);
}

bool append_notice(std::string& out, const ErrorFields& fields) {
  return append_fields(out, backend::notice_response, fields);
}

bool append_authentication_ok(std::string& out) {
  return append_authentication(out, 0, {});
}

bool append_authentication_cleartext(std::string& out) {
  return append_authentication(out, 3, {});
}

bool append_authentication_md5(std::string& out, std::string_view salt) {
  return salt.size() == 4 && append_authentication(out, 5, salt);
}

bool append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms) {
  MessageWriter writer(out, backend::authentication);
  writer.u32(10);
  for (std::string_view mechanism : mechanisms) {
    if (!mechanism.empty() && mechanism[0] != '\0') writer.text(mechanism);  // an empty one ends the list
  }
  return writer.u8('\0').finish();
}

bool append_authentication_sasl_continue(std::string& out, std::string_view data) {
  return append_authentication(out, 11, data);
}

bool append_authentication_sasl_final(std::string& out, std::string_view data) {
  return append_authentication(out, 12, data);
}

bool append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  return MessageWriter(out, backend::parameter_status).text(name).text(value).finish();
}

bool append_backend_key_data(std::string& out, const CancelKey& key) {
  if (key.secret.size() < kMinCancelKey || key.secret.size() > kMaxCancelKey) return false;
  return MessageWriter(out, backend::backend_key_data).u32(key.pid).bytes(key.secret).finish();
}

bool append_ready_for_query(std::string& out, char status) {
  return MessageWriter(out, backend::ready_for_query).u8(status).finish();
}

bool append_negotiate_protocol_version(std::string& out, uint16_t minor, std::span<const std::string> unknown_options) {
  MessageWriter writer(out, backend::negotiate_protocol_version);
  writer.u32(3U << 16 | minor).u32(static_cast<uint32_t>(unknown_options.size()));
  for (const std::string& name : unknown_options) writer.text(name);
  return writer.finish();
}

bool append_row_description(std::string& out, std::span<const Column> columns) {
  MessageWriter writer(out, backend::row_description);
  writer.count(columns.size());
  for (const Column& column : columns) {
    writer.text(column.name).u32(column.table).u16(column.attribute).u32(column.type);
    writer.u16(static_cast<uint16_t>(column.size)).u32(static_cast<uint32_t>(column.modifier)).u16(column.format);
  }
  return writer.finish();
}

bool append_data_row(std::string& out, std::span<const Value> values) {
  MessageWriter writer(out, backend::data_row);
  write_values(writer, values);
  return writer.finish();
}

bool append_command_complete(std::string& out, std::string_view tag) {
  return append_text(out, backend::command_complete, tag);
}

bool append_empty_query_response(std::string& out) {
  return append_bare(out, backend::empty_query_response);
}

bool append_parse_complete(std::string& out) {
  return append_bare(out, backend::parse_complete);
}

bool append_bind_complete(std::string& out) {
  return append_bare(out, backend::bind_complete);
}

bool append_close_complete(std::string& out) {
  return append_bare(out, backend::close_complete);
}

bool append_no_data(std::string& out) {
  return append_bare(out, backend::no_data);
}

bool append_parameter_description(std::string& out, std::span<const uint32_t> oids) {
  MessageWriter writer(out, backend::parameter_description);
  return append_oids(writer, oids);
}

bool append_query(std::string& out, std::string_view sql) {
  return append_text(out, frontend::query, sql);
}

bool append_parse(std::string& out, std::string_view name, std::string_view query, std::span<const uint32_t> oids) {
  MessageWriter writer(out, frontend::parse);
  writer.text(name).text(query);
  return append_oids(writer, oids);
}

bool append_parse_raw(std::string& out, std::string_view name, std::string_view query, std::string_view oids) {
  if (oids.size() % 4 != 0) return false;
  return MessageWriter(out, frontend::parse).text(name).text(query).count(oids.size() / 4).bytes(oids).finish();
}

bool append_bind(std::string& out, std::string_view portal, std::string_view statement, std::span<const Value> values) {
  MessageWriter writer(out, frontend::bind);
  writer.text(portal).text(statement).count(0);  // no formats: all values are text
  write_values(writer, values);
  return writer.count(0).finish();
}

bool append_bind_head(std::string& out, std::string_view portal, std::string_view statement, size_t rest) {
  return MessageWriter(out, frontend::bind).text(portal).text(statement).finish(rest);
}

bool append_describe(std::string& out, char kind, std::string_view name) {
  return MessageWriter(out, frontend::describe).u8(kind).text(name).finish();
}

bool append_close(std::string& out, char kind, std::string_view name) {
  return MessageWriter(out, frontend::close).u8(kind).text(name).finish();
}

bool append_execute(std::string& out, std::string_view portal, int32_t max_rows) {
  return MessageWriter(out, frontend::execute).text(portal).u32(static_cast<uint32_t>(max_rows)).finish();
}

bool append_sync(std::string& out) {
  return append_bare(out, frontend::sync);
}

bool append_flush(std::string& out) {
  return append_bare(out, frontend::flush);
}

bool append_terminate(std::string& out) {
  return append_bare(out, frontend::terminate);
}

bool append_password(std::string& out, std::string_view password) {
  return append_text(out, frontend::password, password);
}

bool append_sasl_initial_response(std::string& out, std::string_view mechanism, Value data) {
  MessageWriter writer(out, frontend::password);
  writer.text(mechanism);
  if (data) {
    writer.counted(*data);
  } else {
    writer.u32(0xffffffff);
  }
  return writer.finish();
}

bool append_sasl_response(std::string& out, std::string_view data) {
  return MessageWriter(out, frontend::password).bytes(data).finish();
}

bool append_copy_fail(std::string& out, std::string_view reason) {
  return append_text(out, frontend::copy_fail, reason);
}

}  // namespace pgdba::wire
