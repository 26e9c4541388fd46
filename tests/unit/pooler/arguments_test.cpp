#include "pooler/arguments.h"

#include <gtest/gtest.h>

using namespace pgdba::pooler;

namespace {

struct Row {
  const char* name;
  std::vector<std::string> words;
  const char* problem;  // a part of it; null: none
  Arguments expected = {};
};

class PoolerArguments : public testing::TestWithParam<Row> {};

TEST_P(PoolerArguments, Parse) {
  const Row& row = GetParam();
  auto parsed = parse_arguments(row.words);
  if (row.problem != nullptr) {
    ASSERT_FALSE(parsed);
    EXPECT_NE(parsed.error().text.find(row.problem), std::string::npos) << parsed.error().text;
    return;
  }
  ASSERT_TRUE(parsed) << parsed.error().text;
  const Arguments& want = row.expected;
  EXPECT_EQ(parsed->what, want.what);
  EXPECT_EQ(parsed->daemon, want.daemon);
  EXPECT_EQ(parsed->quiet, want.quiet);
  EXPECT_EQ(parsed->verbose, want.verbose);
  EXPECT_EQ(parsed->user, want.user);
  EXPECT_EQ(parsed->file, want.file);
}

using Do = Arguments::Do;
INSTANTIATE_TEST_SUITE_P(
    All, PoolerArguments,
    testing::Values(
        Row{"file", {"p.ini"}, nullptr, {.what = Do::run, .daemon = false, .quiet = false, .verbose = 0, .user = "", .file = "p.ini"}},
        Row{"short_ones", {"-d", "-q", "-vv", "-v", "-u", "me", "p.ini"}, nullptr, {.what = Do::run, .daemon = true, .quiet = true, .verbose = 3, .user = "me", .file = "p.ini"}},
        Row{"together", {"-dqvume", "p.ini"}, nullptr, {.what = Do::run, .daemon = true, .quiet = true, .verbose = 1, .user = "me", .file = "p.ini"}},
        Row{"long_ones", {"--daemon", "--quiet", "--verbose", "--user=me", "p.ini"}, nullptr, {.what = Do::run, .daemon = true, .quiet = true, .verbose = 1, .user = "me", .file = "p.ini"}},
        Row{"shortened", {"--dae", "--us", "me", "p.ini"}, nullptr, {.what = Do::run, .daemon = true, .quiet = false, .verbose = 0, .user = "me", .file = "p.ini"}},
        Row{"behind_the_file", {"p.ini", "-d"}, nullptr, {.what = Do::run, .daemon = true, .quiet = false, .verbose = 0, .user = "", .file = "p.ini"}},
        Row{"dashes", {"--", "-d"}, nullptr, {.what = Do::run, .daemon = false, .quiet = false, .verbose = 0, .user = "", .file = "-d"}},
        Row{"help", {"-h"}, nullptr, {.what = Do::help, .daemon = false, .quiet = false, .verbose = 0, .user = "", .file = ""}},
        Row{"version", {"--version", "--nonsense"}, nullptr, {.what = Do::version, .daemon = false, .quiet = false, .verbose = 0, .user = "", .file = ""}},
        Row{"no_file", {"-d"}, "no configuration file"},
        Row{"nothing", {}, "no configuration file"},
        Row{"two_files", {"a", "b"}, "a, b"},
        Row{"unknown", {"-x", "a"}, "-x"},
        Row{"unknown_long", {"--deamon", "a"}, "--deamon"},
        Row{"ambiguous", {"--ver", "a"}, "--ver"},
        Row{"value_unwanted", {"--daemon=1", "a"}, "--daemon=1"},
        Row{"user_without_name", {"a", "-u"}, "-u needs"},
        Row{"reboot", {"-R", "a"}, "so_reuseport"}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(PoolerArguments, VersionBeginsAsPgBouncersDoes) { EXPECT_TRUE(version_text().starts_with("PgBouncer 1.25.")); }

}  // namespace
