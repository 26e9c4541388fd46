// pg_build.h and pg_parse.h against each other, and against bytes written down from PostgreSQL's documentation.
#include <gtest/gtest.h>

#include <functional>

#include "unit/wire/exact_copy.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::wire {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

const std::vector<Value> kRow{"a"sv, std::nullopt, ""sv, "\0\xff"sv};

TEST(PgMessages, bytes_are_those_of_the_documentation) {
  struct Row {
    const char* name;
    std::function<bool(std::string&)> append;
    std::string_view bytes;
  };
  const std::string_view mechanisms[] = {"A", "BC"};
  const std::string unknown[] = {"_pq_.x"};
  const uint32_t oids[] = {23, 0x01020304};
  const Column column{.name = "c", .type = 23, .size = 4};
  const Row rows[] = {
      {"error",
       [](std::string& out) {
         return append_error(out, {.severity = "FATAL", .sqlstate = "08P01", .message = "no", .hint = "h"});
       },
       "E\0\0\0\x21SFATAL\0VFATAL\0C08P01\0Mno\0Hh\0\0"sv},
      {"notice", [](std::string& out) { return append_notice(out, {.severity = "NOTICE", .detail = "d"}); },
       "N\0\0\0\x1cSNOTICE\0VNOTICE\0C\0M\0Dd\0\0"sv},
      {"ok", append_authentication_ok, "R\0\0\0\x08\0\0\0\0"sv},
      {"clear text", append_authentication_cleartext, "R\0\0\0\x08\0\0\0\3"sv},
      {"md5", [](std::string& out) { return append_authentication_md5(out, "salt"); }, "R\0\0\0\x0c\0\0\0\5salt"sv},
      {"sasl", [&](std::string& out) { return append_authentication_sasl(out, mechanisms); },
       "R\0\0\0\x0e\0\0\0\x0a"
       "A\0BC\0\0"sv},
      {"sasl continue", [](std::string& out) { return append_authentication_sasl_continue(out, "r=x"); },
       "R\0\0\0\x0b\0\0\0\x0br=x"sv},
      {"sasl final", [](std::string& out) { return append_authentication_sasl_final(out, "v=x"); },
       "R\0\0\0\x0b\0\0\0\x0cv=x"sv},
      {"parameter", [](std::string& out) { return append_parameter_status(out, "TimeZone", ""); },
       "S\0\0\0\x0eTimeZone\0\0"sv},
      {"key",
       [](std::string& out) {
         return append_backend_key_data(out, {258, "abcd"});
       },
       "K\0\0\0\x0c\0\0\1\2abcd"sv},
      {"ready", [](std::string& out) { return append_ready_for_query(out, 'T'); }, "Z\0\0\0\5T"sv},
      {"version", [&](std::string& out) { return append_negotiate_protocol_version(out, 0, unknown); },
       "v\0\0\0\x13\0\3\0\0\0\0\0\1_pq_.x\0"sv},
      {"columns",
       [&](std::string& out) {
         return append_row_description(out, {&column, 1});
       },
       "T\0\0\0\x1a\0\1c\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"sv},
      {"row", [](std::string& out) { return append_data_row(out, kRow); },
       "D\0\0\0\x19\0\4\0\0\0\1a\xff\xff\xff\xff\0\0\0\0\0\0\0\2\0\xff"sv},
      {"complete", [](std::string& out) { return append_command_complete(out, "SELECT 1"); },
       "C\0\0\0\x0dSELECT 1\0"sv},
      {"empty query", append_empty_query_response, "I\0\0\0\4"sv},
      {"parse complete", append_parse_complete, "1\0\0\0\4"sv},
      {"bind complete", append_bind_complete, "2\0\0\0\4"sv},
      {"close complete", append_close_complete, "3\0\0\0\4"sv},
      {"no data", append_no_data, "n\0\0\0\4"sv},
      {"parameters", [&](std::string& out) { return append_parameter_description(out, oids); },
       "t\0\0\0\x0e\0\2\0\0\0\x17\1\2\3\4"sv},
      {"query", [](std::string& out) { return append_query(out, "select 1"); }, "Q\0\0\0\x0dselect 1\0"sv},
      {"parse", [&](std::string& out) { return append_parse(out, "s", "q", oids); },
       "P\0\0\0\x12s\0q\0\0\2\0\0\0\x17\1\2\3\4"sv},
      {"parse raw", [](std::string& out) { return append_parse_raw(out, "s", "q", "\0\0\0\x17\1\2\3\4"sv); },
       "P\0\0\0\x12s\0q\0\0\2\0\0\0\x17\1\2\3\4"sv},
      {"bind", [](std::string& out) { return append_bind(out, "p", "s", kRow); },
       "B\0\0\0\x21p\0s\0\0\0\0\4\0\0\0\1a\xff\xff\xff\xff\0\0\0\0\0\0\0\2\0\xff\0\0"sv},
      {"bind head", [](std::string& out) { return append_bind_head(out, "", "stm", 6); }, "B\0\0\0\x0f\0stm\0"sv},
      {"describe", [](std::string& out) { return append_describe(out, 'S', "s"); }, "D\0\0\0\7Ss\0"sv},
      {"close", [](std::string& out) { return append_close(out, 'P', ""); }, "C\0\0\0\6P\0"sv},
      {"execute", [](std::string& out) { return append_execute(out, "p", 7); }, "E\0\0\0\x0ap\0\0\0\0\7"sv},
      {"sync", append_sync, "S\0\0\0\4"sv},
      {"flush", append_flush, "H\0\0\0\4"sv},
      {"terminate", append_terminate, "X\0\0\0\4"sv},
      {"password", [](std::string& out) { return append_password(out, "pw"); }, "p\0\0\0\7pw\0"sv},
      {"sasl initial", [](std::string& out) { return append_sasl_initial_response(out, "M", "abc"); },
       "p\0\0\0\x0dM\0\0\0\0\3abc"sv},
      {"sasl initial without data", [](std::string& out) { return append_sasl_initial_response(out, "M", {}); },
       "p\0\0\0\x0aM\0\xff\xff\xff\xff"sv},
      {"sasl response", [](std::string& out) { return append_sasl_response(out, "abc"); }, "p\0\0\0\7abc"sv},
      {"copy fail", [](std::string& out) { return append_copy_fail(out, "why"); }, "f\0\0\0\x08why\0"sv},
  };
  for (const Row& row : rows) {
    std::string out = "before";
    EXPECT_TRUE(row.append(out)) << row.name;
    EXPECT_EQ(out.substr(6), row.bytes) << row.name;
  }
}

