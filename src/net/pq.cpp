#include "net/pq.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <charconv>
#include <cstring>
#include <map>

#include "base/text.h"
#include "net/asio_util.h"
#include "net/port.h"

namespace pgdba::net {
namespace {

constexpr size_t max_notices = 100;

struct ConnClose {
  void operator()(PGconn* conn) const { PQfinish(conn); }
};
using Conn = std::unique_ptr<PGconn, ConnClose>;
struct ResultClear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using PgResult = std::unique_ptr<PGresult, ResultClear>;

std::string one_line(std::string_view text) {
  std::string out;
  for (const std::string& line : split(trim(text), '\n')) {
    if (!trim(line).empty()) out += (out.empty() ? "" : "; ") + std::string(trim(line));
  }
  return out;
}

// libpq's verbose text of a failed connection: "… FATAL:  57P03: the database system is starting up; LOCATION: …".
// That verbosity is the only way to learn the code of an error that ends a connection attempt.
std::string take_code(std::string& text) {
  auto is_code = [](std::string_view word) {
    if (word.size() != 5) return false;
    for (char c : word) {
      if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'))) return false;
    }
    return true;
  };
  std::string found;
  for (size_t at = text.find(":  "); at != std::string::npos; at = text.find(":  ", at + 1)) {
    std::string_view rest = std::string_view(text).substr(at + 3);
    if (rest.size() > 7 && is_code(rest.substr(0, 5)) && rest.substr(5, 2) == ": ") {
      found = std::string(rest.substr(0, 5));
      text.erase(at + 1, 8);
    }
  }
  // Each line about the place in PostgreSQL's source is of no use to a reader.
  for (size_t at; (at = text.find("; LOCATION:")) != std::string::npos;) {
    size_t end = text.find("; ", at + 2);
    text.erase(at, end == std::string::npos ? std::string::npos : end - at);
  }
  return found;
}

}  // namespace

std::string PgTarget::describe() const {
  return fmt::format("host={} port={} user={} dbname={}{}", host, port, user, dbname, replication ? " replication" : "");
}

Errc errc_of_sqlstate(std::string_view state) {
  if (state.starts_with("28") || state == "42501") return Errc::denied;
  if (state == "3D000" || state == "42704" || state == "42P01" || state == "42883") return Errc::not_found;
  if (state == "57014") return Errc::cancelled;
  if (state == "42710" || state == "42P04" || state == "55006" || state == "55P03" || state.starts_with("23") ||
      state.starts_with("40")) {
    return Errc::conflict;
  }
  // None at all (libpq's own words), connection lost, shutting down, starting up, too many connections, no resources.
  if (state.empty() || state.starts_with("08") || state.starts_with("57") || state.starts_with("53") ||
      state.starts_with("58")) {
    return Errc::unavailable;
  }
  return Errc::invalid;
}

std::string quote_literal(std::string_view text) {
  bool escaped = text.find('\\') != std::string_view::npos;
  std::string out = escaped ? "E'" : "'";
  for (char c : text) {
    if (c == '\'' || (c == '\\' && escaped)) out += c;
    out += c;
  }
  return out + "'";
}

std::string quote_identifier(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

void forget_libpq_environment() {
  PQconninfoOption* options = PQconndefaults();
  for (PQconninfoOption* option = options; option != nullptr && option->keyword != nullptr; ++option) {
    if (option->envvar != nullptr) unsetenv(option->envvar);
  }
  PQconninfoFree(options);
  for (const char* name : {"PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL", "PGLOCALEDIR"}) unsetenv(name);
}

// ---- Rows

std::optional<size_t> Rows::column(std::string_view name) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i] == name) return i;
  }
  return std::nullopt;
}

std::optional<std::string_view> Rows::text(size_t row, size_t column) const {
  if (row >= size() || column >= columns_.size()) return std::nullopt;
  const auto& cell = cells_[row * columns_.size() + column];
  return cell ? std::optional<std::string_view>(*cell) : std::nullopt;
}

