// Private to wire/: reading through boost::json without its exceptions, and writing its values with our separators.
// Include it from .cpp files only, so that nobody else pays for boost::json's headers.
#pragma once

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json_writer.h"
#include "base/lsn.h"

namespace pgdba::wire {

namespace js = boost::json;

// One JSON text; at most `limit` bytes and 32 levels. The error says where it stopped being JSON.
Result<js::value> parse_json(std::string_view text, size_t limit);
Result<js::object> parse_json_object(std::string_view text, size_t limit);

void write_json(JsonWriter& writer, const js::value& value);
std::string to_json(const js::value& value, JsonStyle style = JsonStyle::compact);
// "a list", "a number": for messages.
std::string_view kind_name(const js::value& value);

inline std::string_view view(const js::string& text) {
  return {text.data(), text.size()};
}

// Tolerant reading: nullopt when the field is absent, null, or of another kind.
const js::value* find(const js::object& object, std::string_view name);
std::optional<std::string> text_of(const js::object& object, std::string_view name);
const js::object* object_of(const js::object& object, std::string_view name);
const js::array* array_of(const js::object& object, std::string_view name);
bool true_of(const js::object& object, std::string_view name);  // absent or anything else: false
// A whole number, also as text or as a double without a fraction.
std::optional<int64_t> integer_of(const js::value& value);
std::optional<int64_t> integer_of(const js::object& object, std::string_view name);
// A position as a number of bytes; negative ones do not count.
std::optional<Lsn> lsn_of(const js::value& value);
std::optional<Lsn> lsn_of(const js::object& object, std::string_view name);

// Strict reading of our own values: remembers the first thing that is wrong.
class Fields {
 public:
  explicit Fields(const js::object& object) : object_(object) {}

  std::string text(std::string_view name, std::string fallback = {});
  int64_t integer(std::string_view name, int64_t low = 0, int64_t high = std::numeric_limits<int64_t>::max());
  bool boolean(std::string_view name, bool fallback = false);
  std::optional<Lsn> lsn(std::string_view name);  // as text "X/X"
  const js::object* object(std::string_view name);

  // The index of the word in `words`; the field must be there.
  template <size_t N>
  size_t word(std::string_view name, const std::string_view (&words)[N]) {
    std::string found = text(name);
    for (size_t i = 0; i < N; ++i) {
      if (words[i] == found) return i;
    }
    wrong(name, fmt::format("\"{}\" is none of its words", found));
    return 0;
  }

  void wrong(std::string_view name, std::string_view what);
  [[nodiscard]] bool ok() const { return problem_.empty(); }
  template <class T>
  Result<T> result(T value) {
    if (!ok()) return fail(Errc::invalid, problem_);
    return value;
  }

 private:
  const js::object& object_;
  std::string problem_;
};

}  // namespace pgdba::wire
