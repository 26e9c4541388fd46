#include "cli/write_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "local/secrets.h"
#include "net/pq.h"

namespace pgdba::cli {

namespace {

// Null where nobody can write: an error each time would fill that node's log.
constexpr const char* kWrite = "select case when not pg_is_in_recovery() then pg_logical_emit_message(true, 'pgdba.probe', '') end";

bool wrote(const Result<net::Rows>& rows) { return rows && rows->text(0, 0).has_value(); }

net::PgTarget pg_target(const local::ClusterFile& cluster, uint16_t port) {
  net::PgTarget out;
  out.host = "127.0.0.1";
  out.port = port;
  out.user = local::kSuperuser;
  out.passfile = cluster.passfile();
  out.application_name = "pgdba_probe";
  out.sslmode = "disable";
  return out;
}

// denied: by a wrong password. A node that lets nobody in until it is known to be right rejects, too, but only for now.
Task<Result<void>> log_in_to(net::PgConnection& db, net::PgTarget target, BootTime deadline) {
  auto connected = co_await db.connect(std::move(target), deadline);
  constexpr std::string_view kWrongPassword = "28P01";
  if (!connected && !db.sqlstate().empty() && db.sqlstate() != kWrongPassword) connected.error().code = Errc::unavailable;
  co_return connected;
}

Task<Result<void>> connect_and_write(net::Loop& loop, net::PgTarget target, BootTime deadline) {
  net::PgConnection db(loop);
  auto connected = co_await log_in_to(db, std::move(target), deadline);
  if (!connected) co_return connected;
  auto rows = co_await db.query(kWrite, {}, deadline);
  if (!rows) co_return tl::unexpected(rows.error());
  if (!wrote(rows)) co_return fail(Errc::unavailable, "the node is a standby");
  co_return Result<void>{};
}

Task<Result<void>> connect_only(net::Loop& loop, net::PgTarget target, BootTime deadline) {
  net::PgConnection db(loop);
  co_return co_await log_in_to(db, std::move(target), deadline);
}

}  // namespace

struct WriteProbe::Impl {
  net::Loop loop;
  std::thread thread;
  mutable std::mutex mutex;  // guards what follows
  int acknowledged = 0;
  std::optional<BootTime> last;
  Duration longest{0};

  void note(BootTime now) {
    std::lock_guard guard(mutex);
    if (last) longest = std::max(longest, now - *last);
    last = now;
    ++acknowledged;
  }

  // One per node: only one of them succeeds at a time.
  Task<void> try_node(net::PgTarget target) {
    net::PgConnection db(loop);
    for (;;) {
      if (!db.is_open()) {
        auto connected = co_await db.connect(target, loop.after(500ms));
        if (!connected) {
          co_await loop.sleep_for(20ms);
          continue;
        }
      }
      auto rows = co_await db.query(kWrite, {}, loop.after(2s));
      if (wrote(rows)) note(loop.now());
      co_await loop.sleep_for(wrote(rows) ? 10ms : 20ms);
    }
  }
};

WriteProbe::WriteProbe(const Target& target) : impl_(std::make_unique<Impl>()) {
  net::forget_libpq_environment();  // PGPASSWORD of whoever calls would beat the passfile
  for (const auto& node : target.local->nodes)
    impl_->loop.spawn(impl_->try_node(pg_target(*target.local, node.pg_port)), "probe of " + node.name);
  impl_->thread = std::thread([impl = impl_.get()] { impl->loop.run(); });
}

WriteProbe::~WriteProbe() {
  impl_->loop.stop();
  impl_->thread.join();
}

int WriteProbe::acknowledged() const {
  std::lock_guard guard(impl_->mutex);
  return impl_->acknowledged;
}

bool WriteProbe::wait_acknowledged(int more, Duration patience) const {
  int wanted = acknowledged() + more;
  auto give_up = std::chrono::steady_clock::now() + patience;
  while (acknowledged() < wanted) {
    if (std::chrono::steady_clock::now() >= give_up) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

std::optional<Duration> WriteProbe::longest_gap() const {
  std::lock_guard guard(impl_->mutex);
  if (!impl_->last) return std::nullopt;
  return std::max(impl_->longest, net::boot_now() - *impl_->last);
}

Result<void> write_once(net::Loop& loop, const local::ClusterFile& cluster, uint16_t port, Duration patience) {
  net::forget_libpq_environment();
  BootTime deadline = loop.after(patience);
  return net::run_blocking(loop, connect_and_write(loop, pg_target(cluster, port), deadline), deadline + 100ms);
}

Result<void> log_in(net::Loop& loop, uint16_t port, const std::string& user, const Secret& password, Duration patience) {
  net::forget_libpq_environment();
  net::PgTarget target;
  target.host = "127.0.0.1";
  target.port = port;
  target.user = user;
  target.password = password;
  target.application_name = "pgdba_up";
  target.sslmode = "disable";
  BootTime deadline = loop.after(patience);
  return net::run_blocking(loop, connect_only(loop, std::move(target), deadline), deadline + 100ms);
}

}  // namespace pgdba::cli