std::optional<std::string_view> Rows::text(size_t row, std::string_view name) const {
  auto index = column(name);
  return index ? text(row, *index) : std::nullopt;
}

std::optional<int64_t> Rows::integer(size_t row, std::string_view name) const {
  auto cell = text(row, name);
  return cell ? parse_int(*cell) : std::nullopt;
}

std::optional<double> Rows::number(size_t row, std::string_view name) const {
  auto cell = text(row, name);
  if (!cell) return std::nullopt;
  double value = 0;
  auto [end, ec] = std::from_chars(cell->data(), cell->data() + cell->size(), value);
  if (ec != std::errc() || end != cell->data() + cell->size()) return std::nullopt;
  return value;
}

std::optional<bool> Rows::boolean(size_t row, std::string_view name) const {
  auto cell = text(row, name);
  if (!cell) return std::nullopt;
  if (*cell == "t" || *cell == "true" || *cell == "on") return true;
  if (*cell == "f" || *cell == "false" || *cell == "off") return false;
  return std::nullopt;
}

std::optional<Lsn> Rows::lsn(size_t row, std::string_view name) const {
  auto cell = text(row, name);
  if (!cell) return std::nullopt;
  auto value = parse_lsn(*cell);
  return value ? std::optional<Lsn>(*value) : std::nullopt;
}

// ---- PgConnection

struct PgConnection::Impl {
  explicit Impl(Loop& l) : loop(l), socket(l.context()) {}

  Loop& loop;
  Conn conn;
  // A duplicate of libpq's socket: libpq may close its own at any moment, the duplicate is ours.
  asio::posix::stream_descriptor socket;
  bool busy = false;
  std::string sqlstate;
  std::vector<std::string> notices;

  void close() {
    error_code ignored;
    socket.close(ignored);
    conn.reset();
  }

  Result<void> take_socket() {
    error_code ec;
    socket.close(ec);
    int fd = conn ? PQsocket(conn.get()) : -1;
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (copy < 0) return fail(Errc::unavailable, "the connection has no socket");
    socket.assign(copy, ec);
    if (ec) {
      ::close(copy);
      return fail(Errc::unavailable, "the socket cannot be watched: " + ec.message());
    }
    return {};
  }

  using Wait = asio::posix::stream_descriptor::wait_type;
  static Task<void> wait_for(std::shared_ptr<Impl> self, Wait what, bool& ready) {
    auto [ec] = co_await self->socket.async_wait(what, as_result);
    ready = !ec;
  }
  // False: the deadline came first.
  static Task<bool> wait(std::shared_ptr<Impl> self, Wait what, BootTime deadline) {
    bool ready = false;
    co_await self->loop.run_until(wait_for(self, what, ready), deadline);
    co_return ready;
  }
  static Task<void> wait_both(std::shared_ptr<Impl> self, bool& ready) {
    Event either(self->loop);
    auto side = [](std::shared_ptr<Impl> impl, Wait what, Event& event, bool& done) -> Task<void> {
      auto [ec] = co_await impl->socket.async_wait(what, as_result);
      done = done || !ec;
      event.notify();
    };
    Job read = self->loop.start(side(self, Wait::wait_read, either, ready), "pq read");
    Job write = self->loop.start(side(self, Wait::wait_write, either, ready), "pq write");
    co_await either.wait_until(BootTime::max());
    co_await read.stop();
    co_await write.stop();
  }

  // Leaves the connection closed unless the exchange came to its end.
  struct Exchange {
    explicit Exchange(Impl& i) : impl(i) { impl.busy = true; }
    ~Exchange() {
      impl.busy = false;
      if (!complete) impl.close();
    }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    Impl& impl;
    bool complete = false;
  };

  static void on_notice(void* self, const PGresult* result) {
    auto& notices = static_cast<Impl*>(self)->notices;
    if (notices.size() >= max_notices) notices.erase(notices.begin());
    notices.push_back(one_line(PQresultErrorMessage(result)));
  }