// One parser with bodies of its kind. `prefix_ok`: a shortened body may still be one.
struct Sweep {
  const char* name;
  std::function<bool(std::string_view)> parses;
  std::string_view body;
  bool prefix_ok = false;
};

template <class Parser>
auto takes(Parser parser) {
  return [parser](std::string_view body) { return parser(body).has_value(); };
}

TEST(PgMessages, a_body_that_is_cut_or_has_more_is_refused) {
  const Sweep sweeps[] = {
      {"md5", takes(parse_authentication), "\0\0\0\5salt"sv},
      {"sasl", takes(parse_authentication),
       "\0\0\0\x0a"
       "SCRAM-SHA-256\0\0"sv},
      {"ok", takes(parse_authentication), "\0\0\0\0"sv},
      {"error", takes(parse_error_response), "SERROR\0C42601\0Mwrong\0\0"sv},
      {"parameter", takes(parse_parameter_status), "TimeZone\0UTC\0"sv},
      {"ready", takes(parse_ready_for_query), "I"sv},
      {"complete", takes(parse_command_complete), "INSERT 0 1\0"sv},
      {"version", takes(parse_negotiate_protocol_version), "\0\3\0\0\0\0\0\2a\0b\0"sv},
      {"columns", takes(parse_row_description),
       "\0\2c\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0d\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"sv},
      {"row", takes(parse_data_row), "\0\3\0\0\0\1a\xff\xff\xff\xff\0\0\0\0"sv},
      {"parameters", takes(parse_parameter_description), "\0\2\0\0\0\x17\1\2\3\4"sv},
      {"query", takes(parse_query), "select 1\0"sv},
      {"parse", takes(parse_parse), "s\0select $1\0\0\1\0\0\0\x17"sv},
      {"bind values", takes(parse_bind_values), "\0\1\0\1\0\2\0\0\0\1a\xff\xff\xff\xff\0\1\0\0"sv},
      {"target", takes(parse_describe_or_close), "Sname\0"sv},
      {"execute", takes(parse_execute), "p\0\0\0\0\7"sv},
      {"password", takes(parse_password), "secret\0"sv},
      {"sasl initial", takes(parse_sasl_initial_response), "SCRAM-SHA-256\0\0\0\0\3n,,"sv},
      {"copy fail", takes(parse_copy_fail), "why\0"sv},
      {"key", takes(parse_backend_key_data), "\0\0\0\1abcd"sv, true},
      {"bind", takes(parse_bind), "portal\0statement\0rest"sv, true},
      {"sasl continue", takes(parse_authentication), "\0\0\0\x0br=abc"sv, true},
  };
  for (const Sweep& sweep : sweeps) {
    EXPECT_TRUE(sweep.parses(ExactCopy(sweep.body).view())) << sweep.name;
    for (size_t length = 0; length < sweep.body.size(); ++length) {
      bool taken = sweep.parses(ExactCopy(sweep.body.substr(0, length)).view());
      EXPECT_TRUE(!taken || sweep.prefix_ok) << sweep.name << " cut at " << length;
    }
    if (!sweep.prefix_ok) {
      EXPECT_FALSE(sweep.parses(std::string(sweep.body) + '\0')) << sweep.name;
    }
  }
}

