// What pg/ writes into files and reads from them, without a server.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "pg/actions.h"
#include "pg/config_files.h"
#include "pg/conninfo.h"
#include "pg/control.h"
#include "pg/durable.h"
#include "pg/hba.h"
#include "pg/history.h"
#include "pg/log_tail.h"
#include "pg/marks.h"
#include "pg/probe_file.h"
#include "unit/guardian/scratch.h"

namespace pgdba::pg {
namespace {

using model::PgConfig;
using model::SyncNames;

Settings settings_in(const std::string& folder) {
  Settings out;
  out.name = "pg-replica-1";
  out.cluster_name = "demo";
  out.layout = {.data_dir = folder + "/data", .state_dir = folder + "/state", .run_dir = folder + "/run"};
  out.superuser = {.user = "postgres", .password = Secret("s3cret"), .options = {}};
  out.replication = {.user = "replicator", .password = Secret("re:pl\\"), .options = {}};
  out.rewind = {.user = "rewind_user", .password = Secret("x"), .options = {}};
  return out;
}

PgConfig streaming() {
  PgConfig out;
  out.upstream = PgConfig::Upstream::member;
  out.upstream_member = "pg-primary";
  out.upstream_conn_url = "postgres://10.0.0.1:5433/postgres";
  out.sync_names = {SyncNames::Kind::any, 1, {std::string(model::kSyncPlaceholder)}};
  out.gate_closed = false;
  return out;
}

TEST(SyncNamesText, RoundTrip) {
  struct Row {
    SyncNames names;
    std::string text;
  };
  const Row rows[] = {
      {{}, ""},
      {{SyncNames::Kind::any, 2, {"b", "c-1"}}, "ANY 2 (\"b\",\"c-1\")"},
      {{SyncNames::Kind::first, 1, {"we\"ird, name)"}}, "FIRST 1 (\"we\"\"ird, name)\")"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(format_sync_names(row.names), row.text);
    EXPECT_EQ(parse_sync_names(row.text), row.names) << row.text;
  }
  EXPECT_EQ(parse_sync_names("2 (a, B)"), (SyncNames{SyncNames::Kind::first, 2, {"a", "b"}}));
  for (const char* bad : {"ANY (a)", "ANY x (a)", "*", "a, b", "ANY 1 (a", "ANY 1 (\"a)", "ANY 1 (a b", "SOME 1 (a)"})
    EXPECT_FALSE(parse_sync_names(bad)) << bad;
}

TEST(HaConfig, RoundTrip) {
  PgConfig frozen;
  frozen.freeze_nonce = "abc123";
  frozen.sync_names = {SyncNames::Kind::any, 3, {"b", "it's, a: name%"}};
  PgConfig primary;
  primary.upstream = PgConfig::Upstream::none;
  primary.gate_closed = false;
  primary.term = 42;
  for (const PgConfig& config : {PgConfig{}, frozen, primary, streaming()}) {
    std::string text = format_ha_config(config);
    EXPECT_EQ(text.find('\''), std::string::npos);
    EXPECT_EQ(parse_ha_config(text), config) << text;
  }
  EXPECT_FALSE(parse_ha_config(""));
  EXPECT_FALSE(parse_ha_config("2 upstream=none member= url= nonce= sync=none:0: gate=open term=0"));
  EXPECT_FALSE(parse_ha_config("1 upstream=none member= url= nonce= sync=none:0: gate=ajar term=0"));
}

TEST(Render, SameInputSameBytesAndEveryChangeANewGeneration) {
  Settings settings = settings_in("/x");
  FileInputs inputs;
  inputs.parameters = {
      {"work_mem", "8MB"}, {"archive_command", "cp '%p' C:\\x"}, {"port", "1"}, {"Synchronous_Standby_Names", "*"}};
  inputs.pg_hba = {"host all all 0.0.0.0/0 md5"};
  Install install{"/bin", 150018};
  RenderedFiles a = render(settings, inputs, streaming(), install, "postgres");
  RenderedFiles b = render(settings, inputs, streaming(), install, "postgres");
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.ha_conf, b.ha_conf);
  EXPECT_EQ(a.warnings.size(), 2U);
  EXPECT_NE(a.postgresql_conf.find("archive_command = 'cp ''%p'' C:\\\\x'\n"), std::string::npos) << a.postgresql_conf;
  EXPECT_NE(a.postgresql_conf.find("port = '5432'\n"), std::string::npos);
  EXPECT_EQ(a.postgresql_conf.find("Synchronous"), std::string::npos);
  // A default of ours stands before the file in which somebody may say otherwise, and before the cluster's parameters.
  EXPECT_LT(a.postgresql_conf.find("wal_sender_timeout = '20s'\n"), a.postgresql_conf.find("include 'postgresql.base.conf'"));
  FileInputs other = inputs;
  other.parameters["wal_sender_timeout"] = "90s";
  const std::string theirs = render(settings, other, streaming(), install, "postgres").postgresql_conf;
  EXPECT_GT(theirs.find("wal_sender_timeout = '90s'\n"), theirs.find("wal_sender_timeout = '20s'\n"));
  EXPECT_NE(theirs.find("wal_sender_timeout = '90s'\n"), std::string::npos);
  EXPECT_NE(a.ha_conf.find("primary_slot_name = 'pg_replica_1'\n"), std::string::npos);
  EXPECT_NE(a.ha_conf.find("passfile=''/x/run/walreceiver.pass''"), std::string::npos);
  EXPECT_EQ(a.passfile, "10.0.0.1:5433:*:replicator:re\\:pl\\\\\n");
  for (const std::string* text : {&a.postgresql_conf, &a.ha_conf, &a.pg_hba})
    EXPECT_EQ(text->find("re:pl"), std::string::npos) << "a password in " << *text;

  Settings own = settings;
  own.pgpass = "/home/me/pgpass";
  RenderedFiles c = render(own, inputs, streaming(), install, "postgres");
  EXPECT_NE(c.ha_conf.find("passfile=''/home/me/pgpass''"), std::string::npos) << c.ha_conf;
  EXPECT_EQ(c.passfile, a.passfile);

  std::set<std::string> generations{a.generation};
  PgConfig closed = streaming();
  closed.gate_closed = true;
  generations.insert(render(settings, inputs, closed, install, "postgres").generation);
  PgConfig term = streaming();
  term.term = 1;
  generations.insert(render(settings, inputs, term, install, "postgres").generation);
  inputs.pg_hba.push_back("host all all ::/0 md5");
  generations.insert(render(settings, inputs, streaming(), install, "postgres").generation);
  inputs.parameters["work_mem"] = "9MB";
  generations.insert(render(settings, inputs, streaming(), install, "postgres").generation);
  EXPECT_EQ(generations.size(), 5U);
}

TEST(Passfile, OnlyAnAbsolutePathThatIsOursOrFree) {
  test::Scratch scratch;
  const std::string file = scratch.path + "/pgpass";
  EXPECT_TRUE(usable_passfile(""));
  EXPECT_TRUE(usable_passfile(file));
  ASSERT_TRUE(write_durably(file, "x"));
  EXPECT_TRUE(usable_passfile(file));
  EXPECT_FALSE(usable_passfile("pgpass"));
  EXPECT_FALSE(usable_passfile("/dev/null"));
  EXPECT_FALSE(usable_passfile(scratch.path)) << "a folder";
  EXPECT_FALSE(usable_passfile(scratch.path + "/none/pgpass"));
  EXPECT_FALSE(usable_passfile(file + "\n"));
}

TEST(Hba, TheGateLetsInTheAgentAndThoseWhoRejoin) {
  Settings settings = settings_in("/x");
  std::vector<std::string> lines = {"local all all peer", "host replication replicator 10.0.0.0/8 scram-sha-256",
                                    "hostssl all \"rewind_user\" samenet cert clientcert=verify-full",
                                    "host all all 0.0.0.0 0.0.0.0 md5", "host app app all trust"};
  Hba closed = render_hba(settings, lines, true, "alice", 15);
  EXPECT_TRUE(closed.warnings.empty());
  EXPECT_TRUE(hba_gate_closed(closed.text));
  EXPECT_TRUE(is_our_hba(closed.text));
  const std::string want =
      "# the agent itself\n"
      "local all \"postgres\" scram-sha-256\n"  // peer would not let alice in as postgres
      "local replication \"postgres\" scram-sha-256\n"
      "# pg_rewind of the other members\n"
      "hostssl \"postgres\" \"rewind_user\" samenet cert clientcert=verify-full\n"
      "host \"postgres\" \"rewind_user\" 0.0.0.0 0.0.0.0 md5\n"
      "# nobody else until this member is known to be right\n"
      "local all all reject\n"
      "host all all all reject\n"
      "# as configured\n"
      "local all all peer\n";
  EXPECT_NE(closed.text.find(want), std::string::npos) << closed.text;
  Hba open = render_hba(settings, lines, false, "postgres", 15);
  EXPECT_FALSE(hba_gate_closed(open.text));
  EXPECT_EQ(open.text.find("reject"), std::string::npos);
  EXPECT_NE(open.text.find("local all \"postgres\" peer\n"), std::string::npos)
      << "the operator's own way in stays his";
  EXPECT_FALSE(hba_gate_closed("# pgdba gate: closed\n"));
}

TEST(Hba, ALineThatPostgresWouldRefuseIsLeftOut) {
  std::vector<std::string> lines = {"hast all all all md5",
                                    "host all all",
                                    "host all all 10.0.0.1 md5",
                                    "host all all all magic",
                                    "local all all trust x",
                                    "include x",
                                    "# a comment",
                                    "",
                                    "host \"all\", app  u1, u2 all md5"};
  Hba hba = render_hba(settings_in("/x"), lines, false, "postgres", 15);
  EXPECT_EQ(hba.warnings.size(), 6U);
  for (const std::string& warning : hba.warnings) EXPECT_NE(warning.find("was left out: "), std::string::npos);
  EXPECT_NE(hba.text.find("host \"all\", app  u1, u2 all md5\n"), std::string::npos);
  EXPECT_EQ(hba.text.find("magic"), std::string::npos);
  EXPECT_TRUE(render_hba(settings_in("/x"), {"include x"}, false, "postgres", 16).warnings.empty());
}

class Files : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(prepare(layout_));
    ASSERT_TRUE(write_durably(layout_.postgresql_conf(), "max_connections = 7\n"));
    ASSERT_TRUE(write_durably(layout_.hba_conf(), "local all all trust\n"));
  }
  test::Scratch scratch_;
  Settings settings_ = settings_in(scratch_.path);
  Layout& layout_ = settings_.layout;
  Install install_{"/bin", 150018};
  FileInputs inputs_;
};

