// The guardian on real PostgreSQL: whatever happens to it, its agent or the postmaster, nothing goes on committing.
#include <gtest/gtest.h>

#include <memory>

#include "guardian/client.h"
#include "guardian/process.h"
#include "unit/guardian/scratch.h"

namespace pgdba::guardian {
namespace {

using namespace test;

class Guardian : public testing::Test {
 protected:
  void SetUp() override {
    Output initdb = run({kBin + "/initdb", "-D", data_, "--no-sync", "-A", "trust", "-U", "postgres",
                         "--locale=C.UTF-8", "-E", "UTF8"});
    ASSERT_EQ(initdb.status, 0) << initdb.text;
    std::ofstream(data_ + "/postgresql.conf", std::ios::app)
        << "fsync=off\nshared_buffers=1MB\nlisten_addresses=''\nunix_socket_directories='" << scratch_.path
        << "'\nrestart_after_crash=off\n";
  }

  Launch launch(bool primary = true) {
    return {.data_dir = data_,
            .log_file = scratch_.path + "/log",
            .command = {kBin + "/postgres", "-D", data_},
            .primary = primary};
  }
  std::unique_ptr<Client> client(std::string page = "page") {
    return std::make_unique<Client>(Settings{.page = scratch_.path + "/" + page});
  }

  // What an agent does: launch, take standby.signal away, go.
  void start(Client& guard) {
    auto launched = guard.launch(launch());
    ASSERT_TRUE(launched) << launched.error().text;
    ASSERT_TRUE(wait_until(5s, [&] { return guard.status().state == State::ready; })) << guard.status().problem;
    std::filesystem::remove(data_ + "/standby.signal");
    ASSERT_TRUE(guard.go());
    ASSERT_TRUE(wait_until(10s, [&] { return psql("select 1").status == 0; })) << slurp(scratch_.path + "/log");
  }

  std::vector<std::string> psql_command(const std::string& sql) {
    return {kBin + "/psql", "-XAtq",    "-v", "ON_ERROR_STOP=1", "-h", scratch_.path,
            "-U",           "postgres", "-d", "postgres",        "-c", sql};
  }
  Output psql(const std::string& sql) { return run(psql_command(sql)); }

  // The proof and what must be true with it.
  void expect_all_dead(Client& guard, Duration within) {
    ASSERT_TRUE(wait_until(within, [&] { return guard.status().state == State::all_dead; }));
    EXPECT_TRUE(processes_below(data_).empty());
    EXPECT_TRUE(std::filesystem::exists(data_ + "/standby.signal"));
    EXPECT_FALSE(std::filesystem::exists(data_ + "/postmaster.pid"));
    EXPECT_EQ(guard.status().problem, "");
    EXPECT_TRUE(wait_until(1s, [&] { return !guard.status().guardian_alive; }));
    RecordProperty("dying_us", static_cast<int>(guard.status().dying / 1us));
  }

