#include "wire/keys.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

TEST(Keys, prefix_collapses_slashes) {
  EXPECT_EQ(key_prefix("service", "demo"), "/service/demo/");
  EXPECT_EQ(key_prefix("/service/", "demo"), "/service/demo/");
  EXPECT_EQ(key_prefix("//a//b/", "demo"), "/a/b/demo/");
  EXPECT_EQ(key_prefix("", "demo"), "/demo/");
  EXPECT_EQ(key_prefix("/", "demo/0"), "/demo/0/");
}

TEST(Keys, what_the_builders_make_is_classified_back) {
  struct Row {
    std::string key;
    KeyKind kind;
    std::string name;
  };
  const Row rows[] = {
      {std::string(keys::initialize), KeyKind::initialize, ""},
      {std::string(keys::config), KeyKind::config, ""},
      {std::string(keys::leader), KeyKind::leader, ""},
      {std::string(keys::status), KeyKind::status, ""},
      {std::string(keys::history), KeyKind::history, ""},
      {std::string(keys::sync), KeyKind::sync, ""},
      {std::string(keys::failover), KeyKind::failover, ""},
      {std::string(keys::failsafe), KeyKind::failsafe, ""},
      {std::string(keys::optime_leader), KeyKind::optime_leader, ""},
      {std::string(keys::term), KeyKind::term, ""},
      {std::string(keys::beat), KeyKind::beat, ""},
      {std::string(keys::released), KeyKind::released, ""},
      {std::string(keys::switchover), KeyKind::switchover, ""},
      {keys::member("pg-replica-1"), KeyKind::member, "pg-replica-1"},
      {keys::member("é ö"), KeyKind::member, "é ö"},
      {keys::promise("a"), KeyKind::promise, "a"},
      {keys::suspect("a"), KeyKind::suspect, "a"},
      {keys::intent("a"), KeyKind::intent, "a"},
      {keys::pooler("host:6432"), KeyKind::pooler, "host:6432"},
      {keys::timeline(4294967295u), KeyKind::timeline, "4294967295"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(classify_key(row.key).kind, row.kind) << row.key;
    EXPECT_EQ(classify_key(row.key).name, row.name) << row.key;
  }
}

TEST(Keys, other_keys_are_unknown) {
  for (const char* key :
       {"", "leader/", "leaders", "Leader", "members", "members/", "members/a/b", "pgdba/", "pgdba/terms",
        "pgdba/promise/", "pgdba/promise/a/b", "pgdba/timeline/", "pgdba/timeline/0", "pgdba/timeline/01",
        "pgdba/timeline/-1", "pgdba/timeline/4294967296", "pgdba/timeline/1x", "0/leader"}) {
    EXPECT_EQ(classify_key(key).kind, KeyKind::unknown) << key;
  }
}

}  // namespace
}  // namespace pgdba::wire
