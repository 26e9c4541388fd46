#include "agent/local_pg.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "net/log.h"
#include "net/process.h"
#include "pg/durable.h"

namespace pgdba::agent {

namespace {

using Outcome = ha::Completion::Outcome;

constexpr std::string_view kLog = "postgres";

// How long each kind of work may take. An immediate stop breaks off whatever waits for PostgreSQL, so these bound only
// what nobody is in a hurry for.
constexpr Duration kQuick = 5s;
constexpr Duration kSlow = 10min;
constexpr Duration kJob = 48h;
constexpr Duration kDying = 60s;   // after a kill, until the kernel has let go of everything
constexpr Duration kReading = 1s;  // then the reading says that the server does not answer

std::string post_bootstrap_mark(const pg::Layout& layout) { return layout.in_state("post_bootstrap"); }

pg::Login login(const conf::Login& from) {
  pg::Login to;
  to.user = from.username;
  to.password = from.password;
  to.options = from.options;
  return to;
}

std::string first_socket_folder(const conf::AgentSettings& settings) {
  auto folders = settings.postgresql.parameters.find("unix_socket_directories");
  if (folders == settings.postgresql.parameters.end()) return {};
  return std::string(trim(std::string_view(folders->second).substr(0, folders->second.find(','))));
}

}  // namespace

pg::Settings pg_settings(const conf::AgentSettings& from) {
  pg::Settings to;
  to.name = from.name;
  to.cluster_name = from.scope;
  to.layout = pg::Layout::beside(from.postgresql.data_dir, first_socket_folder(from));
  to.bin_dir = from.postgresql.bin_dir;
  // Beside our own log where there is a folder for logs, so that whoever rotates and collects those has this one, too.
  to.log_file = from.log.dir.empty() ? to.layout.in_state("postgresql.log") : from.log.dir + "/postgresql.log";
  to.database = from.postgresql.database;
  to.pgpass = from.postgresql.pgpass;
  to.superuser = login(from.postgresql.superuser);
  to.replication = login(from.postgresql.replication);
  to.rewind = login(from.postgresql.rewind);
  to.initdb_options = from.bootstrap.initdb;
  to.basebackup_options = from.postgresql.basebackup;
  to.rewind_options = from.postgresql.rewind_options;
  to.post_bootstrap = from.bootstrap.post_bootstrap;
  to.start_timeout = std::max<Duration>(from.postgresql.pg_ctl_timeout, 1s);  // 0 would let nothing start
  return to;
}

LocalPg::LocalPg(net::Loop& loop, pg::Settings settings, std::vector<std::string> bootstrap_hba, std::function<void()> observed)
    : loop_(loop),
      client_({.page = settings.layout.guardian_page()}),
      guard_(client_),
      server_(loop, std::move(settings), guard_),
      observer_(server_),
      bootstrap_hba_(std::move(bootstrap_hba)),
      observed_(std::move(observed)),
      due_(loop),
      new_process_(loop) {}

Result<void> LocalPg::prepare() {
  if (auto prepared = server_.prepare(); !prepared) return prepared;
  auto adopted = client_.adopt();
  if (!adopted) return tl::unexpected(std::move(adopted.error()).context("while looking for a guardian"));
  if (*adopted) log::info(kLog, "adopted the guardian of an earlier agent pid={}", client_.status().guardian_pid);
  auto record = pg::read_freeze_record(server_.settings().layout);
  if (record) {
    freeze_record_ = *record;
  } else {
    // It is there, so this member may have promised to acknowledge nobody; what exactly, only etcd can tell.
    log::error(kLog, "the freeze record cannot be read, so this member counts as frozen: {}", record.error().text);
    freeze_record_ = model::FreezeRecord{};
  }
  return {};
}

Task<void> LocalPg::watch() {
  net::Job exits = loop_.start(watch_exits(), "postgres exits");
  for (;;) {
    if (!wanted_) co_await due_.wait_until(reading_.measured_at + every_);
    wanted_ = false;
    reading_ = co_await observer_.observe(loop_.after(kReading));
    new_process_.notify();
    observed_();
  }
}

void LocalPg::observe_now() {
  wanted_ = true;
  due_.notify();
}

void LocalPg::observe_every(Duration every) {
  every = std::max<Duration>(every, 5ms);
  if (every == every_) return;
  const bool sooner = every < every_;
  every_ = every;
  if (sooner) due_.notify();
}

// The postmaster's end, and the guardian's (all is dead then), are seen by pidfd at once and not at the next reading.
Task<void> LocalPg::watch_exits() {
  for (;;) {
    const guardian::Status status = client_.status();
    const pid_t pid = status.postmaster_alive ? status.postmaster_pid : status.guardian_alive ? status.guardian_pid : 0;
    if (pid == 0) {
      co_await new_process_.wait_for(10min);
      continue;
    }
    auto process = net::ProcessWatch::open(loop_, pid);
    if (!process) {
      co_await loop_.sleep_for(20ms);
      continue;
    }
    const bool ended = co_await (*process)->exited(loop_.after(10min));
    if (ended) observe_now();
  }
}

void LocalPg::set_deadline(const ha::SetDeadline& set) {
  client_.set_deadline(set.deadline, {.lease = set.lease, .leader_mod = set.leader_mod, .term = set.term});
}

ha::Page LocalPg::page() const {
  const guardian::Status status = client_.status();
  ha::Page page;
  if (!status.page_found) return page;
  page.guardian_alive = status.guardian_alive;
  page.deadline = status.deadline;
  page.lease = status.owner.lease;
  page.leader_mod = status.owner.leader_mod;
  page.term = status.owner.term;
  return page;
}

Task<Result<void>> LocalPg::checkpoint() { co_return co_await server_.checkpoint(loop_.after(kSlow)); }

Task<Result<ha::UpstreamHistory>> LocalPg::fetch_history(std::string from, std::string conn_url, BootTime deadline) {
  ha::UpstreamHistory history;
  history.from = std::move(from);
  history.asked_at = loop_.now();
  auto answer = co_await pg::fetch_history(server_, std::move(conn_url), deadline);
  if (!answer) co_return tl::unexpected(std::move(answer.error()));
  history.system_id = answer->system_id;
  history.term = answer->term;
  history.timeline = answer->timeline;
  history.flush_lsn = answer->flush_lsn;
  history.ends = std::move(answer->ends);
  history.in_recovery = answer->in_recovery;
  co_return history;
}

Task<ha::Completion> LocalPg::carry_out(ha::Body body) {
  ha::Completion completion;
  completion.sent_at = loop_.now();
  Result<bool> result = co_await perform(std::move(body));
  completion.answered_at = loop_.now();
  if (result) {
    completion.outcome = Outcome::done;
    completion.succeeded = *result;
  } else {
    completion.outcome = Outcome::failed;
    completion.text = std::move(result.error().text);
  }
  observe_now();
  co_return completion;
}

Task<ha::Completion> LocalPg::render_again() {
  // Only what this agent's own file says is written again: of other files nothing safe can be made.
  auto written = pg::read_ha_config(server_.settings().layout);
  if (!written) {
    ha::Completion nothing;
    nothing.sent_at = nothing.answered_at = loop_.now();
    nothing.outcome = Outcome::failed;
    nothing.text = std::move(written.error().text);
    co_return nothing;
  }
  ha::ApplyConfig again;
  again.config = std::move(*written);
  ha::Body body = std::move(again);
  co_return co_await carry_out(std::move(body));
}

namespace {

Result<bool> as_bool(Result<void> result) {
  if (!result) return tl::unexpected(std::move(result.error()));
  return true;
}

}  // namespace

Task<Result<bool>> LocalPg::durably(std::function<Result<void>()> function) {
  co_return as_bool(co_await loop_.offload<Result<void>>(std::move(function)));
}

Task<Result<bool>> LocalPg::create_users() {
  // Once, and also when the agent ended between initdb and this.
  const std::string mark = post_bootstrap_mark(server_.settings().layout);
  const bool fresh = pg::exists(mark);
  auto created = co_await pg::create_users(server_, fresh, loop_.after(kSlow));
  if (!created) co_return tl::unexpected(std::move(created.error()));
  if (!fresh) co_return true;
  std::function<Result<void>()> remove = [mark] { return pg::remove_durably(mark); };
  co_return co_await durably(std::move(remove));
}

Task<Result<bool>> LocalPg::init_db() {
  auto made = co_await pg::init_db(server_, &progress_, loop_.after(kJob));
  if (!made) co_return tl::unexpected(std::move(made.error()));
  std::function<Result<void>()> finish = [layout = server_.settings().layout, lines = bootstrap_hba_]() -> Result<void> {
    // pg/ keeps what initdb wrote there only when no pg_hba is configured, which is Patroni's condition for these lines.
    const std::string base = layout.in_data("pg_hba.base.conf");
    if (!lines.empty() && pg::exists(base)) {
      auto text = pg::read_file(base);
      if (!text) return tl::unexpected(std::move(text.error()));
      for (const std::string& line : lines) *text += line + "\n";
      if (auto written = pg::write_durably(base, *text); !written) return written;
    }
    return pg::write_durably(post_bootstrap_mark(layout), "initdb\n");
  };
  co_return co_await durably(std::move(finish));
}

Task<Result<bool>> LocalPg::perform(ha::Body body) {
  const pg::Layout& layout = server_.settings().layout;
  if (const auto* a = std::get_if<ha::WriteFreezeRecord>(&body)) {
    std::function<Result<void>()> write = [layout, record = a->record] { return pg::write_freeze_record(layout, record); };
    auto written = co_await durably(std::move(write));
    if (written) freeze_record_ = a->record;
    co_return written;
  }
  if (std::holds_alternative<ha::ClearFreezeRecord>(body)) {
    std::function<Result<void>()> clear = [layout] { return pg::clear_freeze_record(layout); };
    auto cleared = co_await durably(std::move(clear));
    if (cleared) freeze_record_.reset();
    co_return cleared;
  }
  if (const auto* a = std::get_if<ha::ApplyConfig>(&body)) {
    auto applied = co_await server_.apply(a->config, loop_.after(kQuick));
    if (!applied) co_return tl::unexpected(std::move(applied.error()));
    for (const std::string& warning : applied->warnings) {
      if (std::find(warned_.begin(), warned_.end(), warning) == warned_.end()) log::warning(kLog, "{}", warning);
    }
    warned_ = std::move(applied->warnings);
    co_return true;
  }
  if (const auto* a = std::get_if<ha::StartPg>(&body)) co_return as_bool(co_await server_.start(a->as_primary, loop_.after(server_.settings().start_timeout)));
  if (const auto* a = std::get_if<ha::StopPg>(&body)) {
    const bool fast = a->mode == ha::StopPg::Mode::fast;
    auto stopped = co_await server_.stop(fast ? pg::Server::StopMode::fast : pg::Server::StopMode::immediate, a->budget,
                                         loop_.after(a->budget + kDying));
    // After a planned stop the next question is where the shutdown record ends; without an answer the core asks again.
    if (stopped && fast && !server_.wal_end()) (void)co_await server_.measure_wal(loop_.after(kQuick));
    co_return as_bool(std::move(stopped));
  }
  if (const auto* a = std::get_if<ha::Promote>(&body)) co_return as_bool(co_await server_.promote(a->loaded, a->timeline, loop_.after(server_.settings().start_timeout)));
  if (std::holds_alternative<ha::MeasureWal>(body)) co_return as_bool(co_await server_.measure_wal(loop_.after(server_.settings().start_timeout)));
  if (std::holds_alternative<ha::InitDb>(body)) co_return co_await init_db();
  if (std::holds_alternative<ha::CreateUsers>(body)) co_return co_await create_users();
  if (std::holds_alternative<ha::EnsurePoolerAuth>(body)) co_return as_bool(co_await pg::ensure_pooler_auth(server_, loop_.after(kQuick)));
  if (const auto* a = std::get_if<ha::Clone>(&body)) co_return as_bool(co_await pg::clone(server_, a->conn_url, &progress_, loop_.after(kJob)));
  if (const auto* a = std::get_if<ha::Rewind>(&body)) co_return as_bool(co_await pg::rewind(server_, a->conn_url, &progress_, loop_.after(kJob)));
  if (const auto* a = std::get_if<ha::RecordTimeline>(&body)) {
    std::function<Result<void>()> record = [layout, it = *a] { return pg::record_timeline(layout, it.timeline, it.nonce); };
    co_return co_await durably(std::move(record));
  }
  if (const auto* a = std::get_if<ha::SkipTimelines>(&body)) {
    std::function<Result<void>()> skip = [layout, taken = a->taken] { return pg::skip_timelines(layout, taken); };
    co_return co_await durably(std::move(skip));
  }
  if (std::holds_alternative<ha::MarkNovote>(body)) {
    std::function<Result<void>()> mark = [layout] { return pg::mark_novote(layout); };
    co_return co_await durably(std::move(mark));
  }
  if (std::holds_alternative<ha::ClearNovote>(body)) {
    std::function<Result<void>()> clear = [layout] { return pg::clear_novote(layout); };
    co_return co_await durably(std::move(clear));
  }
  if (std::holds_alternative<ha::ProbeSync>(body)) co_return co_await pg::probe_sync(server_, loop_.after(2s));
  if (std::holds_alternative<ha::WriteWal>(body)) co_return as_bool(co_await pg::write_wal(server_, loop_.after(kQuick)));
  if (const auto* a = std::get_if<ha::EndWalsender>(&body)) co_return as_bool(co_await pg::end_walsender(server_, a->pid, loop_.after(kQuick)));
  if (const auto* a = std::get_if<ha::SyncSlots>(&body)) co_return as_bool(co_await pg::sync_slots(server_, a->members, loop_.after(kQuick)));
  co_return fail(Errc::bug, fmt::format("{} is no action of the local lane", name_of(body)));
}

}  // namespace pgdba::agent
