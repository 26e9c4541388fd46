#include "cli/terminal.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "cli/registry.h"
#include "local/files.h"

namespace pgdba::cli {
namespace {

TEST(Table, aligns_by_what_is_seen_and_not_by_bytes_or_colour) {
  Terminal plain({.format = Format::table, .colour = Colour::never, .yes = false, .dry_run = false});
  Terminal coloured({.format = Format::table, .colour = Colour::always, .yes = false, .dry_run = false});
  Table table({"NAME", "N"});
  table.row({{"ä", Tint::good, false}, {"7", Tint::none, true}});
  table.row({{"longer"}, {"12", Tint::none, true}});
  EXPECT_EQ(table.render(plain), "NAME     N\nä        7\nlonger  12\n");
  EXPECT_EQ(table.render(coloured).find("\x1b[1mNAME"), 0u);
  EXPECT_NE(table.render(coloured).find("mä\x1b[0m        7"), std::string::npos) << table.render(coloured);
}

TEST(Table, tsv_keeps_one_line_for_each_row) {
  Table table({"a", "b"});
  table.row({{"x\ty"}, {"1\n2"}});
  EXPECT_EQ(table.tsv(), "a\tb\nx\\ty\t1\\n2\n");
}

TEST(Human, bytes_and_seconds) {
  EXPECT_EQ(human_bytes(0), "0");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 kB");
  EXPECT_EQ(human_bytes(uint64_t{3} << 40), "3.0 TB");
  EXPECT_EQ(human_seconds(0.421), "0.42 s");
  EXPECT_EQ(human_seconds(600), "10 min");
}

// Standard input of a test is no terminal.
TEST(Confirm, refuses_instead_of_hanging) {
  ASSERT_NE(::freopen("/dev/null", "r", stdin), nullptr);
  auto refused = Terminal({}).confirm("Delete everything?");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().exit, Exit::refused);
  EXPECT_NE(refused.error().next.find("--yes"), std::string::npos);
  EXPECT_TRUE(Terminal({.format = Format::table, .colour = Colour::never, .yes = true, .dry_run = false})
                  .confirm("Delete everything?"));
}

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/pgdba-registry-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    ::unsetenv("PGDBA_REST_USER");
    ::unsetenv("PGDBA_REST_PASSWORD");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  Registry registry() const { return Registry(folder_ + "/.pgdba"); }
  std::string folder_;
};

TEST_F(RegistryTest, keeps_what_was_put_private_and_sorted) {
  Registered external;
  external.name = "b";
  external.scope = "demo";
  external.system_identifier = "7";
  external.members = {{"one", "http://x:8008"}, {"two", ""}};
  external.pg_host = "localhost";
  external.pg_port = 5432;
  Registered managed;
  managed.name = "a";
  managed.managed = true;
  managed.root = "/var/lib/pgdba/a";
  ASSERT_TRUE(registry().put(external));
  ASSERT_TRUE(registry().put(managed));
  auto read = registry().read();
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(*read, (std::vector<Registered>{managed, external}));
  struct stat info {};
  ASSERT_EQ(::stat(registry().file().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0600u);
  EXPECT_TRUE(*registry().remove("a"));
  EXPECT_FALSE(*registry().remove("a"));
  EXPECT_EQ(registry().read()->size(), 1u);
}

TEST_F(RegistryTest, a_damaged_file_is_an_error_and_is_not_overwritten) {
  ASSERT_TRUE(local::make_private_folder(folder_ + "/.pgdba"));
  ASSERT_TRUE(local::write_atomic(registry().file(), "{\"clusters\": 7"));
  EXPECT_FALSE(registry().read());
  EXPECT_FALSE(registry().put(Registered{}));
  EXPECT_EQ(local::read_file(registry().file()).value_or(""), "{\"clusters\": 7");
}

TEST_F(RegistryTest, credentials_by_cluster_then_for_all_and_only_from_a_private_file) {
  ASSERT_TRUE(local::make_private_folder(folder_ + "/.pgdba"));
  EXPECT_EQ(registry().credentials("x")->user, "");
  ASSERT_TRUE(local::write_atomic(registry().credentials_file(), "# mine\n*:any:p1\nprod:me:a\\:b\\\\c:d\n"));
  EXPECT_EQ(registry().credentials("prod")->user, "me");
  EXPECT_EQ(registry().credentials("prod")->password.reveal(), "a:b\\c:d");
  EXPECT_EQ(registry().credentials("other")->user, "any");
  ASSERT_EQ(::chmod(registry().credentials_file().c_str(), 0644), 0);
  auto refused = registry().credentials("prod");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().next.find("chmod 600"), std::string::npos);
  ::setenv("PGDBA_REST_USER", "env", 1);
  EXPECT_EQ(registry().credentials("prod")->user, "env");
  ::unsetenv("PGDBA_REST_USER");
}

}  // namespace
}  // namespace pgdba::cli
