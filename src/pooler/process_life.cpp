// What happens to a running process: signals, reload, SET, statistics, shutdown.
#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <utility>

#include "conf/pooler_checks.h"
#include "net/log.h"
#include "pooler/process.h"

namespace pgdba::pooler {

namespace {

constexpr std::string_view kShutdown = "server shutting down";
constexpr std::chrono::seconds kEnd = std::chrono::seconds(2);  // for workers to say goodbye

}  // namespace

void Process::on_signal(int number) {
  const char* name = number == SIGINT ? "SIGINT" : "SIGTERM";
  switch (number) {
    case SIGHUP: {
      log::info("pooler", "got SIGHUP, re-reading config");
      timespec time{};
      ::clock_gettime(CLOCK_MONOTONIC, &time);
      notify_systemd(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000));
      (void)reload();  // what is wrong is in the log
      notify_systemd("READY=1");
      return;
    }
    case SIGINT:
    case SIGTERM:
      if (shutting_down_) {
        log::info("pooler", "got {} while shutting down, fast exit", name);
        return end("");
      }
      if (number == SIGTERM) {
        log::info("pooler", "got SIGTERM, shutting down, waiting for all clients disconnect");
        return begin_shutdown(ShutdownMode::wait_for_clients);
      }
      log::info("pooler", "got SIGINT, shutting down, waiting for all servers connections to be released");
      return begin_shutdown(ShutdownMode::wait_for_servers);
    case SIGQUIT: log::info("pooler", "got SIGQUIT, fast exit"); return end("");
    case SIGUSR1:
      if (paused_) {
        log::info("pooler", "got SIGUSR1, but already paused/suspended");
      } else {
        log::info("pooler", "got SIGUSR1, pausing all activity");
        pause(true);
      }
      return;
    case SIGUSR2:
      if (shutting_down_) {
        log::info("pooler", "got SIGUSR2 while shutting down, ignoring");
      } else if (!paused_) {
        log::info("pooler", "got SIGUSR2, but not paused/suspended");
      } else {
        log::info("pooler", "got SIGUSR2, continuing from PAUSE");
        pause(false);
      }
      return;
    default: return;
  }
}

void Process::pause(bool paused) {
  paused_ = paused;
  on_every_worker([paused](Worker& worker, ClientDirectory&) { worker.core().pause_all(paused); });
}

void Process::shutdown(ShutdownMode mode) {
  post([this, mode] {
    if (shutting_down_ || mode == ShutdownMode::now) end("");
    else begin_shutdown(mode);
  });
}

void Process::begin_shutdown(ShutdownMode mode) {
  notify_systemd("STOPPING=1");
  mode_ = mode;
  shutting_down_ = true;
  limits_.close(std::string(kShutdown));
  on_every_worker([](Worker& worker, ClientDirectory&) { worker.stop_listening_tcp(); });
  if (mode == ShutdownMode::wait_for_servers) pause(true);
  check_shutdown();
}

void Process::check_shutdown() {
  if (ended_) return;
  if (mode_ == ShutdownMode::wait_for_clients) {
    if (limits_.clients() == 0) end("client connections dropped, exiting");
    return;
  }
  // Who waits for a server would wait for ever.
  on_every_worker([](Worker& worker, ClientDirectory&) { worker.core().close_waiting({.text = kShutdown}); });
  ask_totals([this](const Totals& totals) {
    if (totals.lent == 0) end("server connections dropped, exiting");
  });
}

