// One node: initdb, start, configure, observe, stop, and what a crash leaves.
#include <gtest/gtest.h>

#include <algorithm>

#include "unit/pg/node.h"

namespace pgdba::pg {
namespace {

class Primary : public testing::Test {
 protected:
  Scratch scratch_;
  net::Loop loop_;
  Node a_{loop_, scratch_.path, "a"};
};

TEST_F(Primary, Bootstrap) {
  EXPECT_EQ(a_.look().data, DataDir::empty);
  a_.settings().post_bootstrap = "touch " + scratch_.path + "/bootstrapped; echo";
  a_.restart_agent();
  ASSERT_TRUE(a_.ok(a_.run(init_db(*a_.server, nullptr, a_.in(20s)))));
  LocalPg rest = a_.look();
  EXPECT_EQ(rest.data, DataDir::present);
  EXPECT_EQ(rest.process, PgProcess::stopped);
  EXPECT_TRUE(rest.all_dead);
  EXPECT_TRUE(rest.standby_signal) << "a data directory at rest always has it";
  EXPECT_FALSE(rest.novote);
  EXPECT_TRUE(rest.pristine);
  EXPECT_EQ(rest.on_disk, PgConfig{});
  ASSERT_TRUE(rest.control);
  EXPECT_EQ(rest.control->state, model::ControlState::shut_down);
  EXPECT_TRUE(rest.control->checksums);
  EXPECT_FALSE(exists(a_.layout().in_run("initdb.pwfile")));
  EXPECT_FALSE(a_.run(init_db(*a_.server, nullptr, a_.in(20s)))) << "never over existing data";

  PgConfig config = Node::primary_config(1, true);
  ASSERT_TRUE(a_.apply(config));
  BootTime begin = loop_.now();
  ASSERT_TRUE(a_.start(true));
  std::cout << "accepts after " << (loop_.now() - begin) / 1ms << " ms\n";
  ASSERT_TRUE(a_.ok(a_.run(create_users(*a_.server, true, a_.in(5s)))));
  ASSERT_TRUE(a_.ok(a_.run(create_users(*a_.server, true, a_.in(5s))))) << "again";
  EXPECT_TRUE(exists(scratch_.path + "/bootstrapped"));
  LocalPg pg = a_.look();
  EXPECT_EQ(pg.process, PgProcess::running);
  EXPECT_TRUE(pg.guardian_alive);
  EXPECT_FALSE(pg.all_dead);
  EXPECT_FALSE(pg.standby_signal);
  EXPECT_FALSE(pg.pristine);
  EXPECT_FALSE(exists(a_.layout().initdb_mark()));
  ASSERT_TRUE(pg.answers);
  ASSERT_TRUE(pg.loaded);
  EXPECT_EQ(*pg.loaded, config);
  EXPECT_EQ(pg.on_disk, config);
  EXPECT_FALSE(pg.answers->in_recovery);
  EXPECT_EQ(pg.answers->timeline, 1U);
  EXPECT_TRUE(pg.answers->insert_lsn.valid());
  EXPECT_TRUE(pg.answers->pooler_auth_present);
  EXPECT_EQ(pg.answers->server_version / 10000, a_.server->install().major());
  EXPECT_EQ(pg.answers->client_sessions, 0) << "our own do not count";

  // The gate: our own connection is let in, others are not.
  Output refused = a_.psql("select 1");
  EXPECT_NE(refused.text.find("pg_hba.conf rejects"), std::string::npos) << refused.text;
  ASSERT_TRUE(a_.apply(Node::primary_config(1, false)));
  EXPECT_EQ(a_.psql("select 1").text, "1\n");
  EXPECT_FALSE(a_.look().loaded->gate_closed);

  // No password in what PostgreSQL logged or keeps readable; stored as SCRAM verifiers.
  std::string log = slurp(a_.settings().log_file);
  for (const char* secret : {"secret", "SCRAM-SHA-256"}) EXPECT_EQ(log.find(secret), std::string::npos) << log;
  EXPECT_EQ(a_.ask("select count(*) from pg_authid where rolpassword like 'SCRAM-SHA-256$4096:%'"), "4");
  EXPECT_EQ(a_.ask("select rolreplication::text || rolsuper::text from pg_authid where rolname = 'replicator'"),
            "truefalse");

  // The pooler's login is told the secret of everybody who may log in, and can do nothing else.
  a_.ask("create role app login password 'x'");
  a_.ask("create role chief superuser login password 'x'");
  a_.ask("create role group_role superuser nologin password 'x'");
  a_.ask("create role gone login password 'x' valid until '2001-01-01'");
  auto as_pooler = [&](const std::string& sql) {
    return Program({kBin + "/psql", "-XAtq", "-c", sql,
                    "host=127.0.0.1 user=pgdba_pooler dbname=postgres port=" + std::to_string(a_.inputs.port)},
                   {"PGPASSWORD=pool"})
        .wait();
  };
  EXPECT_TRUE(as_pooler("select phash from pgdba.user_lookup('app')").text.starts_with("SCRAM-SHA-256$"));
  for (const char* role : {"chief", "postgres", "replicator"}) {
    std::string told = as_pooler(std::string("select phash from pgdba.user_lookup('") + role + "')").text;
    EXPECT_TRUE(told.starts_with("SCRAM-SHA-256$")) << role;
  }
  EXPECT_EQ(as_pooler("select phash from pgdba.user_lookup('group_role')").text, "");
  EXPECT_EQ(as_pooler("select uname, phash is null from pgdba.user_lookup('gone')").text, "gone|t\n");
  for (const char* sql : {"select * from pg_authid", "create table pgdba.t(n int)", "alter role chief password 'y'", "set role chief",
                          "create or replace function pgdba.user_lookup(text) returns int language sql as 'select 1'"})
    EXPECT_NE(as_pooler(sql).status, 0) << sql;
  Output other = Program({kBin + "/psql", "-XAtq", "-c", "select pgdba.user_lookup('app')",
                          "host=127.0.0.1 user=app dbname=postgres port=" + std::to_string(a_.inputs.port)},
                         {"PGPASSWORD=x"})
                     .wait();
  EXPECT_NE(other.status, 0) << other.text;

  // Older builds did not tell of superusers; operators and extensions do what they do.
  for (const char* change :
       {"drop schema pgdba cascade",
        "create or replace function pgdba.user_lookup(i_username text, out uname text, out phash text) returns setof record language sql stable"
        " security definer set search_path = pg_catalog, pg_temp as 'select rolname::text, rolpassword from pg_authid where not rolsuper'",
        "alter function pgdba.user_lookup(text) set search_path = public", "alter function pgdba.user_lookup(text) security invoker",
        "grant execute on function pgdba.user_lookup(text) to public", "revoke usage on schema pgdba from pgdba_pooler"}) {
    a_.ask(change);
    EXPECT_FALSE(a_.look().answers->pooler_auth_present) << change;
    ASSERT_TRUE(a_.ok(a_.run(ensure_pooler_auth(*a_.server, a_.in(5s))))) << change;
    EXPECT_TRUE(a_.look().answers->pooler_auth_present) << change;
  }

  begin = loop_.now();
  ASSERT_TRUE(a_.stop(Server::StopMode::fast));
  std::cout << "stopped after " << (loop_.now() - begin) / 1ms << " ms\n";
  ASSERT_TRUE(a_.stop(Server::StopMode::fast)) << "again";
  rest = a_.look();
  EXPECT_EQ(rest.process, PgProcess::stopped);
  EXPECT_TRUE(rest.all_dead);
  EXPECT_TRUE(rest.standby_signal);
  EXPECT_FALSE(rest.exit_unexpected);
  EXPECT_EQ(rest.control->state, model::ControlState::shut_down);
}

TEST_F(Primary, ObservesQuicklyAndTruthfully) {
  ASSERT_TRUE(a_.bootstrap());
  std::vector<Duration> times;
  for (int i = 0; i < 50; ++i) {
    BootTime before = loop_.now();
    ASSERT_TRUE(a_.look().answers);
    times.push_back(loop_.now() - before);
  }
  std::ranges::sort(times);
  std::cout << "observation: median " << times[25] / 1us << " us, slowest " << times[49] / 1us << " us\n";

  // Somebody changes behind our back what we decide: what is loaded is what PostgreSQL runs with.
  a_.ask("alter system set synchronous_standby_names = 'ANY 2 (x, y)'");
  a_.ask("select pg_reload_conf()");
  ASSERT_TRUE(a_.until([](const LocalPg& pg) {
    return pg.loaded && pg.loaded->sync_names == Node::any(2, {"x", "y"});
  }));
  EXPECT_EQ(a_.last.on_disk.sync_names, SyncNames{});
  ASSERT_TRUE(a_.apply(Node::primary_config(1)));
  EXPECT_EQ(a_.look().loaded->sync_names, SyncNames{}) << "taken out of postgresql.auto.conf";

  a_.ask("alter role replicator set synchronous_commit = 'local'");
  a_.ask("alter database template1 set synchronous_commit = off");
  a_.ask("alter role rewind_user set synchronous_commit = remote_apply");
  EXPECT_EQ(a_.look().answers->weak_commit_settings, 2);

  Program session(a_.psql_command("begin; select pg_sleep(60)"), a_.password());
  ASSERT_TRUE(a_.until([](const LocalPg& pg) {
    return pg.answers && pg.answers->client_sessions == 1 && pg.answers->client_transactions == 1;
  }));

  a_.inputs.parameters["max_connections"] = "31";
  a_.inputs.parameters["no_such_thing"] = "1";
  a_.server->set_inputs(a_.inputs);
  ASSERT_TRUE(a_.apply(Node::primary_config(2)));
  EXPECT_EQ(a_.look().loaded->term, 2);
  ASSERT_TRUE(a_.until(
      [](const LocalPg& pg) { return pg.answers && pg.answers->pending_restart.contains("max_connections"); }));
  EXPECT_EQ(a_.last.answers->pending_restart.at("max_connections"), (model::ValueChange{"30", "31"}));
}

// A line that PostgreSQL refuses would keep the whole pg_hba.conf, and with it the gate, from being loaded.
TEST_F(Primary, ABadHbaLineDoesNotHoldTheGateOpen) {
  ASSERT_TRUE(a_.bootstrap());
  a_.inputs.pg_hba.push_back("host all all all nonsense");
  a_.inputs.pg_hba.push_back("host all all no.such.host.invalid/33 md5");  // our own check lets this one pass
  a_.server->set_inputs(a_.inputs);
  auto applied = a_.run(a_.server->apply(Node::primary_config(1, true), a_.in(3s)));
  if (applied) {
    EXPECT_EQ(applied->warnings.size(), 1U);
    EXPECT_NE(a_.psql("select 1").status, 0);
  } else {
    EXPECT_NE(applied.error().text.find("pg_hba"), std::string::npos) << applied.error().text;
    EXPECT_FALSE(a_.look().loaded->gate_closed) << "the gate that is claimed is not in force";
  }
  a_.inputs.pg_hba.pop_back();
  a_.server->set_inputs(a_.inputs);
  ASSERT_TRUE(a_.apply(Node::primary_config(1, true)));
  EXPECT_TRUE(a_.look().loaded->gate_closed);
  EXPECT_NE(a_.psql("select 1").status, 0);
}

TEST_F(Primary, AllConnectionsInUse) {
  a_.inputs.parameters["max_connections"] = "8";
  a_.server->set_inputs(a_.inputs);
  ASSERT_TRUE(a_.bootstrap());
  a_.ask("create role app login password 'x'");
  std::vector<std::unique_ptr<Program>> clients;
  // One after the other: those that log in at the same moment count against each other, and all may be refused.
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Program>(
        std::vector<std::string>{kBin + "/psql", "-XAtq", "-c", "select pg_sleep(60)",
                                 "host=127.0.0.1 user=app dbname=postgres port=" + std::to_string(a_.inputs.port)},
        std::vector<std::string>{"PGPASSWORD=x"}));
    if (i > 2) continue;  // the agent has two sessions, and three more are reserved
    ASSERT_TRUE(a_.until([i](const LocalPg& pg) { return pg.answers && pg.answers->client_sessions > i; }));
  }
  nap(200ms);
  a_.restart_agent();
  EXPECT_TRUE(a_.look().answers) << "superuser_reserved_connections are ours";
  EXPECT_TRUE(a_.apply(Node::primary_config(1, true)));
}

