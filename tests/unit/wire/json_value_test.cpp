#include "wire/json_value.h"

#include <gtest/gtest.h>

using pgdba::JsonStyle;
using pgdba::wire::format_json_value;
using pgdba::wire::format_yaml_value;
using pgdba::wire::JsonValue;
using pgdba::wire::parse_json_value;

TEST(JsonValue, parse_of_format_is_the_same) {
  for (std::string_view text :
       {R"({"b":1,"a":[true,null,"x\ny",{"n":18446744073709551615}],"e":{},"l":[]})", "[]", "null", "-3"}) {
    auto value = parse_json_value(text);
    ASSERT_TRUE(value) << value.error().text;
    EXPECT_EQ(format_json_value(*value, JsonStyle::compact), text);
  }
}

TEST(JsonValue, refuses_what_is_not_json) {
  for (std::string_view text : {"", "{", "{\"a\":1}x", "{'a':1}"}) EXPECT_FALSE(parse_json_value(text)) << text;
  EXPECT_FALSE(parse_json_value(std::string(40, '[') + std::string(40, ']')));
}

TEST(JsonValue, an_absent_field_is_null_and_never_zero) {
  JsonValue value = *parse_json_value(R"({"n":0,"t":"x"})");
  EXPECT_TRUE(value["missing"].is_null());
  EXPECT_TRUE(value["n"]["deeper"].is_null());
  EXPECT_EQ(value.integer("n", 7), 0);
  EXPECT_EQ(value.integer("t", 7), 7);
  EXPECT_EQ(format_json_value(JsonValue(std::optional<int64_t>()), JsonStyle::compact), "null");
}

TEST(JsonValue, set_replaces_and_keeps_the_order) {
  JsonValue value;
  value.set("b", 1).set("a", 2).set("b", "three");
  EXPECT_EQ(format_json_value(value, JsonStyle::compact), R"({"b":"three","a":2})");
}

// The expected texts were read back with PyYAML when they were written.
TEST(JsonValue, yaml) {
  JsonValue value = *parse_json_value(
      R"({"name":"local-ha","n":3,"port":5432,"none":null,"yes":"no","time":"2026-01-02","e":[],"o":{},"list":[{"a":1,"b":[1,2]},"x y",[3]],"deep":{"er":{"x":true}}})");
  EXPECT_EQ(format_yaml_value(value),
            "name: local-ha\n\"n\": 3\nport: 5432\nnone: null\n\"yes\": \"no\"\ntime: \"2026-01-02\"\ne: []\no: "
            "{}\nlist:\n- a: 1\n  b:\n  - 1\n  - 2\n"
            "- \"x y\"\n- - 3\ndeep:\n  er:\n    x: true\n");
}
