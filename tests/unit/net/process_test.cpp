#include "net/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace pgdba::net {
namespace {

struct ProcessTest : ::testing::Test {
  Loop loop;
  Result<ProcessResult> run(ProcessSpec spec, Duration limit = 10s) {
    return run_blocking(loop, run_process(loop, std::move(spec), boot_now() + limit), boot_now() + limit + 5s);
  }
  static ProcessSpec shell(std::string script) {
    ProcessSpec spec;
    spec.argv = {"sh", "-c", std::move(script)};
    return spec;
  }
};

TEST_F(ProcessTest, captures_both_streams_in_order_and_the_exit_code) {
  auto result = run(shell("echo a; echo b >&2; echo c; exit 3"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "a\nb\nc\n");
  EXPECT_EQ(result->status.code, 3);
  EXPECT_EQ(result->status.describe(), "exited with code 3");
}

TEST_F(ProcessTest, death_by_signal_is_told_apart) {
  auto result = run(shell("kill -9 $$"));
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->status.code);
  EXPECT_EQ(result->status.describe(), "was killed by signal 9 (SIGKILL)");
}

TEST_F(ProcessTest, what_cannot_be_started_says_why) {
  ProcessSpec spec;
  spec.argv = {"no-such-program-here"};
  auto a = run(spec);
  EXPECT_TRUE(!a && a.error().code == Errc::not_found) << a.error().text;
  spec.argv = {"/etc/passwd"};
  auto b = run(spec);
  EXPECT_TRUE(!b && b.error().code == Errc::denied) << b.error().text;
  spec.argv = {"/no/such/file"};
  auto c = run(spec);
  EXPECT_TRUE(!c && c.error().code == Errc::not_found) << c.error().text;
  auto in = shell("true");
  in.cwd = "/no/such/dir";
  auto d = run(in);
  ASSERT_FALSE(d);
  EXPECT_NE(d.error().text.find("working directory"), std::string::npos) << d.error().text;
}

TEST_F(ProcessTest, keeps_the_end_of_long_output) {
  auto spec = shell("head -c 1000000 /dev/zero | tr '\\0' x; echo END");
  spec.capture_bytes = 1000;
  auto result = run(spec);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.size(), 1000u);
  EXPECT_TRUE(result->output.ends_with("xEND\n"));
}

TEST_F(ProcessTest, environment_is_extended_or_replaced) {
  setenv("PGDBA_TEST_A", "1", 1);
  setenv("PGDBA_TEST_B", "2", 1);
  auto spec = shell("echo \"$PGDBA_TEST_A,$PGDBA_TEST_B,$C\"");
  spec.env = {{"PGDBA_TEST_B", ""}, {"C", "x y"}};
  EXPECT_EQ(run(spec)->output, "1,,x y\n");
  spec.clean_env = true;
  EXPECT_EQ(run(spec)->output, ",,x y\n");
  ProcessSpec env;
  env.argv = {"env"};
  env.clean_env = true;
  EXPECT_EQ(run(env)->output, "");
}

// Descriptors opened without O_CLOEXEC (by a library) must not reach postgres, which would keep a listener alive.
TEST_F(ProcessTest, inherits_no_descriptor_no_mask_no_ignored_signal) {
  int leak = open("/etc/passwd", O_RDONLY);
  ASSERT_GE(leak, 3);
  fcntl(leak, F_DUPFD, 200);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  auto result = run(shell("ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status"));
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_DFL);
  close(leak);
  close(200);
  ASSERT_TRUE(result);
  // 3 is the directory that ls itself reads. Signals 32 and 33 are glibc's own: whoever started this test may have ignored
  // them (CI's runner does), and no program can change that through sigaction.
  std::string output = result->output;
  if (auto own = output.find("SigIgn:\t0000000180000000"); own != std::string::npos) output[own + 15] = output[own + 16] = '0';
  EXPECT_EQ(output, "0 1 2 3 SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(ProcessTest, the_deadline_kills_the_whole_group) {
  auto spec = shell("echo started; sleep 1000 & echo $!; wait");
  BootTime before = boot_now();
  auto result = run(spec, 200ms);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::timeout);
  EXPECT_NE(result.error().text.find("started"), std::string::npos) << result.error().text;
  EXPECT_LT(boot_now() - before, 2s);
  pid_t grandchild = static_cast<pid_t>(std::stol(result.error().text.substr(result.error().text.rfind('\n') + 1)));
  for (int i = 0; i < 100 && process_start_time(grandchild); ++i) usleep(10'000);
  EXPECT_FALSE(process_start_time(grandchild));
}

