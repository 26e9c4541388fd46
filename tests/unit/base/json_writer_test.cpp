#include "base/json_writer.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgdba {
namespace {

std::string sample(JsonStyle style) {
  JsonWriter w(style);
  w.begin_object().text("a", "b").key("list").begin_array().integer(1).null().end_array();
  w.key("empty").begin_object().end_object().boolean("yes", true).end_object();
  return w.take();
}

TEST(JsonWriter, styles) {
  EXPECT_EQ(sample(JsonStyle::compact), R"({"a":"b","list":[1,null],"empty":{},"yes":true})");
  EXPECT_EQ(sample(JsonStyle::spaced), R"({"a": "b", "list": [1, null], "empty": {}, "yes": true})");
  EXPECT_EQ(sample(JsonStyle::indented),
            "{\n  \"a\": \"b\",\n  \"list\": [\n    1,\n    null\n  ],\n  \"empty\": {},\n  \"yes\": true\n}");
}

// What Python's json.dumps gives for the same texts.
TEST(JsonWriter, escapes) {
  EXPECT_EQ(json_quote("a\"b\\c\n\r\t\f\b/\x01\x7f"), R"("a\"b\\c\n\r\t\f\b/\u0001\u007f")");
  EXPECT_EQ(json_quote("é€😀"), R"("\u00e9\u20ac\ud83d\ude00")");
  EXPECT_EQ(json_quote(std::string_view("a\0b", 3)), R"("a\u0000b")");
}

TEST(JsonWriter, text_that_is_not_utf8_stays_valid_json) {
  EXPECT_EQ(json_quote("\xff"), R"("\ufffd")");
  EXPECT_EQ(json_quote("\xc3"), R"("\ufffd")");
  EXPECT_EQ(json_quote("\xc3(a"), R"("\ufffd(a")");
  EXPECT_EQ(json_quote("\xc0\xaf"), R"("\ufffd\ufffd")");            // overlong
  EXPECT_EQ(json_quote("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")");  // a surrogate
  EXPECT_EQ(json_quote("\xf4\x90\x80\x80"), R"("\ufffd\ufffd\ufffd\ufffd")");
}

TEST(JsonWriter, numbers_as_python_prints_them) {
  auto number = [](double value) { return JsonWriter().number(value).take(); };
  EXPECT_EQ(number(1), "1.0");
  EXPECT_EQ(number(0.1), "0.1");
  EXPECT_EQ(number(1e15), "1000000000000000.0");
  EXPECT_EQ(number(1e16), "1e+16");
  EXPECT_EQ(number(0.0001), "0.0001");
  EXPECT_EQ(number(0.00001), "1e-05");
  EXPECT_EQ(number(std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(JsonWriter().integer(INT64_MIN).take(), "-9223372036854775808");
  EXPECT_EQ(JsonWriter().unsigned_integer(UINT64_MAX).take(), "18446744073709551615");
}

}  // namespace
}  // namespace pgdba
