// init_db, clone, rewind, wipe: jobs on a stopped data directory; see actions.h.
#include <fmt/format.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/text.h"
#include "net/process.h"
#include "pg/actions.h"
#include "pg/conninfo.h"
#include "pg/control.h"
#include "pg/durable.h"
#include "pg/history.h"
#include "pg/marks.h"

namespace pgdba::pg {

namespace {

namespace fs = std::filesystem;

// A file with a secret in it, gone with this object.
class SecretFile {
 public:
  SecretFile(std::string path) : path_(std::move(path)) {}
  // The operator's file (postgresql.pgpass) if there is one, and then it stays; the next writer replaces its content.
  SecretFile(const Settings& settings, std::string_view name)
      : path_(settings.pgpass.empty() ? settings.layout.in_run(name) : settings.pgpass), stays_(!settings.pgpass.empty()) {}
  ~SecretFile() {
    if (!stays_) ::unlink(path_.c_str());
  }
  SecretFile(const SecretFile&) = delete;
  SecretFile& operator=(const SecretFile&) = delete;
  Result<void> write(const std::string& text) const { return write_durably(path_, text); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool stays_ = false;
};

void show(Progress* progress, std::string step) {
  if (progress != nullptr) progress->step = std::move(step);
}

Error with_output(std::string_view program, const net::ExitStatus& status, std::string_view output) {
  output = trim(output);
  if (output.size() > 1500) output.remove_prefix(output.size() - 1500);
  return Error{Errc::invalid, fmt::format("{} {}: {}", program, status.describe(), output)};
}

// What an old data directory must look like before it may be emptied: ours to destroy, not somebody's home folder.
Result<void> may_be_wiped(const Layout& layout) {
  std::error_code error;
  bool empty = true;
  for (const fs::directory_entry& entry : fs::directory_iterator(layout.data_dir, error)) {
    if (entry.path().filename() != "lost+found") empty = false;
  }
  if (error) return fail(Errc::unavailable, fmt::format("cannot read {}: {}", layout.data_dir, error.message()));
  auto why = unusable_why(layout);
  if (!why) return tl::unexpected(why.error());
  if (empty || data_dir_major(layout.data_dir) != 0 || *why) return {};
  return fail(Errc::denied, fmt::format("{} is not empty and is no PostgreSQL data directory: pgdba does not delete it",
                                        layout.data_dir));
}

Result<void> remove_contents(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename() == "lost+found") continue;
    std::error_code failed;
    fs::remove_all(entry.path(), failed);
    if (failed)
      return fail(Errc::unavailable, fmt::format("cannot remove {}: {}", entry.path().string(), failed.message()));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(Errc::unavailable, fmt::format("cannot read {}: {}", folder.string(), error.message()));
  }
  return {};
}

// Tablespaces and a pg_wal elsewhere are reached by symbolic links; what they hold belongs to this data directory.
Result<void> wipe_now(const Layout& layout, const std::string& why) {
  if (auto may = may_be_wiped(layout); !may) return may;
  if (auto marked = mark_unusable(layout, why); !marked) return marked;
  std::error_code ignored;
  std::vector<fs::path> outside;
  for (const fs::directory_entry& entry : fs::directory_iterator(layout.in_data("pg_tblspc"), ignored)) {
    std::error_code none;
    fs::path target = fs::read_symlink(entry.path(), none);
    if (none) continue;
    // Only PostgreSQL's own folder in it: another server may share the location.
    for (const fs::directory_entry& inner : fs::directory_iterator(target, none)) {
      if (inner.path().filename().string().starts_with(fmt::format("PG_{}_", data_dir_major(layout.data_dir))))
        outside.push_back(inner.path());
    }
  }
  fs::path wal = fs::read_symlink(layout.in_data("pg_wal"), ignored);
  if (!ignored && !wal.empty()) {
    if (auto removed = remove_contents(wal); !removed) return removed;
  }
  for (const fs::path& path : outside) fs::remove_all(path, ignored);
  if (auto removed = remove_contents(layout.data_dir); !removed) return removed;
  return fsync_folder(layout.data_dir);
}

// A child of a job: works in the data directory, dies with us.
net::ProcessSpec job_process(const Layout& layout, std::vector<std::string> argv) {
  net::ProcessSpec spec;
  spec.argv = std::move(argv);
  spec.cwd = layout.data_dir;
  spec.parent_death_signal = SIGKILL;
  spec.env = {{"LC_ALL", ""},     {"LC_MESSAGES", "C"}, {"LANG", "C.UTF-8"},
              {"PGPASSWORD", ""}, {"PGDATA", ""},       {"PGOPTIONS", ""}};
  return spec;
}

// Runs it to its end; its last lines become the error.
Task<Result<void>> run_job(net::Loop& loop, net::ProcessSpec spec, BootTime deadline, std::string* output = nullptr) {
  std::string program = spec.argv[0];
  auto ran = co_await net::run_process(loop, std::move(spec), deadline);
  if (!ran) co_return tl::unexpected(ran.error());
  if (!ran->status.success())
    co_return tl::unexpected(with_output(program.substr(program.rfind('/') + 1), ran->status, ran->output));
  if (output != nullptr) *output = std::move(ran->output);
  co_return Result<void>{};
}

// initdb and pg_basebackup sync each of a thousand files by itself; one syncfs() does the same in a fraction of the time.
// Opened before the job begins, so that an error in writing back is reported here whenever it happened.
class FileSystem {
 public:
  explicit FileSystem(const std::string& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), folder_(folder) {}
  ~FileSystem() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  Result<void> sync() const {
    if (fd_ >= 0 && ::syncfs(fd_) == 0) return {};
    return fail(Errc::unavailable, fmt::format("cannot sync {}: {}", folder_, std::strerror(errno)));
  }

