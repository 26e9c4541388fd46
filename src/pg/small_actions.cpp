// The actions of the local lane that are a few statements each; see actions.h.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "model/names.h"
#include "pg/actions.h"
#include "pg/conninfo.h"
#include "pg/history.h"

namespace pgdba::pg {

namespace {

// The probe's own session: commits, and waits until somebody lets it go. Shared with its task, which may unwind after
// whoever started it.
struct ProbeSession {
  std::shared_ptr<net::PgConnection> db;
  std::optional<Result<net::Rows>> ended;
};
Task<void> commit_probe(std::shared_ptr<ProbeSession> session, BootTime deadline) {
  session->ended = co_await session->db->query("SELECT pg_logical_emit_message(true, 'pgdba', 'probe')", {}, deadline);
}

}  // namespace

Task<Result<bool>> probe_sync(Server& server, BootTime deadline) {
  for (;;) {
    auto session = std::make_shared<ProbeSession>();
    session->db = server.take_probe_session();
    std::optional<Result<net::Rows>>& ended = session->ended;
    if (!session->db) {
      session->db = std::make_shared<net::PgConnection>(server.loop());
      if (auto open = co_await session->db->connect(server.probe_target(), deadline); !open) {
        if (open.error().code == Errc::timeout) co_return false;
        co_return tl::unexpected(open.error());
      }
    }
    std::string pid = std::to_string(session->db->backend_pid());
    net::Job probe = server.loop().start(commit_probe(session, deadline + 1s), "probe_sync");
    bool waits = false;
    while (!waits && !ended && server.loop().now() < deadline) {
      auto seen =
          co_await server.query("SELECT wait_event FROM pg_stat_activity WHERE pid = $1::int", with(pid), deadline);
      if (!seen) {
        co_await probe.stop();
        if (seen.error().code == Errc::timeout) co_return false;
        co_return tl::unexpected(seen.error());
      }
      waits = seen->text(0, 0).value_or("") == "SyncRep";
      if (!waits) co_await server.loop().sleep_for(2ms);
    }
    // The row that it "wrote" is a message that nobody reads: its wait may be ended.
    if (!ended)
      (void)co_await server.query("SELECT pg_terminate_backend($1::int)", with(pid), server.loop().after(500ms));
    co_await probe.stop();
    if (waits) co_return true;
    if (server.loop().now() >= deadline) co_return false;
    if (ended && !*ended && (*ended).error().code != Errc::timeout) co_return tl::unexpected((*ended).error());
    // It did not wait: waiting is switched on by the checkpointer, which is busy (E2). Again.
    co_await server.loop().sleep_for(10ms);
  }
}

Task<Result<void>> write_wal(Server& server, BootTime deadline) {
  // A transaction, since only a commit flushes; under synchronous_commit = local it waits for nobody.
  auto done = co_await server.query("SELECT pg_logical_emit_message(true, 'pgdba', '')", {}, deadline);
  if (!done) co_return tl::unexpected(std::move(done.error()).context("while writing a little WAL"));
  co_return Result<void>{};
}

Task<Result<void>> end_walsender(Server& server, int pid, BootTime deadline) {
  auto done = co_await server.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1::int AND backend_type = 'walsender'",
      with(std::to_string(pid)), deadline);
  if (!done) co_return tl::unexpected(std::move(done.error()).context("while ending a walsender"));
  co_return Result<void>{};
}

