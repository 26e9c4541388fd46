#include "agent/main.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <random>

#include "agent/agent.h"
#include "agent/startup.h"
#include "base/version.h"
#include "dcs/etcd.h"
#include "net/log.h"
#include "net/memory.h"
#include "net/pq.h"
#include "pg/conninfo.h"
#include "pg/layout.h"
#include "wire/keys.h"

namespace pgdba::agent {

namespace {

constexpr const char* kUsage =
    "Usage: pgdba agent [FILE] [--validate-config]\n"
    "\n"
    "Runs the HA agent of one PostgreSQL node until it is told to stop.\n"
    "\n"
    "  FILE               patroni.yml, or a folder of *.yml files; without it, PATRONI_* variables only\n"
    "  --validate-config  say what is wrong with the settings and change nothing; exit 0 or 1\n"
    "  --version          print the version\n"
    "  --help             print this\n"
    "\n"
    "SIGTERM hands the leader lock over, stops PostgreSQL and exits; a second one does not wait for clients.\n"
    "SIGHUP reads FILE again.\n";

int complain(int code, std::string_view text) {
  fmt::print(stderr, "pgdba agent: {}\n", text);
  return code;
}

std::string fresh_run_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

log::Options log_options(const conf::LogSettings& settings) {
  log::Options options;
  if (auto level = log::parse_level(settings.level)) options.level = *level;
  options.to_stderr = settings.dir.empty();
  options.dir = settings.dir;
  options.file = "patroni.log";  // what Patroni's tools rotate and read
  options.file_count = settings.file_num;
  options.file_bytes = static_cast<size_t>(settings.file_size);
  options.file_mode = settings.mode;
  options.format = settings.format;
  options.date_format = settings.dateformat;
  options.most_waiting = static_cast<size_t>(settings.max_queue_size);
  options.background = true;
  return options;
}

dcs::EtcdOptions etcd_options(const conf::EtcdSettings& settings) {
  dcs::EtcdOptions options;
  for (const auto& endpoint : settings.endpoints) options.endpoints.push_back(fmt::format("{}://{}", endpoint.protocol, conf::format_address(endpoint.address)));
  options.user = settings.username;
  options.password = settings.password;
  options.tls.ca_file = settings.cacert;
  options.tls.cert_file = settings.cert;
  options.tls.key_file = settings.key;
  options.tls.verify = !settings.cacert.empty();
  return options;
}

// Patroni's rule (patroni.md 2.9): the certificates of peers are not verified by the agent.
Result<std::shared_ptr<net::TlsContext>> peer_tls(const conf::AgentSettings& settings) {
  net::TlsClientOptions options;
  options.ca_file = settings.ctl.cacert;
  options.cert_file = settings.ctl.certfile;
  options.key_file = settings.ctl.keyfile;
  options.key_password = settings.ctl.keyfile_password;
  options.verify = false;
  return net::TlsContext::client(options);
}

// Once it has settled; what happens only at a failover comes back when it does.
Task<void> tidy_memory(net::Loop& loop) {
  co_await loop.sleep_for(15s);
  net::forget_startup_pages();
}

Task<void> handle_signals(net::Loop& loop, Agent& agent) {
  net::Signals signals(loop, {SIGTERM, SIGINT, SIGHUP});
  for (;;) {
    auto signal = co_await signals.next(loop.after(24h));
    if (!signal) continue;
    if (*signal == SIGHUP) {
      (void)agent.reload();  // it has logged what is wrong
    } else {
      agent.stop_requested();
    }
  }
}

Task<void> run_agent(net::Loop& loop, Agent& agent, int& code) {
  code = co_await agent.run();
  loop.stop();
}

int run(const std::string& file, conf::AgentSettings settings, std::vector<std::pair<std::string, std::string>> environment) {
  pg::Settings pg = pg_settings(settings);
  if (auto made = pg::prepare(pg.layout); !made) return complain(1, made.error().text);
  auto lock = DataDirLock::take(pg.layout.state_dir);
  if (!lock) return complain(1, lock.error().text);
  if (auto logging = log::init(log_options(settings.log)); !logging) return complain(1, logging.error().text);

  if (auto usable = pg::usable_passfile(settings.postgresql.pgpass); !usable) {
    log::warning("config", "postgresql.pgpass is not used, a password file in {} is: {}", pg.layout.run_dir, usable.error().text);
    settings.postgresql.pgpass.clear();
  }

  net::Loop loop;
  auto store = dcs::make_etcd_store(loop, etcd_options(settings.etcd));
  if (!store) return complain(1, store.error().text);
  auto tls = peer_tls(settings);
  if (!tls) return complain(1, tls.error().text);
  const std::string prefix = wire::key_prefix(settings.name_space, settings.scope);
  log::info("agent", "pgdba {} starts member={} scope={} data_dir={}", kVersion, settings.name, settings.scope, settings.postgresql.data_dir);

  const conf::LogSettings log_settings = settings.log;
  Agent agent({loop, **store, std::move(settings), prefix, fresh_run_id(), *tls});
  if (auto prepared = agent.prepare(); !prepared) {
    log::flush();
    return complain(1, prepared.error().text);
  }
  agent.set_reload([file, environment, logs = log_settings]() mutable -> Result<conf::AgentSettings> {
    auto reading = read_settings(file, environment);
    if (!reading) return tl::unexpected(std::move(reading.error()));
    if (!reading->ok()) return fail(Errc::invalid, fmt::format("{}", fmt::join(reading->errors, "; ")));
    for (const std::string& warning : reading->warnings) log::warning("config", "{}", warning);
    if (reading->settings.log != logs) {
      if (auto logging = log::init(log_options(reading->settings.log)); !logging) return tl::unexpected(std::move(logging.error()));
      logs = reading->settings.log;
    }
    return std::move(reading->settings);
  });
  int code = 1;
  loop.spawn(handle_signals(loop, agent), "signals");
  loop.spawn(run_agent(loop, agent, code), "agent");
  loop.spawn(tidy_memory(loop), "memory");
  loop.run();
  log::info("agent", "ended code={}", code);
  log::flush();
  return code;
}

}  // namespace

int agent_main(const std::vector<std::string>& arguments) {
  std::string file;
  bool validate = false;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      fmt::print("{}", kUsage);
      return 0;
    }
    if (argument == "--version") {
      fmt::print("pgdba {} (patroni {})\n", kVersion, kPatroniVersion);
      return 0;
    }
    if (argument == "--validate-config") {
      validate = true;
    } else if (argument.starts_with("-") || !file.empty()) {
      return complain(2, fmt::format("unexpected argument '{}'\n{}", argument, kUsage));
    } else {
      file = argument;
    }
  }

  // Whoever starts the agent may have PGPASSWORD or PGOPTIONS for a psql of their own; here it would beat the passfile.
  net::forget_libpq_environment();
  net::ignore_sigpipe();
  auto environment = take_environment();
  if (file.empty() && environment.empty()) return complain(2, fmt::format("no FILE, and no PATRONI_* variables\n{}", kUsage));
  auto reading = read_settings(file, environment);
  if (!reading) return complain(1, reading.error().text);
  for (const std::string& warning : reading->warnings) complain(0, "warning: " + warning);
  for (const std::string& error : reading->errors) complain(1, error);
  if (!reading->ok()) return 1;
  if (validate) return 0;

  auto user = leave_root(reading->settings.postgresql.data_dir);
  if (!user) return complain(1, user.error().text);
  if (!user->empty()) complain(0, fmt::format("running as {}, since PostgreSQL does not run as root", *user));
  umask(077);
  // One arena: the helper threads allocate little, and each arena of their own would cost resident memory.
  mallopt(M_ARENA_MAX, 1);
  return run(file, std::move(reading->settings), std::move(environment));
}

}  // namespace pgdba::agent
