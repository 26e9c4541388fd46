#include "pg/observe.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "net/log.h"
#include "pg/answers.h"
#include "pg/conninfo.h"
#include "pg/control.h"
#include "pg/durable.h"
#include "pg/file_facts.h"
#include "pg/history.h"
#include "pg/log_tail.h"
#include "pg/probe_file.h"
#include "pg/processes.h"

namespace pgdba::pg {

namespace {

using model::DataDir;
using model::LocalPg;
using model::PgProcess;

// A new connection costs far more than a query on one that is there. On a host whose processors are all busy one that is
// given up too early is begun again and again, and nothing is ever observed: so each further attempt has twice the time.
constexpr Duration kConnecting = 1s;
constexpr Duration kLongestConnecting = 8s;
constexpr Duration kRareThings = 2s;  // settings that wait for a restart; pg_control of a running server

// On which timeline a record ends that ends at `at`, in the history of `newest`.
uint32_t timeline_at(const std::vector<History>& histories, uint32_t newest, Lsn at) {
  for (const History& history : histories) {
    if (history.timeline != newest) continue;
    for (const auto& [timeline, end] : history.ends) {
      if (at <= end) return timeline;
    }
  }
  return newest;
}

}  // namespace

struct Observer::Impl {
  explicit Impl(Server& s) : server(s), loop(s.loop()) {}

  Server& server;
  net::Loop& loop;
  std::map<std::string, std::string> members;  // name -> conn_url
  std::unique_ptr<net::PgConnection> db;
  Duration connecting = kConnecting;
  std::string connection_generation;  // of the configuration with which this connection was forked
  bool fresh = false;                 // nothing was asked on it yet
  bool hba_taken = false;             // pg_hba.conf of that generation has no error

  // Facts about one postmaster.
  uint64_t incarnation = 0;
  bool exhausted = false;
  uint32_t received_timeline = 0;  // of the last walreceiver seen streaming
  std::string proved_nonce;
  struct Drained {
    Lsn receive, replay;
    bool operator==(const Drained&) const = default;
  };
  std::optional<Drained> drained;  // at these positions replay was seen to have nothing left to read
  struct KnownTimeline {
    Drained at;
    uint32_t timeline = 0;
  };
  std::optional<KnownTimeline> identified;
  ProbeCalls calls_before;
  Lsn replay_before;

  std::optional<FileFacts> last_files;  // when they cannot be read in time, they are what they were
  struct Known {
    std::mutex reading;
    KnownHistories histories;
  };
  std::shared_ptr<Known> histories = std::make_shared<Known>();
  std::string unreadable;               // why, as it was logged last
  std::string denied;                   // the same, of PostgreSQL not letting us in
  int64_t control_ns = 0;
  int64_t control_inode = 0;
  BootTime control_read{};
  bool control_before_up = true;        // the last reading found no server that was up
  std::optional<Result<ControlData>> control;
  bool seen_bad = false;
  std::optional<bool> panicked;  // what the log said of the end of this incarnation
  uint64_t panicked_in = 0;
  BootTime rare_asked{};
  std::map<std::string, model::ValueChange> pending_restart;

