#include "wire/pg_startup.h"

#include <gtest/gtest.h>

#include "unit/wire/exact_copy.h"

namespace pgdba::wire {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using Parameters = std::vector<StartupParameter>;

std::string with_length(std::string_view rest) {
  size_t size = rest.size() + 4;
  return std::string{'\0', '\0', static_cast<char>(size >> 8), static_cast<char>(size & 255)} + std::string(rest);
}

std::string verdict(std::string_view bytes) {
  auto packet = parse_first_packet(ExactCopy(bytes).view());
  if (!packet) return packet.error().text;
  if (!*packet) return "incomplete";
  const char* kinds[] = {"startup", "ssl", "gssenc", "cancel", "protocol 2", "tls"};
  return kinds[static_cast<int>((*packet)->kind)];
}

TEST(PgStartup, first_packets) {
  struct Row {
    const char* name;
    std::string bytes, verdict;
  };
  const std::string layout = "invalid startup packet layout: expected terminator as last byte";
  const std::string length = "invalid length of startup packet";
  const Row rows[] = {
      {"nothing", "", "incomplete"},
      {"a length", "\0\0\0"s, "incomplete"},
      {"a length that is too small", "\0\0\0\7"s, length},
      {"a length at the limit", "\0\0\x27\x10"s, "incomplete"},
      {"a length beyond the limit", "\0\0\x27\x11"s, length},
      {"a negative length", "\xff\xff\xff\xff"s, length},
      {"text", "GET / HTTP/1.1\r\n\r\n", length},
      {"SSLRequest", with_length("\x04\xd2\x16\x2f"sv), "ssl"},
      {"SSLRequest and more", with_length("\x04\xd2\x16\x2f"sv) + "x", "ssl"},
      {"long SSLRequest", with_length("\x04\xd2\x16\x2fx"sv), "invalid length of encryption request"},
      {"GSSENCRequest", with_length("\x04\xd2\x16\x30"sv), "gssenc"},
      {"ClientHello", "\x16\x03\x01\x02\x00"s, "tls"},
      {"CancelRequest", with_length("\x04\xd2\x16\x2e\0\0\1\2abcd"sv), "cancel"},
      {"CancelRequest without key", with_length("\x04\xd2\x16\x2e\0\0\1\2"sv),
       "invalid length of cancel request packet"},
      {"CancelRequest with 3 bytes", with_length("\x04\xd2\x16\x2e\0\0\1\2abc"sv),
       "invalid length of cancel request packet"},
      {"CancelRequest with 256 bytes", with_length("\x04\xd2\x16\x2e\0\0\1\2"s + std::string(256, 'k')), "cancel"},
      {"CancelRequest with 257 bytes", with_length("\x04\xd2\x16\x2e\0\0\1\2"s + std::string(257, 'k')),
       "invalid length of cancel request packet"},
      {"protocol 2", with_length("\0\2\0\0whatever"sv), "protocol 2"},
      {"protocol 1", with_length("\0\1\0\0\0"sv), "unsupported frontend protocol 1.0"},
      {"protocol 4.2", with_length("\0\4\0\2\0"sv), "unsupported frontend protocol 4.2"},
      {"no parameters", with_length("\0\3\0\0\0"sv), "startup"},
      {"no terminator", with_length("\0\3\0\0"sv), layout},
      {"a user", with_length("\0\3\0\0user\0x\0\0"sv), "startup"},
      {"an empty value", with_length("\0\3\0\0user\0\0\0"sv), "startup"},
      {"a name without value", with_length("\0\3\0\0user\0"sv), layout},
      {"a value without end", with_length("\0\3\0\0user\0x"sv), layout},
      {"no terminator behind a value", with_length("\0\3\0\0user\0x\0"sv), layout},
      {"more behind the terminator", with_length("\0\3\0\0user\0x\0\0\0"sv), layout},
      {"a newer minor version", with_length("\0\3\0\2user\0x\0\0"sv), "startup"},
  };
  for (const Row& row : rows) EXPECT_EQ(verdict(row.bytes), row.verdict) << row.name;
}

TEST(PgStartup, parameters_keep_their_order_and_protocol_options_are_apart) {
  std::string bytes = with_length(
      "\0\3\0\2user\0a\0_pq_.x\0"
      "1\0database\0d\0user\0b\0\0"sv);
  auto packet = **parse_first_packet(bytes + "next");
  EXPECT_EQ(packet.size, bytes.size());
  EXPECT_EQ(packet.minor, 2);
  EXPECT_EQ(packet.parameters, (Parameters{{"user", "a"}, {"database", "d"}, {"user", "b"}}));
  EXPECT_EQ(packet.protocol_options, (Parameters{{"_pq_.x", "1"}}));
  EXPECT_EQ(*packet.find("user"), "b");
  EXPECT_EQ(packet.find("options"), nullptr);
}

// What was written is read back; cut short anywhere it is incomplete, since its length is right.
TEST(PgStartup, written_packets_come_back_and_cut_ones_are_incomplete) {
  std::string startup, ssl, gssenc, cancel;
  Parameters parameters{{"user", "someone"}, {"database", ""}, {"options", "-c a=b\\ c"}};
  EXPECT_TRUE(append_startup(startup, 2, parameters, {{"_pq_.y", "z"}}));
  EXPECT_TRUE(append_ssl_request(ssl));
  EXPECT_TRUE(append_gssenc_request(gssenc));
  EXPECT_TRUE(append_cancel_request(cancel, {0x80000001, std::string(32, '\0')}));
  for (const std::string& bytes : {startup, ssl, gssenc, cancel}) {
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_EQ(verdict(bytes.substr(0, length)), "incomplete") << length;
    }
    EXPECT_EQ((**parse_first_packet(bytes)).size, bytes.size());
  }
  auto packet = **parse_first_packet(startup);
  EXPECT_EQ(packet.parameters, parameters);
  EXPECT_EQ(packet.protocol_options, (Parameters{{"_pq_.y", "z"}}));
  EXPECT_EQ(packet.minor, 2);
  EXPECT_EQ((**parse_first_packet(cancel)).cancel, (CancelKey{0x80000001, std::string(32, '\0')}));
  EXPECT_EQ(ssl, "\0\0\0\x08\x04\xd2\x16\x2f"sv);
  EXPECT_EQ(gssenc, "\0\0\0\x08\x04\xd2\x16\x30"sv);
}

