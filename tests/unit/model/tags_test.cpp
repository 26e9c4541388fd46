#include "model/tags.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace pgdba::model {
namespace {

struct Row {
  const char* name;
  TagEntries given;
  bool may_lead;
  bool nosync;
  TagEntries published;
};

TEST(Tags, meaning_and_what_is_published) {
  const Row rows[] = {
      {"none", {}, true, false, {}},
      {"nofailover", {{"nofailover", "true"}}, false, false, {{"nofailover", "true"}}},
      {"a quoted one keeps its text", {{"nofailover", "\"1\""}}, false, false, {{"nofailover", "\"1\""}}},
      {"a false one is not published",
       {{"nofailover", "false"}, {"clonefrom", "false"}, {"nostream", "false"}},
       true,
       false,
       {}},
      {"priority", {{"failover_priority", "2"}}, true, false, {{"failover_priority", "2"}}},
      {"the default priority keeps its text", {{"failover_priority", "1"}}, true, false, {{"failover_priority", "1"}}},
      {"priority 0", {{"failover_priority", "0"}}, false, false, {{"failover_priority", "0"}}},
      {"the boolean wins",
       {{"nofailover", "false"}, {"failover_priority", "0"}},
       true,
       false,
       {{"failover_priority", "0"}, {"nofailover", "false"}}},
      {"both agree",
       {{"nofailover", "true"}, {"failover_priority", "5"}},
       false,
       false,
       {{"failover_priority", "5"}, {"nofailover", "true"}}},
      {"sync_priority 0, said so that Patroni before 4.1 understands",
       {{"sync_priority", "0"}},
       true,
       true,
       {{"nosync", "true"}, {"sync_priority", "0"}}},
      {"leaving the sync set",
       {{"nosync", "true"}, {"sync_priority", "0"}},
       true,
       true,
       {{"nosync", "true"}, {"sync_priority", "0"}}},
      {"others pass through, types kept",
       {{"zone", "\"a\""}, {"rack", "7"}, {"ssd", "false"}},
       true,
       false,
       {{"rack", "7"}, {"ssd", "false"}, {"zone", "\"a\""}}},
  };
  for (const Row& row : rows) {
    Tags tags = make_tags(row.given);
    EXPECT_EQ(tags.may_lead(), row.may_lead) << row.name;
    EXPECT_EQ(tags.nosync, row.nosync) << row.name;
    EXPECT_EQ(published_tags(tags), row.published) << row.name;
  }
}

// Code that sets a field need not know about the text beside it.
TEST(Tags, a_field_that_was_changed_wins_over_its_text) {
  Tags tags = make_tags({{"nofailover", "\"1\""}, {"failover_priority", "1"}});
  tags.nofailover = false;
  tags.nosync = true;
  EXPECT_EQ(published_tags(tags), (TagEntries{{"failover_priority", "1"}, {"nosync", "true"}}));
}

TEST(Tags, round_trip) {
  const char* names[] = {"nofailover",    "failover_priority", "nosync",   "sync_priority",
                         "noloadbalance", "clonefrom",         "nostream", "x"};
  const char* values[] = {"true",  "false", "0",    "1",   "-1", "7",      "\"true\"",
                          "\"0\"", "null",  "\"\"", "1.5", "[]", "\"a b\""};
  Random random(1);
  for (int i = 0; i < 20000; ++i) {
    TagEntries given;
    for (const char* name : names) {
      if (random.chance(0.4)) given.emplace_back(name, values[random.below(std::size(values))]);
    }
    Tags tags = make_tags(given);
    ASSERT_EQ(make_tags(published_tags(tags)), tags) << i;
  }
}

}  // namespace
}  // namespace pgdba::model