 private:
  int fd_;
  std::string folder_;
};

bool reaches_elsewhere(const Layout& layout) {
  std::error_code ignored;
  return fs::is_symlink(layout.in_data("pg_wal"), ignored) || !fs::is_empty(layout.in_data("pg_tblspc"), ignored);
}

// Everything that the job wrote is on disk. What lies outside of the data directory initdb finds and syncs file by file.
Task<Result<void>> make_durable(Server& server, std::shared_ptr<FileSystem> file_system, BootTime deadline) {
  const Layout& layout = server.settings().layout;
  if (reaches_elsewhere(layout)) {
    net::ProcessSpec spec = job_process(layout, {server.install().program("initdb"), "--sync-only", "--pgdata=" + layout.data_dir});
    co_return co_await run_job(server.loop(), std::move(spec), deadline);
  }
  std::function<Result<void>()> work = [file_system] { return file_system->sync(); };
  co_return co_await net::with_deadline(server.loop(), server.loop().offload(work), deadline);
}

// "  12345/678901 kB (1%), 0/1 tablespace", the last of many separated by carriage returns.
void read_progress(std::string_view output, Progress* progress) {
  if (progress == nullptr) return;
  auto at = output.rfind(" kB (");
  if (at == std::string_view::npos) return;
  output = output.substr(0, at);
  output = trim(output.substr(output.find_last_of("\r\n") + 1));
  auto slash = output.find('/');
  if (slash == std::string_view::npos) return;
  progress->done_kib = parse_int(output.substr(0, slash)).value_or(0);
  progress->total_kib = parse_int(output.substr(slash + 1)).value_or(0);
}

// The end of every job: nothing of the source's configuration counts here, and nothing can stream in or be written.
Task<Result<void>> finish(Server& server, bool novote, BootTime deadline) {
  std::function<Result<void>()> tidy = [layout = server.settings().layout, novote]() -> Result<void> {
    for (const char* name : {"recovery.signal", "promote", "postmaster.opts"}) {
      if (auto removed = remove_durably(layout.in_data(name)); !removed) return removed;
    }
    if (auto put = write_durably(layout.standby_signal(), ""); !put) return put;
    if (novote) {
      if (auto put = mark_novote(layout); !put) return put;
      if (auto removed = clear_initdb(layout); !removed) return removed;
    }
    return remove_history_stubs(layout);
  };
  if (auto tidied = co_await server.on_files(tidy); !tidied) co_return tidied;
  const model::PgConfig at_rest;  // frozen; named, because g++ 12 destroys an aggregate temporary of a co_await twice
  auto applied = co_await server.apply(at_rest, deadline);
  if (!applied) co_return tl::unexpected(applied.error());
  std::function<Result<void>()> usable = [layout = server.settings().layout] { return clear_unusable(layout); };
  co_return co_await server.on_files(usable);
}

Task<Result<void>> wipe_offloaded(Server& server, std::string why, BootTime deadline) {
  std::function<Result<void>()> work = [layout = server.settings().layout, why = std::move(why)] {
    return wipe_now(layout, why);
  };
  co_return co_await net::with_deadline(server.loop(), server.on_files(work), deadline);
}

std::string given(const std::vector<std::string>& options, std::string_view name) {
  for (const std::string& option : options) {
    if (option == name || option.starts_with(fmt::format("{}=", name))) return option;
  }
  return {};
}

// A crashed primary. pg_rewind's own way to do this fails on standby.signal. Crash recovery in single-user mode has no
// socket: no client can see it. WAL is kept, pg_rewind looks for the fork in it. It ends with a checkpoint record on
// our timeline, as any start would: harmless for a former primary, but a standby would no longer fit its leader.
Task<Result<void>> recover_single_user(Server& server, BootTime deadline) {
  const Layout& layout = server.settings().layout;
  std::function<Result<void>()> remove = [layout]() -> Result<void> {
    if (auto removed = remove_durably(layout.standby_signal()); !removed) return removed;
    return remove_durably(layout.in_data("recovery.signal"));
  };
  if (auto removed = co_await server.on_files(remove); !removed) co_return removed;
  net::ProcessSpec spec = job_process(
      layout, {server.install().program("postgres"), "--single", "-D", layout.data_dir, "-c",
               "wal_keep_size=2000000000", "-c", "synchronous_standby_names=", "-c", "archive_mode=off", "template1"});
  auto ran = co_await run_job(server.loop(), std::move(spec), deadline);
  std::function<Result<void>()> put_back = [layout] { return write_durably(layout.standby_signal(), ""); };
  if (auto put = co_await server.on_files(put_back); !put) co_return put;
  co_return ran;
}

// Up to version 15 pg_rewind takes the source's timeline from its latest checkpoint; right after a promotion that is
// the old one, and it finds nothing to do. The new primary's agent orders a checkpoint then: wait for it.
Task<Result<void>> source_checkpoint(Server& server, HostPort source, uint32_t timeline, Progress* progress,
                                     BootTime deadline) {
  if (server.install().major() >= 16) co_return Result<void>{};
  const Settings& settings = server.settings();
  net::PgConnection db(server.loop());
  auto open = co_await db.connect(
      target_for(source, settings.rewind_login(), settings.database, "pgdba_clone_" + settings.name), deadline);
  if (!open) co_return tl::unexpected(std::move(open.error()).context("the source of the rewind"));
  for (;;) {
    auto rows = co_await db.query("SELECT timeline_id FROM pg_control_checkpoint()", {}, deadline);
    if (!rows) co_return tl::unexpected(std::move(rows.error()).context("the source of the rewind"));
    if (rows->integer(0, "timeline_id").value_or(0) >= timeline) co_return Result<void>{};
    if (server.loop().now() >= deadline)
      co_return fail(Errc::unavailable, "the source has made no checkpoint since its promotion");
    show(progress, "waiting for the source's checkpoint");
    co_await server.loop().sleep_for(100ms);
  }
}

// A crashed standby: up as a frozen standby that serves nobody, and down again. Writes no WAL.
Task<Result<void>> recover_standby(Server& server, BootTime deadline) {
  if (auto started = co_await server.start(false, deadline); !started) co_return started;
  auto accepts = co_await server.wait_accepting(deadline);
  auto stopped = co_await server.stop(Server::StopMode::fast, 10s, deadline);
  if (!accepts) co_return accepts;
  co_return stopped;
}

}  // namespace

