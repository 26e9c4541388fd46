#include "pg/server.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "base/text.h"
#include "pg/control.h"
#include "pg/marks.h"
#include "pg/durable.h"
#include "pg/history.h"
#include "pg/log_tail.h"
#include "pg/probe_file.h"
#include "pg/processes.h"
#include "pg/wal_end.h"

namespace pgdba::pg {

namespace {

// It reacts within 50 ms; then somebody has stopped it.
constexpr Duration kGuardianPatience = 200ms;

// Ends a guardian that waits for `go`, should the start be cancelled half-way: it would wait as long as we live.
class Abandon {
 public:
  explicit Abandon(Guard& guard) : guard_(&guard) {}
  ~Abandon() {
    if (guard_ != nullptr) guard_->kill();
  }
  Abandon(const Abandon&) = delete;
  Abandon& operator=(const Abandon&) = delete;
  void dismiss() { guard_ = nullptr; }

 private:
  Guard* guard_;
};

Result<void> put_standby_signal(const Layout& layout) {
  if (exists(layout.standby_signal())) return {};
  return write_durably(layout.standby_signal(), "");
}

// A guardian that has proved the end (or refused) is about to exit: nothing is below it any more.
bool guards(const GuardStatus& status) {
  return status.alive && status.state != GuardStatus::State::all_dead && status.state != GuardStatus::State::refused;
}

bool waiting_for_go(const GuardStatus& status) {
  return status.state == GuardStatus::State::launching || status.state == GuardStatus::State::ready;
}

}  // namespace

Server::Server(net::Loop& loop, Settings settings, Guard& guard)
    : loop_(loop), settings_(std::move(settings)), guard_(guard) {}
Server::~Server() = default;

Result<void> Server::prepare() {
  if (auto made = pg::prepare(settings_.layout); !made) return made;
  auto found = find_install(settings_.bin_dir, data_dir_major(settings_.layout.data_dir));
  if (!found) return tl::unexpected(found.error());
  install_ = *found;
  return {};
}

net::PgTarget Server::local_target(std::string application_name) const {
  net::PgTarget target = target_for({settings_.layout.run_dir, inputs_.port}, settings_.superuser, settings_.database,
                                    std::move(application_name));
  target.sslmode = "disable";  // a unix socket
  // Our own statements never wait for standbys, and nothing that an operator set for this role may bend them.
  target.settings = {
      {"synchronous_commit", "local"}, {"statement_timeout", "0"},         {"lock_timeout", "0"},
      {"search_path", "pg_catalog"},   {"client_min_messages", "warning"}, {"default_transaction_read_only", "off"},
      {"idle_session_timeout", "0"}};
  if (install_.major() < 14) target.settings.pop_back();
  return target;
}

net::PgTarget Server::probe_target() const {
  net::PgTarget target = local_target("pgdba_probe");
  for (auto& [name, value] : target.settings) {
    if (name == "synchronous_commit") value = "on";
  }
  return target;
}

namespace {

Task<void> open_session(std::shared_ptr<net::PgConnection> session, net::PgTarget target, BootTime deadline) {
  (void)co_await session->connect(std::move(target), deadline);
}

}  // namespace

void Server::open_probe_session() {
  probe_session_ = std::make_shared<net::PgConnection>(loop_);
  loop_.spawn(open_session(probe_session_, probe_target(), loop_.after(2s)), "probe session");
}

std::shared_ptr<net::PgConnection> Server::take_probe_session() {
  std::shared_ptr<net::PgConnection> session = std::move(probe_session_);
  probe_session_.reset();
  return session && session->is_open() ? session : nullptr;
}

Task<Result<void>> Server::connected(BootTime deadline) {
  if (db_ && db_->is_open()) co_return Result<void>{};
  db_ = std::make_unique<net::PgConnection>(loop_);
  co_return co_await db_->connect(local_target("pgdba"), deadline);
}

Task<Result<net::Rows>> Server::query(std::string sql, std::vector<std::optional<std::string>> parameters,
                                      BootTime deadline) {
  auto ready = co_await connected(deadline);
  if (!ready) co_return tl::unexpected(ready.error());
  auto rows = co_await db_->query(std::move(sql), std::move(parameters), deadline);
  co_return rows;
}

Task<Result<void>> Server::on_files(std::function<Result<void>()> work) {
  std::function<Result<void>()> alone = [work = std::move(work), turn = file_work_] {
    std::lock_guard<std::mutex> lock(*turn);
    return work();
  };
  co_return co_await loop_.offload(alone);
}

// ---- configuration

// ---- start

Error Server::ended_early(int64_t log_start) const {
  GuardStatus status = guard_.status();
  std::string text = status.problem;
  if (text.empty()) text = trim(log_from(settings_.log_file, log_start, 2000));
  if (text.empty() && status.exit_status) text = fmt::format("wait status {}", *status.exit_status);
  return Error{Errc::unavailable, "PostgreSQL did not start: " + text};
}

Task<Result<void>> Server::wait_for_guardian(BootTime deadline) {
  for (;;) {
    GuardStatus status = guard_.status();
    if (status.state == GuardStatus::State::ready) co_return Result<void>{};
    if (status.state == GuardStatus::State::refused)
      co_return fail(Errc::conflict, "the guardian refused: " + status.problem);
    if (status.state == GuardStatus::State::all_dead)
      co_return fail(Errc::cancelled, "the guardian gave up before the start");
    if (loop_.now() >= deadline) co_return fail(Errc::timeout, "the guardian did not get ready in time");
    co_await loop_.sleep_for(1ms);
  }
}

Task<Result<void>> Server::wait_for_sockets(int64_t log_start, BootTime deadline) {
  for (;;) {
    GuardStatus status = guard_.status();
    if (status.state == GuardStatus::State::all_dead || (!status.alive && !status.postmaster_alive))
      co_return tl::unexpected(ended_early(log_start));
    auto file = read_postmaster_pid(settings_.layout);
    if (status.postmaster_pid != 0 && file && file->pid == status.postmaster_pid && !file->status.empty())
      co_return Result<void>{};
    if (loop_.now() >= deadline) co_return fail(Errc::timeout, "the postmaster did not open its sockets in time");
    co_await loop_.sleep_for(2ms);
  }
}

Task<Result<void>> Server::start(bool as_primary, BootTime deadline) {
  const Layout& layout = settings_.layout;
  GuardStatus status = guard_.status();
  while (status.alive && !guards(status)) {
    if (loop_.now() >= deadline) co_return fail(Errc::timeout, "the last guardian does not exit");
    co_await loop_.sleep_for(1ms);
    status = guard_.status();
  }
  if (status.alive && waiting_for_go(status)) {
    guard_.kill();  // left by a start that was cancelled
    if (auto stopped = co_await stop(StopMode::immediate, {}, deadline); !stopped) co_return stopped;
  } else if (status.alive) {
    co_return fail(Errc::conflict, fmt::format("PostgreSQL runs already (postmaster {})", status.postmaster_pid));
  } else if (auto foreign = living_postmaster(layout)) {
    co_return fail(Errc::conflict, fmt::format("a postmaster without guardian runs here (pid {})", *foreign));
  } else if (auto clean = co_await stop_unguarded(deadline); !clean) {
    co_return clean;
  }
  ++*starts_;
  if (!exists(layout.ha_conf())) {
    const model::PgConfig at_rest;  // frozen; named, because g++ 12 destroys an aggregate temporary of a co_await twice
    if (auto applied = co_await apply(at_rest, deadline); !applied) co_return tl::unexpected(applied.error());
  }
  std::string socket_dirs;
  if (auto given = inputs_.parameters.find("unix_socket_directories"); given != inputs_.parameters.end()) socket_dirs = given->second;
  std::function<Result<void>()> tidy = [layout, port = inputs_.port, socket_dirs, as_primary]() -> Result<void> {
    if (auto removed = remove_history_stubs(layout); !removed) return removed;
    if (as_primary) {
      if (auto removed = clear_initdb(layout); !removed) return removed;
    }
    // Ours alone, and no server of ours runs: a lock file whose pid is somebody else's by now must not stop us.
    for (const char* suffix : {"", ".lock"})
      ::unlink(layout.in_run(fmt::format(".s.PGSQL.{}{}", port, suffix)).c_str());
    remove_own_socket_locks(layout, socket_dirs, port);
    return put_standby_signal(layout);
  };
  if (auto tidied = co_await on_files(tidy); !tidied) co_return tidied;

  db_.reset();
  probe_session_.reset();
  wal_end_.reset();
  confirmed_generation_.clear();
  access_proved_ = false;
  int64_t log_start = size_of(settings_.log_file);
  std::vector<std::string> command{install_.program("postgres"), "-D", layout.data_dir, "-c",
                                   "config_file=" + layout.ha_conf()};
  if (auto launched = guard_.launch(layout.data_dir, settings_.log_file, command, as_primary); !launched)
    co_return launched;
  Abandon abandon(guard_);
  if (auto ready = co_await wait_for_guardian(deadline); !ready) co_return ready;
  if (as_primary) {
    std::function<Result<void>()> remove = [layout] { return remove_durably(layout.standby_signal()); };
    if (auto removed = co_await on_files(remove); !removed) co_return removed;
  }
  // The last moment at which a removal from a start that was cancelled could make a standby a primary (G2).
  if (!as_primary && !exists(layout.standby_signal())) co_return fail(Errc::conflict, "standby.signal is gone again");
  if (auto going = guard_.go(); !going) co_return going;
  abandon.dismiss();
  auto started = co_await wait_for_sockets(log_start, deadline);
  // `pg_ctl restart` would take our command line from it, and with it the files that are only for us.
  std::function<Result<void>()> forget = [layout]() -> Result<void> {
    ::unlink(layout.in_data("postmaster.opts").c_str());
    return {};
  };
  if (started) (void)co_await on_files(forget);
  co_return started;
}

Task<Result<void>> Server::wait_accepting(BootTime deadline) {
  int64_t log_start = size_of(settings_.log_file);
  for (;;) {
    auto file = read_postmaster_pid(settings_.layout);
    if (!living_postmaster(settings_.layout)) co_return tl::unexpected(ended_early(log_start));
    if (file && file->status == "ready") {
      auto open = co_await connected(deadline);
      if (open) co_return open;
      if (open.error().code != Errc::unavailable) co_return open;
    }
    if (loop_.now() >= deadline) co_return fail(Errc::timeout, "PostgreSQL does not accept connections yet");
    co_await loop_.sleep_for(5ms);
  }
}

// ---- stop

Task<bool> Server::bury_orphans() {
  if (jobs_ > 0) co_return true;  // it began when all was dead
  if (guards(guard_.status()) || living_postmaster(settings_.layout)) co_return false;
  if (!kill_unguarded(settings_.layout)) co_return false;
  if (data_dir_major(settings_.layout.data_dir) == 0 || exists(settings_.layout.standby_signal())) co_return true;
  // Not once a start has begun, which may be about to take it away.
  std::function<Result<void>()> put = [layout = settings_.layout, starts = starts_,
                                       seen = starts_->load()]() -> Result<void> {
    if (*starts != seen) return {};
    return put_standby_signal(layout);
  };
  auto done = co_await on_files(put);
  co_return done.has_value();
}

namespace {

// Nobody waits for it, so it may outlive the Server.
Task<void> in_background(net::Loop& loop, std::function<Result<void>()> work) { (void)co_await loop.offload(work); }

}  // namespace

void Server::put_signal_back(int start) {
  if (jobs_ > 0 || putting_signal_back_->exchange(true)) return;
  std::function<Result<void>()> put = [layout = settings_.layout, starts = starts_, turn = file_work_, start,
                                       busy = putting_signal_back_]() -> Result<void> {
    std::lock_guard<std::mutex> lock(*turn);
    Result<void> done;
    if (*starts == start) done = put_standby_signal(layout);
    *busy = false;  // if it failed, the next reading asks again
    return done;
  };
  loop_.spawn(in_background(loop_, std::move(put)), "standby.signal");
}

Task<Result<void>> Server::make_sure_stopped(BootTime deadline) {
  if (guards(guard_.status())) co_return fail(Errc::conflict, "PostgreSQL runs");
  if (auto foreign = living_postmaster(settings_.layout))
    co_return fail(Errc::conflict, fmt::format("a postmaster without guardian runs here (pid {})", *foreign));
  db_.reset();
  wal_end_.reset();
  co_return co_await stop_unguarded(deadline);
}

Task<Result<void>> Server::stop_unguarded(BootTime deadline) {
  while (!kill_unguarded(settings_.layout)) {
    if (loop_.now() >= deadline) co_return fail(Errc::timeout, "some processes of PostgreSQL cannot be killed");
    co_await loop_.sleep_for(2ms);
  }
  co_return Result<void>{};
}

Task<Result<void>> Server::stop(StopMode mode, Duration budget, BootTime deadline) {
  const Layout& layout = settings_.layout;
  bool may_shut_down = mode == StopMode::fast;  // what a primary writes; a standby says "shut down in recovery"
  if (guard_.status().alive) {
    if (mode == StopMode::fast) {
      guard_.stop_fast(loop_.after(budget));
    } else {
      guard_.kill();
    }
    Duration pause = 1ms;
    BootTime patience =
        mode == StopMode::fast ? loop_.after(budget + kGuardianPatience) : loop_.after(kGuardianPatience);
    // Until the guardian itself is gone: it holds the lock of the data directory.
    while (guard_.status().alive) {
      if (loop_.now() >= deadline) co_return fail(Errc::timeout, "PostgreSQL is not all dead yet");
      if (loop_.now() >= patience && guard_.status().state != GuardStatus::State::killing) {
        // The guardian is frozen. We are the first wall.
        if (auto clean = co_await stop_unguarded(deadline); !clean) co_return clean;
        guard_.end_guardian();
      }
      Result<bool> shut_down = false;
      if (may_shut_down) {  // on a helper thread: the disk may not answer
        std::function<Result<bool>()> look = [data = layout.data_dir]() -> Result<bool> { return says_shut_down(data); };
        shut_down = co_await net::with_deadline(loop_, loop_.offload(look), loop_.after(200ms));
      }
      if (shut_down.value_or(false)) {
        may_shut_down = false;
        // Not in time, or not to be read: then it is measured when all is dead.
        auto control = co_await read_control(loop_, install_, layout.data_dir, loop_.after(1s));
        if (control && control->file.state == model::ControlState::shut_down) {
          auto end = co_await last_record(*control, loop_.after(1s));
          if (end) wal_end_ = model::Position{.term = 0, .timeline = end->timeline, .lsn = end->lsn};
        }
      }
      co_await loop_.sleep_for(pause);
      pause = std::min<Duration>(pause * 5 / 4, 10ms);
    }
  }
  // Its proof holds unless somebody has started a postmaster without it since.
  if (guard_.status().state != GuardStatus::State::all_dead || exists(layout.postmaster_pid())) {
    if (auto clean = co_await stop_unguarded(deadline); !clean) co_return clean;
  }
  db_.reset();
  if (data_dir_major(layout.data_dir) == 0 || exists(layout.standby_signal())) co_return Result<void>{};
  std::function<Result<void>()> put = [layout] { return put_standby_signal(layout); };
  co_return co_await on_files(put);
}

// ---- small actions

Task<Result<void>> Server::promote(model::PgConfig loaded, uint32_t timeline, BootTime deadline) {
  bool asked = false;
  const BootTime patience = std::min(deadline, loop_.after(2s));
  std::vector<std::optional<std::string>> wanted;
  wanted.emplace_back(format_ha_config(loaded));
  wanted.emplace_back(std::to_string(loaded.term));
  wanted.emplace_back(format_sync_names(loaded.sync_names));
  for (;;) {
    auto state = co_await query(
        "SELECT pg_is_in_recovery(), current_setting('pgdba.ha_config', true) = $1 AND current_setting('pgdba.term', true) = $2 "
        "AND current_setting('synchronous_standby_names') = $3 AND current_setting('primary_conninfo') = '' "
        "AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver), "
        "(SELECT max(('x' || substr(name, 1, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{8}[.]history$') AS newest",
        wanted, deadline);
    if (!state) co_return tl::unexpected(std::move(state.error()).context("while promoting"));
    if (state->text(0, 0).value_or("") == "f") co_return Result<void>{};
    const bool in_force = state->text(0, 1).value_or("") == "t";
    if (!asked && in_force && timeline != 0 && state->integer(0, "newest").value_or(0) >= timeline)
      co_return fail(Errc::conflict, fmt::format("not promoted: timeline {} has begun elsewhere", state->integer(0, "newest").value_or(0)));
    if (!asked && in_force) {
      std::function<Result<void>()> written = [layout = settings_.layout] { return clear_initdb(layout); };
      if (auto cleared = co_await on_files(written); !cleared) co_return cleared;
      auto promoted = co_await query("SELECT pg_promote(false)", {}, deadline);
      if (!promoted) co_return tl::unexpected(std::move(promoted.error()).context("while promoting"));
      asked = true;
      open_probe_session();
    }
    if (!asked && loop_.now() >= patience) co_return fail(Errc::timeout, "not promoted: PostgreSQL has not loaded its configuration as a primary");
    if (loop_.now() >= deadline) co_return fail(Errc::timeout, "PostgreSQL is still in recovery");
    co_await loop_.sleep_for(asked ? 5ms : 2ms);
  }
}

Task<Result<void>> Server::checkpoint(BootTime deadline) {
  net::PgConnection db(loop_);
  if (auto open = co_await db.connect(local_target("pgdba"), deadline); !open) co_return open;
  auto done = co_await db.query("CHECKPOINT", {}, deadline);
  if (!done) co_return tl::unexpected(std::move(done.error()).context("CHECKPOINT"));
  co_return Result<void>{};
}

Task<Result<WalEnd>> Server::find_end_of_wal(BootTime deadline) {
  if (guards(guard_.status()) || living_postmaster(settings_.layout))
    co_return fail(Errc::conflict, "PostgreSQL runs: its WAL goes on");
  auto control = co_await read_control(loop_, install_, settings_.layout.data_dir, deadline);
  if (!control) co_return tl::unexpected(std::move(control.error()).context("while measuring WAL"));
  co_return co_await last_record(*control, deadline);
}

Task<Result<WalEnd>> Server::last_record(ControlData control, BootTime deadline) {
  // Shared with the helper thread, which may outlive this task.
  auto stop = std::make_shared<std::atomic<bool>>(false);
  struct StopAtEnd {
    std::shared_ptr<std::atomic<bool>> flag;
    ~StopAtEnd() { *flag = true; }
  } stop_at_end{stop};
  std::function<Result<WalEnd>()> find = [layout = settings_.layout, data = control, stop]() -> Result<WalEnd> {
    auto histories = read_histories(layout);
    if (!histories) return tl::unexpected(histories.error());
    return find_wal_end(layout, data, *histories, *stop);
  };
  auto found = co_await net::with_deadline(loop_, loop_.offload(find), deadline);
  if (!found) co_return tl::unexpected(std::move(found.error()).context("while measuring WAL"));
  co_return *found;
}

Task<Result<void>> Server::measure_wal(BootTime deadline) {
  auto found = co_await find_end_of_wal(deadline);
  if (!found) co_return tl::unexpected(found.error());
  wal_end_ = model::Position{.term = 0, .timeline = found->timeline, .lsn = found->lsn};
  co_return Result<void>{};
}

}  // namespace pgdba::pg