TEST(PgMessages, invalid_bodies) {
  const Sweep rows[] = {
      {"an unknown status", takes(parse_ready_for_query), "X"sv},
      {"a key of 3 bytes", takes(parse_backend_key_data), "\0\0\0\1abc"sv},
      {"more columns than bytes", takes(parse_row_description),
       "\xff\xff"
       "c\0\0\0\0\0\0\0\0\0\0\x17\0\4\0\0\0\0\0\0"sv},
      {"more values than bytes", takes(parse_data_row), "\xff\xff\0\0\0\1a"sv},
      {"a value of negative length", takes(parse_data_row), "\0\1\xff\xff\xff\xfe"sv},
      {"a value beyond the end", takes(parse_data_row), "\0\1\0\0\0\2a"sv},
      {"a very long value", takes(parse_data_row),
       "\0\1\x7f\xff\xff\xff"
       "a"sv},
      {"more types than bytes", takes(parse_parse), "s\0q\0\0\2\0\0\0\x17"sv},
      {"a kind that is neither", takes(parse_describe_or_close), "Xname\0"sv},
      {"a NUL in a query", takes(parse_query), "a\0b\0"sv},
      {"no end of the errors", takes(parse_error_response), "SERROR\0"sv},
      {"many unknown options", takes(parse_negotiate_protocol_version),
       "\0\3\0\0\xff\xff\xff\xff"
       "a\0"sv},
      {"negative SASL length", takes(parse_sasl_initial_response), "M\0\x80\0\0\0abc"sv},
  };
  for (const Sweep& row : rows) EXPECT_FALSE(row.parses(ExactCopy(row.body).view())) << row.name;
  EXPECT_FALSE(parse_backend_key_data(std::string(4 + 257, 'k')));
}

std::string_view body_of(std::string_view message) {
  return message.substr(kHeadSize);
}

TEST(PgMessages, fields_come_back) {
  std::string out;
  ErrorFields fields{"ERROR", "FEHLER", "42P01", "m", "d", "h"};
  append_error(out, fields);
  EXPECT_EQ(*parse_error_response(body_of(out)), fields);
  EXPECT_EQ(parse_error_response("SPANIC\0Mx\0Xunknown\0\0"sv)->severity, "PANIC");  // a server before 9.6

  std::vector<Column> columns{{"a", 23, 4, 16384, 2, 7, 1}, {"", 25}};
  out.clear();
  append_row_description(out, columns);
  EXPECT_EQ(*parse_row_description(body_of(out)), columns);
  out.clear();
  append_data_row(out, kRow);
  EXPECT_EQ(*parse_data_row(body_of(out)), kRow);
  EXPECT_EQ(parse_data_row("\0\0"sv)->size(), 0u);

  out.clear();
  CancelKey key{0xfffffffe, std::string(256, '\0')};
  append_backend_key_data(out, key);
  EXPECT_EQ(*parse_backend_key_data(body_of(out)), key);

  auto parse = *parse_parse("s\0select\0\0\1\0\0\0\x17"sv);
  EXPECT_EQ(parse.name, "s");
  EXPECT_EQ(parse.query, "select");
  EXPECT_EQ(parse.oids, "\0\0\0\x17"sv);
  EXPECT_EQ(parse_parse("\0\0\0\0"sv)->oids, "");
  EXPECT_EQ(parse_describe_or_close("Pa\0"sv)->kind, 'P');
  EXPECT_EQ(parse_execute("p\0\xff\xff\xff\xff"sv)->max_rows, -1);
  EXPECT_EQ(*parse_sasl_initial_response("M\0\0\0\0\0"sv)->data, "");
  EXPECT_FALSE(parse_sasl_initial_response("M\0\xff\xff\xff\xff"sv)->data);
}

