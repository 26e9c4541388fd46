// libpq on the loop, against a real PostgreSQL and against servers that misbehave.
#include "net/pq.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "net/port.h"
#include "net/process.h"

namespace pgdba::net {
namespace {

// Debian's place; 15 where several are installed.
std::string find_bin() {
  for (const char* major : {"15", "17", "18", "16", "14", "13"}) {
    std::string dir = "/usr/lib/postgresql/" + std::string(major) + "/bin/";
    if (access((dir + "initdb").c_str(), X_OK) == 0) return dir;
  }
  return "no PostgreSQL below /usr/lib/postgresql: ";
}
const std::string bin = find_bin();

// One server for all tests of this file's process.
struct Server {
  Loop loop;
  std::string dir;
  uint16_t port = pick_free_port().value();
  std::optional<RunAs> user;
  std::unique_ptr<Process> postgres;

  Server() {
    char name[] = "/tmp/pgdba-pq-XXXXXX";
    dir = mkdtemp(name);
    if (getuid() == 0) {
      user = find_user("postgres").value();
      if (chown(dir.c_str(), user->uid, user->gid) != 0) abort();
    }
    std::ofstream(dir + "/pw") << "it's a \"password\"\n";
    ProcessSpec init = spec({bin + "initdb", "-D", dir + "/data", "-U", "admin", "-A", "scram-sha-256", "--pwfile", dir + "/pw", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"});
    auto made = run_blocking(loop, run_process(loop, init, boot_now() + 60s), boot_now() + 70s);
    if (!made || !made->status.success()) ADD_FAILURE() << (made ? made->output : made.error().text);
    ProcessSpec run = spec({bin + "postgres", "-D", dir + "/data", "-p", std::to_string(port), "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=1MB", "-c", "max_connections=20"});
    run.output = ProcessSpec::Output::append;
    run.append_to = dir + "/log";
    run.parent_death_signal = SIGQUIT;
    postgres = std::move(*Process::start(loop, run));
    for (int i = 0; i < 200 && !std::filesystem::exists(dir + "/data/postmaster.pid"); ++i) usleep(20'000);
    for (int i = 0; i < 200; ++i) {
      PgConnection db(loop);
      if (run_blocking_void(loop, db.connect(target(), boot_now() + 5s))) break;
      usleep(50'000);
    }
  }
  ~Server() {
    (void)postgres->signal(SIGCONT);
    (void)postgres->signal(SIGQUIT);
    (void)run_blocking(loop, postgres->wait(boot_now() + 10s), boot_now() + 11s);
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }
  ProcessSpec spec(std::vector<std::string> argv) {
    ProcessSpec out;
    out.argv = std::move(argv);
    out.run_as = user;
    out.cwd = "/";
    return out;
  }
  static bool run_blocking_void(Loop& l, Task<Result<void>> task) {
    std::optional<Result<void>> out;
    return l.run_blocking(detail::store(std::move(task), out), boot_now() + 10s) && out->has_value();
  }
  PgTarget target() const {
    PgTarget out;
    out.host = "127.0.0.1";
    out.port = port;
    out.user = "admin";
    out.password = Secret("it's a \"password\"");
    out.application_name = "unit test";
    return out;
  }
};

struct PqTest : ::testing::Test {
  static Server& server() {
    static Server one;
    return one;
  }
  Loop& loop = server().loop;
  BootTime in(Duration d) { return loop.after(d); }
  void run(Task<void> body) { EXPECT_TRUE(loop.run_blocking(std::move(body), in(30s))); }
};

#define CO_ASSERT(condition)     \
  if (!(condition)) {            \
    ADD_FAILURE() << #condition; \
    co_return;                   \
  }

TEST_F(PqTest, connects_and_reads_typed_values) {
  auto body = [&]() -> Task<void> {
    PgConnection db(loop);
    auto connected = co_await db.connect(server().target(), in(5s));
    CO_ASSERT(connected);
    EXPECT_TRUE(db.is_open());
    EXPECT_GE(db.server_version(), 130000);
    EXPECT_GT(db.backend_pid(), 0);
    EXPECT_EQ(db.parameter("in_hot_standby"), "off");
    auto rows = co_await db.query(
        "SELECT 42 AS i, '16/B374D848'::pg_lsn AS l, true AS t, false AS f, 1.5 AS n, NULL AS x, 'ä''' AS s, "
        "current_setting('application_name') AS a",
        {}, in(5s));
    CO_ASSERT(rows);
    EXPECT_EQ(rows->size(), 1u);
    EXPECT_EQ(rows->integer(0, "i"), 42);
    EXPECT_EQ(rows->lsn(0, "l")->bytes, 0x16B374D848u);
    EXPECT_EQ(rows->boolean(0, "t"), true);
    EXPECT_EQ(rows->boolean(0, "f"), false);
    EXPECT_EQ(rows->number(0, "n"), 1.5);
    EXPECT_EQ(rows->text(0, "x"), std::nullopt);
    EXPECT_EQ(rows->text(0, "s"), "ä'");
    EXPECT_EQ(rows->text(0, "a"), "unit test");
    EXPECT_EQ(rows->integer(0, "s"), std::nullopt);
    EXPECT_EQ(rows->text(0, "no such column"), std::nullopt);
    EXPECT_EQ(rows->text(1, "i"), std::nullopt);
    EXPECT_EQ(rows->command(), "SELECT 1");

    std::vector<std::optional<std::string>> parameters = {"a'b", std::nullopt, "7"};
    auto given = co_await db.query("SELECT $1::text AS a, $2::text AS b, $3::int + 1 AS c", parameters, in(5s));
    CO_ASSERT(given);
    EXPECT_EQ(given->text(0, "a"), "a'b");
    EXPECT_EQ(given->text(0, "b"), std::nullopt);
    EXPECT_EQ(given->integer(0, "c"), 8);

    auto several = co_await db.query("SELECT 1 AS a; SELECT 2 AS a, 3 AS b; SET work_mem = '1MB'", {}, in(5s));
    CO_ASSERT(several);
    EXPECT_EQ(several->integer(0, "b"), 3);
    auto large = co_await db.query("SELECT repeat('x', 1000) AS t FROM generate_series(1, 20000)", {}, in(20s));
    CO_ASSERT(large);
    EXPECT_EQ(large->size(), 20000u);
    std::string long_text(5'000'000, 'y');
    std::vector<std::optional<std::string>> big = {long_text};
    auto length = co_await db.query("SELECT length($1) AS n", big, in(20s));
    CO_ASSERT(length);
    EXPECT_EQ(length->integer(0, "n"), 5'000'000);
    std::string quoted = "SELECT " + quote_literal("it's \\ here") + " AS " + quote_identifier("a\"b");
    auto echoed = co_await db.query(quoted, {}, in(5s));
    CO_ASSERT(echoed);
    EXPECT_EQ(echoed->text(0, "a\"b"), "it's \\ here");
  };
  run(body());
}

TEST_F(PqTest, errors_carry_their_sqlstate_and_the_connection_lives_on) {
  auto body = [&]() -> Task<void> {
    PgConnection db(loop);
    CO_ASSERT(co_await db.connect(server().target(), in(5s)));
    auto missing = co_await db.query("SELECT * FROM no_such_table", {}, in(5s));
    EXPECT_TRUE(!missing && missing.error().code == Errc::not_found);
    EXPECT_EQ(db.sqlstate(), "42P01");
    EXPECT_NE(missing.error().text.find("(SQLSTATE 42P01)"), std::string::npos) << missing.error().text;
    auto fine = co_await db.query("DO $$ BEGIN RAISE WARNING 'careful'; END $$", {}, in(5s));
    EXPECT_TRUE(fine);
    EXPECT_EQ(db.sqlstate(), "");
    auto notices = db.take_notices();
    CO_ASSERT(notices.size() == 1);
    EXPECT_TRUE(notices[0].starts_with("WARNING:  careful")) << notices[0];
    auto copy = co_await db.query("COPY (SELECT 1) TO STDOUT", {}, in(5s));
    EXPECT_TRUE(!copy && copy.error().code == Errc::bug);
    EXPECT_FALSE(db.is_open());
    auto closed = co_await db.query("SELECT 1", {}, in(5s));
    EXPECT_TRUE(!closed && closed.error().code == Errc::unavailable);
  };
  run(body());
}

TEST_F(PqTest, why_a_connection_failed) {
  auto body = [&]() -> Task<void> {
    PgConnection db(loop);
    PgTarget wrong = server().target();
    wrong.password = Secret("guess");
    auto denied = co_await db.connect(wrong, in(5s));
    EXPECT_TRUE(!denied && denied.error().code == Errc::denied);
    EXPECT_EQ(db.sqlstate(), "28P01");
    EXPECT_EQ(denied.error().text.find("guess"), std::string::npos);
    EXPECT_EQ(denied.error().text.find("LOCATION"), std::string::npos) << denied.error().text;
    wrong.password = Secret();
    auto none = co_await db.connect(wrong, in(5s));
    EXPECT_TRUE(!none && none.error().code == Errc::denied) << none.error().text;
    PgTarget database = server().target();
    database.dbname = "nowhere";
    auto missing = co_await db.connect(database, in(5s));
    EXPECT_TRUE(!missing && missing.error().code == Errc::not_found) << missing.error().text;
    PgTarget nobody = server().target();
    nobody.port = pick_free_port().value();
    auto refused = co_await db.connect(nobody, in(5s));
    EXPECT_TRUE(!refused && refused.error().code == Errc::unavailable) << refused.error().text;
    nobody.host = server().dir;
    auto socket = co_await db.connect(nobody, in(5s));
    EXPECT_TRUE(!socket && socket.error().code == Errc::unavailable) << socket.error().text;
    PgTarget silly = server().target();
    silly.sslmode = "sometimes";
    auto invalid = co_await db.connect(silly, in(5s));
    EXPECT_TRUE(!invalid && invalid.error().code == Errc::invalid) << invalid.error().text;
  };
  run(body());
}

// Whatever the user's shell exports must not reach a connection of the agent's.
TEST_F(PqTest, the_environment_does_not_count) {
  setenv("PGOPTIONS", "-c work_mem=99MB", 1);
  setenv("PGPASSWORD", "it's a \"password\"", 1);
  setenv("PGAPPNAME", "foreign", 1);
  setenv("PGSSLMODE", "require", 1);
  setenv("PGTARGETSESSIONATTRS", "standby", 1);
  setenv("PGCONNECT_TIMEOUT", "bogus", 1);
  auto body = [&]() -> Task<void> {
    PgConnection db(loop);
    PgTarget target = server().target();
    target.application_name = "";
    target.settings = {{"statement_timeout", "4321ms"}, {"pgdba.test", "two words \\"}};
    auto connected = co_await db.connect(target, in(5s));
    EXPECT_TRUE(connected) << connected.error().text;
    auto rows = co_await db.query(
        "SELECT current_setting('work_mem') AS w, current_setting('statement_timeout') AS s, "
        "current_setting('pgdba.test') AS t, current_setting('application_name') AS a",
        {}, in(5s));
    CO_ASSERT(rows);
    EXPECT_NE(rows->text(0, "w"), "99MB");
    EXPECT_EQ(rows->text(0, "s"), "4321ms");
    EXPECT_EQ(rows->text(0, "t"), "two words \\");
    EXPECT_EQ(rows->text(0, "a"), "pgdba");
    forget_libpq_environment();
    EXPECT_EQ(getenv("PGPASSWORD"), nullptr);
    target.password = Secret();
    auto refused = co_await db.connect(target, in(5s));
    EXPECT_TRUE(!refused && refused.error().code == Errc::denied) << "PGPASSWORD was used";
  };
  run(body());
}

TEST_F(PqTest, unix_socket_passfile_and_replication) {
  std::string passfile = server().dir + "/pgpass";
  std::ofstream(passfile) << "*:*:*:admin:it's a \"password\"\n";
  std::filesystem::permissions(passfile, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  auto body = [&]() -> Task<void> {
    PgConnection db(loop);
    PgTarget target = server().target();
    target.host = server().dir;
    target.password = Secret();
    target.passfile = passfile;
    target.replication = true;
    auto connected = co_await db.connect(target, in(5s));
    EXPECT_TRUE(connected) << connected.error().text;
    CO_ASSERT(connected);
    auto identity = co_await db.query("IDENTIFY_SYSTEM", {}, in(5s));
    CO_ASSERT(identity);
    EXPECT_EQ(identity->integer(0, "timeline"), 1);
    EXPECT_TRUE(identity->lsn(0, "xlogpos"));
    EXPECT_GE(identity->text(0, "systemid")->size(), 10u);
    auto history = co_await db.query("TIMELINE_HISTORY 9", {}, in(5s));
    EXPECT_FALSE(history);
    EXPECT_TRUE(db.is_open());
  };
  run(body());
}

TEST_F(PqTest, a_deadline_closes_and_a_cancelled_task_closes) {
  auto body = [&]() -> Task<void> {
    PgConnection db(loop);
    CO_ASSERT(co_await db.connect(server().target(), in(5s)));
    BootTime before = loop.now();
    auto late = co_await db.query("SELECT pg_sleep(20)", {}, in(100ms));
    EXPECT_TRUE(!late && late.error().code == Errc::timeout);
    EXPECT_FALSE(db.is_open());
    EXPECT_LT(loop.now() - before, 1s);

    CO_ASSERT(co_await db.connect(server().target(), in(5s)));
    auto sleeper = [&]() -> Task<void> { (void)co_await db.query("SELECT pg_sleep(20)", {}, in(1h)); };
    Job job = loop.start(sleeper(), "sleeper");
    co_await loop.sleep_for(30ms);
    auto second = co_await db.query("SELECT 1", {}, in(1s));
    EXPECT_TRUE(!second && second.error().code == Errc::bug);
    co_await job.stop();
    EXPECT_FALSE(db.is_open());

    // cancel() ends the statement and keeps the connection.
    CO_ASSERT(co_await db.connect(server().target(), in(5s)));
    Result<Rows> outcome = fail(Errc::bug, "");
    auto waiter = [&]() -> Task<void> { outcome = co_await db.query("SELECT pg_sleep(20)", {}, in(1h)); };
    Job waiting = loop.start(waiter(), "waiter");
    co_await loop.sleep_for(50ms);
    EXPECT_TRUE(co_await db.cancel(in(2s)));
    co_await waiting.join();
    EXPECT_TRUE(!outcome && outcome.error().code == Errc::cancelled);
    EXPECT_EQ(db.sqlstate(), "57014");
    EXPECT_TRUE(db.is_open());

    // Terminated from outside: unknown, closed.
    PgConnection killer(loop);
    CO_ASSERT(co_await killer.connect(server().target(), in(5s)));
    Job again = loop.start(waiter(), "waiter");
    co_await loop.sleep_for(50ms);
    std::vector<std::optional<std::string>> pid = {std::to_string(db.backend_pid())};
    EXPECT_TRUE(co_await killer.query("SELECT pg_terminate_backend($1)", pid, in(2s)));
    co_await again.join();
    EXPECT_TRUE(!outcome && outcome.error().code == Errc::timeout);
    EXPECT_FALSE(db.is_open());

    // close() from elsewhere ends the wait.
    CO_ASSERT(co_await db.connect(server().target(), in(5s)));
    Job third = loop.start(waiter(), "waiter");
    co_await loop.sleep_for(50ms);
    before = loop.now();
    db.close();
    co_await third.join();
    EXPECT_FALSE(outcome);
    EXPECT_FALSE(db.is_open());
    EXPECT_LT(loop.now() - before, 1s);
  };
  run(body());
}

// SIGSTOP: the kernel goes on accepting for a frozen postmaster.
TEST_F(PqTest, a_frozen_server_costs_no_more_than_the_deadline) {
  auto body = [&]() -> Task<void> {
    (void)server().postgres->signal(SIGSTOP);
    PgConnection db(loop);
    BootTime before = loop.now();
    auto late = co_await db.connect(server().target(), in(200ms));
    EXPECT_TRUE(!late && late.error().code == Errc::timeout);
    EXPECT_LT(loop.now() - before, 1s);
    EXPECT_FALSE(db.is_open());
    (void)server().postgres->signal(SIGCONT);
    CO_ASSERT(co_await db.connect(server().target(), in(5s)));
  };
  run(body());
}

// A server that says one thing and closes: what a starting PostgreSQL says, half an answer, nothing, nonsense.
TEST_F(PqTest, servers_that_misbehave) {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 5), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::string fields = std::string("SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0Fpostmaster.c\0L2365\0RProcessStartupPacket\0", 106);
  fields += '\0';
  std::string starting = "E" + std::string("\0\0\0", 3) + static_cast<char>(fields.size() + 4) + fields;
  const std::pair<std::string, Errc> rows[] = {
      {starting, Errc::unavailable}, {starting.substr(0, 20), Errc::unavailable}, {"", Errc::unavailable},
      {"HTTP/1.1 400 Bad Request\r\n\r\n", Errc::unavailable}};
  for (const auto& [answer, code] : rows) {
    std::thread peer([&, text = answer] {
      int fd = accept(listener, nullptr, nullptr);
      char buffer[512];
      (void)recv(fd, buffer, sizeof buffer, 0);
      (void)send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      usleep(20'000);
      close(fd);
    });
    auto body = [&]() -> Task<void> {
      PgConnection db(loop);
      PgTarget target = server().target();
      target.port = ntohs(address.sin_port);
      target.sslmode = "disable";
      auto connected = co_await db.connect(target, in(3s));
      EXPECT_TRUE(!connected && connected.error().code == code) << answer << " -> " << connected.error().text;
      if (answer == starting) {
        EXPECT_EQ(db.sqlstate(), "57P03") << connected.error().text;
        EXPECT_TRUE(connected.error().text.ends_with("FATAL: the database system is starting up")) << connected.error().text;
      }
    };
    run(body());
    peer.join();
  }
  close(listener);
}

TEST(Sqlstate, classes) {
  EXPECT_EQ(errc_of_sqlstate("57P03"), Errc::unavailable);
  EXPECT_EQ(errc_of_sqlstate("53300"), Errc::unavailable);
  EXPECT_EQ(errc_of_sqlstate("28000"), Errc::denied);
  EXPECT_EQ(errc_of_sqlstate("57014"), Errc::cancelled);
  EXPECT_EQ(errc_of_sqlstate("40001"), Errc::conflict);
  EXPECT_EQ(errc_of_sqlstate("42601"), Errc::invalid);
}

}  // namespace
}  // namespace pgdba::net
