#include "unit/pool/notation.h"

#include <stdexcept>
#include <vector>

#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pool::testing {

namespace {

using namespace std::string_literals;

std::string real_name(std::string_view name) {
  if (name.empty() || name[0] != '$') return std::string(name);
  static constexpr char digits[] = "0123456789abcdef";
  const int number = std::stoi(std::string(name.substr(1)));
  return "PGDBA_" + std::string(30, '0') + digits[number >> 4] + digits[number & 15];
}

std::string shown_name(std::string_view name) {
  if (!name.starts_with("PGDBA_" + std::string(30, '0')) || name.size() != 38) return std::string(name);
  return "$" + std::to_string(std::stoi(std::string(name.substr(36)), nullptr, 16));
}

std::string framed(char type, std::string_view body) {
  std::string message(5, type);
  wire::store_u32(message.data() + 1, static_cast<uint32_t>(body.size() + 4));
  return message.append(body);
}

std::string one(std::string_view token, bool from_client);

std::string from_client_message(std::string_view name, std::string_view first, std::string_view second) {
  std::string out;
  if (name == "Q")
    wire::append_query(out, first);
  else if (name == "P")
    wire::append_parse(out, real_name(first), second, {});
  else if (name == "B") {
    const size_t comma = second.find(',');
    const wire::Value value = comma == std::string_view::npos ? "" : second.substr(comma + 1);
    wire::append_bind(out, first, real_name(second.substr(0, comma)),
                      {&value, comma == std::string_view::npos ? 0U : 1U});
  } else if (name == "DS" || name == "DP")
    wire::append_describe(out, name[1], real_name(first));
  else if (name == "CS" || name == "CP")
    wire::append_close(out, name[1], real_name(first));
  else if (name == "E")
    wire::append_execute(out, first);
  else if (name == "S")
    wire::append_sync(out);
  else if (name == "H")
    wire::append_flush(out);
  else if (name == "d")
    out = framed('d', first);
  else if (name == "c")
    out = framed('c', {});
  else if (name == "f")
    wire::append_copy_fail(out, first);
  else if (name == "F")
    out = framed('F', "\0\0\0\1\0\0\0\0\0\0"s);
  else if (name == "X")
    wire::append_terminate(out);
  else
    throw std::runtime_error("unknown message " + std::string(name));
  return out;
}

std::string from_server_message(std::string_view name, std::string_view first, std::string_view second) {
  std::string out;
  const wire::Value value = first;
  const wire::Column column{.name = "c"};
  if (name == "1" || name == "2" || name == "3" || name == "n" || name == "I" || name == "s" || name == "c")
    out = framed(name[0], {});
  else if (name == "t")
    wire::append_parameter_description(out, {});
  else if (name == "T")
    wire::append_row_description(out, {&column, 1});
  else if (name == "V")
    out = framed('V', "\xff\xff\xff\xff");
  else if (name == "G" || name == "H" || name == "W")
    out = framed(name[0], "\0\0\0"s);
  else if (name == "d")
    out = framed('d', first);
  else if (name == "D")
    wire::append_data_row(out, {&value, 1});
  else if (name == "C")
    wire::append_command_complete(out, first);
  else if (name == "Z")
    wire::append_ready_for_query(out, first.at(0));
  else if (name == "E")
    wire::append_error(out, {.severity = "ERROR", .sqlstate = first, .message = second});
  else if (name == "F")
    wire::append_error(out, {.severity = "FATAL", .sqlstate = first, .message = second});
  else if (name == "N")
    wire::append_notice(out, {.severity = "NOTICE", .sqlstate = "00000", .message = first});
  else if (name == "A")
    out = framed('A', "\0\0\0\1x\0\0"s);
  else if (name == "S")
    wire::append_parameter_status(out, first, second);
  else if (name == "R")
    wire::append_authentication_ok(out);
  else if (name == "R3")
    wire::append_authentication_cleartext(out);
  else if (name == "K")
    wire::append_backend_key_data(out, {1, "abcd"});
  else
    throw std::runtime_error("unknown message " + std::string(name));
  return out;
}

std::string one(std::string_view token, bool from_client) {
  const size_t open = token.find('(');
  const std::string_view name = token.substr(0, open);
  const std::string_view inside = open == std::string_view::npos ? "" : token.substr(open + 1, token.size() - open - 2);
  const size_t comma = inside.find(',');
  const std::string_view first = inside.substr(0, comma);
  const std::string_view second = comma == std::string_view::npos ? "" : inside.substr(comma + 1);
  if (name == "first") return one(second, from_client).substr(0, std::stoul(std::string(first)));
  if (name == "after") return one(second, from_client).substr(std::stoul(std::string(first)));
  if (name == "raw") {
    std::string head(5, first.at(0));
    wire::store_u32(head.data() + 1, static_cast<uint32_t>(std::stoll(std::string(second))));
    return head;
  }
  if (name == "fill") {
    const size_t close = second.rfind(')');
    const std::string longer =
        std::string(second.substr(0, close)) + std::string(std::stoul(std::string(first)), 'x') + ")";
    return one(longer, from_client);
  }
  return from_client ? from_client_message(name, first, second) : from_server_message(name, first, second);
}

std::string shortened(std::string_view text) {
  return text.size() <= 200 ? std::string(text) : std::string(text.substr(0, 8)) + "..." + std::to_string(text.size());
}

std::string show(char type, std::string_view body, bool from_client) {
  const std::string name(1, type);
  wire::ByteReader reader(body);
  if (from_client) {
    switch (type) {
      case 'Q': return "Q(" + shortened(reader.text()) + ")";
      case 'P': {
        const std::string_view statement = reader.text();
        return "P(" + shown_name(statement) + "," + shortened(reader.text()) + ")";
      }
      case 'B': {
        const std::string_view portal = reader.text();
        return "B(" + shortened(portal) + "," + shown_name(reader.text()) + ")";
      }
      case 'D':
      case 'C': return name + body.substr(0, 1).data()[0] + "(" + shown_name(body.substr(1, body.size() - 2)) + ")";
      case 'E': {
        const std::string_view portal = reader.text();
        return portal.empty() ? "E" : "E(" + std::string(portal) + ")";
      }
      case 'd': return "d(" + shortened(body) + ")";
      case 'f': return "f(" + std::string(reader.text()) + ")";
      default: return name;
    }
  }
  switch (type) {
    case 'D': {
      auto values = wire::parse_data_row(body);
      return "D(" + (values ? shortened(values->at(0).value_or("null")) : "?") + ")";
    }
    case 'd': return "d(" + shortened(body) + ")";
    case 'C': return "C(" + std::string(reader.text()) + ")";
    case 'Z': return "Z(" + std::string(body) + ")";
    case 'E':
    case 'N': {
      auto fields = wire::parse_error_response(body);
      if (!fields) return name + "(?)";
      if (type == 'N') return "N(" + std::string(fields->message) + ")";
      return (fields->severity == "FATAL" ? "F(" : "E(") + std::string(fields->sqlstate) + "," +
             shortened(fields->message) + ")";
    }
    case 'S': {
      auto status = wire::parse_parameter_status(body);
      return status ? "S(" + std::string(status->name) + "," + shortened(status->value) + ")" : "S(?)";
    }
    case 'R': return body == "\0\0\0\0"s ? "R" : "R" + std::to_string(wire::load_u32(body.data()));
    default: return name;
  }
}

}  // namespace

std::string encode(std::string_view text, bool from_client) {
  std::string out;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i < text.size() && (text[i] != ' ' || depth > 0)) continue;
    if (i > begin) out += one(text.substr(begin, i - begin), from_client);
    begin = i + 1;
  }
  return out;
}

std::string decode(std::string& bytes, bool from_client) {
  std::string text;
  std::string_view rest = bytes;
  wire::Message message;
  while (wire::read_message(rest, message) == wire::Scan::complete) {
    if (!text.empty()) text += ' ';
    text += show(message.type, message.body, from_client);
    rest.remove_prefix(message.size());
  }
  bytes.erase(0, bytes.size() - rest.size());
  return text;
}

}  // namespace pgdba::pool::testing
