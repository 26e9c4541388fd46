// ApplyConfig: the files of a configuration, and the proof that the running server goes by them.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

#include "base/text.h"
#include "pg/durable.h"
#include "pg/probe_file.h"
#include "pg/processes.h"
#include "pg/server.h"

namespace pgdba::pg {

Task<Result<void>> Server::check_inputs(BootTime deadline) {
  if (checked_ && *checked_ == inputs_.parameters) co_return Result<void>{};
  auto checked = co_await check_parameters(loop_, install_, settings_.layout.run_dir, inputs_.parameters, deadline);
  if (!checked) co_return tl::unexpected(checked.error());
  good_ = std::move(*checked);
  checked_ = inputs_.parameters;
  co_return Result<void>{};
}

Task<Result<Applied>> Server::apply(model::PgConfig config, BootTime deadline) {
  if (auto checked = co_await check_inputs(deadline); !checked) co_return tl::unexpected(checked.error());
  FileInputs inputs = inputs_;
  inputs.parameters = good_.good;
  auto written = std::make_shared<Written>();
  std::function<Result<void>()> write = [written, settings = settings_, inputs, config,
                                         install = install_]() -> Result<void> {
    auto done = write_files(settings, inputs, config, install);
    if (!done) return tl::unexpected(done.error());
    *written = std::move(*done);
    return {};
  };
  // A backend takes a reload when its next statement comes: one that waits for that from an earlier reload would read the
  // files that we write now and prove nothing about the postmaster.
  if (db_ && db_->is_open()) {
    if (auto idle = co_await db_->query("SELECT 1", {}, deadline); !idle) db_.reset();
  }
  if (auto done = co_await on_files(write); !done) co_return tl::unexpected(done.error());
  Applied out;
  out.warnings = good_.warnings;
  out.warnings.insert(out.warnings.end(), written->warnings.begin(), written->warnings.end());

  auto postmaster = living_postmaster(settings_.layout);
  auto file = read_postmaster_pid(settings_.layout);
  // Before its status is there a postmaster does not yet handle SIGHUP; it reads the files by itself then.
  if (!postmaster || !file || file->status.empty() || file->status == "stopping") co_return out;
  if (::kill(*postmaster, SIGHUP) != 0) co_return out;
  if (file->status != "ready") co_return out;
  if (written->access_changed) access_proved_ = false;
  if (auto confirmed = co_await confirm_reload(written->generation, config.gate_closed && !access_proved_, deadline); !confirmed)
    co_return tl::unexpected(confirmed.error());
  out.loaded = true;
  if (config.upstream == model::PgConfig::Upstream::frozen) {
    if (auto free = co_await unblock_freeze(config.freeze_nonce, std::min(deadline, loop_.after(300ms))); !free)
      co_return tl::unexpected(free.error());
  }
  co_return out;
}

// `gate_closes`: the postmaster may still let clients in by an older pg_hba.
// A connection that shows the new generation was forked by a postmaster that has finished its reload, pg_hba included:
// it handles the signal in one piece. An old connection that shows it was told by the postmaster, which reads its own copy
// first; but only a new one proves that nobody comes in by the old pg_hba any more, so a closing gate waits for one (a
// fork, which is most of what this costs).
Task<Result<void>> Server::confirm_reload(std::string generation, bool gate_closes, BootTime deadline) {
  confirmed_generation_.clear();
  for (BootTime end = std::min(deadline, loop_.after(200ms)); db_ && db_->is_open() && loop_.now() < end;) {
    auto seen = co_await db_->query("SELECT current_setting('pgdba.config_generation', true)", {}, deadline);
    if (!seen) break;
    if (seen->text(0, 0).value_or("") != generation) {
      co_await loop_.sleep_for(1ms);
      continue;
    }
    if (gate_closes) break;
    auto rules = co_await db_->query("SELECT string_agg('line ' || line_number || ': ' || error, '; ') FROM pg_hba_file_rules WHERE error IS NOT NULL", {}, deadline);
    if (!rules) break;
    if (auto wrong = rules->text(0, 0)) co_return fail(Errc::invalid, fmt::format("PostgreSQL does not take pg_hba.conf: {}", *wrong));
    confirmed_generation_ = generation;
    co_return Result<void>{};
  }
  for (;;) {
    auto fresh = std::make_unique<net::PgConnection>(loop_);
    auto open = co_await fresh->connect(local_target("pgdba"), deadline);
    if (!open) co_return tl::unexpected(std::move(open.error()).context("while confirming a reload"));
    auto now = co_await fresh->query(
        "SELECT current_setting('pgdba.config_generation', true), (SELECT string_agg('line ' || line_number || ': ' || "
        "error, '; ') "
        "FROM pg_hba_file_rules WHERE error IS NOT NULL)",
        {}, deadline);
    if (!now) co_return tl::unexpected(std::move(now.error()).context("while confirming a reload"));
    if (auto wrong = now->text(0, 1))
      co_return fail(Errc::invalid, fmt::format("PostgreSQL does not take pg_hba.conf: {}", *wrong));
    if (now->text(0, 0).value_or("") == generation) {
      db_ = std::move(fresh);
      access_proved_ = true;
      confirmed_generation_ = generation;
      co_return Result<void>{};
    }
    if (loop_.now() + 5ms >= deadline) {
      auto why = co_await fresh->query(
          "SELECT string_agg(name || ' in ' || sourcefile || ': ' || error, '; ') FROM pg_file_settings "
          "WHERE error IS NOT NULL AND error <> 'setting could not be applied'",
          {}, loop_.after(500ms));
      std::string text = why ? std::string(why->text(0, 0).value_or("")) : std::string();
      if (!text.empty())
        co_return fail(Errc::invalid, fmt::format("PostgreSQL does not take the configuration: {}", text));
      co_return fail(Errc::timeout, "PostgreSQL has not loaded the new configuration in time");
    }
    co_await loop_.sleep_for(2ms);
  }
}

// The startup process takes the frozen configuration only where it waits for WAL. What keeps it from getting there:
// a paused replay, and queries on this standby with which the replay is in conflict (E3).
Task<Result<void>> Server::unblock_freeze(std::string nonce, BootTime deadline) {
  bool woken = false;
  for (int round = 0; loop_.now() < deadline; ++round) {
    const int calls = read_probe_calls(settings_.layout, nonce).repeated;
    if (calls >= 2) co_return Result<void>{};
    if (calls == 1) {
      // It waits for wal_retrieve_retry_interval now, and a signal ends that wait: the second call comes in milliseconds.
      if (auto postmaster = living_postmaster(settings_.layout); postmaster && !woken) woken = ::kill(*postmaster, SIGHUP) == 0;
      co_await loop_.sleep_for(2ms);
      continue;
    }
    std::string paused =
        install_.major() >= 14 ? "pg_get_wal_replay_pause_state() <> 'not paused'" : "pg_is_wal_replay_paused()";
    // pg_wal_replay_resume() is called only in recovery: promoted meanwhile, there is nothing to unblock.
    auto state = co_await query(
        fmt::format("SELECT CASE WHEN pg_is_in_recovery() THEN CASE WHEN {} THEN pg_wal_replay_resume()::text END ELSE "
                    "'primary' END, "
                    "(SELECT wait_event_type IN ('Lock', 'BufferPin') OR wait_event LIKE 'RecoveryConflict%' "
                    "FROM pg_stat_activity WHERE backend_type = 'startup')",
                    paused),
        {}, deadline);
    if (!state) {
      if (state.error().code == Errc::timeout) co_return Result<void>{};
      co_return tl::unexpected(state.error());
    }
    if (state->text(0, 0).value_or("") == "primary") co_return Result<void>{};
    if (state->text(0, 1).value_or("") == "t") {
      // A running query gets the error that max_standby_streaming_delay = 0 would have given it; whoever does not heed
      // it, or merely holds a snapshot, is disconnected.
      std::string end =
          round == 0 ? "CASE WHEN state = 'active' THEN pg_cancel_backend(pid) ELSE pg_terminate_backend(pid) END"
                     : "pg_terminate_backend(pid)";
      auto ended = co_await query(
          fmt::format("SELECT count({}) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> "
                      "pg_backend_pid() "
                      "AND state <> 'idle' AND NOT (application_name LIKE 'pgdba%' AND usename = current_user)",
                      end),
          {}, deadline);
      if (!ended && ended.error().code != Errc::timeout) co_return tl::unexpected(ended.error());
    }
    co_await loop_.sleep_for(5ms);
  }
  co_return Result<void>{};
}

}  // namespace pgdba::pg
