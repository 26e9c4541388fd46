// The end of WAL on disk, compared with pg_waldump and with what PostgreSQL finds when it recovers.
#include <gtest/gtest.h>

#include <atomic>

#include "base/text.h"
#include "net/loop.h"
#include "pg/config_files.h"
#include "pg/control.h"
#include "pg/wal_end.h"
#include "unit/guardian/scratch.h"

namespace pgdba::pg {
namespace {

using namespace test;

class Wal : public testing::Test {
 protected:
  void SetUp() override {
    Output initdb = run({kBin + "/initdb", "-D", data_, "--no-sync", "-A", "trust", "-U", "postgres",
                         "--locale=C.UTF-8", "-E", "UTF8", "--wal-segsize=1"});
    ASSERT_EQ(initdb.status, 0) << initdb.text;
    std::ofstream(data_ + "/postgresql.conf", std::ios::app)
        << "fsync=off\nlisten_addresses=''\nunix_socket_directories='" << scratch_.path
        << "'\nautovacuum=off\ncheckpoint_timeout=1h\nmax_wal_size=1GB\nbgwriter_lru_maxpages=0\nsynchronous_commit="
           "on\n";
    start();
  }
  void start() {
    ASSERT_EQ(run({kBin + "/pg_ctl", "start", "-w", "-D", data_, "-l", scratch_.path + "/log"}).status, 0)
        << slurp(scratch_.path + "/log");
  }
  void stop(const char* mode) { ASSERT_EQ(run({kBin + "/pg_ctl", "stop", "-w", "-D", data_, "-m", mode}).status, 0); }
  std::string psql(const std::string& sql) {
    Output out = run({kBin + "/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", scratch_.path, "-U", "postgres", "-d",
                      "postgres", "-c", sql});
    EXPECT_EQ(out.status, 0) << out.text;
    return std::string(trim(out.text));
  }
  ControlData control() {
    Install install = find_install(kBin).value();
    auto read = net::run_blocking(loop_, read_control(loop_, install, data_, loop_.after(5s)), loop_.after(6s));
    EXPECT_TRUE(read) << read.error().text;
    return read.value_or(ControlData{});
  }
  WalEnd end() {
    Layout layout{.data_dir = data_, .state_dir = {}, .run_dir = {}};
    auto found = find_wal_end(layout, control(), read_histories(layout).value(), stop_);
    EXPECT_TRUE(found) << found.error().text;
    return found.value_or(WalEnd{});
  }