  Task<void> read_data_dir(LocalPg& out, BootTime deadline);
  Task<void> read_processes(LocalPg& out);
  Task<void> read_log(LocalPg& out, BootTime deadline);
  Task<void> ask(LocalPg& out, BootTime deadline);
  Task<Result<RawAnswers>> query(BootTime deadline);
  Task<void> ask_rare_things(BootTime deadline);
  Task<std::optional<uint32_t>> replayed_timeline(Drained at, BootTime deadline);
  Task<void> conclude_standby(RawAnswers& raw, const std::optional<model::PgConfig>& loaded, const ProbeCalls& calls,
                              BootTime deadline);
  std::string streaming_from(const RawAnswers& raw, const std::optional<model::PgConfig>& loaded) const;
  void forget_postmaster();
};

void Observer::Impl::forget_postmaster() {
  exhausted = false;
  received_timeline = 0;
  proved_nonce.clear();
  drained.reset();
  identified.reset();
  calls_before = {};
  replay_before = {};
  pending_restart.clear();
  rare_asked = {};
  db.reset();
}

Task<void> Observer::Impl::read_data_dir(LocalPg& out, BootTime deadline) {
  auto fresh_files = std::make_shared<std::optional<FileFacts>>();
  std::function<Result<void>()> read = [fresh_files, layout = server.settings().layout, known = histories]() -> Result<void> {
    // A reading that was given up may still be under way on a disk that hangs.
    std::unique_lock lock(known->reading, std::try_to_lock);
    if (!lock.owns_lock()) return fail(Errc::timeout, "the last reading has not ended");
    auto facts = read_files(layout, known->histories);
    if (!facts) return tl::unexpected(facts.error());
    fresh_files->emplace(std::move(*facts));
    return {};
  };
  // Never before anything was read may it look as if there were nothing: somebody would make a new data directory.
  do {
    BootTime limit = last_files ? loop.now() + (deadline - loop.now()) / 2 : loop.after(24h);
    auto done = co_await net::with_deadline(loop, loop.offload(read), limit);
    if (done) {
      last_files = std::move(**fresh_files);
      unreadable.clear();
    } else if (done.error().code != Errc::timeout && unreadable != done.error().text) {
      unreadable = done.error().text;
      log::error("pg", "the data directory cannot be read, what is known of it stays as it was: {}", unreadable);
    }
    if (!last_files) co_await loop.sleep_for(200ms);
  } while (!last_files);
  const FileFacts& files = *last_files;
  out.data = files.data;
  out.unusable_why = files.unusable_why;
  out.timeline_starts = timeline_starts(files.histories);
  out.timeline_nonces = files.nonces;
  out.novote = files.novote;
  out.standby_signal = files.standby_signal;
  out.on_disk = files.on_disk;
  if (files.data != DataDir::present) co_return;
  bool changed = !control || !*control || files.control_ns != control_ns || files.control_inode != control_inode;
  // A server that came up says there whether it recovers: what was read before it did is no word about it (the core goes by it
  // when the server does not answer).
  const bool came_up = out.process == PgProcess::running && control_before_up;
  control_before_up = out.process == PgProcess::stopped || out.process == PgProcess::starting;
  bool due = !control || out.process == PgProcess::stopped || came_up || loop.now() >= control_read + kRareThings;
  while (changed && due) {
    auto answer = co_await read_control(loop, server.install(), server.settings().layout.data_dir,
                                        control ? deadline : loop.after(5s));
    // Without an answer in time nothing is known, least of all that the file is bad; and a bad one is looked at twice,
    // because a running server may just have been writing it.
    bool bad = !answer && answer.error().code == Errc::invalid;
    if (answer || (bad && seen_bad && (!control || out.process == PgProcess::stopped))) {
      seen_bad = false;
      control = std::move(answer);
      control_ns = files.control_ns;
      control_inode = files.control_inode;
      control_read = loop.now();
      break;
    }
    seen_bad = bad;
    if (control && !bad) break;
    co_await loop.sleep_for(20ms);
    if (control && out.process != PgProcess::stopped) break;
  }
  if (control && *control) {
    out.control = (*control)->file;
    out.pristine = is_pristine(files.initdb, *out.control);
  } else if (control) {
    // Whatever the reason (a disk error, pg_controldata killed, the file damaged): it is not for us to give this data up.
    out.unusable_why = control->error().text;
  }
}

Task<void> Observer::Impl::read_processes(LocalPg& out) {
  const Layout& layout = server.settings().layout;
  GuardStatus status = server.guard().status();
  auto file = read_postmaster_pid(layout);
  auto postmaster = living_postmaster(layout);
  out.guardian_alive = status.alive;
  bool ours =
      status.alive && status.state != GuardStatus::State::all_dead && status.state != GuardStatus::State::refused;
  if (status.state != GuardStatus::State::none) out.incarnation = status.incarnation;
  bool ready = file && file->status == "ready";
  if (ours) {
    out.all_dead = false;
    bool ending =
        status.state == GuardStatus::State::killing || status.told_to_stop || (file && file->status == "stopping");
    out.process = ending ? PgProcess::stopping : ready && postmaster ? PgProcess::running : PgProcess::starting;
  } else if (postmaster) {
    // Nobody watches it: started by hand, or its guardian was killed and it is about to end.
    out.all_dead = false;
    if (*postmaster != status.postmaster_pid)
      out.incarnation = (uint64_t{1} << 63) | static_cast<uint64_t>(*postmaster);
    out.process = file && file->status == "stopping" ? PgProcess::stopping
                  : ready                            ? PgProcess::running
                                                     : PgProcess::starting;
  } else {
    out.process = PgProcess::stopped;
    // The guardian's proof, unless somebody has left a postmaster.pid since; else what we can see ourselves.
    out.all_dead = status.state == GuardStatus::State::all_dead && !file;
    if (!out.all_dead) out.all_dead = co_await server.bury_orphans();
  }
  bool was_started = status.state != GuardStatus::State::none && status.postmaster_pid != 0;
  if (out.process == PgProcess::stopped && was_started) out.exit_unexpected = !status.told_to_stop;
}

// A PANIC counts whoever stopped what came after it, and in whose life: only a shutdown record takes it back (H4).
Task<void> Observer::Impl::read_log(LocalPg& out, BootTime deadline) {
  if (out.process != PgProcess::stopped) panicked.reset();
  if (out.process != PgProcess::stopped || out.data != DataDir::present) co_return;
  const bool clean = out.control && (out.control->state == model::ControlState::shut_down ||
                                     out.control->state == model::ControlState::shut_down_in_recovery);
  if (clean) co_return;
  if (panicked_in != out.incarnation || !panicked) {
    auto found = std::make_shared<bool>(false);
    std::function<Result<void>()> read = [found, layout = server.settings().layout, log = server.settings().log_file]() -> Result<void> {
      *found = log_says_panic(layout, log);
      return {};
    };
    auto done = co_await net::with_deadline(loop, loop.offload(read), deadline);
    if (!done) {
      out.all_dead = false;  // nothing is started, handed over or measured before this is known
      co_return;
    }
    panicked = *found;
    panicked_in = out.incarnation;
  }
  out.exit_after_panic = *panicked;
}

Task<Result<RawAnswers>> Observer::Impl::query(BootTime deadline) {
  if (!db || !db->is_open()) {
    deadline = std::max(deadline, loop.after(connecting));
    connecting = std::min(connecting * 2, kLongestConnecting);
    db = std::make_unique<net::PgConnection>(loop);
    net::PgTarget target = server.local_target("pgdba");
    std::erase_if(target.settings, [](const auto& setting) { return setting.first == "synchronous_commit"; });
    auto open = co_await db->connect(std::move(target), deadline);
    if (!open) {
      db.reset();
      co_return tl::unexpected(open.error());
    }
    // Planned once: planning it takes longer than running it.
    auto prepared = co_await db->query(
        "PREPARE observe AS " + observation_query(server.install().major(), server.settings()), {}, deadline);
    if (!prepared) {
      db.reset();
      co_return tl::unexpected(prepared.error());
    }
    fresh = true;
  }
  BootTime asked_at = loop.now();
  auto rows = co_await db->query("EXECUTE observe", {}, deadline);
  if (!rows) {
    db.reset();
    co_return tl::unexpected(rows.error());
  }
  connecting = kConnecting;
  auto raw = read_answers(*rows, asked_at, db->server_version());
  if (!raw) co_return fail(Errc::bug, "the observation query gave no row");
  if (fresh) {
    fresh = false;
    connection_generation = raw->generation;
    auto wrong =
        co_await db->query("SELECT count(*) AS wrong FROM pg_hba_file_rules WHERE error IS NOT NULL", {}, deadline);
    hba_taken = wrong && wrong->integer(0, "wrong") == 0;
  }
  co_return std::move(*raw);
}

// The timeline of the last replayed record: no SQL function tells it, IDENTIFY_SYSTEM on a standby does (W4c).
Task<std::optional<uint32_t>> Observer::Impl::replayed_timeline(Drained at, BootTime deadline) {
  if (identified && identified->at == at) co_return identified->timeline;
  net::PgConnection self(loop);
  net::PgTarget target = server.local_target("pgdba");
  target.replication = true;
  target.settings.clear();
  auto open = co_await self.connect(std::move(target), deadline);
  if (!open) co_return std::nullopt;
  auto rows = co_await self.query("IDENTIFY_SYSTEM", {}, deadline);
  if (!rows) co_return std::nullopt;
  auto timeline = rows->integer(0, "timeline");
  if (!timeline || *timeline <= 0) co_return std::nullopt;
  identified = KnownTimeline{at, static_cast<uint32_t>(*timeline)};
  co_return identified->timeline;
}

std::string Observer::Impl::streaming_from(const RawAnswers& raw, const std::optional<model::PgConfig>& loaded) const {
  if (!raw.receiver_streams) return {};
  HostPort sender{raw.sender_host, raw.sender_port};
  auto is_sender = [&](const std::string& url) {
    auto at = parse_conn_url(url);
    return at && *at == sender;
  };
  if (loaded && !loaded->upstream_member.empty() && is_sender(loaded->upstream_conn_url))
    return loaded->upstream_member;
  for (const auto& [name, url] : members) {
    if (is_sender(url)) return name;
  }
  return {};
}

Task<void> Observer::Impl::conclude_standby(RawAnswers& raw, const std::optional<model::PgConfig>& loaded,
                                            const ProbeCalls& calls, BootTime deadline) {
  model::PgAnswers& answers = raw.answers;
  // A walreceiver is started only after the startup process found nothing more on disk, and it waits for the retry
  // interval only after that, too. Both hold as long as this postmaster lives.
  const bool waits = raw.startup_wait == "RecoveryRetrieveRetryInterval";
  exhausted = exhausted || raw.receive_lsn.valid() || raw.has_walreceiver || waits;
  Drained at{raw.receive_lsn, answers.replay_lsn};
  if (raw.has_walreceiver) {
    drained.reset();
  } else if (waits) {
    drained = at;
  }
  if (raw.receiver_streams && answers.streaming_timeline != 0) received_timeline = answers.streaming_timeline;

  answers.wal_exhausted = exhausted;
  if (drained && *drained == at) {
    // What was received beyond this is no whole record.
    answers.flush_lsn = answers.replay_lsn;
    auto timeline = co_await replayed_timeline(at, deadline);
    answers.timeline = timeline.value_or(0);
  } else if (received_timeline != 0) {
    answers.timeline = timeline_at(last_files->histories, received_timeline, answers.flush_lsn);
  } else if (exhausted && raw.receive_lsn <= answers.replay_lsn) {
    auto timeline = co_await replayed_timeline(at, deadline);
    answers.timeline = timeline.value_or(0);
  } else {
    // Received by a walreceiver that we never saw, not replayed yet: its timeline is not known until it is.
    answers.wal_exhausted = false;
  }
  if (answers.timeline == 0) answers.wal_exhausted = false;
  if (answers.timeline == 0 && received_timeline != 0) answers.timeline = received_timeline;

  const bool frozen = loaded && loaded->upstream == model::PgConfig::Upstream::frozen && !loaded->freeze_nonce.empty();
  if (!frozen || loaded->freeze_nonce != proved_nonce) proved_nonce.clear();
  if (frozen && proved_nonce.empty() && server.install().major() >= 14 && !raw.has_walreceiver && calls.repeated >= 2) {
    // Two calls for one segment (4.3: not one), read before the query was sent, show that the startup process has taken the configuration, at which it
    // ends the walreceiver. If it then waits for the retry interval it has since found nothing more on disk and nobody
    // to stream from. So do two more calls for the same segment between two readings without any movement.
    bool came_back = calls.segment == calls_before.segment && calls.repeated >= calls_before.repeated + 2 &&
                     replay_before == answers.replay_lsn;
    if (waits || came_back) proved_nonce = loaded->freeze_nonce;
  }
  calls_before = calls;
  replay_before = answers.replay_lsn;
  answers.frozen_nonce = proved_nonce;
}

Task<void> Observer::Impl::ask_rare_things(BootTime deadline) {
  if (loop.now() < rare_asked + kRareThings || !db) co_return;
  rare_asked = loop.now();
  auto rows = co_await db->query(
      "SELECT s.name, s.setting, coalesce((SELECT f.setting FROM pg_file_settings f WHERE f.name = s.name ORDER BY "
      "f.seqno DESC LIMIT 1), '') "
      "AS wanted FROM pg_settings s WHERE s.pending_restart",
      {}, deadline);
  if (!rows) {
    db.reset();
    co_return;
  }
  pending_restart.clear();
  for (size_t i = 0; i < rows->size(); ++i) {
    pending_restart[std::string(rows->text(i, "name").value_or(""))] = {
        std::string(rows->text(i, "setting").value_or("")), std::string(rows->text(i, "wanted").value_or(""))};
  }
}

Task<void> Observer::Impl::ask(LocalPg& out, BootTime deadline) {
  const Layout& layout = server.settings().layout;
  std::string nonce =
      out.on_disk.upstream == model::PgConfig::Upstream::frozen ? out.on_disk.freeze_nonce : std::string();
  ProbeCalls calls = read_probe_calls(layout, nonce);
  auto raw = co_await query(deadline);
  if (raw && raw->generation != connection_generation && raw->generation == server.confirmed_generation()) {
    connection_generation = raw->generation;  // the Server has looked already
    hba_taken = true;
  }
  if (raw && raw->generation != connection_generation) {
    // Reloaded since this connection was made: only a new one tells whether pg_hba.conf was taken as well.
    db.reset();
    calls = read_probe_calls(layout, nonce);
    raw = co_await query(deadline);
  }
  if (!raw) {
    out.query_timed_out = raw.error().code == Errc::timeout;
    // Without a word here there would just be no leader, for no reason that anybody can see.
    if (raw.error().code == Errc::denied && denied != raw.error().text) {
      denied = raw.error().text;
      log::error("pg", "PostgreSQL does not let its own agent in, so it can do nothing here: {}", denied);
    }
    co_return;
  }
  denied.clear();
  auto loaded = loaded_config(*raw);
  if (loaded && !hba_taken) loaded->gate_closed = false;
  raw->answers.streaming_from = streaming_from(*raw, loaded);
  if (raw->answers.in_recovery) {
    if (loaded && loaded->freeze_nonce != nonce) calls = {};
    co_await conclude_standby(*raw, loaded, calls, deadline);
    trim_probe_file(layout);
  } else {
    // A postmaster that was a standby before keeps none of a standby's facts.
    exhausted = true;
    proved_nonce.clear();
    drained.reset();
    received_timeline = 0;
  }
  co_await ask_rare_things(deadline);
  raw->answers.pending_restart = pending_restart;
  out.loaded = loaded;
  out.answers = std::move(raw->answers);
}

Observer::Observer(Server& server) : impl_(std::make_unique<Impl>(server)) {}
Observer::~Observer() = default;

void Observer::set_members(std::map<std::string, std::string> conn_url_by_name) {
  impl_->members = std::move(conn_url_by_name);
}

Task<LocalPg> Observer::observe(BootTime deadline) {
  Impl& it = *impl_;
  LocalPg out;
  out.measured_at = it.loop.now();
  const int start = it.server.start_count();
  co_await it.read_processes(out);
  if (out.incarnation != it.incarnation) {
    it.forget_postmaster();
    it.incarnation = out.incarnation;
  }
  if (out.process == PgProcess::stopped) it.db.reset();
  co_await it.read_data_dir(out, deadline);
  co_await it.read_log(out, deadline);
  if (out.process == PgProcess::stopped) {
    out.wal_end = it.server.wal_end();
  } else if (out.process == PgProcess::stopping) {
    out.wal_end = it.server.wal_end();  // of a primary that has written its shutdown record
  } else if (out.process == PgProcess::running) {
    co_await it.ask(out, deadline);
    if (out.answers && !out.answers->in_recovery && !out.standby_signal) it.server.put_signal_back(start);
  }
  co_return out;
}

}  // namespace pgdba::pg