TEST_F(Primary, CrashesAreToldApart) {
  ASSERT_TRUE(a_.bootstrap());
  a_.ask("create table public.t (i int)");
  uint64_t first = a_.look().incarnation;
  // One killed backend: the postmaster does not restart by itself (H3).
  kill(static_cast<pid_t>(std::stol(a_.ask("select pg_backend_pid()"))), SIGKILL);
  ASSERT_TRUE(a_.until([](const LocalPg& pg) { return pg.process == PgProcess::stopped && pg.all_dead; }));
  EXPECT_TRUE(a_.last.exit_unexpected);
  EXPECT_FALSE(a_.last.exit_after_panic);
  EXPECT_TRUE(a_.last.standby_signal);
  EXPECT_FALSE(a_.last.wal_end);
  ASSERT_TRUE(a_.ok(a_.run(a_.server->measure_wal(a_.in(5s)))));
  std::optional<model::Position> end = a_.look().wal_end;
  ASSERT_TRUE(end);
  EXPECT_EQ(end->timeline, 1U);

  // The agent was restarted meanwhile; guardian and postmaster of the next life are adopted by a third one.
  a_.restart_agent();
  ASSERT_TRUE(a_.apply(Node::primary_config(1)));
  ASSERT_TRUE(a_.start(true));
  EXPECT_FALSE(a_.run(a_.server->start(true, a_.in(1s)))) << "it runs already";
  a_.restart_agent();
  LocalPg pg = a_.look();
  EXPECT_TRUE(pg.guardian_alive);
  EXPECT_NE(pg.incarnation, first);
  EXPECT_FALSE(pg.wal_end);
  ASSERT_TRUE(pg.answers);
  EXPECT_GE(pg.answers->insert_lsn, end->lsn);

  // The guardian dies: PostgreSQL ends by itself, and the agent sees to the rest.
  kill(a_.guard_client->status().guardian_pid, SIGKILL);
  ASSERT_TRUE(a_.until([](const LocalPg& p) { return p.process == PgProcess::stopped && p.all_dead; }));
  EXPECT_TRUE(a_.last.exit_unexpected);
  EXPECT_TRUE(a_.last.standby_signal);
  EXPECT_FALSE(exists(a_.layout().postmaster_pid()));
}

