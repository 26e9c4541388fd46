#include "wire/pg_parse.h"

#include "wire/pg_frame.h"

namespace pgdba::wire {
namespace {

// The value, if the body was exactly right.
template <class T>
std::optional<T> exact(const ByteReader& reader, T value) {
  if (!reader.done()) return std::nullopt;
  return value;
}

// A body that is one text.
std::optional<std::string_view> only_text(std::string_view body) {
  ByteReader reader(body);
  std::string_view text = reader.text();
  return exact(reader, text);
}

// A length in four bytes, -1 for none, and the bytes. Other negative lengths are failures.
Value read_counted(ByteReader& reader) {
  uint32_t length = reader.u32();
  if (length == 0xffffffff) return std::nullopt;
  return reader.take(length);  // what was negative is more than any body has
}

std::vector<Value> read_values(ByteReader& reader) {
  std::vector<Value> values;
  size_t count = reader.u16();
  if (count * 4 > reader.left()) {
    reader.take(reader.left() + 1);
    return values;
  }
  values.reserve(count);
  for (size_t i = 0; i < count && reader.ok(); ++i) values.push_back(read_counted(reader));
  return values;
}

std::vector<uint16_t> read_formats(ByteReader& reader) {
  ByteReader list(reader.take(size_t{reader.u16()} * 2));
  std::vector<uint16_t> formats;
  formats.reserve(list.left() / 2);
  while (list.left() > 0) formats.push_back(list.u16());
  return formats;
}

std::string_view read_oids(ByteReader& reader) {
  return reader.take(size_t{reader.u16()} * 4);
}

std::vector<std::string_view> read_mechanisms(ByteReader& reader) {
  std::vector<std::string_view> mechanisms;
  for (std::string_view name = reader.text(); !name.empty(); name = reader.text()) mechanisms.push_back(name);
  return mechanisms;
}

}  // namespace

std::optional<Authentication> parse_authentication(std::string_view body) {
  ByteReader reader(body);
  Authentication found;
  found.code = reader.u32();
  switch (found.code) {
    case 0: found.kind = AuthKind::ok; break;
    case 3: found.kind = AuthKind::cleartext; break;
    case 5:
      found.kind = AuthKind::md5;
      found.data = reader.take(4);
      break;
    case 10:
      found.kind = AuthKind::sasl;
      found.mechanisms = read_mechanisms(reader);
      break;
    case 11:
      found.kind = AuthKind::sasl_continue;
      found.data = reader.take_rest();
      break;
    case 12:
      found.kind = AuthKind::sasl_final;
      found.data = reader.take_rest();
      break;
    default: found.data = reader.take_rest(); break;
  }
  return exact(reader, std::move(found));
}

std::optional<ErrorFields> parse_error_response(std::string_view body) {
  ByteReader reader(body);
  ErrorFields fields;
  while (uint8_t kind = reader.u8()) {
    std::string_view text = reader.text();
    switch (kind) {
      case 'V': fields.severity = text; break;
      case 'S': fields.localized_severity = text; break;
      case 'C': fields.sqlstate = text; break;
      case 'M': fields.message = text; break;
      case 'D': fields.detail = text; break;
      case 'H': fields.hint = text; break;
      default: break;
    }
  }
  if (fields.severity.empty()) fields.severity = fields.localized_severity;
  return exact(reader, fields);
}

std::optional<ParameterStatus> parse_parameter_status(std::string_view body) {
  ByteReader reader(body);
  ParameterStatus found;
  found.name = reader.text();
  found.value = reader.text();
  return exact(reader, found);
}

std::optional<CancelKey> parse_backend_key_data(std::string_view body) {
  if (body.size() < 4 + kMinCancelKey || body.size() > 4 + kMaxCancelKey) return std::nullopt;
  return CancelKey{load_u32(body.data()), std::string(body.substr(4))};
}

std::optional<char> parse_ready_for_query(std::string_view body) {
  if (body.size() != 1 || (body[0] != 'I' && body[0] != 'T' && body[0] != 'E')) return std::nullopt;
  return body[0];
}

std::optional<std::string_view> parse_command_complete(std::string_view body) {
  return only_text(body);
}

std::optional<NegotiateProtocolVersion> parse_negotiate_protocol_version(std::string_view body) {
  ByteReader reader(body);
  NegotiateProtocolVersion found;
  found.version = reader.u32();
  uint32_t count = reader.u32();
  if (count > reader.left()) return std::nullopt;
  found.unknown_options.reserve(count);
  for (uint32_t i = 0; i < count && reader.ok(); ++i) found.unknown_options.push_back(reader.text());
  return exact(reader, std::move(found));
}

std::optional<std::vector<Column>> parse_row_description(std::string_view body) {
  ByteReader reader(body);
  size_t count = reader.u16();
  if (count * 19 > reader.left()) return std::nullopt;  // the least that a column takes
  std::vector<Column> columns(count);
  for (Column& column : columns) {
    column.name = reader.text();
    column.table = reader.u32();
    column.attribute = reader.u16();
    column.type = reader.u32();
    column.size = static_cast<int16_t>(reader.u16());
    column.modifier = reader.i32();
    column.format = reader.u16();
  }
  return exact(reader, std::move(columns));
}

std::optional<std::vector<Value>> parse_data_row(std::string_view body) {
  ByteReader reader(body);
  std::vector<Value> values = read_values(reader);
  return exact(reader, std::move(values));
}

std::optional<std::string_view> parse_parameter_description(std::string_view body) {
  ByteReader reader(body);
  std::string_view oids = read_oids(reader);
  return exact(reader, oids);
}

std::optional<std::string_view> parse_query(std::string_view body) {
  return only_text(body);
}

std::optional<std::string_view> parse_copy_fail(std::string_view body) {
  return only_text(body);
}

std::optional<ParseMessage> parse_parse(std::string_view body) {
  ByteReader reader(body);
  ParseMessage found;
  found.name = reader.text();
  found.query = reader.text();
  found.oids = read_oids(reader);
  return exact(reader, found);
}

std::optional<BindMessage> parse_bind(std::string_view body) {
  ByteReader reader(body);
  BindMessage found;
  found.portal = reader.text();
  found.statement_offset = found.portal.size() + 1;
  found.statement = reader.text();
  found.rest = reader.take_rest();
  return exact(reader, found);
}

std::optional<BindValues> parse_bind_values(std::string_view rest) {
  ByteReader reader(rest);
  BindValues found;
  found.formats = read_formats(reader);
  found.values = read_values(reader);
  found.result_formats = read_formats(reader);
  return exact(reader, std::move(found));
}

std::optional<NamedMessage> parse_describe_or_close(std::string_view body) {
  ByteReader reader(body);
  NamedMessage found;
  found.kind = static_cast<char>(reader.u8());
  found.name = reader.text();
  if (found.kind != 'S' && found.kind != 'P') return std::nullopt;
  return exact(reader, found);
}

std::optional<ExecuteMessage> parse_execute(std::string_view body) {
  ByteReader reader(body);
  ExecuteMessage found;
  found.portal = reader.text();
  found.max_rows = reader.i32();
  return exact(reader, found);
}

std::optional<std::string_view> parse_password(std::string_view body) {
  return only_text(body);
}

std::optional<SaslInitialResponse> parse_sasl_initial_response(std::string_view body) {
  ByteReader reader(body);
  SaslInitialResponse found;
  found.mechanism = reader.text();
  found.data = read_counted(reader);
  return exact(reader, found);
}

}  // namespace pgdba::wire
