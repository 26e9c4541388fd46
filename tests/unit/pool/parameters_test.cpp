// Sets of session parameters, and the SET that turns one into another.
#include "pool/parameters.h"

#include <gtest/gtest.h>

namespace pgdba::pool {
namespace {

TEST(PoolParameters, equal_sets_are_one_object) {
  ParameterSpace space({"search_path", "datestyle"});
  EXPECT_EQ(space.names().size(), 6U);  // DateStyle is there already
  const size_t zone = *space.index_of("timezone");
  const size_t style = *space.index_of("DATESTYLE");
  EXPECT_EQ(space.index_of("nothing"), std::nullopt);
  const Parameters a = space.with(space.with(space.empty(), zone, "UTC"), style, "ISO");
  const Parameters b = space.with(space.with(space.empty(), style, "ISO"), zone, "UTC");
  EXPECT_EQ(a, b);
  EXPECT_EQ(space.with(a, zone, "UTC"), a);
  EXPECT_NE(space.with(a, zone, ""), a);
}

TEST(PoolParameters, no_two_sets_share_a_key) {
  ParameterSpace space({"x", "y"});
  const auto set = [&](std::string_view x, std::string_view y) {
    return space.with(space.with(space.empty(), *space.index_of("x"), x), *space.index_of("y"), y);
  };
  EXPECT_NE(set("1:a", "b"), set("1", "a1:b"));
  EXPECT_NE(set("-", ""), set("", "-"));
  EXPECT_NE(set("", ""), space.empty());
}

TEST(PoolParameters, overlays) {
  ParameterSpace space({});
  const size_t zone = *space.index_of("TimeZone");
  const size_t name = *space.index_of("application_name");
  const Parameters server = space.with(space.empty(), zone, "UTC");
  const Parameters wishes = space.with(space.with(space.empty(), zone, "CET"), name, "me");
  const Parameters both = space.overlay(server, wishes);
  EXPECT_EQ(both, wishes);
  const Parameters known = space.overlay_known(server, wishes);
  EXPECT_EQ(known, space.with(space.empty(), zone, "CET"));  // this server has no application_name
  EXPECT_EQ(space.overlay(server, space.empty()), server);
}

TEST(PoolParameters, set_says_what_differs_and_nothing_else) {
  struct Row {
    const char* name;
    std::string_view from, to, sql;
  };
  const Row rows[] = {
      {"equal", "a", "a", ""},
      {"plain", "a", "b", "SET application_name=E'b';"},
      {"empty", "a", "", "SET application_name=E'';"},
      {"a quote", "a", "it's", "SET application_name=E'it''s';"},
      {"a backslash", "a", "\\'; drop table x; --", "SET application_name=E'\\\\''; drop table x; --';"},
      {"a byte that might be half a character", "a", "\x81\\'", "SET application_name=E'?\\\\''';"},
      {"a NUL and a line's end", "a", std::string_view("\0\n", 2), "SET application_name=E'\?\?';"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    ParameterSpace space({});
    const size_t name = *space.index_of("application_name");
    EXPECT_EQ(space.set_query(space.with(space.empty(), name, row.from), space.with(space.empty(), name, row.to)),
              row.sql);
  }
  ParameterSpace space({});
  const Parameters known = space.with(space.empty(), 0, "x");
  EXPECT_EQ(space.set_query(space.empty(), known), "");
  EXPECT_EQ(space.set_query(known, space.empty()), "");
}

TEST(PoolParameters, sets_that_nobody_holds_are_forgotten) {
  ParameterSpace space({});
  Parameters kept = space.with(space.empty(), 0, "kept");
  (void)space.with(space.empty(), 0, "gone");
  EXPECT_EQ(space.size(), 3U);
  space.sweep();
  EXPECT_EQ(space.size(), 2U);
  EXPECT_EQ(space.with(space.empty(), 0, "kept"), kept);
}

// Twenty thousand bytes stayed for each startup packet, until the next tick of ten seconds.
TEST(PoolParameters, sets_that_come_and_go_do_not_pile_up) {
  ParameterSpace space({});
  std::vector<Parameters> kept;
  for (int i = 0; i < 300; ++i) kept.push_back(space.with(space.empty(), 4, "kept " + std::to_string(i)));
  for (int i = 0; i < 100'000; ++i) (void)space.with(space.empty(), 4, "gone " + std::to_string(i));
  EXPECT_LT(space.size(), 2000U);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(space.with(space.empty(), 4, "kept " + std::to_string(i)), kept[static_cast<size_t>(i)]);
}

}  // namespace
}  // namespace pgdba::pool