// Clients are told and workers end. A worker that does not is not waited for.
void Process::end(const std::string& why) {
  if (ended_) return;
  if (!why.empty()) log::info("pooler", "{}", why);
  ended_ = true;
  shutting_down_ = true;
  for (auto& worker : workers_) worker->stop(std::string(kShutdown));
  const auto until = Clock::now() + kEnd;
  while (running_ != 0 && Clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (running_ == 0) return;
  log::error("pooler", "a worker does not end");
  log::flush();
  if (!listeners_.unix_path().empty()) ::unlink(listeners_.unix_path().c_str());
  if (const std::string& path = loaded()->config.settings.pidfile; !path.empty()) ::unlink(path.c_str());
  ::_exit(0);
}

Result<void> Process::reload() {
  std::lock_guard reloading(reloading_);
  const std::shared_ptr<const Loaded> running = loaded();
  // Whoever rotates the log wants a new file even when there is a mistake in ours.
  if (auto opened = open_log(); !opened) log::error("pooler", "{}; the log stays where it is", opened.error().text);
  auto fresh = load_config(running->config.settings.conffile);
  std::vector<std::string> errors;
  if (!fresh) {
    errors = fresh.error().errors;
  } else if (std::string why = conf::refuse_reload(running->config, fresh->config); !why.empty()) {
    errors.push_back(why);
  }
  if (!errors.empty()) {
    for (const std::string& error : errors) log::error("pooler", "{}", error);
    log::error("pooler", "config file loading failed; the configuration stays as it was");
    return fail(Errc::invalid, "config file loading failed");
  }
  for (const std::string& warning : fresh->warnings) log::warning("pooler", "{}", warning);
  const conf::PoolerSettings& wanted = fresh->config.settings;
  for (const conf::SettingRow& row : conf::setting_rows()) {
    if (row.reloadable || row.write(wanted) == row.write(running->config.settings)) continue;
    log::warning("pooler", "{} cannot change while running; the new value counts from the next start", row.name);
  }
  fresh->config.settings = conf::reloaded_settings(running->config.settings, wanted);
  apply(std::move(*fresh));
  return {};
}

Result<bool> Process::set(std::string_view key, std::string_view value) {
  std::lock_guard reloading(reloading_);
  Loaded fresh = *loaded();
  auto changed = conf::set_setting(fresh.config.settings, key, value);
  if (!changed || !*changed) return changed;
  if (key.starts_with("auth_")) {
    if (std::vector<std::string> errors = load_auth_files(fresh); !errors.empty()) return fail(Errc::invalid, errors.front());
  }
  if (key.find("_tls_") != std::string_view::npos) {
    auto tls = load_tls(fresh.config.settings);
    if (!tls) return fail(Errc::invalid, tls.error().text);
    fresh.tls = std::move(*tls);
  }
  apply(std::move(fresh));
  return true;
}

// The new configuration is in force. Called with reloading_ held.
void Process::apply(Loaded fresh) {
  const std::shared_ptr<const Loaded> running = loaded();
  fresh.number = running->number + 1;
  auto shared = std::make_shared<const Loaded>(std::move(fresh));
  {
    std::lock_guard lock(mutex_);
    loaded_ = shared;
  }
  const conf::PoolerSettings& settings = shared->config.settings;
  if (settings.logfile != running->config.settings.logfile || settings.verbose != running->config.settings.verbose ||
      settings.syslog != running->config.settings.syslog || settings.syslog_ident != running->config.settings.syslog_ident ||
      settings.syslog_facility != running->config.settings.syslog_facility) {
    if (auto opened = open_log(); !opened) log::error("pooler", "{}; the log stays where it is", opened.error().text);
  }
  if (!shutting_down_) listeners_.set_defer_accept(settings.tcp_defer_accept);
  limits_.configure(core_settings(settings));
  limit_logins();
  resolver_.set_ttl(settings.dns_max_ttl, settings.dns_nxdomain_ttl);
  on_every_worker([shared](Worker&, ClientDirectory& directory) { directory.reload(shared); });
}

// Passwords change without a RELOAD, too.
void Process::check_auth_file() {
  std::unique_lock reloading(reloading_, std::try_to_lock);
  if (!reloading) return;
  const std::shared_ptr<const Loaded> running = loaded();
  const FileMark mark = mark_of(running->config.settings.auth_file);
  if (mark == FileMark{} || mark == running->auth_mark || mark == auth_failed_) return;
  Loaded fresh = *running;
  if (std::vector<std::string> errors = load_userlist(fresh); !errors.empty()) {
    for (const std::string& error : errors) log::error("pooler", "{}; the users stay as they were", error);
    auth_failed_ = mark;
    return;
  }
  for (const std::string& problem : fresh.userlist.errors) log::warning("pooler", "{}", problem);
  log::info("pooler", "auth_file has changed and was read again");
  apply(std::move(fresh));
}

void Process::ask_totals(std::function<void(Totals)> answer) {
  struct Sum {
    std::mutex mutex;
    Totals totals;
    size_t missing = 0;
  };
  auto sum = std::make_shared<Sum>();
  sum->missing = workers_.size();
  on_every_worker([this, sum, answer = std::move(answer)](Worker& worker, ClientDirectory&) {
    std::lock_guard lock(sum->mutex);
    for (const auto& pool : worker.core().pools()) {
      pool::Stats& to = sum->totals.stats;
      const pool::Stats& from = pool->stats;
      for (const auto field : {&pool::Stats::transactions, &pool::Stats::queries, &pool::Stats::received, &pool::Stats::sent,
                               &pool::Stats::transaction_us, &pool::Stats::query_us, &pool::Stats::wait_us, &pool::Stats::client_parses,
                               &pool::Stats::server_parses, &pool::Stats::binds}) {
        to.*field += from.*field;
      }
      sum->totals.lent += static_cast<int>(pool->lent.size() + pool->busy.size());
    }
    if (--sum->missing == 0) {
      post([answer, totals = sum->totals] { answer(totals); });
    }
  });
}

void Process::say_stats(const Totals& now, double seconds) {
  asking_ = false;
  const pool::Stats before = std::exchange(before_, now.stats);
  const auto grown = [&](uint64_t pool::Stats::* field) { return now.stats.*field > before.*field ? now.stats.*field - before.*field : 0; };
  const auto rate = [&](uint64_t pool::Stats::* field) { return static_cast<uint64_t>(static_cast<double>(grown(field)) / std::max(0.001, seconds)); };
  const auto mean = [&](uint64_t pool::Stats::* sum, uint64_t pool::Stats::* count) { return grown(count) == 0 ? 0 : grown(sum) / grown(count); };
  const std::string line = fmt::format(
      "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
      rate(&pool::Stats::transactions), rate(&pool::Stats::queries), rate(&pool::Stats::client_parses), rate(&pool::Stats::server_parses),
      rate(&pool::Stats::binds), rate(&pool::Stats::received), rate(&pool::Stats::sent),
      mean(&pool::Stats::transaction_us, &pool::Stats::transactions), mean(&pool::Stats::query_us, &pool::Stats::queries), rate(&pool::Stats::wait_us));
  if (loaded()->config.settings.log_stats) log::info("pooler", "{}", line);
  notify_systemd("STATUS=" + line);
}

}  // namespace pgdba::pooler
