#include "local/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "local/files.h"

namespace pgdba::local {
namespace {

bool eventually(const std::function<bool()>& holds, Duration patience = 10s) {
  auto give_up = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

// A supervisor in a forked child, with real processes.
class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/pgdba-supervisor-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    root_ = folder;
    ASSERT_TRUE(make_private_folder(root_ + "/supervised"));
  }

  void TearDown() override {
    stop_supervisor(SIGKILL);
    for (const char* name : {"one", "two"}) {
      auto left = kill_node({node_marker(root_ + "/" + name), {}}, 5s);
      EXPECT_TRUE(left) << left.error().text;
    }
    std::filesystem::remove_all(root_);
  }

  Spec make(const std::string& name, const std::string& script) {
    EXPECT_TRUE(make_private_folder(root_ + "/" + name));
    return Spec{name, {"/bin/sh", "-c", script}, {}, root_ + "/" + name, root_ + "/" + name + ".log"};
  }

  void start_supervisor_here() {
    supervisor_ = ::fork();
    if (supervisor_ == 0) {
      int log = ::open((root_ + "/supervisor.log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
      ::dup2(log, STDERR_FILENO);
      ::_exit(supervisor_main(files_().folder(), root_ + "/supervisor.log"));
    }
    ASSERT_TRUE(eventually([&] {
      auto id = files_().running(Supervised::supervisor);
      return id && id->pid == supervisor_;
    }));
  }

  void stop_supervisor(int signal) {
    if (supervisor_ <= 0) return;
    ::kill(supervisor_, signal);
    ::waitpid(supervisor_, nullptr, 0);
    supervisor_ = 0;
  }

  Supervised files_() const { return Supervised(root_ + "/supervised"); }
  std::string log() const { return read_file(root_ + "/supervisor.log").value_or(""); }

  std::string root_;
  pid_t supervisor_ = 0;
};

TEST_F(SupervisorTest, restarts_what_dies_and_counts_it) {
  ASSERT_TRUE(files_().write_spec(make("one", "echo begun; exec sleep 1000")));
  start_supervisor_here();
  ASSERT_TRUE(eventually([&] { return read_file(root_ + "/one.log").value_or("") == "begun\n"; })) << log();
  ProcessId first = *files_().running("one");
  ASSERT_TRUE(send_signal(first, SIGKILL));
  ASSERT_TRUE(eventually([&] {
    auto now = files_().running("one");
    return now && *now != first;
  })) << log();
  Exits exits = files_().read_exits("one");
  EXPECT_EQ(exits.restarts, 1);
  EXPECT_EQ(exits.last, "killed by signal 9 (Killed)");
  ASSERT_TRUE(eventually([&] { return read_file(root_ + "/one.log").value_or("") == "begun\nbegun\n"; }));
}

TEST_F(SupervisorTest, what_is_wanted_down_stays_down_until_it_is_wanted_again) {
  ASSERT_TRUE(files_().write_spec(make("one", "exec sleep 1000")));
  start_supervisor_here();
  ASSERT_TRUE(eventually([&] { return files_().running("one").has_value(); }));
  ASSERT_TRUE(files_().write_want("one", Want::killed));
  ASSERT_TRUE(send_signal(*files_().running("one"), SIGKILL));
  ASSERT_TRUE(eventually([&] { return files_().read_exits("one").at.has_value(); })) << log();
  // Longer than the first back-off: it would be back by now.
  std::this_thread::sleep_for(500ms);
  EXPECT_FALSE(files_().running("one")) << log();
  ASSERT_TRUE(files_().write_want("one", Want::up));
  EXPECT_TRUE(eventually([&] { return files_().running("one").has_value(); })) << log();
}

TEST_F(SupervisorTest, the_next_one_adopts_what_runs_and_restarts_it_too) {
  ASSERT_TRUE(files_().write_spec(make("one", "exec sleep 1000")));
  start_supervisor_here();
  ASSERT_TRUE(eventually([&] { return files_().running("one").has_value(); }));
  ProcessId first = *files_().running("one");
  stop_supervisor(SIGKILL);
  EXPECT_TRUE(alive(first));
  start_supervisor_here();
  ASSERT_TRUE(eventually([&] { return log().find("adopted") != std::string::npos; })) << log();
  EXPECT_EQ(files_().running("one"), first);
  ASSERT_TRUE(send_signal(first, SIGKILL));
  EXPECT_TRUE(eventually([&] {
    auto now = files_().running("one");
    return now && *now != first;
  })) << log();
}

TEST_F(SupervisorTest, a_second_one_for_the_same_folder_ends_at_once) {
  start_supervisor_here();
  pid_t second = ::fork();
  if (second == 0) ::_exit(supervisor_main(files_().folder(), root_ + "/supervisor.log"));
  int status = 0;
  ASSERT_EQ(::waitpid(second, &status, 0), second);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST_F(SupervisorTest, a_process_that_never_works_is_tried_ever_more_rarely) {
  ASSERT_TRUE(files_().write_spec(make("one", "exit 7")));
  start_supervisor_here();
  ASSERT_TRUE(eventually([&] { return files_().read_exits("one").restarts >= 3; })) << log();
  EXPECT_EQ(files_().read_exits("one").last, "exited with 7");
  EXPECT_GE(files_().read_exits("one").backoff_ms, 800);
}

TEST_F(SupervisorTest, a_node_is_found_with_all_its_descendants_and_dies_whole) {
  // The second sleep loses its parent at once, the third one is a session of its own: as backends of a killed
  // postmaster.
  ASSERT_TRUE(files_().write_spec(make("one", "(sleep 1000 &) ; setsid sleep 1000 & exec sleep 1000")));
  ASSERT_TRUE(files_().write_spec(make("two", "exec sleep 1000")));
  start_supervisor_here();
  NodeMark one{node_marker(root_ + "/one"), {}};
  ASSERT_TRUE(eventually([&] {
    auto found = find_node(one);
    return found.size() == 3 && std::ranges::all_of(found, [](const ProcessStat& p) { return p.name == "sleep"; });
  }));
  auto frozen = signal_node(one, SIGSTOP);
  EXPECT_EQ(frozen.size(), 3u);
  EXPECT_TRUE(
      eventually([&] { return std::ranges::all_of(find_node(one), [](const ProcessStat& p) { return p.frozen(); }); }));
  signal_node(one, SIGCONT);
  EXPECT_TRUE(eventually(
      [&] { return std::ranges::none_of(find_node(one), [](const ProcessStat& p) { return p.frozen(); }); }));
  ASSERT_TRUE(files_().write_want("one", Want::killed));
  auto killed = kill_node(one, 5s);
  ASSERT_TRUE(killed) << killed.error().text;
  EXPECT_EQ(killed->size(), 3u);
  EXPECT_TRUE(find_node(one).empty());
  EXPECT_TRUE(files_().running("two").has_value());
}

TEST(Backoff, doubles_to_five_seconds_and_forgets_after_a_healthy_while) {
  EXPECT_EQ(next_backoff_ms(0, 0s), 200);
  EXPECT_EQ(next_backoff_ms(200, 1s), 400);
  EXPECT_EQ(next_backoff_ms(3200, 1s), 5000);
  EXPECT_EQ(next_backoff_ms(5000, 1s), 5000);
  EXPECT_EQ(next_backoff_ms(5000, 10s), 200);
}

TEST(RotateLog, keeps_the_newest_and_lets_the_writer_go_on) {
  char folder[] = "/tmp/pgdba-rotate-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  std::string path = std::string(folder) + "/x.log";
  Fd writer(::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600));
  std::string old(1000, 'o');
  ASSERT_EQ(::write(writer.get(), old.data(), old.size()), 1000);
  ASSERT_TRUE(rotate_log(path, 1000));
  EXPECT_EQ(read_file(path).value_or("").size(), 1000u);
  ASSERT_EQ(::write(writer.get(), "n", 1), 1);
  ASSERT_TRUE(rotate_log(path, 1000));
  ASSERT_EQ(::write(writer.get(), "next", 4), 4);
  EXPECT_EQ(read_file(path).value_or(""), "next");
  EXPECT_EQ(read_file(path + ".1").value_or(""), old + "n");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace pgdba::local