Task<Result<void>> wipe(Server& server, BootTime deadline) {
  Server::JobMark job(server);
  if (auto stopped = co_await server.make_sure_stopped(deadline); !stopped) co_return stopped;
  co_return co_await wipe_offloaded(server, "it was emptied", deadline);
}

Task<Result<void>> init_db(Server& server, Progress* progress, BootTime deadline) {
  const Settings& settings = server.settings();
  const Layout& layout = settings.layout;
  Server::JobMark job(server);
  if (auto stopped = co_await server.make_sure_stopped(deadline); !stopped) co_return stopped;
  auto why = unusable_why(layout);
  if (!why) co_return tl::unexpected(why.error());
  if (data_dir_major(layout.data_dir) != 0 && !*why)
    co_return fail(Errc::conflict, fmt::format("{} holds a data directory", layout.data_dir));
  show(progress, "wiping");
  if (auto wiped = co_await wipe_offloaded(server, "initdb was interrupted", deadline); !wiped) co_return wiped;
  show(progress, "initdb");
  auto file_system = std::make_shared<FileSystem>(layout.data_dir);
  std::vector<std::string> argv{server.install().program("initdb"), "--pgdata=" + layout.data_dir, "--no-sync",
                                "--username=" + settings.superuser.user};
  const std::vector<std::string>& options = settings.initdb_options;
  if (given(options, "--encoding").empty() && given(options, "-E").empty()) argv.push_back("--encoding=UTF8");
  if (given(options, "--locale").empty() && given(options, "--no-locale").empty()) argv.push_back("--locale=C.UTF-8");
  argv.insert(argv.end(), options.begin(), options.end());
  SecretFile password(layout.in_run("initdb.pwfile"));
  if (!settings.superuser.password.empty()) {
    if (auto written = password.write(settings.superuser.password.reveal() + "\n"); !written) co_return written;
    argv.push_back("--pwfile=" + password.path());
  }
  if (auto ran = co_await run_job(server.loop(), job_process(layout, std::move(argv)), deadline); !ran) co_return ran;
  show(progress, "syncing");
  if (auto synced = co_await make_durable(server, file_system, deadline); !synced) co_return synced;
  if (auto found = server.prepare(); !found) co_return found;
  show(progress, "configuring");
  // Until the mark `unusable` goes this directory may be wiped for that; from then on for this one, which names what is in it.
  auto control = co_await read_control(server.loop(), server.install(), layout.data_dir, deadline);
  if (!control) co_return tl::unexpected(std::move(control.error()).context("after initdb"));
  std::function<Result<void>()> mark = [layout, made = InitdbMark{control->file.system_id, control->file.checkpoint}] { return mark_initdb(layout, made); };
  if (auto marked = co_await server.on_files(mark); !marked) co_return marked;
  co_return co_await finish(server, false, deadline);
}

