#include "base/units.h"

#include <gtest/gtest.h>

namespace pgdba {
namespace {

TEST(Units, bytes) {
  EXPECT_EQ(parse_bytes("1048576"), 1048576);
  EXPECT_EQ(parse_bytes("1MB"), 1048576);
  EXPECT_EQ(parse_bytes(" 16 kB "), 16384);
  EXPECT_EQ(parse_bytes("1.5GB"), 1610612736);
  EXPECT_EQ(parse_bytes("-1"), -1);
  EXPECT_EQ(parse_bytes("4", 8192), 32768);
  EXPECT_EQ(parse_bytes("9223372036854775807"), INT64_MAX);
  for (const char* bad : {"", " ", "MB", "1mb", "1 M B", "9223372036854775808", "9000000TB", "1e400", "nan", "inf",
                          "0x10", "1,5GB", "--1"}) {
    EXPECT_EQ(parse_bytes(bad), std::nullopt) << bad;
  }
}

TEST(Units, durations) {
  EXPECT_EQ(parse_duration("30"), Duration(30s));
  EXPECT_EQ(parse_duration("30", 1ms), Duration(30ms));
  EXPECT_EQ(parse_duration("30min"), Duration(30min));
  EXPECT_EQ(parse_duration("1.5h"), Duration(90min));
  EXPECT_EQ(parse_duration("2d"), Duration(48h));
  EXPECT_EQ(parse_duration("250 ms"), Duration(250ms));
  EXPECT_EQ(parse_duration("-1"), Duration(-1s));
  for (const char* bad : {"", "soon", "1m", "1 minute", "999999999999", "1e300"}) {
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
  }
}

TEST(Units, booleans) {
  for (const char* yes : {"on", "ON", "true", "True", "yes", "1"}) EXPECT_EQ(parse_bool(yes), true) << yes;
  for (const char* no : {"off", "False", "no", "0"}) EXPECT_EQ(parse_bool(no), false) << no;
  for (const char* bad : {"", "o", "2", "t", " on", "quorum"}) EXPECT_EQ(parse_bool(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace pgdba
