// One PostgreSQL node driven as an agent would: guardian, server, observer. Blocking calls, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "guardian/client.h"
#include "net/loop.h"
#include "pg/actions.h"
#include "pg/conninfo.h"
#include "pg/durable.h"
#include "pg/observe.h"
#include "pg/server.h"
#include "unit/guardian/scratch.h"

namespace pgdba::pg {

using namespace test;
using model::DataDir;
using model::LocalPg;
using model::PgConfig;
using model::PgProcess;
using model::SyncNames;

class Node {
 public:
  Node(net::Loop& loop, const std::string& folder, std::string name) : loop_(loop), name_(std::move(name)) {
    settings_.name = name_;
    settings_.cluster_name = "test";
    settings_.layout = {.data_dir = folder + "/" + name_,
                        .state_dir = folder + "/" + name_ + ".state",
                        .run_dir = folder + "/" + name_ + ".run"};
    settings_.bin_dir = kBin;
    settings_.log_file = folder + "/" + name_ + ".log";
    settings_.superuser = {.user = "postgres", .password = Secret("super'secret\\1"), .options = {}};
    settings_.replication = {.user = "replicator", .password = Secret("rep:secret"), .options = {}};
    settings_.rewind = {.user = "rewind_user", .password = Secret("rew secret"), .options = {}};
    settings_.pooler = {.user = "pgdba_pooler", .password = Secret("pool")};
    settings_.initdb_options = {"--no-sync", "--data-checksums"};
    settings_.basebackup_options = {"--no-sync"};
    settings_.rewind_options = {"--no-sync"};
    guard_client = std::make_unique<guardian::Client>(guardian::Settings{.page = settings_.layout.guardian_page()});
    guard = std::make_unique<GuardOf<guardian::Client>>(*guard_client);
    restart_agent();
    inputs.port = static_cast<uint16_t>(free_port());
    inputs.parameters = {{"shared_buffers", "2MB"}, {"fsync", "off"},
                         {"wal_log_hints", "on"},   {"max_connections", "30"},
                         {"wal_keep_size", "64MB"}, {"log_checkpoints", "off"},
                         {"autovacuum", "off"},     {"log_line_prefix", "%m [%p] %b "}};
    inputs.pg_hba = {"host replication replicator 127.0.0.1/32 scram-sha-256",
                     "host all all 127.0.0.1/32 scram-sha-256"};
    server->set_inputs(inputs);
  }

  // A fresh agent process, as far as pg/ and the guardian's client are concerned.
  void restart_agent() {
    observer.reset();
    server.reset();
    guard_client = std::make_unique<guardian::Client>(guardian::Settings{.page = settings_.layout.guardian_page()});
    guard = std::make_unique<GuardOf<guardian::Client>>(*guard_client);
    server = std::make_unique<Server>(loop_, settings_, *guard);
    auto prepared = server->prepare();
    EXPECT_TRUE(prepared) << prepared.error().text;
    server->set_inputs(inputs);
    EXPECT_TRUE(guard_client->adopt());
    observer = std::make_unique<Observer>(*server);
  }

  template <class T>
  T run(Task<T> task, Duration limit = 20s) {
    std::optional<T> result;
    loop_.run_blocking(net::detail::store(std::move(task), result), loop_.after(limit));
    if (!result) throw std::runtime_error("a task did not end in time");
    return std::move(*result);
  }
  BootTime in(Duration d) { return loop_.after(d); }
  LocalPg look(Duration limit = 1s) { return run(observer->observe(in(limit))); }
  bool until(const std::function<bool(const LocalPg&)>& holds, Duration limit = 8s, Duration pause = 5ms) {
    for (BootTime end = in(limit); loop_.now() < end;) {
      last = look();
      if (holds(last)) return true;
      nap(pause);
    }
    return false;
  }

  std::string url() const { return "postgres://127.0.0.1:" + std::to_string(inputs.port) + "/postgres"; }
  const Layout& layout() const { return settings_.layout; }
  Settings& settings() { return settings_; }
  const std::string& name() const { return name_; }

