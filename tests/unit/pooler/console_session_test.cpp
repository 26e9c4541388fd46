// The console's protocol: bytes in, bytes and commands out.
#include <gtest/gtest.h>

#include "pooler/console/session.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pooler {
namespace {

std::string types(std::string_view bytes) {
  std::string found;
  wire::Message message;
  while (wire::read_message(bytes, message) == wire::Scan::complete) {
    found += message.type;
    bytes.remove_prefix(message.size());
  }
  EXPECT_TRUE(bytes.empty());
  return found;
}

std::string_view body(std::string_view bytes, char type) {
  wire::Message message;
  while (wire::read_message(bytes, message) == wire::Scan::complete) {
    if (message.type == type) return message.body;
    bytes.remove_prefix(message.size());
  }
  return {};
}

std::string sqlstate(std::string_view bytes) {
  auto fields = wire::parse_error_response(body(bytes, 'E'));
  return fields ? std::string(fields->sqlstate) : "";
}

Outcome rows(int count) {
  Outcome outcome;
  outcome.table = Table{columns_of(Show::state), {}};
  for (int i = 0; i < count; ++i) outcome.table->rows.push_back({"k", std::to_string(i)});
  return outcome;
}

struct ConsoleSession : testing::Test {
  Session session;
  std::string in, out;