Task<Result<void>> clone(Server& server, std::string conn_url, Progress* progress, BootTime deadline) {
  const Settings& settings = server.settings();
  const Layout& layout = settings.layout;
  auto source = parse_conn_url(conn_url);
  if (!source) co_return tl::unexpected(source.error());
  Server::JobMark job(server);
  if (auto stopped = co_await server.make_sure_stopped(deadline); !stopped) co_return stopped;
  // Nothing is destroyed for a source that does not answer.
  show(progress, "asking the source");
  if (auto answer = co_await fetch_history(server, conn_url, std::min(deadline, server.loop().after(5s))); !answer) {
    co_return tl::unexpected(std::move(answer.error()).context("the source of the clone"));
  }
  show(progress, "wiping");
  if (auto wiped = co_await wipe_offloaded(
          server, fmt::format("a clone from {}:{} was interrupted", source->host, source->port), deadline);
      !wiped)
    co_return wiped;

  show(progress, "pg_basebackup");
  auto file_system = std::make_shared<FileSystem>(layout.data_dir);
  SecretFile passfile(settings, "clone.pass");
  if (auto written = passfile.write(passfile_line(*source, settings.replication)); !written) co_return written;
  // The name must not be the member's: a base backup acknowledges what it has streamed (W9).
  std::string dsn = conninfo_for(*source, settings.replication, passfile.path(), "pgdba_clone_" + settings.name);
  std::vector<std::string> argv{server.install().program("pg_basebackup"),
                                "--pgdata=" + layout.data_dir,
                                "--dbname=" + dsn,
                                "--wal-method=stream",
                                "--no-password",
                                "--no-sync",
                                "--progress"};
  if (given(settings.basebackup_options, "--checkpoint").empty() && given(settings.basebackup_options, "-c").empty())
    argv.push_back("--checkpoint=fast");
  argv.insert(argv.end(), settings.basebackup_options.begin(), settings.basebackup_options.end());
  auto child = net::Process::start(server.loop(), job_process(layout, std::move(argv)));
  if (!child) co_return tl::unexpected(child.error());
  for (;;) {
    auto ended = co_await (*child)->wait(std::min(deadline, server.loop().after(300ms)));
    read_progress((*child)->output(), progress);
    if (ended) {
      if (!ended->success()) co_return tl::unexpected(with_output("pg_basebackup", *ended, (*child)->output()));
      break;
    }
    if (ended.error().code != Errc::timeout || server.loop().now() >= deadline)
      co_return tl::unexpected(std::move(ended.error()).context("pg_basebackup"));
  }
  show(progress, "syncing");
  if (auto synced = co_await make_durable(server, file_system, deadline); !synced) co_return synced;
  if (auto found = server.prepare(); !found) co_return found;
  show(progress, "configuring");
  co_return co_await finish(server, true, deadline);
}