  Scratch scratch_;
  std::string data_ = scratch_.path + "/data";
};

// E14: the backends of a killed postmaster went on, committed, and answered their clients 2.6 s later.
TEST_F(Guardian, NobodyCommitsAfterThePostmasterWasKilled) {
  auto guard = client();
  start(*guard);
  ASSERT_EQ(psql("create table t (i int)").status, 0);
  std::vector<std::unique_ptr<Program>> busy;
  for (int i = 0; i < 20; ++i)
    busy.push_back(std::make_unique<Program>(psql_command("insert into t select 1 from pg_sleep(8)")));  // all of them at once, also where forks are slow
  ASSERT_TRUE(wait_until(
      30s, [&] { return psql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'").text == "20\n"; }));
  kill(guard->status().postmaster_pid, SIGKILL);
  expect_all_dead(*guard, 1s);
  EXPECT_FALSE(guard->status().told_to_stop);
  EXPECT_EQ(guard->status().exit_status, SIGKILL);
  std::cout << "20 busy backends dead after " << guard->status().dying / 1us << " us\n";
  for (auto& one : busy) EXPECT_NE(one->wait().status, 0);
  start(*guard);  // nothing of the last life is left (expect_all_dead), so nobody is left to commit
  EXPECT_EQ(psql("select count(*) from t").text, "0\n");
  guard->kill();
  expect_all_dead(*guard, 2s);
}

TEST_F(Guardian, DeadlineKillsWithoutAnAgent) {
  // A child plays the agent and vanishes; the deadline stays in the page.
  pid_t child = fork();
  if (child == 0) {
    auto guard = client();
    guard->set_deadline(now() + 2500ms, {.lease = 7, .leader_mod = 8, .term = 9});
    bool ok = bool(guard->launch(launch())) && wait_until(2s, [&] { return guard->status().state == State::ready; }) &&
              bool(guard->go()) && wait_until(2s, [&] { return guard->status().state == State::running; });
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  auto guard = client();
  auto adopted = guard->adopt();
  ASSERT_TRUE(adopted && *adopted);
  EXPECT_EQ(guard->status().owner, (Owner{.lease = 7, .leader_mod = 8, .term = 9}));
  BootTime deadline = guard->status().deadline.value();
  ASSERT_TRUE(wait_until(2s, [&] { return psql("select 1").status == 0; }));
  EXPECT_LT(now(), deadline);
  while (now() < deadline) {
    EXPECT_TRUE(guard->status().postmaster_alive || now() >= deadline);
    nap(10ms);
  }
  expect_all_dead(*guard, 1s);
  EXPECT_TRUE(guard->status().killed_by_deadline);
}

TEST_F(Guardian, ARestartedAgentMovesAndDisarmsTheDeadline) {
  auto guard = client();
  guard->set_deadline(now() + 1s, {});
  start(*guard);
  auto second = client();
  ASSERT_TRUE(second->adopt().value());
  second->set_deadline(now() + 10s, {.lease = 1, .leader_mod = 2, .term = 3});
  nap(1200ms);
  EXPECT_TRUE(second->status().postmaster_alive);
  second->set_deadline(std::nullopt, {});
  EXPECT_FALSE(second->status().deadline);
  second->kill();
  expect_all_dead(*second, 1s);
  EXPECT_TRUE(second->status().told_to_stop);
  EXPECT_FALSE(second->status().killed_by_deadline);
}

// Scenario 8 of faults.md: the guardian itself was frozen over its deadline.
TEST_F(Guardian, AWokenGuardianActsAtOnce) {
  auto guard = client();
  guard->set_deadline(now() + 5s, {});
  start(*guard);
  kill(guard->status().guardian_pid, SIGSTOP);
  guard->set_deadline(now() + 200ms, {});
  nap(400ms);
  EXPECT_TRUE(guard->status().postmaster_alive);
  kill(guard->status().guardian_pid, SIGCONT);
  expect_all_dead(*guard, 500ms);
  EXPECT_TRUE(guard->status().killed_by_deadline);
}

TEST_F(Guardian, ItsDeathEndsPostgres) {
  auto guard = client();
  start(*guard);
  Program busy(psql_command("select pg_sleep(60)"));
  nap(200ms);
  kill(guard->status().guardian_pid, SIGKILL);
  ASSERT_TRUE(wait_until(6s, [&] { return processes_below(data_).empty(); }));
  EXPECT_NE(busy.wait().status, 0);
  EXPECT_FALSE(guard->status().guardian_alive);
  EXPECT_EQ(guard->status().state, State::running) << "nobody proved anything";
  // The lock died with it, so the next one can begin.
  start(*guard);
  guard->kill();
  expect_all_dead(*guard, 1s);
}

TEST_F(Guardian, ASecondOneIsRefused) {
  auto guard = client();
  start(*guard);
  auto same = guard->launch(launch());
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code, Errc::conflict);
  auto other = client("other-page");
  ASSERT_TRUE(other->launch(launch()));
  ASSERT_TRUE(wait_until(5s, [&] { return other->status().state == State::refused; }));
  EXPECT_EQ(other->status().problem, "another guardian has the lock of " + data_);
  EXPECT_EQ(psql("select 1").status, 0);
  guard->kill();
  expect_all_dead(*guard, 1s);
}

TEST_F(Guardian, AnAgentThatVanishesBeforeGoStartsNothing) {
  pid_t child = fork();
  if (child == 0) {
    auto guard = client();
    bool ok = bool(guard->launch(launch())) && wait_until(2s, [&] { return guard->status().state == State::ready; });
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  auto guard = client();
  ASSERT_TRUE(guard->adopt());
  expect_all_dead(*guard, 1s);
  EXPECT_EQ(guard->status().postmaster_pid, 0);
}

TEST_F(Guardian, APrimaryIsNotStartedAfterItsDeadline) {
  auto guard = client();
  guard->set_deadline(now() + 300ms, {});
  ASSERT_TRUE(guard->launch(launch()));
  ASSERT_TRUE(wait_until(2s, [&] { return guard->status().state == State::ready; }));
  nap(350ms);
  (void)guard->go();
  expect_all_dead(*guard, 1s);
  EXPECT_EQ(guard->status().postmaster_pid, 0);
  auto late = guard->launch(launch());
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::conflict);
  EXPECT_TRUE(guard->launch(launch(false))) << "a standby needs no deadline";
  ASSERT_TRUE(wait_until(2s, [&] { return guard->status().state == State::ready; }));
  guard->kill();
  expect_all_dead(*guard, 1s);
}

TEST_F(Guardian, FastStopIsCleanAndBounded) {
  auto guard = client();
  start(*guard);
  Program session(psql_command("select pg_sleep(60)"));
  nap(200ms);
  guard->stop_fast(now() + 5s);
  expect_all_dead(*guard, 5s);
  EXPECT_EQ(guard->status().exit_status, 0);
  EXPECT_TRUE(guard->status().told_to_stop);
  EXPECT_NE(run({kBin + "/pg_controldata", "-D", data_}).text.find("shut down\n"), std::string::npos);
  EXPECT_NE(slurp(scratch_.path + "/log").find("database system is shut down"), std::string::npos);

  start(*guard);
  Program stuck(psql_command("select pg_sleep(60)"));
  ASSERT_TRUE(wait_until(
      20s, [&] { return psql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'").text == "1\n"; }));
  Output backend = psql("select pid from pg_stat_activity where wait_event = 'PgSleep'");
  kill(static_cast<pid_t>(std::stol(backend.text)), SIGSTOP);
  BootTime until = now() + 500ms;
  guard->stop_fast(until);
  nap(300ms);
  EXPECT_TRUE(guard->status().postmaster_alive);
  expect_all_dead(*guard, 1s);
  EXPECT_EQ(guard->status().exit_status, SIGKILL);
}

TEST_F(Guardian, AStopBehindItsBackIsNoted) {
  auto guard = client();
  start(*guard);
  ASSERT_EQ(run({kBin + "/pg_ctl", "stop", "-D", data_, "-m", "fast"}).status, 0);
  expect_all_dead(*guard, 1s);
  EXPECT_EQ(guard->status().exit_status, 0);
  EXPECT_FALSE(guard->status().told_to_stop);
}

// A descendant that is no backend: archive_command runs in a shell below the archiver and outlives it.
TEST_F(Guardian, KillsWhatBackendsHaveStarted) {
  auto guard = client();
  start(*guard);
  Program copy(psql_command("copy (select 1) to program 'sh -c \"setsid sleep 60; true\"'"));
  ASSERT_TRUE(wait_until(3s, [&] { return processes_below(data_).size() >= 8; }));
  kill(guard->status().postmaster_pid, SIGKILL);
  expect_all_dead(*guard, 1s);
}

TEST_F(Guardian, SaysWhyPostgresCannotRun) {
  auto guard = client();
  Launch wrong = launch();
  wrong.command[0] = scratch_.path + "/no-such-postgres";
  ASSERT_TRUE(guard->launch(wrong));
  ASSERT_TRUE(wait_until(2s, [&] { return guard->status().state == State::ready; }));
  ASSERT_TRUE(guard->go());
  ASSERT_TRUE(wait_until(2s, [&] { return guard->status().state == State::all_dead; }));
  EXPECT_EQ(guard->status().problem, "cannot run the postgres program: No such file or directory");
  EXPECT_EQ(WEXITSTATUS(guard->status().exit_status.value()), 127);
}

// Pids are used again: an old page must not make us signal a stranger.
TEST_F(Guardian, APageOfAnotherBootIsNoPage) {
  auto guard = client();
  start(*guard);
  std::string page = scratch_.path + "/page";
  std::string text = slurp(page);
  text[offsetof(Page, boot_id)] = text[offsetof(Page, boot_id)] == 'x' ? 'y' : 'x';
  std::ofstream(scratch_.path + "/old-page", std::ios::binary) << text;
  auto other = client("old-page");
  auto adopted = other->adopt();
  ASSERT_TRUE(adopted);
  EXPECT_FALSE(*adopted);
  EXPECT_FALSE(other->status().page_found);
  guard->kill();
  expect_all_dead(*guard, 1s);
  std::cout << guard->status().locked_kib << " KiB locked\n";
}

}  // namespace
}  // namespace pgdba::guardian
