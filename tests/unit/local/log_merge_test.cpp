#include "local/log_merge.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "local/files.h"

namespace pgdba::local {
namespace {

TEST(TimeOfLine, every_format_that_our_processes_write) {
  auto moment = parse_utc("2026-11-23T13:01:02.146Z");
  for (std::string_view line :
       {"2026-11-23 13:01:02,146 INFO: no action. I am (pg-primary), the leader with the lock",
        "2026-11-23 13:01:02.146 UTC [812] LOG:  database system is ready",
        "2026-11-23T13:01:02.146Z INFO supervisor: started etcd1", "2026-11-23T15:01:02.146+02:00 info agent: x",
        "2026-11-23T13:01:02.146+0000 x", R"({"level":"warn","ts":"2026-11-23T13:01:02.146Z","msg":"x"})",
        "2026-11-23 13:01:02.146 W | etcdserver: x"}) {
    EXPECT_EQ(time_of_line(line), moment) << line;
  }
  for (std::string_view line : {"", "DETAIL:  x", "2026", "2026-11-23 ", "\tat x", R"({"level":"warn"})"})
    EXPECT_FALSE(time_of_line(line)) << line;
}

class LogReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/pgdba-logs-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    cluster_ = plan_cluster("x", folder, 1, 0);
    std::filesystem::create_directories(cluster_.log_folder("pg-primary"));
    std::filesystem::create_directories(cluster_.root + "/log");
  }
  void TearDown() override { std::filesystem::remove_all(cluster_.root); }
  void append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }
  static std::vector<std::string> texts(const std::vector<LogLine>& lines) {
    std::vector<std::string> out;
    for (const LogLine& line : lines) out.push_back(line.source + ":" + line.text.substr(20));
    return out;
  }
  ClusterFile cluster_;
};

TEST_F(LogReaderTest, interleaves_and_follows_also_through_a_rotation) {
  std::string node = cluster_.log_folder("pg-primary") + "/agent.log", etcd = cluster_.root + "/log/etcd1.log";
  append(node, "2026-01-01T00:00:01Z a1\n2026-01-01T00:00:03Z a3\n");
  append(etcd, "2026-01-01T00:00:02Z e2\n");
  LogReader reader(cluster_, {"pg-primary", "etcd1"}, 0);
  EXPECT_EQ(texts(reader.read()), (std::vector<std::string>{"pg-primary: a1", "etcd1: e2", "pg-primary: a3"}));
  EXPECT_TRUE(reader.read().empty());
  append(etcd, "2026-01-01T00:00:04Z e");
  EXPECT_TRUE(reader.read().empty()) << "half a line is no line";
  append(etcd, "4\n");
  EXPECT_EQ(texts(reader.read()), std::vector<std::string>{"etcd1: e4"});
  // The agent renames its log; the supervisor copies and empties.
  append(node, "2026-01-01T00:00:05Z a5\n");
  std::filesystem::rename(node, node + ".1");
  append(node, "2026-01-01T00:00:06Z a6\n");
  std::filesystem::copy_file(etcd, etcd + ".1");
  std::filesystem::resize_file(etcd, 0);
  append(etcd, "2026-01-01T00:00:07Z e7\n");
  EXPECT_EQ(texts(reader.read()), (std::vector<std::string>{"pg-primary: a5", "pg-primary: a6", "etcd1: e7"}));
}

TEST_F(LogReaderTest, a_line_without_a_time_stays_with_the_one_before) {
  std::string node = cluster_.log_folder("pg-primary") + "/output.log";
  append(node, "2026-01-01T00:00:01Z one\n                    DETAIL of one\n2026-01-01T00:00:03Z two\n");
  append(cluster_.root + "/log/etcd1.log", "2026-01-01T00:00:02Z e\n");
  LogReader reader(cluster_, {"pg-primary", "etcd1"}, 0);
  EXPECT_EQ(texts(reader.read()),
            (std::vector<std::string>{"pg-primary: one", "pg-primary:DETAIL of one", "etcd1: e", "pg-primary: two"}));
}

TEST_F(LogReaderTest, begins_with_the_last_lines_of_each) {
  for (int i = 0; i < 9; ++i)
    append(cluster_.root + "/log/etcd1.log",
           "2026-01-01T00:00:0" + std::to_string(i) + "Z " + std::to_string(i) + "\n");
  LogReader reader(cluster_, {"etcd1"}, 2);
  EXPECT_EQ(texts(reader.read()), (std::vector<std::string>{"etcd1: 7", "etcd1: 8"}));
}

}  // namespace
}  // namespace pgdba::local