// `pgdba kill` takes agent, guardian and postmaster at once; a backend in a long statement lives on (E14).
TEST_F(Primary, OrphansOfADeadGuardianAreKilled) {
  ASSERT_TRUE(a_.bootstrap());
  a_.ask("create table public.t (i bigint)");
  Program busy(a_.psql_command("insert into t select count(*) from generate_series(1, 40000000) a"), a_.password());
  ASSERT_TRUE(a_.until([](const LocalPg& pg) { return pg.answers && pg.answers->client_transactions == 1; }));
  guardian::Status status = a_.guard_client->status();
  kill(status.guardian_pid, SIGKILL);
  kill(status.postmaster_pid, SIGKILL);
  ASSERT_TRUE(a_.until([](const LocalPg& pg) { return pg.process == PgProcess::stopped && pg.all_dead; }, 2s));
  EXPECT_TRUE(processes_below(a_.layout().data_dir).empty());
  EXPECT_NE(busy.wait().status, 0);
  EXPECT_TRUE(a_.last.standby_signal);
  ASSERT_TRUE(a_.start(true));
  EXPECT_EQ(a_.ask("select count(*) from public.t"), "0");
}

TEST_F(Primary, AFrozenGuardianDoesNotStopTheStop) {
  ASSERT_TRUE(a_.bootstrap());
  kill(a_.guard_client->status().guardian_pid, SIGSTOP);
  ASSERT_TRUE(a_.stop());
  LocalPg pg = a_.look();
  EXPECT_EQ(pg.process, PgProcess::stopped);
  EXPECT_TRUE(pg.all_dead);
  EXPECT_TRUE(pg.standby_signal);
  EXPECT_FALSE(pg.guardian_alive);
  ASSERT_TRUE(a_.start(true));
}

