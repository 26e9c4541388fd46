#include <gtest/gtest.h>

#include "conf/patroni_yaml.h"

namespace pgdba::conf {
namespace {

std::string json(const std::string& yaml) {
  auto result = yaml_to_json({"f.yml", yaml});
  return result ? *result : "error: " + result.error().text;
}

// Expected values were printed by PyYAML 6.0 and Python's json.
TEST(YamlJson, scalars_as_pyyaml_resolves_them) {
  const std::pair<const char*, const char*> rows[] = {{"on", "true"},
                                                      {"On", "true"},
                                                      {"ON", "true"},
                                                      {"oN", "\"oN\""},
                                                      {"yes", "true"},
                                                      {"y", "\"y\""},
                                                      {"n", "\"n\""},
                                                      {"off", "false"},
                                                      {"No", "false"},
                                                      {"'on'", "\"on\""},
                                                      {"\"on\"", "\"on\""},
                                                      {"~", "null"},
                                                      {"null", "null"},
                                                      {"Null", "null"},
                                                      {"''", "\"\""},
                                                      {"0", "0"},
                                                      {"010", "8"},
                                                      {"-010", "-8"},
                                                      {"08", "\"08\""},
                                                      {"0o10", "\"0o10\""},
                                                      {"0x1F", "31"},
                                                      {"0b101", "5"},
                                                      {"1_000", "1000"},
                                                      {"+5", "5"},
                                                      {"-5", "-5"},
                                                      {"1:30", "90"},
                                                      {"1:30:05", "5405"},
                                                      {"1:60", "\"1:60\""},
                                                      {"-1:30", "-90"},
                                                      {"12e3", "\"12e3\""},
                                                      {"1.5", "1.5"},
                                                      {"1.", "1.0"},
                                                      {".5", "0.5"},
                                                      {"-.5", "\"-.5\""},
                                                      {"1.0e5", "\"1.0e5\""},
                                                      {"1.0e+5", "100000.0"},
                                                      {"1.5e-3", "0.0015"},
                                                      {"1.2.3", "\"1.2.3\""},
                                                      {"._5", "\"._5\""},
                                                      {"5432", "5432"},
                                                      {"64MB", "\"64MB\""},
                                                      {"127.0.0.1:5432", "\"127.0.0.1:5432\""},
                                                      {"9223372036854775807", "9223372036854775807"},
                                                      {"!!str 5", "\"5\""},
                                                      {"!!int '5'", "5"},
                                                      {"!!float 1.5", "1.5"},
                                                      {"-", "[null]"},
                                                      {"e", "\"e\""},
                                                      {"+", "\"+\""},
                                                      {"0x", "\"0x\""},
                                                      {"_1", "\"_1\""},
                                                      {"|\n  a\n  b\n", "\"a\\nb\\n\""}};
  for (auto [yaml, expected] : rows) EXPECT_EQ(json(yaml), expected) << yaml;
}

TEST(YamlJson, structures) {
  EXPECT_EQ(json("="), "\"=\"");  // PyYAML fails on it
  EXPECT_EQ(json("a: 1\nb: [x, {c: d}]\ne: {}\nf: []\n"), R"({"a":1,"b":["x",{"c":"d"}],"e":{},"f":[]})");
  EXPECT_EQ(json("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {b: 3, <<: [{b: 4, c: 5}, *x]}\n"),
            R"({"x":{"a":1,"b":2},"y":{"b":3,"a":1},"z":{"b":3,"c":5,"a":1}})");
  EXPECT_EQ(json("a: 1\na: 2\n"), R"({"a":2})");
  EXPECT_EQ(json("# only a comment\n"), "null");
  EXPECT_EQ(json("ä: ö"), R"({"\u00e4":"\u00f6"})");
}

TEST(YamlJson, errors_name_the_line) {
  EXPECT_EQ(json("a: 1\nb: [\n"), "error: f.yml:3: end of sequence flow not found");
  EXPECT_EQ(json("a: 1\n? [x]\n: 2\n"), "error: f.yml:2: a key must be a plain word, not a list or a map");
  EXPECT_EQ(json("a: !!python/object:os.system x\n"),
            "error: f.yml:1: the tag tag:yaml.org,2002:python/object:os.system is not known here");
  EXPECT_EQ(json("a: 1\nb: \x01\n"), "error: f.yml:2: a control character");
  EXPECT_EQ(json("a: \xff\n"), "error: f.yml:1: this is not UTF-8");
  EXPECT_EQ(json("a: 1\n---\nb: 2\n"),
            "error: f.yml: text after the end of the document, or more than one document (\"---\")");
  EXPECT_TRUE(json("a: *nope\n").starts_with("error: f.yml:1: ")) << json("a: *nope\n");
  EXPECT_EQ(json("a: {<<: 5}\n"), "error: f.yml:1: \"<<\" wants a map or a list of maps");
}

TEST(YamlJson, hostile_input_ends_soon) {
  // yaml-cpp 0.7's LoadAll did not end on this.
  EXPECT_TRUE(json("!: |\n  b\n! c\n? d\n").starts_with("error: "));
  std::string laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'k'; ++c) {
    laughs += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) laughs += std::string(i ? "," : "") + "*" + static_cast<char>(c - 1);
    laughs += "]\n";
  }
  EXPECT_TRUE(json(laughs).starts_with("error: f.yml:")) << json(laughs).substr(0, 100);
  EXPECT_TRUE(json(std::string(200, '[') + std::string(200, ']')).starts_with("error: "));
  EXPECT_TRUE(json(std::string(100000, '[')).starts_with("error: "));
  EXPECT_TRUE(json("&a [*a]").starts_with("error: ")) << json("&a [*a]");
  EXPECT_TRUE(json(std::string(kMaxYaml + 1, ' ')).starts_with("error: "));
  std::string wide = "{";
  for (int i = 0; i < 19000; ++i) wide += "k" + std::to_string(i) + ": 1,";
  EXPECT_FALSE(json(wide + "}").starts_with("error: "));
}

}  // namespace
}  // namespace pgdba::conf