  Scratch scratch_;
  std::string data_ = scratch_.path + "/data";
  net::Loop loop_;
  std::atomic<bool> stop_ = false;
};

TEST_F(Wal, EndsWhereTheServerEnded) {
  psql("create table t as select generate_series(1, 20000) i, repeat('x', 300) x");
  psql("select pg_switch_wal()");
  for (int i = 0; i < 20; ++i) {
    psql("insert into t select i, repeat('y', 4000 + " + std::to_string(i * 977) + ") from generate_series(1, 3) i");
    if (i % 7 == 3) psql("checkpoint");
    std::string flushed = psql("select pg_current_wal_flush_lsn()");
    // Looked at while nothing writes: both ends are the same, up to the header of a page that begins there. PostgreSQL's own
    // processes may write a record in between; then once more.
    std::string inserted;
    WalEnd found;
    do {
      inserted = psql("select pg_current_wal_insert_lsn()");
      found = end();
    } while (inserted != psql("select pg_current_wal_insert_lsn()"));
    EXPECT_EQ(found.timeline, 1U);
    Lsn live = parse_lsn(inserted).value();
    if (live.bytes % 8192 == 24 || live.bytes % 8192 == 40) live.bytes = live.bytes / 8192 * 8192;
    EXPECT_EQ(format_lsn(found.lsn), format_lsn(live)) << "flushed " << flushed;
  }
  stop("immediate");
  WalEnd crashed = end();
  EXPECT_EQ(control().file.state, model::ControlState::in_production);
  start();
  std::string log = slurp(scratch_.path + "/log");
  // "redo done at X": the start of the last record. Recovery read nothing beyond our end.
  EXPECT_NE(log.find("redo done at"), std::string::npos) << log;
  stop("fast");
  WalEnd clean = end();
  EXPECT_GT(clean.lsn, crashed.lsn);
  ControlData after = control();
  EXPECT_EQ(after.file.state, model::ControlState::shut_down);
  EXPECT_EQ(after.file.checkpoint, after.redo);
  EXPECT_EQ(clean.records, 1U) << "only the shutdown checkpoint";
  // Written as 114 bytes, with the alignment of the next record's start.
  EXPECT_EQ(clean.lsn.bytes - after.file.checkpoint.bytes, 120U);
}

TEST_F(Wal, ATornTailIsNotCounted) {
  psql("create table t (x text)");
  psql("insert into t select repeat('z', 1000) from generate_series(1, 50)");
  stop("immediate");
  WalEnd whole = end();
  uint64_t segment = 1 << 20;
  std::string file = fmt::format("{}/pg_wal/00000001{:08X}{:08X}", data_, whole.lsn.bytes >> 32,
                                 (whole.lsn.bytes & 0xFFFFFFFF) / segment);
  // The last bytes of the last record were never written.
  std::fstream io(file, std::ios::in | std::ios::out | std::ios::binary);
  io.seekp(static_cast<std::streamoff>(whole.lsn.bytes % segment) - 16);
  io.write("????????", 8);
  io.close();
  WalEnd torn = end();
  EXPECT_LT(torn.lsn, whole.lsn);
  EXPECT_EQ(torn.records + 1, whole.records);
  stop_ = true;
  Layout layout{.data_dir = data_, .state_dir = {}, .run_dir = {}};
  EXPECT_EQ(find_wal_end(layout, control(), {}, stop_).error().code, Errc::cancelled);
}

TEST_F(Wal, FollowsTimelines) {
  psql("create table t (i int)");
  stop("fast");
  std::ofstream(data_ + "/standby.signal");
  start();
  psql("select pg_promote()");
  psql("insert into t values (1)");
  Lsn live = parse_lsn(psql("select pg_current_wal_insert_lsn()")).value();
  std::string history = slurp(data_ + "/pg_wal/00000002.history");
  stop("immediate");
  Layout layout{.data_dir = data_, .state_dir = {}, .run_dir = {}};
  // pg_control may still be on the old timeline, from whose redo point the reading starts.
  WalEnd found = end();
  EXPECT_EQ(found.timeline, 2U);
  // PostgreSQL's own processes may have added a record (a snapshot of running transactions) before the end.
  EXPECT_GE(found.lsn, live);
  EXPECT_LT(found.lsn.bytes, live.bytes + 512);
  // The same, as if the checkpoint after the promotion had not been made: it begins on timeline 1 and goes over.
  ControlData old = control();
  old.file.timeline = 1;
  auto histories = read_histories(layout).value();
  ASSERT_EQ(histories.size(), 1U) << history;
  old.redo = Lsn{histories[0].ends.at(1).bytes - 120};
  auto across = find_wal_end(layout, old, histories, stop_);
  ASSERT_TRUE(across) << across.error().text;
  EXPECT_EQ(across->timeline, 2U);
  EXPECT_EQ(format_lsn(across->lsn), format_lsn(found.lsn));
}

TEST_F(Wal, ParametersThatPostgresRefusesAreLeftOut) {
  Install install = find_install(kBin).value();
  std::map<std::string, std::string> wanted{
      {"work_mem", "8MB"},        {"no_such_setting", "1"},          {"max_connections", "many"},
      {"wal_level", "replicant"}, {"pg_stat_statements.max", "100"}, {"shared_buffers", "-5"}};
  auto checked = net::run_blocking(loop_, check_parameters(loop_, install, scratch_.path, wanted, loop_.after(5s)),
                                   loop_.after(6s));
  ASSERT_TRUE(checked) << checked.error().text;
  EXPECT_EQ(checked->good,
            (std::map<std::string, std::string>{{"pg_stat_statements.max", "100"}, {"work_mem", "8MB"}}));
  EXPECT_EQ(checked->warnings.size(), 4U);
  for (const std::string& warning : checked->warnings) std::cout << warning << "\n";
}

}  // namespace
}  // namespace pgdba::pg
