// The tables behind prepared statements, the accounting by itself, and one send in the making.
#include "pool/statements.h"

#include <gtest/gtest.h>

#include "pool/batch.h"
#include "pool/requests.h"

namespace pgdba::pool {
namespace {

StatementId id_of(uint8_t number) {
  StatementId id;
  id.bytes[15] = number;
  return id;
}

std::array<uint8_t, 16> by_length(std::string_view text) {
  std::array<uint8_t, 16> id{};
  id[0] = static_cast<uint8_t>(text.size());
  return id;
}

TEST(PoolServerStatements, the_least_recently_used_goes_first) {
  ServerStatements statements;
  for (uint8_t number = 1; number <= 3; ++number) statements.add(id_of(number));
  EXPECT_TRUE(statements.use(id_of(1)));
  EXPECT_FALSE(statements.use(id_of(4)));
  EXPECT_EQ(statements.overflow(3), std::nullopt);
  EXPECT_EQ(statements.overflow(2), id_of(2));
  EXPECT_EQ(statements.overflow(1), id_of(3));
  EXPECT_EQ(statements.size(), 1U);
  statements.restore(id_of(3));  // it was not closed after all, and is the next to go
  statements.restore(id_of(1));  // which is there already
  EXPECT_EQ(statements.size(), 2U);
  EXPECT_EQ(statements.overflow(1), id_of(3));
  statements.remove(id_of(7));
  statements.add(id_of(1));
  EXPECT_EQ(statements.size(), 1U);
  statements.clear();
  EXPECT_FALSE(statements.use(id_of(1)));
}

TEST(PoolStatementTable, one_text_is_kept_once_and_as_long_as_somebody_holds_it) {
  StatementTable table(by_length);
  StatementRef one = table.intern(std::string("select 1\0\0\0", 11));
  EXPECT_EQ(table.intern(std::string("select 1\0\0\0", 11)), one);
  EXPECT_NE(table.intern(std::string("select 2\0\0\1\0\0\0\x17", 15)), one);
  EXPECT_EQ(one->name(), "PGDBA_0b000000000000000000000000000000");
  EXPECT_EQ(table.size(), 2U);
  table.sweep();
  EXPECT_EQ(table.size(), 1U);
  EXPECT_EQ(table.intern(one->body), one);
  one.reset();
  table.sweep();
  EXPECT_EQ(table.size(), 0U);
}

TEST(PoolClientStatements, names_are_whole_texts) {
  ClientStatements names;
  auto one = std::make_shared<Statement>();
  names.set("a", one);
  names.set(std::string_view("a\0b", 3), std::make_shared<Statement>());
  EXPECT_EQ(*names.find("a"), one);
  EXPECT_EQ(names.find(""), nullptr);
  EXPECT_TRUE(names.remove("a"));
  EXPECT_FALSE(names.remove("a"));
  EXPECT_EQ(names.size(), 1U);
}

TEST(PoolRequestsQueue, grows_and_keeps_the_order) {
  Requests requests;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1000; ++i) {
      requests.push({Request::parse, i % 2 == 0 ? Show::hide : Show::forward, std::to_string(i), {}});
      requests.push(Request::bind);
      requests.push(Request::execute);
    }
    requests.push(Request::sync);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_EQ(requests.pending().front().client_name, std::to_string(i));
      ASSERT_EQ(requests.answer('1'), i % 2 != 0);
      ASSERT_TRUE(requests.answer('2'));
      ASSERT_TRUE(requests.answer('C'));
    }
    EXPECT_FALSE(requests.empty());
    EXPECT_TRUE(requests.ready());
    EXPECT_TRUE(requests.clean());
    EXPECT_FALSE(requests.ready());
  }
}

TEST(PoolRequestsQueue, an_error_undoes_what_was_skipped_newest_first) {
  Requests requests;
  requests.push({Request::parse, Show::forward, "done", {}});
  requests.push({Request::parse, Show::forward, "bad", {}});
  requests.push({Request::close, Show::fake, "closed", {}});
  requests.push(Request::query);  // is skipped, too
  requests.push({Request::parse, Show::hide, "last", {}});
  requests.push(Request::sync);
  requests.push({Request::parse, Show::forward, "after", {}});
  EXPECT_TRUE(requests.answer('1'));
  const Requests::Failed failed = requests.error();
  ASSERT_EQ(failed.undone.size(), 3U);
  EXPECT_EQ(failed.undone[0].client_name, "last");
  EXPECT_EQ(failed.undone[1].client_name, "closed");
  EXPECT_EQ(failed.undone[2].client_name, "bad");
  EXPECT_FALSE(requests.skipping());
  EXPECT_TRUE(requests.ready());
  EXPECT_EQ(requests.size(), 1U);
  EXPECT_FALSE(requests.clean());
}

TEST(PoolRequestsQueue, made_up_answers_are_due_in_their_place) {
  Requests requests;
  requests.push(Request::bind);
  requests.push({Request::parse, Show::fake, "x", {}});
  EXPECT_EQ(requests.due_fake(), std::nullopt);
  EXPECT_TRUE(requests.answer('2'));
  EXPECT_EQ(requests.due_fake(), Request::parse);
  EXPECT_EQ(requests.due_fake(), std::nullopt);
}

TEST(PoolBatch, pieces_that_touch_are_one_and_a_full_one_says_so) {
  Batch batch;
  const std::string text = "abcdef";
  batch.pass(text.data(), text.data() + 3);
  batch.pass(text.data() + 3, text.data() + 6);
  EXPECT_EQ(batch.take().size(), 1U);
  EXPECT_EQ(batch.take()[0].size, 6U);
  batch.own("xy");
  batch.own("z");
  EXPECT_EQ(batch.take().size(), 2U);
  int steps = 0;
  while (!batch.full()) {  // the largest step there may be
    for (int piece = 0; piece < 4; ++piece) {
      batch.pass(text.data(), text.data() + 1);
      batch.own(std::string(Batch::kMaxOwn / 4, 'x'));
    }
    ++steps;
  }
  EXPECT_GE(steps, 5);
  EXPECT_LE(batch.take().size(), 64U);
  batch.clear();
  EXPECT_TRUE(batch.empty());
}

}  // namespace
}  // namespace pgdba::pool
