#include "wire/json_tools.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <exception>

#include "base/text.h"

namespace pgdba::wire {

namespace {

// boost::json's own parser, but for one thing: its fractions may be wrong in the last bit, so that a value would change
// each time it is read and written. Here a fraction is read exactly, and one that does not fit is an error.
struct ExactHandler {
  static constexpr size_t max_object_size = js::object::max_size();
  static constexpr size_t max_array_size = js::array::max_size();
  static constexpr size_t max_key_size = js::string::max_size();
  static constexpr size_t max_string_size = js::string::max_size();
  using Code = boost::system::error_code;

  js::value_stack stack;

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code&) { return true; }
  bool on_object_end(size_t count, Code&) { return stack.push_object(count), true; }
  bool on_array_begin(Code&) { return true; }
  bool on_array_end(size_t count, Code&) { return stack.push_array(count), true; }
  bool on_key_part(js::string_view text, size_t, Code&) { return stack.push_chars(text), true; }
  bool on_key(js::string_view text, size_t, Code&) { return stack.push_key(text), true; }
  bool on_string_part(js::string_view text, size_t, Code&) { return stack.push_chars(text), true; }
  bool on_string(js::string_view text, size_t, Code&) { return stack.push_string(text), true; }
  bool on_number_part(js::string_view, Code&) { return true; }
  bool on_int64(int64_t value, js::string_view, Code&) { return stack.push_int64(value), true; }
  bool on_uint64(uint64_t value, js::string_view, Code&) { return stack.push_uint64(value), true; }
  bool on_double(double, js::string_view text, Code& error) {
    double value = 0;
    auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    // Too small a number is as good as none; "-" alone cannot get here.
    if (problem == std::errc::result_out_of_range && text.find("e-") == js::string_view::npos &&
        text.find("E-") == js::string_view::npos) {
      error = js::error::exponent_overflow;
      return false;
    }
    return stack.push_double(value), true;
  }
  bool on_bool(bool value, Code&) { return stack.push_bool(value), true; }
  bool on_null(Code&) { return stack.push_null(), true; }
  bool on_comment_part(js::string_view, Code&) { return true; }
  bool on_comment(js::string_view, Code&) { return true; }
};

}  // namespace

Result<js::value> parse_json(std::string_view text, size_t limit) {
  if (text.size() > limit)
    return fail(Errc::invalid, fmt::format("{} bytes are more than the limit of {}", text.size(), limit));
  try {
    boost::system::error_code error;
    js::basic_parser<ExactHandler> parser(js::parse_options{});
    parser.handler().stack.reset();
    size_t read = parser.write_some(false, text.data(), text.size(), error);
    if (!error && read < text.size()) error = js::error::extra_data;
    if (error) return fail(Errc::invalid, fmt::format("not JSON: {} at byte {}", error.message(), read));
    return parser.handler().stack.release();
  } catch (const std::exception& error) {  // out of memory, a string longer than boost::json's limit
    return fail(Errc::invalid, fmt::format("not JSON: {}", error.what()));
  }
}

Result<js::object> parse_json_object(std::string_view text, size_t limit) {
  auto value = parse_json(text, limit);
  if (!value) return tl::unexpected(value.error());
  if (js::object* object = value->if_object()) return std::move(*object);
  return fail(Errc::invalid, fmt::format("expected a JSON object, got {}", kind_name(*value)));
}

void write_json(JsonWriter& writer, const js::value& value) {
  switch (value.kind()) {
    case js::kind::null: writer.null(); break;
    case js::kind::bool_: writer.boolean(value.get_bool()); break;
    case js::kind::int64: writer.integer(value.get_int64()); break;
    case js::kind::uint64: writer.unsigned_integer(value.get_uint64()); break;
    case js::kind::double_: writer.number(value.get_double()); break;
    case js::kind::string: writer.text(view(value.get_string())); break;
    case js::kind::array:
      writer.begin_array();
      for (const js::value& item : value.get_array()) write_json(writer, item);
      writer.end_array();
      break;
    case js::kind::object:
      writer.begin_object();
      for (const js::key_value_pair& item : value.get_object()) {
        writer.key({item.key().data(), item.key().size()});
        write_json(writer, item.value());
      }
      writer.end_object();
      break;
  }
}

