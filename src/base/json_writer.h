// Writes JSON with exact control of order and separators.
//
// Patroni writes its etcd values compact ("," and ":") and its REST answers spaced (", " and ": "), both with every
// character beyond ASCII escaped; people get the indented form. Readers compare bytes, so no library's taste will do.
//
// The caller keeps the grammar: a key before each value of an object, as many end_ as begin_. Text that is not UTF-8
// is written with U+FFFD in place of the bad bytes, so that the result is always valid JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pgdba {

enum class JsonStyle { compact, spaced, indented };

class JsonWriter {
 public:
  explicit JsonWriter(JsonStyle style = JsonStyle::compact) : style_(style) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& text(std::string_view value);
  JsonWriter& integer(int64_t value);
  JsonWriter& unsigned_integer(uint64_t value);
  JsonWriter& number(double value);  // as Python prints it; not-a-number and infinities become null
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  JsonWriter& raw(std::string_view json);  // valid JSON that somebody else wrote

  // key and value at once.
  JsonWriter& text(std::string_view name, std::string_view value) { return key(name).text(value); }
  JsonWriter& integer(std::string_view name, int64_t value) { return key(name).integer(value); }
  JsonWriter& unsigned_integer(std::string_view name, uint64_t value) { return key(name).unsigned_integer(value); }
  JsonWriter& boolean(std::string_view name, bool value) { return key(name).boolean(value); }
  JsonWriter& null(std::string_view name) { return key(name).null(); }
  JsonWriter& raw(std::string_view name, std::string_view json) { return key(name).raw(json); }

  [[nodiscard]] const std::string& str() const { return out_; }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void before_value();
  void line();

  std::string out_;
  JsonStyle style_;
  std::vector<bool> filled_;  // one per open bracket: has it an element already?
  bool after_key_ = false;
};

// A JSON string literal with its quotes.
std::string json_quote(std::string_view text);

}  // namespace pgdba
