// The processes of one local PostgreSQL: started through the guardian, configured, promoted, stopped.
//
// Owns a kept superuser connection through the private unix socket. One action at a time (the agent's local lane); the
// Observer has a connection of its own and runs beside it. Every Task has a deadline, may be cancelled, and may be
// repeated: an action whose effect is there already is done at once.
//
//   pg::Server server(loop, settings, guard);
//   server.prepare();                                  // folders, programs; again after a clone of another version
//   server.set_inputs(inputs);                         // before the first apply, and on each change
//   co_await server.apply(config, deadline);           // ApplyConfig; `config` a variable, not PgConfig{…} (g++ 12)
//   co_await server.start(as_primary, deadline);       // StartPg: returns when the postmaster runs (not yet: accepts)
//   co_await server.wait_accepting(deadline);
//   co_await server.promote(deadline); co_await server.stop(…);
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "model/local.h"
#include "net/loop.h"
#include "net/pq.h"
#include "net/task.h"
#include "pg/config_files.h"
#include "pg/conninfo.h"
#include "pg/guard.h"
#include "pg/install.h"
#include "pg/settings.h"
#include "pg/wal_end.h"

namespace pgdba::pg {

// The one parameter of a statement. (A braced list inside a co_await expression is more than g++ 12 can compile.)
inline std::vector<std::optional<std::string>> with(std::string value) {
  std::vector<std::optional<std::string>> out;
  out.emplace_back(std::move(value));
  return out;
}

struct Applied {
  bool loaded = false;  // a server runs and has taken all of it; false: no server runs
  std::vector<std::string> warnings;
};

class Server {
 public:
  Server(net::Loop& loop, Settings settings, Guard& guard);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Result<void> prepare();  // folders and programs; blocking, some 30 ms
  void set_inputs(FileInputs inputs) { inputs_ = std::move(inputs); }

  const Settings& settings() const { return settings_; }
  const FileInputs& inputs() const { return inputs_; }
  const Install& install() const { return install_; }
  Guard& guard() { return guard_; }
  net::Loop& loop() { return loop_; }

  // ApplyConfig: files written and fsynced; where a server runs, reloaded and confirmed; a closed gate by a connection made
  // after the postmaster has taken pg_hba. Frozen, on a running standby: also resumes replay and cancels what
  // blocks it until the probe was called twice, or 300 ms are over (the observation proves the freeze, not this). `done`
  // never means less than what it says; failed: what is on disk is at least as safe as before or as ordered.
  Task<Result<Applied>> apply(model::PgConfig config, BootTime deadline);

  // StartPg. Guardian first, then (as_primary) standby.signal is removed, else made; then the postmaster. Done when the
  // postmaster runs and has its sockets; an early end is an error with the end of its log. conflict: one runs already.
  // Without pgdba.ha.conf (reboot) the default, frozen configuration is written first.
  Task<Result<void>> start(bool as_primary, BootTime deadline);

  // Until a query is answered: 5 ms polls. unavailable: the postmaster ended meanwhile.
  Task<Result<void>> wait_accepting(BootTime deadline);

  // StopPg. Done when stopped, all dead (G1), standby.signal is back. fast: SIGKILL to all when `budget` is over. Also
  // ends a postmaster that somebody started without a guardian, and what a dead guardian left (always at once).
  // timeout: something cannot be killed (a disk that does not answer).
  enum class StopMode { fast, immediate };
  Task<Result<void>> stop(StopMode mode, Duration budget, BootTime deadline);

  // Not before `loaded`, which names no upstream, is in force and nothing streams in (W7; Errc::timeout after 2 s), and not
  // when `timeline` or a later one has a history file here (R1; Errc::conflict; 0: whichever comes next). Done when out of
  // recovery; a primary: done at once.
  Task<Result<void>> promote(model::PgConfig loaded, uint32_t timeline, BootTime deadline);
  Task<Result<void>> checkpoint(BootTime deadline);  // beside the other actions, on a connection of its own
  Task<Result<void>> measure_wal(
      BootTime deadline);  // MeasureWal; the Observer then shows it until the next start or job
  Task<Result<WalEnd>> find_end_of_wal(BootTime deadline);  // the same, shown to nobody
  Task<Result<WalEnd>> last_record(ControlData control, BootTime deadline);  // of a server that writes no more

