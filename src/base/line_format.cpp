#include "base/line_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json_writer.h"

namespace pgdba {

namespace {

constexpr std::array<std::string_view, 10> kFields = {"asctime", "levelname", "levelno", "message", "name",
                                                      "module",  "created",   "msecs",   "process", "processName"};
constexpr size_t kWidest = 200;

void note_unknown(LineFormat& format, const std::string& field) {
  const bool known = std::ranges::find(kFields, field) != kFields.end();
  if (!known && std::ranges::find(format.unknown, field) == format.unknown.end()) format.unknown.push_back(field);
}

// What follows "%(name)": flags, width, precision, conversion. The number of bytes; 0: this is no field.
size_t read_conversion(std::string_view rest, LineFormat::Part& part) {
  size_t at = 0;
  for (; at < rest.size() && std::string_view("-0+ #").find(rest[at]) != std::string_view::npos; ++at) {
    part.left = part.left || rest[at] == '-';
    part.zeros = part.zeros || rest[at] == '0';
  }
  for (; at < rest.size() && rest[at] >= '0' && rest[at] <= '9'; ++at) {
    part.width = std::min(kWidest, part.width * 10 + static_cast<size_t>(rest[at] - '0'));
  }
  if (at < rest.size() && rest[at] == '.') {
    for (++at; at < rest.size() && rest[at] >= '0' && rest[at] <= '9'; ++at) continue;
  }
  if (at >= rest.size() || std::string_view("srdifg").find(rest[at]) == std::string_view::npos) return 0;
  return at + 1;
}

bool is_number(std::string_view field) {
  return field == "levelno" || field == "msecs" || field == "process" || field == "created";
}

std::string value_of(std::string_view field, const LineFormat& format, const LogRecord& record) {
  if (field == "asctime") return record.asctime;
  if (field == "levelname") return std::string(record.level);
  if (field == "levelno") return std::to_string(record.level_number);
  if (field == "message") {
    return format.names_the_component() ? std::string(record.message) : fmt::format("{}: {}", record.component, record.message);
  }
  if (field == "name" || field == "module") return std::string(record.component);
  if (field == "created") return fmt::format("{}.{:03}", record.created_ms / 1000, record.created_ms % 1000);
  if (field == "msecs") return std::to_string(record.created_ms % 1000);
  if (field == "process") return std::to_string(record.process);
  if (field == "processName") return "MainProcess";
  return {};
}

std::string padded(std::string text, const LineFormat::Part& part) {
  if (text.size() >= part.width) return text;
  const size_t missing = part.width - text.size();
  if (part.left) return text + std::string(missing, ' ');
  return std::string(missing, part.zeros && is_number(part.field) ? '0' : ' ') + text;
}

std::string json_line(const LineFormat& format, const LogRecord& record) {
  JsonWriter out(JsonStyle::spaced);
  out.begin_object();
  for (const LineFormat::Part& part : format.parts) {
    if (part.field.empty()) continue;
    const bool known = std::ranges::find(kFields, part.field) != kFields.end();
    const std::string value = value_of(part.field, format, record);
    if (!known) {
      out.null(part.key);
    } else if (is_number(part.field)) {
      out.raw(part.key, value);
    } else {
      out.text(part.key, value);
    }
  }
  for (const auto& [name, json] : format.static_fields) out.raw(name, json);
  out.end_object();
  return out.take();
}

}  // namespace

bool LineFormat::names_the_component() const {
  return std::ranges::any_of(parts, [](const Part& part) { return part.field == "name" || part.field == "module"; });
}

LineFormat parse_line_format(std::string_view text) {
  LineFormat out;
  std::string literal;
  while (!text.empty()) {
    if (text.starts_with("%%")) {
      literal += '%';
      text.remove_prefix(2);
      continue;
    }
    const size_t end = text.starts_with("%(") ? text.find(')') : std::string_view::npos;
    LineFormat::Part part;
    const size_t used = end == std::string_view::npos ? 0 : read_conversion(text.substr(end + 1), part);
    if (used == 0) {
      literal += text.front();
      text.remove_prefix(1);
      continue;
    }
    part.literal = std::exchange(literal, {});
    part.field = std::string(text.substr(2, end - 2));
    part.key = part.field;
    note_unknown(out, part.field);
    out.parts.push_back(std::move(part));
    text.remove_prefix(end + 1 + used);
  }
  if (!literal.empty()) {
    LineFormat::Part rest;
    rest.literal = std::move(literal);
    out.parts.push_back(std::move(rest));
  }
  return out;
}

LineFormat json_line_format(const std::vector<std::pair<std::string, std::string>>& fields) {
  LineFormat out;
  out.json = true;
  for (const auto& [field, key] : fields) {
    LineFormat::Part part;
    part.field = field;
    part.key = key;
    note_unknown(out, field);
    out.parts.push_back(std::move(part));
  }
  return out;
}

std::string format_line(const LineFormat& format, const LogRecord& record) {
  if (format.json) return json_line(format, record);
  std::string out;
  for (const LineFormat::Part& part : format.parts) {
    out += part.literal;
    if (!part.field.empty()) out += padded(value_of(part.field, format, record), part);
  }
  return printable(out);
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += ' ';
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace pgdba