// pg_ctl start leaves a server behind that holds our pipe: the wait must not last as long as the server.
TEST_F(ProcessTest, a_grandchild_that_keeps_the_pipe_does_not_hold_us_up) {
  BootTime before = boot_now();
  auto result = run(shell("echo done; sleep 5 & exit 0"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "done\n");
  EXPECT_LT(boot_now() - before, 2s);
}

TEST_F(ProcessTest, cancelling_the_run_kills_it) {
  std::string file = "/tmp/pgdba-process-test-" + std::to_string(getpid());
  auto main = [&]() -> Task<void> {
    auto inner = [&]() -> Task<void> {
      (void)co_await run_process(loop, shell("echo $$ > " + file + "; exec sleep 1000"), loop.after(1h));
    };
    Job job = loop.start(inner(), "runner");
    while (!std::filesystem::exists(file) || std::filesystem::file_size(file) == 0) co_await loop.sleep_for(5ms);
    co_await job.stop();
    pid_t pid = 0;
    std::ifstream(file) >> pid;
    EXPECT_GT(pid, 0);
    for (int i = 0; i < 100 && process_start_time(pid); ++i) co_await loop.sleep_for(10ms);
    EXPECT_FALSE(process_start_time(pid));
  };
  ASSERT_TRUE(loop.run_blocking(main(), boot_now() + 10s));
  std::filesystem::remove(file);
}

TEST_F(ProcessTest, appends_to_a_file_and_switches_user) {
  if (getuid() != 0) GTEST_SKIP() << "needs root";
  std::string file = "/tmp/pgdba-process-append-" + std::to_string(getpid());
  auto user = find_user("nobody");
  ASSERT_TRUE(user);
  for (int i = 0; i < 2; ++i) {
    auto spec = shell("id -u; id -G; umask");
    spec.output = ProcessSpec::Output::append;
    spec.append_to = file;
    spec.run_as = *user;
    spec.cwd = "/";
    spec.umask = 077;
    auto result = run(spec);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_TRUE(result->status.success());
    EXPECT_EQ(result->output, "");
  }
  std::ifstream in(file);
  std::string all((std::istreambuf_iterator<char>(in)), {});
  std::string once = std::to_string(user->uid) + "\n" + std::to_string(user->gid) + "\n0077\n";
  EXPECT_EQ(all, once + once);
  std::filesystem::remove(file);
  EXPECT_FALSE(find_user("no-such-user-here"));
}

TEST_F(ProcessTest, dies_with_its_parent) {
  std::string file = "/tmp/pgdba-process-death-" + std::to_string(getpid());
  pid_t parent = fork();
  if (parent == 0) {
    Loop inner;
    auto spec = shell("echo $$ > " + file + "; exec sleep 1000");
    spec.parent_death_signal = SIGKILL;
    auto process = Process::start(inner, spec);
    while (!std::filesystem::exists(file) || std::filesystem::file_size(file) == 0) usleep(1000);
    _exit(0);
  }
  waitpid(parent, nullptr, 0);
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  ASSERT_GT(pid, 0);
  for (int i = 0; i < 200 && process_start_time(pid); ++i) usleep(10'000);
  EXPECT_FALSE(process_start_time(pid));
  std::filesystem::remove(file);
}

TEST_F(ProcessTest, detached_it_outlives_its_object) {
  pid_t pid = 0;
  auto main = [&]() -> Task<void> {
    ProcessSpec spec;
    spec.argv = {"sleep", "1000"};
    spec.own_session = true;
    auto process = Process::start(loop, spec);
    EXPECT_TRUE(process);
    pid = (*process)->pid();
    (*process)->detach();
    process->reset();
    co_await loop.sleep_for(20ms);
    EXPECT_TRUE(process_start_time(pid));
    kill(pid, SIGKILL);
    for (int i = 0; i < 100 && kill(pid, 0) == 0; ++i) co_await loop.sleep_for(5ms);
    EXPECT_NE(kill(pid, 0), 0) << "not reaped";
  };
  ASSERT_TRUE(loop.run_blocking(main(), boot_now() + 10s));
}

TEST_F(ProcessTest, watches_a_process_that_is_not_its_child) {
  auto main = [&]() -> Task<void> {
    auto started = co_await run_process(loop, shell("sleep 1000 >/dev/null 2>&1 & echo $!"), loop.after(5s));
    pid_t pid = static_cast<pid_t>(std::stol(started->output));
    auto start = process_start_time(pid);
    EXPECT_TRUE(start);
    EXPECT_FALSE(ProcessWatch::open(loop, pid, *start + 1));
    auto watch = ProcessWatch::open(loop, pid, *start);
    EXPECT_TRUE(watch);
    EXPECT_TRUE((*watch)->alive());
    EXPECT_FALSE(co_await (*watch)->exited(loop.after(20ms)));
    EXPECT_TRUE((*watch)->signal(SIGKILL));
    EXPECT_TRUE(co_await (*watch)->exited(loop.after(2s)));
    EXPECT_FALSE((*watch)->alive());
    EXPECT_EQ((*watch)->signal(SIGKILL).error().code, Errc::not_found);
    EXPECT_FALSE(ProcessWatch::open(loop, pid, *start));
  };
  ASSERT_TRUE(loop.run_blocking(main(), boot_now() + 10s));
}

TEST_F(ProcessTest, start_time_copes_with_odd_names_and_zombies) {
  EXPECT_TRUE(process_start_time(getpid()));
  prctl(PR_SET_NAME, "a) Z 1 (b");
  EXPECT_TRUE(process_start_time(getpid()));
  prctl(PR_SET_NAME, "unit_net");
  EXPECT_EQ(process_start_time(4'000'000).error().code, Errc::not_found);
  pid_t child = fork();
  if (child == 0) _exit(0);
  usleep(50'000);
  EXPECT_FALSE(process_start_time(child));
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace pgdba::net