  // A statement on the kept superuser connection. Not for anything that may wait for synchronous replication.
  Task<Result<net::Rows>> query(std::string sql, std::vector<std::optional<std::string>> parameters, BootTime deadline);
  net::PgTarget local_target(std::string application_name) const;

  // A session whose commits wait for standbys, for the probe of Y3. promote() opens one beforehand: when clients wait for
  // the end of a promotion, the fork for a connection is a good part of what they wait for. nullptr: there is none.
  net::PgTarget probe_target() const;
  std::shared_ptr<net::PgConnection> take_probe_session();

  // For the Observer. The configuration generation that a connection made after it was loaded has shown, pg_hba
  // included.
  const std::string& confirmed_generation() const { return confirmed_generation_; }
  std::optional<model::Position> wal_end() const { return wal_end_; }
  // What a guardian would do, had the last one not died: kills what is left of a postmaster that is gone, and puts
  // standby.signal back. True when nothing was left. Does nothing while a postmaster or guardian lives.
  Task<bool> bury_orphans();

  // PostgreSQL reads standby.signal only when it starts, so a running primary gets it back at once: then agent, guardian
  // and postgres may die together (OOM killer) and the directory still does not start as a primary (G2). For the
  // Observer, whose reading shows a primary without it; does nothing once another start than the `start`th has begun.
  void put_signal_back(int start);
  int start_count() const { return *starts_; }

  // Runs work on files on a helper thread: a disk that does not answer must not hold up the loop. One at a time, also
  // after its waiter was cancelled.
  Task<Result<void>> on_files(std::function<Result<void>()> work);

  // While one exists, a job's own processes work in the data directory and are no orphans.
  class JobMark {
   public:
    explicit JobMark(Server& server) : server_(server) { ++server_.jobs_; }
    ~JobMark() { --server_.jobs_; }
    JobMark(const JobMark&) = delete;
    JobMark& operator=(const JobMark&) = delete;

   private:
    Server& server_;
  };
  // For the jobs: stopped, nothing left of a postmaster or of an earlier agent's job; else conflict.
  Task<Result<void>> make_sure_stopped(BootTime deadline);

 private:
  Task<Result<void>> connected(BootTime deadline);
  void open_probe_session();
  Task<Result<void>> check_inputs(BootTime deadline);
  Task<Result<void>> confirm_reload(std::string generation, bool gate_closes, BootTime deadline);
  Task<Result<void>> unblock_freeze(std::string nonce, BootTime deadline);
  Task<Result<void>> wait_for_guardian(BootTime deadline);
  Task<Result<void>> wait_for_sockets(int64_t log_start, BootTime deadline);
  Task<Result<void>> stop_unguarded(BootTime deadline);
  Error ended_early(int64_t log_start) const;

  net::Loop& loop_;
  Settings settings_;
  FileInputs inputs_;
  Guard& guard_;
  Install install_;
  std::optional<std::map<std::string, std::string>> checked_;  // the parameters as given when they were last checked
  CheckedParameters good_;
  std::unique_ptr<net::PgConnection> db_;
  std::shared_ptr<net::PgConnection> probe_session_;
  std::optional<model::Position> wal_end_;
  std::string confirmed_generation_;
  bool access_proved_ = false;  // the running postmaster has taken pg_hba as it is on disk; a failed apply leaves this false
  std::shared_ptr<std::atomic<int>> starts_ = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<std::mutex> file_work_ = std::make_shared<std::mutex>();
  int jobs_ = 0;
  std::shared_ptr<std::atomic<bool>> putting_signal_back_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace pgdba::pg
