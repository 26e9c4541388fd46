#include "net/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "base/secret.h"

namespace pgdba {
namespace {

struct LogTest : ::testing::Test {
  std::string dir = (std::filesystem::temp_directory_path() / ("pgdba-log-" + std::to_string(getpid()))).string();
  ~LogTest() override {
    (void)log::init({});
    std::filesystem::remove_all(dir);
  }
  log::Options options() {
    log::Options o;
    o.to_stderr = false;
    o.dir = dir;
    return o;
  }
  std::string text(const std::string& file = "pgdba.log") {
    std::ifstream in(dir + "/" + file);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }
};

TEST_F(LogTest, one_line_with_time_level_component) {
  ASSERT_TRUE(log::init(options()));
  log::info("ha", "took the lock term={} password={}", 4, Secret("hunter2"));
  log::debug("ha", "not shown");
  log::warning("dcs", "bad\nline\x1b[31m problem={}", log::quoted("connection refused"));
  std::string got = text();
  EXPECT_TRUE(std::regex_search(got, std::regex(R"(^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    ha: took the lock term=4 password=\*\*\*\n)"))) << got;
  EXPECT_NE(got.find(R"(WARNING dcs: bad\nline\x1b[31m problem="connection refused")"), std::string::npos) << got;
  EXPECT_EQ(std::count(got.begin(), got.end(), '\n'), 2);
}

TEST_F(LogTest, lines_as_patroni_formats_them) {
  auto o = options();
  o.format = parse_line_format("%(asctime)s %(levelname)s: %(message)s");
  ASSERT_TRUE(log::init(o));
  log::info("ha", "took the lock");
  EXPECT_TRUE(std::regex_search(text(), std::regex(R"(^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO: ha: took the lock\n$)"))) << text();

  o.file = "json.log";
  o.format = json_line_format({{"asctime", "time"}, {"levelname", "level"}, {"message", "message"}});
  o.format->static_fields = {{"app", "\"x\""}};
  o.date_format = "%Y";
  ASSERT_TRUE(log::init(o));
  log::warning("ha", "two\nlines \"quoted\"");
  EXPECT_TRUE(std::regex_search(text("json.log"), std::regex(R"(^\{"time": "\d{4}", "level": "WARNING", "message": "ha: two\\nlines \\"quoted\\"", "app": "x"\}\n$)")))
      << text("json.log");
}

TEST_F(LogTest, every_file_gets_the_mode) {
  auto o = options();
  o.file_mode = 0640;
  o.file_bytes = 4096;
  ASSERT_TRUE(log::init(o));
  for (int i = 0; i < 200; ++i) log::info("x", "line number {}", i);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    ++files;
    EXPECT_EQ(entry.status().permissions(), static_cast<std::filesystem::perms>(0640)) << entry.path();
  }
  EXPECT_GT(files, 1);
}

TEST_F(LogTest, rotates_by_size_and_keeps_so_many) {
  auto o = options();
  o.file_bytes = 4096;
  o.file_count = 2;
  ASSERT_TRUE(log::init(o));
  for (int i = 0; i < 1000; ++i) log::info("x", "line number {}", i);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    ++files;
    EXPECT_LE(entry.file_size(), 4096u);
  }
  EXPECT_EQ(files, 3u);
  EXPECT_NE(text().find("line number 999"), std::string::npos);
}

TEST_F(LogTest, in_the_background_nothing_is_lost_while_the_sink_works) {
  auto o = options();
  o.background = true;
  ASSERT_TRUE(log::init(o));
  for (int i = 0; i < 500; ++i) log::info("x", "line {}", i);
  log::flush();
  std::string got = text();
  EXPECT_EQ(std::count(got.begin(), got.end(), '\n'), 500);
}

// A pipe that nobody reads: the writer must not block, and says later how much was lost.
TEST_F(LogTest, a_stuck_sink_costs_the_caller_nothing) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  int saved = dup(2);
  dup2(pipe_ends[1], 2);
  log::Options o;
  o.background = true;
  ASSERT_TRUE(log::init(o));
  std::string filler(200, 'x');
  for (int i = 0; i < 5000; ++i) log::info("x", "{}", filler);
  EXPECT_GT(log::dropped(), 1000u);
  int null = open("/dev/null", O_WRONLY);
  dup2(null, 2);  // the writing thread is stuck in the pipe still
  close(null);
  close(pipe_ends[1]);
  signal(SIGPIPE, SIG_IGN);
  close(pipe_ends[0]);  // now it gets EPIPE and goes on
  log::flush();
  dup2(saved, 2);
  close(saved);
}

TEST(Log, levels_by_name) {
  EXPECT_EQ(log::parse_level("INFO").value(), log::Level::info);
  EXPECT_EQ(log::parse_level("Warning").value(), log::Level::warning);
  EXPECT_EQ(log::parse_level("CRITICAL").value(), log::Level::error);
  EXPECT_FALSE(log::parse_level("loud"));
}

TEST(Log, quotes_only_where_needed) {
  EXPECT_EQ(log::quoted("a-b:5432"), "a-b:5432");
  EXPECT_EQ(log::quoted("a b"), "\"a b\"");
  EXPECT_EQ(log::quoted("say \"x\""), "\"say \\\"x\\\"\"");
  EXPECT_EQ(log::quoted(""), "\"\"");
}

}  // namespace
}  // namespace pgdba