  Error connect_error(std::string text) {
    text = one_line(text);
    sqlstate = take_code(text);
    // Before libpq 17 a failed scram exchange or a missing password has no SQLSTATE of its own.
    bool password = text.find("no password supplied") != std::string::npos;
    Errc code = !sqlstate.empty() ? errc_of_sqlstate(sqlstate) : password ? Errc::denied : Errc::unavailable;
    return {code, std::move(text)};
  }

  static Task<Result<void>> connect(std::shared_ptr<Impl> self, PgTarget target, BootTime deadline);
  static Task<Result<void>> attempt(std::shared_ptr<Impl> self, PgTarget target, std::string address, BootTime deadline);
  static Task<Result<Rows>> query(std::shared_ptr<Impl> self, std::string sql,
                                  std::vector<std::optional<std::string>> parameters, BootTime deadline);
  static Task<Result<void>> cancel(std::shared_ptr<Impl> self, BootTime deadline);
};

namespace {

// Every keyword that an environment variable could set is given, so that none of them counts. libpq takes an empty
// value as "not given", so an absent password needs forget_libpq_environment().
std::map<std::string, std::string> keywords(const PgTarget& target, const std::string& address) {
  std::map<std::string, std::string> out = {
      {"host", target.host},
      {"port", std::to_string(target.port)},
      {"user", target.user},
      {"dbname", target.dbname},
      {"password", target.password.reveal()},
      {"passfile", target.passfile.empty() ? "/dev/null/none" : target.passfile},  // else libpq reads ~/.pgpass
      {"application_name", target.application_name.empty() ? "pgdba" : target.application_name},
      {"sslmode", target.sslmode},
      {"gssencmode", "disable"},
      {"client_encoding", "UTF8"},
      {"connect_timeout", "0"},
      {"target_session_attrs", "any"},
      {"keepalives_idle", "5"},
      {"keepalives_interval", "2"},
      {"keepalives_count", "3"},
      {"tcp_user_timeout", "10000"},
  };
  if (!address.empty()) out["hostaddr"] = address;
  if (target.replication) out["replication"] = "true";
  if (!target.sslrootcert.empty()) out["sslrootcert"] = target.sslrootcert;
  if (!target.sslcert.empty()) out["sslcert"] = target.sslcert;
  if (!target.sslkey.empty()) out["sslkey"] = target.sslkey;
  if (!target.sslcrl.empty()) out["sslcrl"] = target.sslcrl;
  std::string options;
  for (const auto& [name, value] : target.settings) {
    std::string escaped;
    for (char c : value) {
      if (c == ' ' || c == '\\') escaped += '\\';
      escaped += c;
    }
    options += fmt::format("{}-c {}={}", options.empty() ? "" : " ", name, escaped);
  }
  // An empty value would let PGOPTIONS count.
  out["options"] = options.empty() ? " " : options;
  return out;
}

}  // namespace

Task<Result<void>> PgConnection::Impl::attempt(std::shared_ptr<Impl> self, PgTarget target, std::string address,
                                               BootTime deadline) {
  auto pairs = keywords(target, address);
  std::vector<const char*> names, values;
  for (const auto& [name, value] : pairs) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  self->close();
  Exchange exchange(*self);
  self->conn.reset(PQconnectStartParams(names.data(), values.data(), 0));
  PGconn* conn = self->conn.get();
  if (conn == nullptr) co_return fail(Errc::unavailable, "no memory for a connection");
  if (PQstatus(conn) == CONNECTION_BAD) {
    Error error = self->connect_error(PQerrorMessage(conn));
    // Without an attempt on the network it is the settings that are wrong; a socket that is not there is neither.
    if (error.code == Errc::unavailable && PQsocket(conn) < 0 && error.text.find("failed:") == std::string::npos) {
      error.code = Errc::invalid;
    }
    co_return tl::unexpected(error);
  }
  PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
  PQsetNoticeReceiver(conn, on_notice, self.get());
  PostgresPollingStatusType next = PGRES_POLLING_WRITING;
  while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
    // The socket may be another one after each step (an SSL attempt that is refused reconnects).
    if (auto taken = self->take_socket(); !taken) co_return tl::unexpected(taken.error());
    Wait what = next == PGRES_POLLING_READING ? Wait::wait_read : Wait::wait_write;
    if (!co_await wait(self, what, deadline)) {
      co_return fail(Errc::timeout, "no answer from PostgreSQL within the deadline");
    }
    next = PQconnectPoll(conn);
  }
  if (next != PGRES_POLLING_OK) co_return tl::unexpected(self->connect_error(PQerrorMessage(conn)));
  PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
  PQsetnonblocking(conn, 1);
  if (auto taken = self->take_socket(); !taken) co_return tl::unexpected(taken.error());
  exchange.complete = true;
  co_return Result<void>();
}