Task<Result<void>> sync_slots(Server& server, std::vector<std::string> members, BootTime deadline) {
  auto rows =
      co_await server.query("SELECT slot_name, slot_type, active, temporary FROM pg_replication_slots", {}, deadline);
  if (!rows) co_return tl::unexpected(std::move(rows.error()).context("while looking at slots"));
  std::vector<std::string> wanted;
  for (const std::string& member : members) {
    if (member != server.settings().name) wanted.push_back(model::slot_name(member));
  }
  std::vector<std::string> there;
  Error problem{Errc::bug, ""};
  for (size_t i = 0; i < rows->size(); ++i) {
    std::string name(rows->text(i, "slot_name").value_or(""));
    there.push_back(name);
    bool ours_to_drop = rows->text(i, "slot_type").value_or("") == "physical" && rows->boolean(i, "active") == false &&
                        rows->boolean(i, "temporary") == false;
    if (!ours_to_drop || std::ranges::find(wanted, name) != wanted.end()) continue;
    // In use by the time we get there: next time.
    auto dropped = co_await server.query("SELECT pg_drop_replication_slot($1)", with(name), deadline);
    if (!dropped && dropped.error().code == Errc::timeout) co_return tl::unexpected(dropped.error());
  }
  for (const std::string& name : wanted) {
    if (std::ranges::find(there, name) != there.end()) continue;
    auto made = co_await server.query("SELECT pg_create_physical_replication_slot($1, true)", with(name), deadline);
    if (!made) problem = std::move(made.error()).context(fmt::format("while making the slot {}", name));
  }
  if (!problem.text.empty()) co_return tl::unexpected(problem);
  co_return Result<void>{};
}

Task<Result<UpstreamAnswer>> fetch_history(Server& server, std::string conn_url, BootTime deadline) {
  auto at = parse_conn_url(conn_url);
  if (!at) co_return tl::unexpected(at.error());
  const Settings& settings = server.settings();
  UpstreamAnswer out;
  net::PgConnection db(server.loop());
  net::PgTarget target = target_for(*at, settings.replication, "", "pgdba_history_" + settings.name);
  target.replication = true;
  if (auto open = co_await db.connect(std::move(target), deadline); !open) co_return tl::unexpected(open.error());
  auto system = co_await db.query("IDENTIFY_SYSTEM", {}, deadline);
  if (!system) co_return tl::unexpected(std::move(system.error()).context("IDENTIFY_SYSTEM"));
  out.system_id = std::strtoull(std::string(system->text(0, "systemid").value_or("0")).c_str(), nullptr, 10);
  out.timeline = static_cast<uint32_t>(system->integer(0, "timeline").value_or(0));
  auto flushed = parse_lsn(system->text(0, "xlogpos").value_or(""));
  if (out.system_id == 0 || out.timeline == 0 || !flushed)
    co_return fail(Errc::invalid, "IDENTIFY_SYSTEM gave no answer that we understand");
  out.flush_lsn = *flushed;
  // Unknown under Patroni: an error, and the session goes on.
  if (auto term = co_await db.query("SHOW pgdba.term", {}, deadline))
    out.term = parse_int(term->text(0, 0).value_or("")).value_or(0);
  if (!db.is_open()) co_return fail(Errc::unavailable, "the replication connection was closed");
  if (out.timeline > 1) {
    auto history = co_await db.query(fmt::format("TIMELINE_HISTORY {}", out.timeline), {}, deadline);
    if (!history) co_return tl::unexpected(std::move(history.error()).context("TIMELINE_HISTORY"));
    std::string text(history->text(0, "content").value_or(""));
    out.ends = parse_history(text);
  }
  if (auto hot = db.parameter("in_hot_standby")) {
    out.in_recovery = *hot == "on";
    co_return out;
  }
  // PostgreSQL 13 does not report it: only a query tells.
  net::PgConnection ask(server.loop());
  if (auto open = co_await ask.connect(
          target_for(*at, settings.rewind_login(), settings.database, "pgdba_history_" + settings.name), deadline);
      !open) {
    co_return tl::unexpected(open.error());
  }
  auto recovery = co_await ask.query("SELECT pg_is_in_recovery()", {}, deadline);
  if (!recovery) co_return tl::unexpected(recovery.error());
  out.in_recovery = recovery->text(0, 0).value_or("t") != "f";
  co_return out;
}

}  // namespace pgdba::pg