// A length that is cut together with the bytes, so that it claims to be all.
TEST(PgStartup, a_shortened_startup_is_never_taken) {
  std::string body = "\0\3\0\0user\0someone\0database\0d\0\0"s;
  for (size_t length = 4; length < body.size(); ++length) {
    std::string text = verdict(with_length(body.substr(0, length)));
    EXPECT_NE(text, "incomplete") << length;
    EXPECT_NE(text, "startup") << length;
  }
}

TEST(PgStartup, what_has_no_place_is_not_written) {
  std::string out = "x";
  EXPECT_FALSE(append_startup(out, 0, {{"user", std::string(kMaxStartup, 'a')}}));
  EXPECT_FALSE(append_cancel_request(out, {1, "abc"}));
  EXPECT_FALSE(append_cancel_request(out, {1, std::string(257, 'a')}));
  EXPECT_EQ(out, "x");
  out.clear();
  EXPECT_TRUE(append_startup(out, 0, {{"", "would end it"}, {"user", "a\0b"s}}));
  EXPECT_EQ((**parse_first_packet(out)).parameters, (Parameters{{"user", "a"}}));
}

TEST(PgStartup, options) {
  struct Row {
    const char* text;
    Parameters options;
  };
  const Row rows[] = {
      {"", {}},
      {"  \t\n", {}},
      {"-c search_path=a", {{"search_path", "a"}}},
      {"-csearch_path=a", {{"search_path", "a"}}},
      {"--search_path=a", {{"search_path", "a"}}},
      {"  -c\ta=1 --b=2   -cc=3 ", {{"a", "1"}, {"b", "2"}, {"c", "3"}}},
      {"-c a=", {{"a", ""}}},
      {"-c a=b=c", {{"a", "b=c"}}},
      {"-c a=b\\ c\\\\d", {{"a", "b c\\d"}}},
      {"-c a=b\\", {{"a", "b"}}},
      {"--statement-timeout=3-4", {{"statement_timeout", "3-4"}}},
      {"-c \\a=b", {{"a", "b"}}},
  };
  for (const Row& row : rows) {
    auto options = parse_options(row.text);
    ASSERT_TRUE(options) << row.text;
    EXPECT_EQ(*options, row.options) << row.text;
    EXPECT_EQ(*parse_options(format_options(*options)), row.options) << row.text;
  }
  for (const char* text : {"a=b", "-c", "-c a", "--", "--a", "-c =b", "--=", "-d x", "-c a=b x", "-", "\\-c a=b"}) {
    EXPECT_FALSE(parse_options(text)) << text;
  }
  EXPECT_FALSE(parse_options("-c a=" + std::string(kMaxStartup, 'x')));
}

}  // namespace
}  // namespace pgdba::wire