// PostgreSQL takes the pid in its lock files for a living server until whoever inherited that process has reaped it.
testing::AssertionResult started_by_hand(Node& node) {
  for (int round = 0; round < 100; ++round, nap(100ms)) {
    if (run({kBin + "/pg_ctl", "start", "-w", "-D", node.layout().data_dir, "-l", node.settings().log_file}).status ==
        0)
      return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << node.log_tail();
}

// Somebody starts the data directory of a former primary by hand: a standby of nobody, which lets nobody in (G2, G4).
TEST_F(Primary, APostmasterWithoutGuardianServesNobodyIsSeenAndStopped) {
  ASSERT_TRUE(a_.bootstrap());
  ASSERT_EQ(a_.psql("select 1").status, 0) << "the gate was open";
  ASSERT_TRUE(a_.stop(Server::StopMode::fast));
  ASSERT_TRUE(started_by_hand(a_));
  EXPECT_NE(a_.psql("select 1").status, 0);
  LocalPg pg = a_.look();
  EXPECT_EQ(pg.process, PgProcess::running);
  EXPECT_FALSE(pg.guardian_alive);
  ASSERT_TRUE(pg.answers);
  EXPECT_TRUE(pg.answers->in_recovery) << "standby.signal was there";
  EXPECT_FALSE(a_.run(a_.server->start(true, a_.in(1s))));
  ASSERT_TRUE(a_.stop());
  EXPECT_TRUE(a_.look().all_dead);
  // A reboot empties the run folder.
  std::filesystem::remove(a_.layout().ha_conf());
  std::filesystem::remove(a_.layout().live_hba_conf());
  ASSERT_TRUE(started_by_hand(a_));
  EXPECT_NE(a_.psql("select 1").status, 0);
  ASSERT_TRUE(a_.stop());
  ASSERT_TRUE(a_.start(false));
  // Neither does `pg_ctl restart` find the command line with our own files.
  EXPECT_NE(run({kBin + "/pg_ctl", "restart", "-w", "-D", a_.layout().data_dir}).status, 0);
}

// The OOM killer takes agent, guardian and postgres at once: nobody is left to put standby.signal back.
TEST_F(Primary, EverythingKilledAtOnceLeavesNoPrimaryBehind) {
  ASSERT_TRUE(a_.bootstrap());
  ASSERT_TRUE(a_.until([](const LocalPg& pg) { return pg.answers && !pg.answers->in_recovery && pg.standby_signal; }))
      << "a running primary has it";
  kill(a_.guard_client->status().guardian_pid, SIGKILL);
  for (int round = 0; round < 200 && !processes_below(a_.layout().data_dir).empty(); ++round) {
    for (pid_t pid : processes_below(a_.layout().data_dir)) kill(pid, SIGKILL);
    nap(10ms);
  }
  ASSERT_TRUE(started_by_hand(a_));
  EXPECT_NE(a_.psql("select 1").status, 0);
  LocalPg pg = a_.look();
  ASSERT_TRUE(pg.answers);
  EXPECT_TRUE(pg.answers->in_recovery);
  ASSERT_TRUE(a_.stop());
}

TEST_F(Primary, AStartThatFailsSaysWhy) {
  ASSERT_TRUE(a_.bootstrap());
  ASSERT_TRUE(a_.stop());
  std::ofstream(a_.layout().base_conf(), std::ios::app) << "shared_preload_libraries = 'no_such_library'\n";
  auto started = a_.run(a_.server->start(true, a_.in(5s)));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().text.find("no_such_library"), std::string::npos) << started.error().text;
  LocalPg pg = a_.look();
  EXPECT_TRUE(pg.all_dead);
  EXPECT_TRUE(pg.standby_signal);
}

