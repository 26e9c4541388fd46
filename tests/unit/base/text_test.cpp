#include "base/text.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "base/secret.h"
#include "base/time.h"

namespace pgdba {
namespace {

TEST(Text, splits_and_joins) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_TRUE(split("", ',').empty());
  EXPECT_EQ(join({"a", "", "b"}, ","), "a,,b");
  EXPECT_EQ(trim(" \t a b\n"), "a b");
  EXPECT_EQ(trim("  "), "");
}

TEST(Text, nearest_finds_slips_and_nothing_else) {
  std::vector<std::string> commands = {"status", "switchover", "stop"};
  EXPECT_EQ(nearest("stauts", commands), "status");
  EXPECT_EQ(nearest("swtchover", commands), "switchover");
  EXPECT_EQ(nearest("xyzzy", commands), std::nullopt);
}

TEST(Text, parse_int_takes_the_whole_text) {
  EXPECT_EQ(parse_int("-12"), -12);
  EXPECT_EQ(parse_int("12a"), std::nullopt);
  EXPECT_EQ(parse_int(""), std::nullopt);
  EXPECT_EQ(parse_int("99999999999999999999"), std::nullopt);
}

TEST(Secret, does_not_print) {
  Secret secret("hunter2");
  EXPECT_EQ(fmt::format("{}", secret), "***");
  EXPECT_EQ(secret.reveal(), "hunter2");
}

TEST(Random, same_seed_same_sequence) {
  Random a(7), b(7), c(8);
  uint64_t first = a.next();
  EXPECT_EQ(first, b.next());
  EXPECT_NE(first, c.next());
  for (int i = 0; i < 1000; ++i) {
    int64_t value = a.between(-3, 3);
    EXPECT_GE(value, -3);
    EXPECT_LE(value, 3);
  }
}

TEST(Time, reads_what_it_prints) {
  auto time = parse_utc("2026-11-23T13:01:02.146127+00:00");
  ASSERT_TRUE(time);
  EXPECT_EQ(format_utc(*time), "2026-11-23T13:01:02.146127Z");
  EXPECT_EQ(format_utc_offset(*time), "2026-11-23T13:01:02.146127+00:00");
  EXPECT_EQ(parse_utc("2026-11-23 15:01:02.146127+02:00"), time);
  EXPECT_EQ(parse_utc("2026-11-23T13:01:02.146127Z"), time);
}

TEST(Time, refuses_other_texts) {
  for (const char* text : {"", "2026-11-23", "2026-11-23T13:01:02", "2026-13-23T13:01:02Z", "2026-02-30T13:01:02Z",
                           "2026-11-23T25:01:02Z", "2026-11-23T13:01:02.Z", "2026-11-23T13:01:02Zx", "2026-11-23T13:01:02+"}) {
    EXPECT_FALSE(parse_utc(text)) << text;
  }
}

}  // namespace
}  // namespace pgdba
