#include "base/lsn.h"

#include <gtest/gtest.h>

namespace pgdba {
namespace {

TEST(Lsn, prints_as_pg_lsn_does) {
  EXPECT_EQ(format_lsn(Lsn{0}), "0/0");
  EXPECT_EQ(format_lsn(Lsn{0x16B374D848}), "16/B374D848");
  EXPECT_EQ(format_lsn(Lsn{UINT64_MAX}), "FFFFFFFF/FFFFFFFF");
}

TEST(Lsn, reads_what_it_prints) {
  for (uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{0x1000000}, uint64_t{0x16B374D848}, UINT64_MAX}) {
    EXPECT_EQ(parse_lsn(format_lsn(Lsn{bytes})).value().bytes, bytes);
  }
  EXPECT_EQ(parse_lsn("0/3000060")->bytes, 0x3000060u);
}

TEST(Lsn, refuses_other_texts) {
  for (const char* text : {"", "/", "0", "0/", "/0", "x/1", "1/x", "1/2/3", "123456789/0", "-1/0", " 0/1"}) {
    EXPECT_FALSE(parse_lsn(text)) << text;
  }
}

TEST(Lsn, lag_is_never_negative) {
  EXPECT_EQ(lag_bytes(Lsn{10}, Lsn{4}), 6u);
  EXPECT_EQ(lag_bytes(Lsn{4}, Lsn{10}), 0u);
}

}  // namespace
}  // namespace pgdba