// A primary whose deadline is over is not started, whatever the core has ordered.
TEST_F(Primary, NoStartPastTheDeadline) {
  ASSERT_TRUE(a_.bootstrap());
  ASSERT_TRUE(a_.stop());
  a_.guard_client->set_deadline(loop_.now() - 1s, {});
  EXPECT_EQ(a_.run(a_.server->start(true, a_.in(5s))).error().code, Errc::conflict);
  EXPECT_TRUE(a_.look().standby_signal);
  a_.guard_client->set_deadline(loop_.after(1s), {});
  ASSERT_TRUE(a_.start(true));
  ASSERT_TRUE(a_.until([](const LocalPg& pg) { return pg.process == PgProcess::stopped && pg.all_dead; }, 3s));
  EXPECT_FALSE(a_.last.exit_unexpected);
}

TEST_F(Primary, SmallActions) {
  ASSERT_TRUE(a_.bootstrap());
  Lsn before = a_.look().answers->flush_lsn;
  ASSERT_TRUE(a_.ok(a_.run(write_wal(*a_.server, a_.in(2s)))));
  EXPECT_GT(a_.look().answers->flush_lsn, before);
  ASSERT_TRUE(a_.ok(a_.run(a_.server->checkpoint(a_.in(5s)))));

  ASSERT_TRUE(a_.ok(a_.run(sync_slots(*a_.server, {"a", "B-1", "c.d"}, a_.in(2s)))));
  ASSERT_TRUE(a_.ok(a_.run(sync_slots(*a_.server, {"a", "B-1", "c.d"}, a_.in(2s)))));
  EXPECT_EQ(a_.ask("select string_agg(slot_name || ' ' || (restart_lsn is not null), ',' order by slot_name) from "
                   "pg_replication_slots"),
            "b_1 true,c_d true");
  ASSERT_TRUE(a_.ok(a_.run(sync_slots(*a_.server, {"c.d"}, a_.in(2s)))));
  EXPECT_EQ(a_.ask("select string_agg(slot_name, ',') from pg_replication_slots"), "c_d");
  ASSERT_TRUE(a_.ok(a_.run(end_walsender(*a_.server, 1, a_.in(2s)))));

  // Y3: with the placeholder a commit waits; with nothing it does not.
  auto alone = a_.run(probe_sync(*a_.server, a_.in(600ms)));
  ASSERT_TRUE(alone);
  EXPECT_FALSE(*alone);
  PgConfig config = Node::primary_config(1);
  config.sync_names = Node::any(1, {std::string(model::kSyncPlaceholder)});
  ASSERT_TRUE(a_.apply(config));
  auto waits = a_.run(probe_sync(*a_.server, a_.in(3s)));
  ASSERT_TRUE(waits) << waits.error().text;
  EXPECT_TRUE(*waits);
  // Our own actions do not wait for standbys.
  ASSERT_TRUE(a_.ok(a_.run(write_wal(*a_.server, a_.in(1s)))));
  ASSERT_TRUE(a_.ok(a_.run(ensure_pooler_auth(*a_.server, a_.in(2s)))));

  auto self = a_.run(fetch_history(*a_.server, a_.url(), a_.in(2s)));
  ASSERT_TRUE(self) << self.error().text;
  EXPECT_EQ(self->term, 1);
  EXPECT_EQ(self->timeline, 1U);
  EXPECT_FALSE(self->in_recovery);
  EXPECT_EQ(self->system_id, a_.look().control->system_id);
  // The core took "0" for "as far as we are" and never saw that a returning node was ahead of its leader.
  EXPECT_GT(self->flush_lsn, Lsn{});
  EXPECT_LE(self->flush_lsn, a_.look().answers->flush_lsn);
}