TEST(PgMessages, authentication_kinds) {
  struct Row {
    std::string_view body;
    AuthKind kind;
    std::string_view data;
  };
  const Row rows[] = {
      {"\0\0\0\0"sv, AuthKind::ok, ""},
      {"\0\0\0\3"sv, AuthKind::cleartext, ""},
      {"\0\0\0\5\1\2\3\4"sv, AuthKind::md5, "\1\2\3\4"},
      {"\0\0\0\x0a"
       "A\0BC\0\0"sv,
       AuthKind::sasl, ""},
      {"\0\0\0\x0br=x"sv, AuthKind::sasl_continue, "r=x"},
      {"\0\0\0\x0cv=x"sv, AuthKind::sasl_final, "v=x"},
      {"\0\0\0\7"sv, AuthKind::unsupported, ""},
      {"\0\0\0\x08gss"sv, AuthKind::unsupported, "gss"},
      {"\xff\xff\xff\xff"sv, AuthKind::unsupported, ""},
  };
  for (const Row& row : rows) {
    auto found = parse_authentication(row.body);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->kind, row.kind);
    EXPECT_EQ(found->data, row.data);
    EXPECT_EQ(found->mechanisms.size(), row.kind == AuthKind::sasl ? 2u : 0u);
  }
}

// What a pooler does with a Bind: another name in front of bytes that stay where they are.
TEST(PgMessages, a_bind_gets_another_statement_name) {
  std::string message;
  append_bind(message, "portal", "mine", kRow);
  std::string_view body = body_of(message);
  auto bind = *parse_bind(body);
  EXPECT_EQ(bind.portal, "portal");
  EXPECT_EQ(body.substr(bind.statement_offset, bind.statement.size()), "mine");
  EXPECT_EQ(bind.statement_offset + bind.statement.size() + 1 + bind.rest.size(), body.size());

  std::string renamed, expected;
  append_bind_head(renamed, bind.portal, "PGBOUNCER_17", bind.rest.size());
  renamed += bind.rest;
  append_bind(expected, "portal", "PGBOUNCER_17", kRow);
  EXPECT_EQ(renamed, expected);
  EXPECT_EQ(parse_bind_values(bind.rest)->values, kRow);

  EXPECT_EQ(parse_bind("\0\0"sv)->statement_offset, 1u);  // as soon as both names are there
  EXPECT_FALSE(parse_bind("portal\0mi"sv));
}

TEST(PgMessages, what_does_not_fit_is_not_written) {
  std::string out = "x";
  EXPECT_FALSE(append_data_row(out, std::vector<Value>(65536)));
  EXPECT_FALSE(append_row_description(out, std::vector<Column>(65536)));
  EXPECT_FALSE(append_parse(out, "", "", std::vector<uint32_t>(65536)));
  EXPECT_FALSE(append_parse_raw(out, "", "", "123"));
  EXPECT_FALSE(append_authentication_md5(out, "abc"));
  EXPECT_FALSE(append_backend_key_data(out, {1, "abc"}));
  EXPECT_FALSE(append_bind_head(out, "", "", kMaxMessage));
  EXPECT_EQ(out, "x");
  EXPECT_TRUE(append_query(out, "a\0; drop"sv));
  EXPECT_EQ(out, "xQ\0\0\0\6a\0"sv);
  EXPECT_TRUE(append_data_row(out, std::vector<Value>(65535)));
}

}  // namespace
}  // namespace pgdba::wire