TEST_F(Files, OnDiskIsWhatWasWritten) {
  EXPECT_EQ(read_on_disk(layout_)->upstream, PgConfig::Upstream::member)
      << "of somebody else's files nothing safe may be said";
  EXPECT_FALSE(read_on_disk(layout_)->gate_closed);
  PgConfig config = streaming();
  config.gate_closed = true;
  auto first = write_files(settings_, inputs_, config, install_);
  ASSERT_TRUE(first) << first.error().text;
  EXPECT_TRUE(first->changed);
  EXPECT_EQ(read_on_disk(layout_).value(), config);
  EXPECT_EQ(*read_file(layout_.base_conf()), "max_connections = 7\n");
  EXPECT_NE(read_file(layout_.hba_conf())->find("# as configured\nlocal all all trust\n"), std::string::npos)
      << "what was there first is kept";
  auto again = write_files(settings_, inputs_, config, install_);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(again->generation, first->generation);
  // A reboot that empties /run: PostgreSQL cannot start, which is frozen.
  ASSERT_TRUE(remove_durably(layout_.ha_conf()));
  EXPECT_EQ(read_on_disk(layout_).value(), PgConfig{});
}

TEST_F(Files, ThePasswordFileOfTheOperator) {
  settings_.pgpass = scratch_.path + "/pgpass";
  ASSERT_TRUE(write_durably(settings_.pgpass, "old:5432:*:a:b\n"));
  ASSERT_EQ(::chmod(settings_.pgpass.c_str(), 0644), 0);
  ASSERT_TRUE(write_files(settings_, inputs_, streaming(), install_));
  EXPECT_EQ(*read_file(settings_.pgpass), "10.0.0.1:5433:*:replicator:re\\:pl\\\\\n");
  struct stat info {};
  ASSERT_EQ(::stat(settings_.pgpass.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U) << "libpq takes no other";
  EXPECT_FALSE(exists(layout_.in_run("walreceiver.pass")));
}

// A crash between the files of one apply must not leave a claim that is safer than the truth.
TEST_F(Files, AHalfWrittenGateIsAnOpenOne) {
  PgConfig config = streaming();
  ASSERT_TRUE(write_files(settings_, inputs_, config, install_));
  std::string open_hba = *read_file(layout_.live_hba_conf());
  std::string open_ha = *read_file(layout_.ha_conf());
  config.gate_closed = true;
  ASSERT_TRUE(write_files(settings_, inputs_, config, install_));
  std::string closed_hba = *read_file(layout_.live_hba_conf());
  std::string closed_ha = *read_file(layout_.ha_conf());
  EXPECT_TRUE(read_on_disk(layout_)->gate_closed);
  ASSERT_TRUE(write_durably(layout_.live_hba_conf(), open_hba));
  EXPECT_FALSE(read_on_disk(layout_)->gate_closed);
  ASSERT_TRUE(write_durably(layout_.live_hba_conf(), closed_hba));
  ASSERT_TRUE(write_durably(layout_.ha_conf(), open_ha));
  EXPECT_FALSE(read_on_disk(layout_)->gate_closed);
}

// Whatever dies, and whoever starts PostgreSQL then without the agent (G2, G4).
TEST_F(Files, AtRestNobodyStreamsAcknowledgesOrComesIn) {
  PgConfig config = streaming();
  config.sync_names = {SyncNames::Kind::any, 1, {"pg-primary"}};
  ASSERT_TRUE(write_files(settings_, inputs_, config, install_));
  const std::string conf = *read_file(layout_.postgresql_conf());
  EXPECT_NE(conf.find("\nprimary_conninfo = ''\n"), std::string::npos) << conf;
  EXPECT_NE(conf.find("\nprimary_slot_name = ''\n"), std::string::npos);
  EXPECT_NE(conf.find("\nsynchronous_standby_names = 'ANY 1 (\"__patroni"), std::string::npos);
  EXPECT_NE(conf.find("\nhba_file = '" + layout_.hba_conf() + "'\n"), std::string::npos);
  EXPECT_EQ(conf.find(layout_.run_dir + "/pg"), std::string::npos) << "nothing of the live files";
  EXPECT_TRUE(hba_gate_closed(*read_file(layout_.hba_conf())));
  const std::string live = *read_file(layout_.ha_conf());
  EXPECT_LT(live.find("include '" + layout_.postgresql_conf() + "'"), live.find("primary_conninfo"));
  EXPECT_FALSE(hba_gate_closed(*read_file(layout_.live_hba_conf())));
}

TEST_F(Files, AlterSystemDoesNotWinOverTheAgent) {
  ASSERT_TRUE(write_durably(layout_.auto_conf(),
                            "# ALTER SYSTEM\nwork_mem = '9MB'\nsynchronous_standby_names = ''\nprimary_conninfo "
                            "'host=x'\nrestore_command='true'\n"));
  ASSERT_TRUE(write_files(settings_, inputs_, PgConfig{}, install_));
  EXPECT_EQ(*read_file(layout_.auto_conf()), "# ALTER SYSTEM\nwork_mem = '9MB'\n");
}

TEST_F(Files, MarksAndRecords) {
  EXPECT_FALSE(unusable_why(layout_).value());
  ASSERT_TRUE(mark_unusable(layout_, "a clone was interrupted"));
  EXPECT_EQ(unusable_why(layout_).value(), "a clone was interrupted");
  ASSERT_TRUE(clear_unusable(layout_));
  ASSERT_TRUE(clear_unusable(layout_));
  EXPECT_FALSE(unusable_why(layout_).value());

  ASSERT_TRUE(record_timeline(layout_, 2, "n2"));
  ASSERT_TRUE(record_timeline(layout_, 3, "n3"));
  ASSERT_TRUE(record_timeline(layout_, 2, "other"));
  EXPECT_EQ(read_timeline_nonces(layout_).value(), (std::map<uint32_t, std::string>{{2, "other"}, {3, "n3"}}));
  EXPECT_FALSE(record_timeline(layout_, 4, "two words"));

  EXPECT_FALSE(initdb_mark(layout_));
  const InitdbMark made{7659000000000000001, Lsn{0x1500028}};
  ASSERT_TRUE(mark_initdb(layout_, made));
  EXPECT_EQ(initdb_mark(layout_), made);
  using State = model::ControlState;
  EXPECT_TRUE(is_pristine(made, {made.system_id, State::shut_down, 1, made.checkpoint, true}));
  EXPECT_TRUE(is_pristine(made, {made.system_id, State::shut_down_in_recovery, 1, made.checkpoint, true}));
  EXPECT_FALSE(is_pristine(made, {made.system_id + 1, State::shut_down, 1, made.checkpoint, true})) << "other data under our mark";
  EXPECT_FALSE(is_pristine(made, {made.system_id, State::shut_down, 1, Lsn{0x1600028}, true})) << "somebody has written";
  EXPECT_FALSE(is_pristine(made, {made.system_id, State::in_production, 1, made.checkpoint, true}));
  EXPECT_FALSE(is_pristine(std::nullopt, {made.system_id, State::shut_down, 1, made.checkpoint, true}));
  ASSERT_TRUE(write_durably(layout_.initdb_mark(), "7659000000000000001 0/1500028"));
  EXPECT_FALSE(initdb_mark(layout_)) << "a mark that is not whole gives nothing away";
  ASSERT_TRUE(clear_initdb(layout_));

  EXPECT_EQ(read_freeze_record(layout_)->has_value(), false);
  model::FreezeRecord record{.term = 7, .leader = "pg primary", .etcd_cluster_id = UINT64_MAX, .nonce = "abc"};
  ASSERT_TRUE(write_freeze_record(layout_, record));
  EXPECT_EQ(read_freeze_record(layout_).value(), record);
  ASSERT_TRUE(write_durably(layout_.freeze_record(), "term 7\nleader x\n"));
  EXPECT_FALSE(read_freeze_record(layout_)) << "a record that cannot be read is no absent record";
  ASSERT_TRUE(clear_freeze_record(layout_));
}

// H4: after a PANIC on an fsync the disk may hold less than what was acknowledged.
TEST_F(Files, APanicIsFoundInTheLog) {
  std::string log = scratch_.path + "/log", collected = layout_.in_data("log/postgresql.log");
  auto says = [&](const std::string& text) {
    EXPECT_TRUE(write_durably(log, text));
    return log_says_panic(layout_, log);
  };
  const std::string start = "LOG:  starting PostgreSQL 15.18\n",
                    panic = "[7] PANIC:  could not fsync file \"pg_wal/0\": Input/output error\n";
  EXPECT_FALSE(says(start));
  EXPECT_TRUE(says(start + panic + "LOG:  shutting down\n"));
  EXPECT_FALSE(says(start + panic + start)) << "of an earlier life";
  EXPECT_FALSE(says(start + "STATEMENT:  select 'PANIC: x'\nERROR:  could not fsync\n"));
  EXPECT_TRUE(says(start + "PANIC:  could not close file \"pg_wal/1\": Input/output error\n"));
  EXPECT_TRUE(says(start + "2026-11-27 19:00:00 UTC,,,7,,6,0,,2026-11-27,,0,PANIC,58030,\"could not write to file \"\"x\"\"\"\n"));
  EXPECT_TRUE(says(start + R"({"pid":7,"error_severity":"PANIC","message":"could not fdatasync file"})" + "\n"));
  EXPECT_FALSE(says(start + "ERROR:  PANIC:  could not fsync\n")) << "a client's words";
  EXPECT_FALSE(says(start + "LOG:  x\n\tPANIC:  could not fsync\n")) << "a client's words on a line of their own";
  std::filesystem::create_directory(layout_.in_data("log"));
  ASSERT_TRUE(write_durably(collected, start + panic));
  EXPECT_FALSE(says(start));
  ASSERT_TRUE(write_durably(layout_.in_data("current_logfiles"), "stderr log/postgresql.log\n"));
  EXPECT_TRUE(says(start));
}

// A burst of lines, or a rotation, in the moment between the PANIC and the end of the last process.
TEST_F(Files, APanicIsFoundBehindABurstAndARotation) {
  std::string log = scratch_.path + "/log", rotated = log + ".1", collected = layout_.in_data("log/b.log");
  const std::string start = "2026-11-27 19:00:00 UTC [1] LOG:  starting PostgreSQL 15.18\n",
                    panic = "[7] PANIC:  could not fsync file \"pg_wal/0\": Input/output error\n";
  std::string burst;
  while (burst.size() < (3 << 20)) burst += "[8] FATAL:  the database system is shutting down\n";
  std::string statement = "[9] LOG:  statement: select '" + std::string(2 << 20, 'x') + "'\n";
  struct Row {
    const char* name;
    std::string before, now;
    bool panic;
  };
  const Row rows[] = {
      {"burst", "", start + panic + burst, true},
      {"a long line", "", start + panic + statement, true},
      {"of an earlier life", "", start + panic + burst + start, false},
      {"a client talks of a start", "", start + panic + "[8] ERROR:  starting PostgreSQL 15\n[8] STATEMENT:  starting PostgreSQL 15\n", true},
      {"rotated away", start + panic, burst, true},
      {"rotated between", burst + start, panic + burst, true},
      {"rotated, of an earlier life", start + panic, burst + start, false},
      {"rotated, and nothing", burst + start, burst, false},
      {"without a line end", "", start + "[7] PANIC:  could not write to log file", true},
  };
  for (const Row& row : rows) {
    ASSERT_TRUE(write_durably(rotated, row.before));
    ASSERT_TRUE(write_durably(log, row.now));
    EXPECT_EQ(log_says_panic(layout_, log), row.panic) << row.name;
  }
  ASSERT_TRUE(write_durably(log, start));
  std::filesystem::create_directory(layout_.in_data("log"));
  ASSERT_TRUE(write_durably(layout_.in_data("log/a.log"), start + panic));
  ASSERT_TRUE(write_durably(layout_.in_data("log/a.csv"), burst));
  ASSERT_TRUE(write_durably(collected, burst));
  ASSERT_TRUE(write_durably(layout_.in_data("current_logfiles"), "stderr log/b.log\n"));
  EXPECT_TRUE(log_says_panic(layout_, log)) << "the collector's file before";
  ASSERT_TRUE(write_durably(collected, start + burst));
  EXPECT_FALSE(log_says_panic(layout_, log));
  std::filesystem::remove(rotated);
  std::filesystem::create_directory(rotated);  // there, and no file that can be read
  ASSERT_TRUE(write_durably(log, burst));
  EXPECT_TRUE(log_says_panic(layout_, log)) << "what it says may be the PANIC";
}

// One reading that fails must not pass for "there is nothing": on it a leader would stop waiting for its standbys, and a
// member would give its data up.
TEST_F(Files, WhatCannotBeReadIsNotAbsent) {
  ASSERT_TRUE(write_files(settings_, inputs_, streaming(), install_));
  for (const std::string& path : {layout_.postgresql_conf(), layout_.ha_conf()}) {
    std::filesystem::rename(path, path + ".away");
    std::filesystem::create_directory(path);  // opening it works, reading it does not, for root as well
    EXPECT_FALSE(read_on_disk(layout_)) << path;
    std::filesystem::remove(path);
    std::filesystem::rename(path + ".away", path);
  }
  ASSERT_TRUE(write_durably(layout_.postgresql_conf(), "# somebody else's\n"));
  EXPECT_EQ(read_ha_config(layout_).value(), streaming());
  std::filesystem::create_directory(layout_.unusable_mark());
  EXPECT_FALSE(unusable_why(layout_));
  std::filesystem::remove(layout_.timelines_file());
  std::filesystem::create_directory(layout_.timelines_file());
  EXPECT_FALSE(read_timeline_nonces(layout_));
  EXPECT_FALSE(record_timeline(layout_, 5, "n5")) << "it would forget the others";
}

TEST_F(Files, HistoryStubsAreNoHistory) {
  std::filesystem::create_directory(layout_.in_data("pg_wal"));
  ASSERT_TRUE(write_durably(layout_.in_data("pg_wal/00000003.history"),
                            "1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tx\n"));
  ASSERT_TRUE(skip_timelines(layout_, {3, 4, 5}));
  auto histories = read_histories(layout_).value();
  ASSERT_EQ(histories.size(), 1U);
  EXPECT_EQ(timeline_starts(histories),
            (std::map<uint32_t, Lsn>{{1, Lsn{0}}, {2, Lsn{0x3000060}}, {3, Lsn{0x5000000}}}));
  EXPECT_TRUE(exists(layout_.in_data("pg_wal/00000005.history")));
  // What is known is read again only when the folder has changed, and never misses a file.
  KnownHistories known;
  for (uint32_t timeline = 6; timeline < 60; ++timeline) {
    ASSERT_TRUE(write_durably(layout_.in_data(fmt::format("pg_wal/{:08X}.history", timeline)), "1\t0/3000060\tx\n"));
    auto now = known.read(layout_);
    ASSERT_TRUE(now);
    EXPECT_EQ(now->back().timeline, timeline);
  }
  ASSERT_TRUE(remove_history_stubs(layout_));
  EXPECT_FALSE(exists(layout_.in_data("pg_wal/00000005.history")));
  EXPECT_TRUE(exists(layout_.in_data("pg_wal/00000003.history")));
}

TEST(ProbeCallsText, CountsCallsInARowForOneSegment) {
  const std::string s1 = "000000010000000000000005", s2 = "000000010000000000000006";
  auto count = [](const std::string& text) { return parse_probe_calls(text, "n").repeated; };
  EXPECT_EQ(count(""), 0);
  EXPECT_EQ(count("n " + s1 + "\n"), 1);
  EXPECT_EQ(count("n " + s1 + "\nn 00000002.history\nn " + s1 + "\n"), 2) << "history files do not interrupt";
  EXPECT_EQ(count("n " + s1 + "\nn " + s1 + "\nn " + s2 + "\n"), 1) << "it went on";
  EXPECT_EQ(count("old " + s1 + "\nnn " + s1 + "\nn " + s1 + "\n"), 1) << "another nonce";
  EXPECT_EQ(parse_probe_calls(" " + s1 + "\n " + s1 + "\n", "").repeated, 0) << "no nonce, no proof";
}

TEST(ConnUrl, Parses) {
  EXPECT_EQ(parse_conn_url("postgres://10.0.0.1:5433/postgres")->port, 5433);
  EXPECT_EQ(parse_conn_url("postgresql://u:p@host/db?x=1")->host, "host");
  EXPECT_EQ(*parse_conn_url("postgres://[::1]:6000/x"), (HostPort{"::1", 6000}));
  for (const char* bad :
       {"", "http://x", "postgres://", "postgres://h:0/", "postgres://h:x/", "postgres://[::1", "postgres://a,b:1/"})
    EXPECT_FALSE(parse_conn_url(bad)) << bad;
  EXPECT_EQ(format_conninfo({{"a", "it's \\ here"}, {"b", ""}}), "a='it\\'s \\\\ here' b=''");
}

TEST(ControlData, IncompleteIsInvalid) {
  EXPECT_FALSE(parse_controldata(""));
  EXPECT_FALSE(parse_controldata("Database system identifier: 1\nDatabase cluster state: in production\n"));
}

TEST(LayoutCheck, RefusesWhatPostgresCannotUse) {
  test::Scratch scratch;
  EXPECT_EQ(prepare(Layout::beside("relative")).error().code, Errc::invalid);
  EXPECT_EQ(prepare(Layout::beside(scratch.path + "/it's")).error().code, Errc::invalid);
  EXPECT_EQ(prepare(Layout::beside(scratch.path + "/" + std::string(90, 'x'))).error().code, Errc::invalid);
  EXPECT_TRUE(prepare(Layout::beside(scratch.path + "/a/b/c")));
  EXPECT_EQ(prepare(Layout::beside("/proc/x")).error().code, Errc::unavailable);
}

TEST(LayoutCheck, TakesTheFolderOfSocketsWhereItsOwnIsTooDeep) {
  test::Scratch scratch;
  EXPECT_EQ(Layout::beside("/a/data", "/short").run_dir, "/a/data.pgdba/run");
  Layout deep = Layout::beside(scratch.path + "/" + std::string(90, 'x'), scratch.path + "/s");
  EXPECT_TRUE(deep.run_dir.starts_with(scratch.path + "/s/pgdba-")) << deep.run_dir;
  EXPECT_EQ(deep.run_dir, Layout::beside(deep.data_dir + "/", scratch.path + "/s").run_dir);
  EXPECT_NE(deep.run_dir, Layout::beside(deep.data_dir + "y", scratch.path + "/s").run_dir);
  EXPECT_TRUE(prepare(deep));
}

}  // namespace
}  // namespace pgdba::pg