  // psql as a client through TCP, with the superuser's password.
  std::vector<std::string> psql_command(const std::string& sql) const {
    return {kBin + "/psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            "host=127.0.0.1 user=postgres dbname=postgres connect_timeout=2 port=" + std::to_string(inputs.port)};
  }
  Output psql(const std::string& sql) const { return Program(psql_command(sql), password()).wait(); }
  std::vector<std::string> password() const { return {"PGPASSWORD=" + settings_.superuser.password.reveal()}; }
  // The same through our own connection, which the gate lets in.
  std::string ask(const std::string& sql) {
    auto rows = run(server->query(sql, {}, in(5s)));
    EXPECT_TRUE(rows) << name_ << ": " << rows.error().text;
    return rows ? std::string(rows->text(0, 0).value_or("")) : std::string();
  }

  testing::AssertionResult ok(const Result<void>& result) const {
    if (result) return testing::AssertionSuccess();
    return testing::AssertionFailure() << name_ << ": " << result.error().text << "\n" << log_tail();
  }
  std::string log_tail() const {
    std::string log = slurp(settings_.log_file);
    return log.substr(log.size() > 3000 ? log.size() - 3000 : 0);
  }

  testing::AssertionResult apply(const PgConfig& config) {
    auto applied = run(server->apply(config, in(5s)));
    if (!applied) return testing::AssertionFailure() << name_ << ": " << applied.error().text << "\n" << log_tail();
    for (const std::string& warning : applied->warnings) std::cout << name_ << ": " << warning << "\n";
    return testing::AssertionSuccess();
  }
  testing::AssertionResult start(bool as_primary) {
    if (auto started = run(server->start(as_primary, in(10s))); !started) return ok(started);
    return ok(run(server->wait_accepting(in(10s))));
  }
  testing::AssertionResult stop(Server::StopMode mode = Server::StopMode::immediate) {
    return ok(run(server->stop(mode, 5s, in(10s))));
  }

  static PgConfig primary_config(model::Term term, bool gate_closed = false) {
    PgConfig out;
    out.upstream = PgConfig::Upstream::none;
    out.gate_closed = gate_closed;
    out.term = term;
    return out;
  }
  static PgConfig following(const Node& leader) {
    PgConfig out;
    out.upstream = PgConfig::Upstream::member;
    out.upstream_member = leader.name();
    out.upstream_conn_url = leader.url();
    out.gate_closed = false;
    return out;
  }
  static PgConfig frozen(const std::string& nonce) {
    PgConfig out;
    out.freeze_nonce = nonce;
    out.gate_closed = false;
    return out;
  }
  static SyncNames any(int count, std::set<std::string> names) {
    return {SyncNames::Kind::any, count, std::move(names)};
  }

  // initdb, first start, users; term 1.
  testing::AssertionResult bootstrap() {
    if (auto made = ok(run(init_db(*server, nullptr, in(20s)))); !made) return made;
    if (auto applied = apply(primary_config(1)); !applied) return applied;
    if (auto started = start(true); !started) return started;
    return ok(run(create_users(*server, true, in(5s))));
  }
  testing::AssertionResult clone_from(const Node& source) {
    if (auto cloned = ok(run(clone(*server, source.url(), &progress, in(20s)))); !cloned) return cloned;
    if (auto applied = apply(following(source)); !applied) return applied;
    return start(false);
  }
  bool streams_from(const Node& leader, Duration limit = 8s) {
    return until([&](const LocalPg& pg) { return pg.answers && pg.answers->streaming_from == leader.name(); }, limit);
  }

  net::Loop& loop_;
  std::string name_;
  Settings settings_;
  FileInputs inputs;
  std::unique_ptr<guardian::Client> guard_client;
  std::unique_ptr<GuardOf<guardian::Client>> guard;
  std::unique_ptr<Server> server;
  std::unique_ptr<Observer> observer;
  Progress progress;
  LocalPg last;
};

}  // namespace pgdba::pg