  Session::Read feed() { return session.input(in, out); }
  void query(std::string_view sql) { wire::append_query(in, sql); }
  void extended(std::string_view sql, std::vector<uint16_t> formats = {}, int32_t max_rows = 0) {
    wire::append_parse(in, "", sql, {});
    bind(formats);
    wire::append_describe(in, 'P', "");
    wire::append_execute(in, "", max_rows);
    wire::append_sync(in);
  }
  void bind(const std::vector<uint16_t>& formats) {
    std::string rest;
    for (const uint16_t number : {uint16_t{0}, uint16_t{0}, static_cast<uint16_t>(formats.size())}) put(rest, number);
    for (const uint16_t format : formats) put(rest, format);
    wire::append_bind_head(in, "", "", rest.size());
    in += rest;
  }
  static void put(std::string& to, uint16_t number) {
    to.push_back(static_cast<char>(number >> 8));
    to.push_back(static_cast<char>(number & 255));
  }
};

TEST_F(ConsoleSession, ASimpleQueryGetsRowsAndOneReadyForQuery) {
  query("SHOW STATE");
  auto read = feed();
  EXPECT_EQ(read.consumed, in.size());
  ASSERT_TRUE(read.run);
  EXPECT_EQ(read.run->show, Show::state);
  EXPECT_TRUE(session.busy());
  EXPECT_EQ(out, "");
  session.done(rows(2), out);
  EXPECT_EQ(types(out), "TDDCZ");
  EXPECT_EQ(wire::parse_command_complete(body(out, 'C')), "SHOW");
}

TEST_F(ConsoleSession, NothingIsReadWhileACommandIsUnderWay) {
  query("PAUSE");
  const size_t first = in.size();
  query("SHOW STATE");
  auto read = feed();
  EXPECT_EQ(read.consumed, first);
  EXPECT_EQ(session.input(std::string_view(in).substr(first), out).consumed, 0u);
  session.done({}, out);
  EXPECT_EQ(types(out), "CZ");
  read = session.input(std::string_view(in).substr(first), out);
  ASSERT_TRUE(read.run);
  EXPECT_EQ(read.run->verb, Verb::show);
}

TEST_F(ConsoleSession, MistakesAndEmptyQueriesAreAnsweredAtOnce) {
  query("NONSENSE");
  query("");
  auto read = feed();
  EXPECT_FALSE(read.run);
  EXPECT_EQ(types(out), "EZIZ");
  EXPECT_EQ(sqlstate(out), "08P01");
}

TEST_F(ConsoleSession, AProblemIsAnError) {
  query("RELOAD");
  feed();
  Outcome outcome;
  outcome.problem = {"RELOAD failed", "F0000"};
  session.done(outcome, out);
  EXPECT_EQ(types(out), "EZ");
  EXPECT_EQ(sqlstate(out), "F0000");
}

TEST_F(ConsoleSession, HelpIsANotice) {
  query("SHOW HELP");
  feed();
  Outcome outcome;
  outcome.notice = "Console usage";
  outcome.notice_detail = "…";
  session.done(outcome, out);
  EXPECT_EQ(types(out), "NCZ");
}

TEST_F(ConsoleSession, TheExtendedProtocolDescribesBeforeItRuns) {
  extended("SHOW STATE");
  auto read = feed();
  ASSERT_TRUE(read.run);
  EXPECT_EQ(types(out), "12T");
  session.done(rows(2), out);
  session.input(std::string_view(in).substr(read.consumed), out);
  EXPECT_EQ(types(out), "12TDDCZ");
}

TEST_F(ConsoleSession, ACommandWithoutRowsHasNoData) {
  extended("PAUSE");
  feed();
  EXPECT_EQ(types(out), "12n");
}

TEST_F(ConsoleSession, RowsComeInPortionsWhenAskedFor) {
  extended("SHOW STATE", {}, 2);
  auto read = feed();
  session.done(rows(3), out);
  in.erase(0, read.consumed);
  wire::append_execute(in, "", 2);
  wire::append_sync(in);
  read = feed();
  EXPECT_FALSE(read.run);  // it is not run again
  // The Sync of the first portion is in between.
  EXPECT_EQ(types(out), "12TDDsZDCZ");
}

TEST_F(ConsoleSession, AfterAnErrorEverythingUpToSyncIsPassedOver) {
  extended("NONSENSE");
  extended("SHOW STATE");
  auto read = feed();
  ASSERT_TRUE(read.run);
  EXPECT_EQ(types(out), "EZ12T");
}

TEST_F(ConsoleSession, AFailedExecuteSkipsToo) {
  extended("PAUSE nosuch");
  auto read = feed();
  Outcome outcome;
  outcome.problem = {"no such database: nosuch"};
  session.done(outcome, out);
  wire::append_execute(in, "");
  wire::append_sync(in);
  session.input(std::string_view(in).substr(read.consumed), out);
  EXPECT_EQ(types(out), "12nEZEZ");  // the second Execute finds no portal any more
}

TEST_F(ConsoleSession, NamedStatementsLiveUntilClosed) {
  wire::append_parse(in, "s", "SHOW POOLS", {});
  wire::append_describe(in, 'S', "s");
  wire::append_parse(in, "s", "SHOW POOLS", {});
  wire::append_sync(in);
  wire::append_close(in, 'S', "s");
  wire::append_describe(in, 'S', "s");
  wire::append_sync(in);
  feed();
  EXPECT_EQ(types(out), "1tTEZ3EZ");
}

TEST_F(ConsoleSession, ParametersAreRefused) {
  wire::append_parse(in, "", "SHOW STATE", {});
  const wire::Value value = "1";
  wire::append_bind(in, "", "", {&value, 1});
  wire::append_sync(in);
  feed();
  EXPECT_EQ(types(out), "1EZ");
}

TEST_F(ConsoleSession, BinaryResultsAreGivenWhenAskedFor) {
  extended("SHOW POOLS", {1});
  feed();
  Outcome outcome;
  outcome.table = Table{columns_of(Show::pools), {}};
  Row row(outcome.table->columns.size(), Cell("7"));
  outcome.table->rows.push_back(row);
  session.done(outcome, out);
  auto columns = wire::parse_row_description(body(out, 'T'));
  ASSERT_TRUE(columns);
  EXPECT_EQ((*columns)[2].format, 1);
  auto values = wire::parse_data_row(body(out, 'D'));
  ASSERT_TRUE(values);
  EXPECT_EQ(*(*values)[0], "7");
  EXPECT_EQ(*(*values)[2], std::string_view("\0\0\0\7", 4));
}

TEST_F(ConsoleSession, ManyFormatsHaveToFit) {
  extended("SHOW STATE", {0, 0, 0});
  feed();
  EXPECT_EQ(types(out), "1EZ");
}

TEST_F(ConsoleSession, HalfAMessageWaits) {
  query("SHOW STATE");
  const std::string whole = in;
  in.resize(in.size() - 1);
  EXPECT_EQ(feed().consumed, 0u);
  in = whole;
  EXPECT_TRUE(feed().run);
}

TEST_F(ConsoleSession, TerminateAndRubbishEndIt) {
  wire::append_terminate(in);
  EXPECT_TRUE(feed().close);
  for (std::string bad : {std::string("\x01\0\0\0\4", 5), std::string("Q\0\0\0\1", 5), std::string("Q\x7f\0\0\0", 5)}) {
    Session other;
    std::string answer;
    auto read = other.input(bad, answer);
    EXPECT_TRUE(read.close);
    EXPECT_EQ(types(answer), "E");
  }
}

TEST_F(ConsoleSession, TheWelcomeTellsWhatDriversAskFor) {
  Session::welcome(out, "1.25.2/bouncer", {7, "abcd"});
  EXPECT_EQ(types(out), "SSSSSSSKZ");
  EXPECT_EQ(wire::parse_parameter_status(body(out, 'S'))->value, "1.25.2/bouncer");
}

}  // namespace
}  // namespace pgdba::pooler