Task<Result<void>> rewind(Server& server, std::string conn_url, Progress* progress, BootTime deadline) {
  const Settings& settings = server.settings();
  const Layout& layout = settings.layout;
  auto source = parse_conn_url(conn_url);
  if (!source) co_return tl::unexpected(source.error());
  Server::JobMark job(server);
  if (auto stopped = co_await server.make_sure_stopped(deadline); !stopped) co_return stopped;
  auto why = unusable_why(layout);
  if (!why) co_return tl::unexpected(why.error());
  if (*why) co_return fail(Errc::invalid, fmt::format("it cannot be rewound: {}", **why));
  auto control = co_await read_control(server.loop(), server.install(), layout.data_dir, deadline);
  if (!control) co_return tl::unexpected(std::move(control.error()).context("while rewinding"));
  // Also writes the configuration, without which single-user mode does not start.
  const model::PgConfig at_rest;  // frozen; named, because g++ 12 destroys an aggregate temporary of a co_await twice
  auto applied = co_await server.apply(at_rest, deadline);
  if (!applied) co_return tl::unexpected(applied.error());

  // pg_rewind wants a server that was shut down cleanly. Getting there changes the data, so first: is the source there?
  show(progress, "asking the source");
  auto answer = co_await fetch_history(server, conn_url, std::min(deadline, server.loop().after(5s)));
  if (!answer) co_return tl::unexpected(std::move(answer.error()).context("the source of the rewind"));
  if (auto checkpoint = co_await source_checkpoint(server, *source, answer->timeline, progress, deadline); !checkpoint)
    co_return checkpoint;
  const model::ControlState state = control->file.state;
  if (state == model::ControlState::in_archive_recovery) {
    show(progress, "recovery");
    if (auto recovered = co_await recover_standby(server, deadline); !recovered)
      co_return tl::unexpected(std::move(recovered.error()).context("recovery before pg_rewind"));
  } else if (state != model::ControlState::shut_down && state != model::ControlState::shut_down_in_recovery) {
    show(progress, "crash recovery");
    if (auto recovered = co_await recover_single_user(server, deadline); !recovered) {
      co_return tl::unexpected(std::move(recovered.error()).context("crash recovery before pg_rewind"));
    }
  }
  SecretFile passfile(settings, "rewind.pass");
  if (auto written = passfile.write(passfile_line(*source, settings.rewind_login())); !written) co_return written;
  std::string dsn = conninfo_for(*source, settings.rewind_login(), passfile.path(), "pgdba_clone_" + settings.name,
                                 {{"dbname", settings.database}});
  std::vector<std::string> argv{server.install().program("pg_rewind"), "--target-pgdata=" + layout.data_dir,
                                "--source-server=" + dsn, "--no-ensure-shutdown"};
  argv.insert(argv.end(), settings.rewind_options.begin(), settings.rewind_options.end());
  // First without writing: what cannot be done (WAL is missing, the source does not answer) leaves the data as it is.
  show(progress, "pg_rewind --dry-run");
  std::vector<std::string> rehearsal = argv;
  rehearsal.push_back("--dry-run");
  std::string said;
  if (auto ran = co_await run_job(server.loop(), job_process(layout, std::move(rehearsal)), deadline, &said); !ran) {
    bool unreachable = ran.error().text.find("connection to server") != std::string::npos ||
                       ran.error().text.find("could not connect") != std::string::npos;
    if (unreachable) co_return fail(Errc::unavailable, ran.error().text);
    co_return ran;
  }
  if (said.find("no rewind required") != std::string::npos) {
    // It compares timeline numbers; whether our WAL leaves the source's history we can tell ourselves (R3).
    auto end = co_await server.find_end_of_wal(deadline);
    if (!end) co_return tl::unexpected(end.error());
    auto leaves = answer->ends.find(end->timeline);
    bool fits = end->timeline == answer->timeline || (leaves != answer->ends.end() && end->lsn <= leaves->second);
    if (!fits)
      co_return fail(Errc::invalid, fmt::format("pg_rewind sees nothing to do, but our WAL ends at {} on timeline {}",
                                                format_lsn(end->lsn), end->timeline));
  }
  std::function<Result<void>()> mark = [layout, why = fmt::format("a rewind to {}:{} was interrupted", source->host,
                                                                  source->port)] { return mark_unusable(layout, why); };
  if (auto marked = co_await server.on_files(mark); !marked) co_return marked;
  show(progress, "pg_rewind");
  if (auto ran = co_await run_job(server.loop(), job_process(layout, std::move(argv)), deadline); !ran) co_return ran;
  show(progress, "configuring");
  co_return co_await finish(server, true, deadline);
}

}  // namespace pgdba::pg