Task<Result<void>> PgConnection::Impl::connect(std::shared_ptr<Impl> self, PgTarget target, BootTime deadline) {
  if (self->busy) co_return fail(Errc::bug, "the connection is in use");
  self->sqlstate.clear();
  self->notices.clear();
  std::vector<std::string> addresses{""};
  if (!target.host.starts_with('/')) {
    auto resolved = co_await resolve(self->loop, target.host, deadline);
    if (!resolved) co_return fail(Errc::unavailable, resolved.error().text);
    addresses = std::move(*resolved);
  }
  Result<void> last = fail(Errc::timeout, "the time was over before the first attempt");
  for (size_t i = 0; i < addresses.size(); ++i) {
    BootTime now = boot_now();
    if (now >= deadline) break;
    BootTime limit = now + (deadline - now) / static_cast<int64_t>(addresses.size() - i);
    last = co_await attempt(self, target, addresses[i], limit);
    if (last) co_return last;
    // Who answered with an error will not say another thing at another address.
    if (!self->sqlstate.empty()) break;
  }
  co_return tl::unexpected(std::move(last.error()).context(target.describe()));
}

Task<Result<Rows>> PgConnection::Impl::query(std::shared_ptr<Impl> self, std::string sql,
                                             std::vector<std::optional<std::string>> parameters, BootTime deadline) {
  if (self->busy) co_return fail(Errc::bug, "a query is under way on this connection");
  if (!self->conn) co_return fail(Errc::unavailable, "not connected");
  PGconn* conn = self->conn.get();
  self->sqlstate.clear();
  Exchange exchange(*self);
  int sent = 0;
  if (parameters.empty()) {
    sent = PQsendQuery(conn, sql.c_str());
  } else {
    std::vector<const char*> values;
    for (const auto& parameter : parameters) values.push_back(parameter ? parameter->c_str() : nullptr);
    sent = PQsendQueryParams(conn, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0);
  }
  auto lost = [&](std::string_view when) {
    return fail(Errc::timeout, fmt::format("the connection was lost while {}: {}", when, one_line(PQerrorMessage(conn))));
  };
  if (sent == 0) co_return lost("sending");
  for (int left; (left = PQflush(conn)) != 0;) {
    if (left < 0) co_return lost("sending");
    bool ready = false;
    co_await self->loop.run_until(wait_both(self, ready), deadline);
    if (!ready) co_return fail(Errc::timeout, "the query could not be sent within the deadline");
    if (PQconsumeInput(conn) == 0) co_return lost("sending");
  }

  Rows rows;
  std::optional<Error> error;
  while (true) {
    while (PQisBusy(conn) != 0) {
      if (!co_await wait(self, Wait::wait_read, deadline)) {
        co_return fail(Errc::timeout, "no answer to the query within the deadline");
      }
      if (PQconsumeInput(conn) == 0) co_return lost("waiting for the answer");
    }
    PgResult result(PQgetResult(conn));
    if (!result) break;
    switch (PQresultStatus(result.get())) {
      case PGRES_EMPTY_QUERY:
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK: {
        PGresult* r = result.get();
        if (PQnfields(r) > 0 || rows.columns_.empty()) {
          rows = Rows();
          for (int c = 0; c < PQnfields(r); ++c) rows.columns_.emplace_back(PQfname(r, c));
          for (int i = 0; i < PQntuples(r); ++i) {
            for (int c = 0; c < PQnfields(r); ++c) {
              if (PQgetisnull(r, i, c) != 0) {
                rows.cells_.emplace_back();
              } else {
                rows.cells_.emplace_back(std::string(PQgetvalue(r, i, c), static_cast<size_t>(PQgetlength(r, i, c))));
              }
            }
          }
        }
        rows.command_ = PQcmdStatus(r);
        break;
      }
      case PGRES_COPY_IN:
      case PGRES_COPY_OUT:
      case PGRES_COPY_BOTH: co_return fail(Errc::bug, "COPY is not for this connection, which is closed now");
      default:
        if (const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE)) self->sqlstate = state;
        Errc code = errc_of_sqlstate(self->sqlstate);
        std::string text = one_line(PQresultErrorMessage(result.get()));
        if (!self->sqlstate.empty()) text += fmt::format(" (SQLSTATE {})", self->sqlstate);
        error = Error{code, std::move(text)};
    }
  }
  exchange.complete = PQstatus(conn) == CONNECTION_OK;
  // A connection that ended in the middle (terminated, crashed) leaves open what the statement did.
  if (!exchange.complete) co_return fail(Errc::timeout, error ? error->text : one_line(PQerrorMessage(conn)));
  if (error) co_return tl::unexpected(*error);
  co_return rows;
}

