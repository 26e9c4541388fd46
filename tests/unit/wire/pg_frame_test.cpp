#include "wire/pg_frame.h"

#include <gtest/gtest.h>

#include "wire/pg_writer.h"

namespace pgdba::wire {
namespace {

using namespace std::string_view_literals;

TEST(PgFrame, heads_are_judged_by_their_length_alone) {
  struct Row {
    const char* name;
    std::string_view bytes;
    uint32_t limit;
    Scan head, message;
  };
  const Row rows[] = {
      {"nothing", ""sv, kMaxMessage, Scan::incomplete, Scan::incomplete},
      {"four bytes", "Q\0\0\0"sv, kMaxMessage, Scan::incomplete, Scan::incomplete},
      {"no body", "S\0\0\0\4"sv, kMaxMessage, Scan::complete, Scan::complete},
      {"body and more", "Q\0\0\0\6a\0X"sv, kMaxMessage, Scan::complete, Scan::complete},
      {"body missing", "Q\0\0\0\6a"sv, kMaxMessage, Scan::complete, Scan::incomplete},
      {"length below itself", "Q\0\0\0\3abc"sv, kMaxMessage, Scan::invalid, Scan::invalid},
      {"length zero", "Q\0\0\0\0"sv, kMaxMessage, Scan::invalid, Scan::invalid},
      {"largest", "Q\x7f\xff\xff\xff"sv, kMaxMessage, Scan::complete, Scan::incomplete},
      {"negative", "Q\x80\0\0\0"sv, kMaxMessage, Scan::invalid, Scan::invalid},
      {"all ones", "Q\xff\xff\xff\xff"sv, 0xffffffff, Scan::complete, Scan::incomplete},
      {"at a limit", "p\0\0\0\5a"sv, 5, Scan::complete, Scan::complete},
      {"above a limit", "p\0\0\0\6aa"sv, 5, Scan::invalid, Scan::invalid},
      {"any type", "\0\0\0\0\4"sv, kMaxMessage, Scan::complete, Scan::complete},
  };
  for (const Row& row : rows) {
    MessageHead head;
    Message message;
    EXPECT_EQ(read_head(row.bytes, head, row.limit), row.head) << row.name;
    EXPECT_EQ(read_message(row.bytes, message, row.limit), row.message) << row.name;
  }
  Message message;
  EXPECT_EQ(read_message("Q\0\0\0\6a\0X"sv, message), Scan::complete);
  EXPECT_EQ(message.type, frontend::query);
  EXPECT_EQ(message.body, "a\0"sv);
  EXPECT_EQ(message.size(), 7u);
}

TEST(PgFrame, types_and_their_limits) {
  EXPECT_TRUE(is_frontend_type(frontend::query) && is_frontend_type(frontend::password));
  EXPECT_FALSE(is_frontend_type(backend::ready_for_query) || is_frontend_type('\0') || is_frontend_type('\xff'));
  EXPECT_TRUE(is_backend_type(backend::ready_for_query) && is_backend_type(backend::parse_complete));
  EXPECT_FALSE(is_backend_type(frontend::query) || is_backend_type('\x80'));
  int frontends = 0;
  int backends = 0;
  for (int type = 0; type < 256; ++type) {
    frontends += is_frontend_type(static_cast<char>(type)) ? 1 : 0;
    backends += is_backend_type(static_cast<char>(type)) ? 1 : 0;
  }
  EXPECT_EQ(frontends, 14);
  EXPECT_EQ(backends, 24);
  EXPECT_EQ(frontend_limit(frontend::parse), kMaxLongMessage);
  EXPECT_EQ(frontend_limit(frontend::copy_data), kMaxLongMessage);
  EXPECT_EQ(frontend_limit(frontend::describe), kMaxShortMessage);
  EXPECT_EQ(frontend_limit(frontend::sync), kMaxShortMessage);
}

TEST(PgFrame, a_reader_stays_failed) {
  ByteReader reader("\1\2\3ab\0\xff\xff\xff\xfe"sv);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 0x203);
  EXPECT_EQ(reader.text(), "ab");
  EXPECT_EQ(reader.left(), 4u);
  EXPECT_EQ(reader.i32(), -2);
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(reader.u8(), 0);
  EXPECT_FALSE(reader.ok());

  ByteReader unended("abc"sv);
  EXPECT_EQ(unended.text(), "");
  EXPECT_FALSE(unended.ok());
  EXPECT_EQ(unended.u8(), 0);  // although there are bytes
  EXPECT_EQ(unended.take_rest(), "");
  EXPECT_FALSE(unended.done());

  ByteReader empty(std::string_view{});
  EXPECT_EQ(empty.take(0), "");
  EXPECT_TRUE(empty.done());
  EXPECT_EQ(empty.take(SIZE_MAX), "");
  EXPECT_FALSE(empty.ok());
}

TEST(PgFrame, what_does_not_fit_is_not_written) {
  std::string out = "before";
  EXPECT_FALSE(MessageWriter(out, 'x').bytes("abc").finish(0, 6));  // the length would be 7
  EXPECT_EQ(out, "before");
  EXPECT_TRUE(MessageWriter(out, 'x').bytes("abc").finish(0, 7));
  EXPECT_FALSE(MessageWriter(out, 'x').count(65536).finish());
  EXPECT_FALSE(MessageWriter(out, 'x').finish(kMaxMessage));
  EXPECT_FALSE(MessageWriter(out, 'x').finish(SIZE_MAX));
  EXPECT_EQ(out, "beforex\0\0\0\7abc"sv);
  EXPECT_TRUE(MessageWriter(out, 'x').finish(kMaxMessage - 4));
  EXPECT_EQ(out, "beforex\0\0\0\7abcx\x7f\xff\xff\xff"sv);
}

}  // namespace
}  // namespace pgdba::wire
