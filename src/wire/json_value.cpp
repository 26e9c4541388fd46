#include "wire/json_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <limits>

#include "base/text.h"

namespace pgdba::wire {

namespace {

JsonValue from_boost(const boost::json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::null: return {};
    case boost::json::kind::bool_: return value.get_bool();
    case boost::json::kind::int64: return value.get_int64();
    case boost::json::kind::uint64: return value.get_uint64();
    case boost::json::kind::double_: return value.get_double();
    case boost::json::kind::string: return std::string(value.get_string().data(), value.get_string().size());
    case boost::json::kind::array: {
      JsonValue::List list;
      for (const auto& item : value.get_array()) list.push_back(from_boost(item));
      return list;
    }
    case boost::json::kind::object: {
      JsonValue::Object object;
      for (const auto& [name, item] : value.get_object()) {
        object.emplace_back(std::string(name.data(), name.size()), from_boost(item));
      }
      return object;
    }
  }
  return {};
}

// Plain YAML text is only what no reader can take for a number, a boolean, a date or a piece of syntax.
bool plain_in_yaml(std::string_view text) {
  if (text.empty() || text.size() > 200) return false;
  static const std::vector<std::string> words = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  if (std::ranges::find(words, lower(text)) != words.end()) return false;
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/'; };
  if (!letter(text.front())) return false;
  return std::ranges::all_of(text, [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '+' || c == '=' || c == '@';
  });
}

// Unlike JSON's, the escapes of YAML do not combine two surrogates: what is beyond ASCII stays as it is.
std::string yaml_text(std::string_view text) {
  if (plain_in_yaml(text)) return std::string(text);
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

void append_yaml(std::string& out, const JsonValue& value, size_t indent) {
  if (const auto* object = value.as_object(); object && !object->empty()) {
    for (const auto& [name, item] : *object) {
      if (!out.empty() && out.back() == '\n') out.append(indent, ' ');
      out += yaml_text(name) + ":";
      bool nested_object = item.as_object() && !item.as_object()->empty();
      bool nested_list = item.as_list() && !item.as_list()->empty();
      out += nested_object || nested_list ? '\n' : ' ';
      append_yaml(out, item, nested_object ? indent + 2 : indent);
    }
  } else if (const auto* list = value.as_list(); list && !list->empty()) {
    for (const JsonValue& item : *list) {
      if (!out.empty() && out.back() == '\n') out.append(indent, ' ');
      out += "- ";
      append_yaml(out, item, indent + 2);
    }
  } else {
    const std::string* text = value.as_text();
    out += (text ? yaml_text(*text) : format_json_value(value, JsonStyle::compact)) + "\n";
  }
}

}  // namespace

std::optional<int64_t> JsonValue::as_integer() const {
  if (const auto* value = std::get_if<int64_t>(&value_)) return *value;
  if (const auto* value = std::get_if<uint64_t>(&value_);
      value && *value <= uint64_t{std::numeric_limits<int64_t>::max()}) {
    return static_cast<int64_t>(*value);
  }
  return std::nullopt;
}

std::optional<double> JsonValue::as_number() const {
  if (const auto* value = std::get_if<double>(&value_)) return *value;
  if (const auto* value = std::get_if<uint64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<bool> JsonValue::as_boolean() const {
  const auto* value = std::get_if<bool>(&value_);
  return value ? std::optional(*value) : std::nullopt;
}

const JsonValue& JsonValue::operator[](std::string_view name) const {
  static const JsonValue nothing;
  const Object* object = as_object();
  if (!object) return nothing;
  auto found = std::ranges::find(*object, name, [](const auto& member) { return std::string_view(member.first); });
  return found == object->end() ? nothing : found->second;
}

JsonValue& JsonValue::set(std::string_view name, JsonValue value) {
  if (!as_object()) value_ = Object{};
  auto& members = std::get<Object>(value_);
  auto found = std::ranges::find(members, name, [](const auto& member) { return std::string_view(member.first); });
  if (found != members.end()) {
    found->second = std::move(value);
  } else {
    members.emplace_back(std::string(name), std::move(value));
  }
  return *this;
}

JsonValue& JsonValue::add(JsonValue value) {
  if (!as_list()) value_ = List{};
  std::get<List>(value_).push_back(std::move(value));
  return *this;
}

std::string JsonValue::text(std::string_view name, std::string_view fallback) const {
  const std::string* found = (*this)[name].as_text();
  return found ? *found : std::string(fallback);
}

int64_t JsonValue::integer(std::string_view name, int64_t fallback) const {
  return (*this)[name].as_integer().value_or(fallback);
}

bool JsonValue::boolean(std::string_view name, bool fallback) const {
  return (*this)[name].as_boolean().value_or(fallback);
}

Result<JsonValue> parse_json_value(std::string_view text) {
  if (text.size() > kMaxJsonValue) return fail(Errc::invalid, fmt::format("longer than {} bytes", kMaxJsonValue));
  boost::system::error_code error;
  boost::json::parse_options options;
  options.max_depth = 32;
  boost::json::value value = boost::json::parse(boost::json::string_view(text.data(), text.size()), error, {}, options);
  if (error) return fail(Errc::invalid, "not JSON: " + error.message());
  return from_boost(value);
}

void write_json_value(JsonWriter& writer, const JsonValue& value) {
  struct Visitor {
    JsonWriter& out;
    void operator()(std::monostate) const { out.null(); }
    void operator()(bool item) const { out.boolean(item); }
    void operator()(int64_t item) const { out.integer(item); }
    void operator()(uint64_t item) const { out.unsigned_integer(item); }
    void operator()(double item) const { out.number(item); }
    void operator()(const std::string& item) const { out.text(item); }
    void operator()(const JsonValue::List& items) const {
      out.begin_array();
      for (const JsonValue& item : items) write_json_value(out, item);
      out.end_array();
    }
    void operator()(const JsonValue::Object& members) const {
      out.begin_object();
      for (const auto& [name, item] : members) {
        out.key(name);
        write_json_value(out, item);
      }
      out.end_object();
    }
  };
  std::visit(Visitor{writer}, value.value_);
}

std::string format_json_value(const JsonValue& value, JsonStyle style) {
  JsonWriter writer(style);
  write_json_value(writer, value);
  return writer.take();
}

std::string format_yaml_value(const JsonValue& value) {
  std::string out;
  append_yaml(out, value, 0);
  return out;
}

}  // namespace pgdba::wire