Task<Result<void>> PgConnection::Impl::cancel(std::shared_ptr<Impl> self, BootTime deadline) {
  if (!self->conn) co_return fail(Errc::unavailable, "not connected");
  std::shared_ptr<PGcancel> handle(PQgetCancel(self->conn.get()), PQfreeCancel);
  if (!handle) co_return fail(Errc::unavailable, "there is nothing to cancel");
  std::function<Result<void>()> ask = [handle]() -> Result<void> {
    char text[256] = "";
    if (PQcancel(handle.get(), text, sizeof text) == 1) return {};
    return fail(Errc::unavailable, one_line(text));
  };
  co_return co_await with_deadline(self->loop, self->loop.offload(std::move(ask)), deadline);
}

PgConnection::PgConnection(Loop& loop) : impl_(std::make_shared<Impl>(loop)) {}
PgConnection::~PgConnection() = default;

Task<Result<void>> PgConnection::connect(PgTarget target, BootTime deadline) {
  return Impl::connect(impl_, std::move(target), deadline);
}
Task<Result<Rows>> PgConnection::query(std::string sql, std::vector<std::optional<std::string>> parameters,
                                       BootTime deadline) {
  return Impl::query(impl_, std::move(sql), std::move(parameters), deadline);
}
Task<Result<void>> PgConnection::cancel(BootTime deadline) { return Impl::cancel(impl_, deadline); }

bool PgConnection::is_open() const { return impl_->conn && PQstatus(impl_->conn.get()) == CONNECTION_OK; }
std::string_view PgConnection::sqlstate() const { return impl_->sqlstate; }
std::vector<std::string> PgConnection::take_notices() { return std::exchange(impl_->notices, {}); }
int PgConnection::server_version() const { return impl_->conn ? PQserverVersion(impl_->conn.get()) : 0; }
int PgConnection::backend_pid() const { return impl_->conn ? PQbackendPID(impl_->conn.get()) : 0; }

void PgConnection::close() {
  // A query under way still uses libpq's object: it ends by itself when its socket goes away, and closes the rest.
  if (impl_->busy) {
    error_code ignored;
    impl_->socket.close(ignored);
  } else {
    impl_->close();
  }
}

std::optional<std::string> PgConnection::parameter(const char* name) const {
  const char* value = impl_->conn ? PQparameterStatus(impl_->conn.get(), name) : nullptr;
  return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
}

}  // namespace pgdba::net
