// The agent's hands and eyes on its own PostgreSQL: carries out the local lane on top of pg/ and guardian/, and keeps one
// current reading of everything that model::LocalPg says.
//
// Invariants. A reading's measured_at lies before anything in it was read, so "newer than the end of an action" is true
// when it says so. The guardian's deadline is stored the moment it is set. Nothing here blocks the loop: files are
// synced on a helper thread, a server that does not answer costs one reading its query and nothing else.
//
// Order of calls: prepare() once, set_inputs() before the first action, then watch() as a task beside the actions.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conf/agent_settings.h"
#include "guardian/client.h"
#include "ha/action.h"
#include "ha/view.h"
#include "model/local.h"
#include "net/loop.h"
#include "pg/actions.h"
#include "pg/guard.h"
#include "pg/observe.h"
#include "pg/server.h"

namespace pgdba::agent {

pg::Settings pg_settings(const conf::AgentSettings& settings);

class LocalPg {
 public:
  // `observed` is called after each reading.
  // `bootstrap_hba`: lines that a new cluster's pg_hba.conf gets behind those of initdb, unless pg_hba is configured.
  LocalPg(net::Loop& loop, pg::Settings settings, std::vector<std::string> bootstrap_hba, std::function<void()> observed);
  LocalPg(const LocalPg&) = delete;
  LocalPg& operator=(const LocalPg&) = delete;

  // Folders, programs, the guardian and the freeze record that an earlier agent left. Blocking, some 50 ms.
  Result<void> prepare();
  void set_inputs(pg::FileInputs inputs) { server_.set_inputs(std::move(inputs)); }
  void set_members(std::map<std::string, std::string> conn_urls) { observer_.set_members(std::move(conn_urls)); }

  // One action of the local lane. The completion has outcome, text and times; the id is the caller's.
  Task<ha::Completion> carry_out(ha::Body body);
  // Files rendered again from what is in force on disk, after set_inputs(); reloads where a server runs.
  Task<ha::Completion> render_again();
  // Of the probe lane: beside whatever the local lane does.
  Task<Result<void>> checkpoint();
  Task<Result<ha::UpstreamHistory>> fetch_history(std::string from, std::string conn_url, BootTime deadline);

  Task<void> watch();  // readings; until cancelled
  void observe_every(Duration every);
  void observe_now();

  // Memory, at once.
  void set_deadline(const ha::SetDeadline& set);
  void kill() { client_.kill(); }

  [[nodiscard]] const model::LocalPg& reading() const { return reading_; }
  [[nodiscard]] const std::optional<model::FreezeRecord>& freeze_record() const { return freeze_record_; }
  [[nodiscard]] ha::Page page() const;
  [[nodiscard]] const pg::Install& install() const { return server_.install(); }
  [[nodiscard]] const pg::Settings& settings() const { return server_.settings(); }
  [[nodiscard]] pg::Server& server() { return server_; }

 private:
  Task<Result<bool>> perform(ha::Body body);
  Task<void> watch_exits();
  Task<Result<bool>> durably(std::function<Result<void>()> function);
  Task<Result<bool>> create_users();
  Task<Result<bool>> init_db();

  net::Loop& loop_;
  guardian::Client client_;
  pg::GuardOf<guardian::Client> guard_;
  pg::Server server_;
  pg::Observer observer_;
  std::vector<std::string> bootstrap_hba_;
  std::function<void()> observed_;
  net::Event due_;        // a reading is wanted now
  net::Event new_process_;  // another postmaster or guardian may have to be watched
  bool wanted_ = true;
  Duration every_ = 500ms;
  model::LocalPg reading_;
  std::optional<model::FreezeRecord> freeze_record_;
  pg::Progress progress_;
  std::vector<std::string> warned_;  // of the last rendering: said once, not with each reload
};

}  // namespace pgdba::agent