std::string to_json(const js::value& value, JsonStyle style) {
  JsonWriter writer(style);
  write_json(writer, value);
  return writer.take();
}

std::string_view kind_name(const js::value& value) {
  switch (value.kind()) {
    case js::kind::null: return "null";
    case js::kind::bool_: return "a boolean";
    case js::kind::int64:
    case js::kind::uint64:
    case js::kind::double_: return "a number";
    case js::kind::string: return "a text";
    case js::kind::array: return "a list";
    case js::kind::object: return "an object";
  }
  return "something else";
}

const js::value* find(const js::object& object, std::string_view name) {
  return object.if_contains({name.data(), name.size()});
}

std::optional<std::string> text_of(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  if (!value || !value->is_string()) return std::nullopt;
  return std::string(view(value->get_string()));
}

const js::object* object_of(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  return value ? value->if_object() : nullptr;
}

const js::array* array_of(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  return value ? value->if_array() : nullptr;
}

bool true_of(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  return value && value->is_bool() && value->get_bool();
}

std::optional<int64_t> integer_of(const js::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64() && value.get_uint64() <= static_cast<uint64_t>(INT64_MAX))
    return static_cast<int64_t>(value.get_uint64());
  if (value.is_string()) return parse_int(trim(view(value.get_string())));
  if (value.is_double()) {
    double number = value.get_double();
    if (number >= -9007199254740992.0 && number <= 9007199254740992.0 && std::trunc(number) == number) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

std::optional<int64_t> integer_of(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  return value ? integer_of(*value) : std::nullopt;
}

std::optional<Lsn> lsn_of(const js::value& value) {
  if (value.is_uint64()) return Lsn{value.get_uint64()};
  auto number = integer_of(value);
  if (!number || *number < 0) return std::nullopt;
  return Lsn{static_cast<uint64_t>(*number)};
}

std::optional<Lsn> lsn_of(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  return value ? lsn_of(*value) : std::nullopt;
}

void Fields::wrong(std::string_view name, std::string_view what) {
  if (problem_.empty()) problem_ = fmt::format("{}: {}", name, what);
}

std::string Fields::text(std::string_view name, std::string fallback) {
  const js::value* value = find(object_, name);
  if (!value) return fallback;
  if (const js::string* text = value->if_string()) return std::string(view(*text));
  wrong(name, fmt::format("expected a text, got {}", kind_name(*value)));
  return fallback;
}

int64_t Fields::integer(std::string_view name, int64_t low, int64_t high) {
  const js::value* value = find(object_, name);
  if (!value) return 0;
  if (!value->is_int64() || value->get_int64() < low || value->get_int64() > high) {
    wrong(name, fmt::format("expected a whole number from {} to {}, got {}", low, high, to_json(*value).substr(0, 40)));
    return 0;
  }
  return value->get_int64();
}

bool Fields::boolean(std::string_view name, bool fallback) {
  const js::value* value = find(object_, name);
  if (!value) return fallback;
  if (value->is_bool()) return value->get_bool();
  wrong(name, fmt::format("expected true or false, got {}", kind_name(*value)));
  return fallback;
}

std::optional<Lsn> Fields::lsn(std::string_view name) {
  const js::value* value = find(object_, name);
  if (!value) return std::nullopt;
  auto lsn = parse_lsn(text(name));
  if (lsn) return *lsn;
  wrong(name, lsn.error().text);
  return std::nullopt;
}

const js::object* Fields::object(std::string_view name) {
  const js::value* value = find(object_, name);
  if (!value) return nullptr;
  if (!value->is_object()) wrong(name, fmt::format("expected an object, got {}", kind_name(*value)));
  return value->if_object();
}

}  // namespace pgdba::wire