// What a data directory keeps elsewhere goes with it, and nothing else does.
TEST_F(Primary, WipeFollowsItsOwnLinks) {
  const std::string& data = a_.layout().data_dir;
  std::string outside = scratch_.path + "/elsewhere";
  for (const char* folder : {"/wal/archive_status", "/space/PG_15_202209061/5", "/space/PG_14_202107181", "/other"})
    std::filesystem::create_directories(outside + folder);
  std::filesystem::create_directories(data + "/pg_tblspc");
  std::filesystem::create_directories(data + "/base/5");
  std::ofstream(data + "/PG_VERSION") << "15\n";
  std::ofstream(outside + "/wal/000000010000000000000001") << "x";
  std::filesystem::create_symlink(outside + "/wal", data + "/pg_wal");
  std::filesystem::create_symlink(outside + "/space", data + "/pg_tblspc/16400");
  std::filesystem::create_symlink(outside + "/other", data + "/base/link");
  ASSERT_TRUE(a_.ok(a_.run(wipe(*a_.server, a_.in(5s)))));
  EXPECT_TRUE(std::filesystem::is_empty(data));
  EXPECT_TRUE(std::filesystem::is_empty(outside + "/wal"));
  EXPECT_FALSE(exists(outside + "/space/PG_15_202209061"));
  EXPECT_TRUE(exists(outside + "/space/PG_14_202107181")) << "another server's";
  EXPECT_TRUE(exists(outside + "/other"));
  EXPECT_EQ(a_.look().data, DataDir::unusable);
}

TEST_F(Primary, AForeignFolderIsNotWiped) {
  std::filesystem::create_directory(a_.layout().data_dir + "/photos");
  EXPECT_EQ(a_.run(init_db(*a_.server, nullptr, a_.in(5s))).error().code, Errc::denied);
  EXPECT_EQ(a_.run(wipe(*a_.server, a_.in(5s))).error().code, Errc::denied);
  EXPECT_TRUE(exists(a_.layout().data_dir + "/photos"));
  EXPECT_EQ(a_.look().data, DataDir::unusable);
}

}  // namespace
}  // namespace pgdba::pg
