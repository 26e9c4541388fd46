#include "conf/ip_range.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgdba::conf {
namespace {

std::string hex(std::string_view text) {
  auto ip = parse_ip(text);
  if (!ip) return "none";
  std::string out;
  for (size_t i = 0; i < ip->size; ++i) {
    out += "0123456789abcdef"[ip->bytes[i] >> 4];
    out += "0123456789abcdef"[ip->bytes[i] & 15];
  }
  return out;
}

TEST(IpRange, addresses) {
  struct Row {
    const char *text, *bytes;
  };
  for (const Row& row : std::vector<Row>{
           {"0.0.0.0", "00000000"},
           {"255.1.20.3", "ff011403"},
           {"256.0.0.0", "none"},
           {"1.2.3", "none"},
           {"1.2.3.4.5", "none"},
           {"01.2.3.4", "none"},
           {"1.2.3.", "none"},
           {"1.2.3.+4", "none"},
           {" 1.2.3.4", "none"},
           {"", "none"},
           {"localhost", "none"},
           {"::", "00000000000000000000000000000000"},
           {"::1", "00000000000000000000000000000001"},
           {"1::", "00010000000000000000000000000000"},
           {"fe80::A:0b", "fe8000000000000000000000000a000b"},
           {"1:2:3:4:5:6:7:8", "00010002000300040005000600070008"},
           {"1:2:3:4:5:6:7::", "00010002000300040005000600070000"},
           {"::ffff:1.2.3.4", "00000000000000000000ffff01020304"},
           {"1:2:3:4:5:6:1.2.3.4", "00010002000300040005000601020304"},
           {"1:2:3:4:5:6:7", "none"},
           {"1:2:3:4:5:6:7:8:9", "none"},
           {"1:2:3:4:5:6:7:8::", "none"},
           {"::1:2:3:4:5:6:7:8", "none"},
           {"1::2::3", "none"},
           {":::", "none"},
           {":1", "none"},
           {"1:", "none"},
           {"12345::", "none"},
           {"g::", "none"},
           {"1.2.3.4::", "none"},
           {"::1.2.3.4:5", "none"},
           {"fe80::1%eth0", "none"},
       }) {
    EXPECT_EQ(hex(row.text), row.bytes) << row.text;
  }
}

TEST(IpRange, contains) {
  struct Row {
    const char* base;
    int bits;
    const char* address;
    bool contains;
  };
  for (const Row& row : std::vector<Row>{
           {"10.0.0.0", 8, "10.255.0.1", true},
           {"10.0.0.0", 8, "11.0.0.1", false},
           {"0.0.0.0", 0, "1.2.3.4", true},
           {"0.0.0.0", 0, "::1", false},
           {"::", 0, "1.2.3.4", false},
           {"1.2.3.4", 32, "1.2.3.4", true},
           {"1.2.3.4", 32, "1.2.3.5", false},
           {"192.168.4.0", 22, "192.168.7.255", true},
           {"192.168.4.0", 22, "192.168.8.0", false},
           {"192.168.1.5", 24, "192.168.1.5", false},  // bits outside the mask: contains nothing
           {"fe80::", 10, "febf::1", true},
           {"fe80::", 10, "fec0::1", false},
           {"::1", 128, "::1", true},
       }) {
    auto range = make_range(*parse_ip(row.base), row.bits);
    ASSERT_TRUE(range) << row.base;
    EXPECT_EQ(range->contains(*parse_ip(row.address)), row.contains)
        << row.base << "/" << row.bits << " " << row.address;
  }
  EXPECT_FALSE(make_range(*parse_ip("1.2.3.4"), 33));
  EXPECT_FALSE(make_range(*parse_ip("::"), 129));
  EXPECT_FALSE(make_range(*parse_ip("::"), -1));
  EXPECT_FALSE(IpRange{}.contains(IpAddress{}));
}

TEST(IpRange, from_bytes) {
  std::array<uint8_t, 16> bytes{127, 0, 0, 1};
  EXPECT_EQ(ip_from_bytes(std::span(bytes).first(4)), *parse_ip("127.0.0.1"));
  EXPECT_EQ(ip_from_bytes(bytes), *parse_ip("7f00:1::"));
  EXPECT_EQ(ip_from_bytes(std::span(bytes).first(5)).size, 0);
  EXPECT_EQ(ip_from_bytes({}).size, 0);
}

}  // namespace
}  // namespace pgdba::conf
