// A JSON text as a tree of plain values, for what has no struct of its own: the files that the command line keeps, and
// its output, of which JSON, YAML and tsv are three spellings.
//
// Order is kept. No boost header, so that including it costs nothing. parse(format(x)) == x for every tree whose texts
// are UTF-8 and whose numbers are finite.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json_writer.h"

namespace pgdba::wire {

class JsonValue {
 public:
  using List = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;

  JsonValue() = default;  // null
  JsonValue(std::nullptr_t) {}
  JsonValue(bool value) : value_(value) {}
  JsonValue(int value) : value_(int64_t{value}) {}
  JsonValue(int64_t value) : value_(value) {}
  JsonValue(uint64_t value) : value_(value) {}
  JsonValue(double value) : value_(value) {}
  JsonValue(const char* value) : value_(std::string(value)) {}
  JsonValue(std::string value) : value_(std::move(value)) {}
  JsonValue(std::string_view value) : value_(std::string(value)) {}
  JsonValue(List value) : value_(std::move(value)) {}
  JsonValue(Object value) : value_(std::move(value)) {}
  // Absent is null, never 0.
  template <class T>
  JsonValue(const std::optional<T>& value) {
    if (value) *this = JsonValue(*value);
  }

  static JsonValue object() { return Object{}; }
  static JsonValue list() { return List{}; }

  [[nodiscard]] bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  [[nodiscard]] const List* as_list() const { return std::get_if<List>(&value_); }
  [[nodiscard]] const Object* as_object() const { return std::get_if<Object>(&value_); }
  [[nodiscard]] const std::string* as_text() const { return std::get_if<std::string>(&value_); }
  [[nodiscard]] std::optional<int64_t> as_integer() const;  // a whole number that fits
  [[nodiscard]] std::optional<double> as_number() const;
  [[nodiscard]] std::optional<bool> as_boolean() const;

  // The member of an object; a null value when there is none or this is no object.
  [[nodiscard]] const JsonValue& operator[](std::string_view name) const;
  // Adds or replaces; makes this an object.
  JsonValue& set(std::string_view name, JsonValue value);
  JsonValue& add(JsonValue value);  // makes this a list

  // Tolerant reading with a fallback for an absent field or one of another kind.
  [[nodiscard]] std::string text(std::string_view name, std::string_view fallback = {}) const;
  [[nodiscard]] int64_t integer(std::string_view name, int64_t fallback = 0) const;
  [[nodiscard]] bool boolean(std::string_view name, bool fallback = false) const;

  bool operator==(const JsonValue&) const = default;

 private:
  friend void write_json_value(JsonWriter& writer, const JsonValue& value);
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, List, Object> value_;
};

inline constexpr size_t kMaxJsonValue = 8 * 1024 * 1024;

// At most kMaxJsonValue bytes and 32 levels; the error says where it stopped being JSON.
Result<JsonValue> parse_json_value(std::string_view text);
std::string format_json_value(const JsonValue& value, JsonStyle style = JsonStyle::indented);
void write_json_value(JsonWriter& writer, const JsonValue& value);

// YAML 1.2 block style with a newline at the end. Text that YAML 1.1 or 1.2 could read as something else is quoted.
std::string format_yaml_value(const JsonValue& value);

}  // namespace pgdba::wire
