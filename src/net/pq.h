// libpq in non-blocking mode, awaited on the loop.
//
// Names are resolved by us (libpq would block), GSS is off, and of libpq's environment variables none counts but
// PGPASSWORD, which would win over a passfile: long-lived programs call forget_libpq_environment() when they start.
// A password goes to libpq in memory or by a private passfile; describe() and errors never show it. After a timeout
// or a lost connection the connection is closed, never reused: what the statement did is unknown.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/lsn.h"
#include "base/secret.h"
#include "base/time.h"
#include "net/loop.h"
#include "net/task.h"

namespace pgdba::net {

struct PgTarget {
  PgTarget() = default;  // no aggregate: see task.h

  std::string host;  // a name, an address, or a directory (begins with "/") that holds the unix socket
  uint16_t port = 5432;
  std::string user;
  std::string dbname = "postgres";
  Secret password;
  std::string passfile;          // empty: none
  std::string application_name;
  std::string sslmode = "prefer";
  std::string sslrootcert, sslcert, sslkey, sslcrl;
  bool replication = false;      // a physical replication connection: IDENTIFY_SYSTEM, TIMELINE_HISTORY
  // Sent at start, for instance {"statement_timeout", "0"}.
  std::vector<std::pair<std::string, std::string>> settings;

  std::string describe() const;  // "host=… port=… user=… dbname=…", for people
};

// One result set. Cells are text as PostgreSQL prints it; a getter gives none for NULL, for a column that does not
// exist and for text that is no such value.
class Rows {
 public:
  size_t size() const { return columns_.empty() ? 0 : cells_.size() / columns_.size(); }
  bool empty() const { return size() == 0; }
  const std::vector<std::string>& columns() const { return columns_; }
  std::optional<size_t> column(std::string_view name) const;

  std::optional<std::string_view> text(size_t row, size_t column) const;
  std::optional<std::string_view> text(size_t row, std::string_view column) const;
  std::optional<int64_t> integer(size_t row, std::string_view column) const;
  std::optional<double> number(size_t row, std::string_view column) const;
  std::optional<bool> boolean(size_t row, std::string_view column) const;
  std::optional<Lsn> lsn(size_t row, std::string_view column) const;

  const std::string& command() const { return command_; }  // "SELECT 1", "CHECKPOINT"

 private:
  friend class PgConnection;
  std::vector<std::string> columns_;
  std::vector<std::optional<std::string>> cells_;
  std::string command_;
};

class PgConnection {
 public:
  explicit PgConnection(Loop& loop);
  ~PgConnection();
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  // Closes what was open, then connects. unavailable: nobody there, or not yet (sqlstate() 57P03: starting up,
  // shutting down); timeout; denied: authentication or pg_hba (28xxx); not_found: no such database (3D000);
  // invalid: settings that libpq refuses.
  Task<Result<void>> connect(PgTarget target, BootTime deadline);

  // Without parameters the simple protocol is used (several statements, replication commands; the last result with
  // columns is returned), with parameters $1 … as text, one statement. Errors by SQLSTATE: see errc_of_sqlstate().
  // unavailable: not connected, certainly not sent. timeout: no answer, closed, what it did is unknown.
  // One query at a time per connection; a second one meanwhile is refused (bug).
  Task<Result<Rows>> query(std::string sql, std::vector<std::optional<std::string>> parameters, BootTime deadline);

  // Asks the server to cancel what runs on this connection (a helper thread does it). The query then ends by itself.
  Task<Result<void>> cancel(BootTime deadline);

  bool is_open() const;
  void close();
  std::string_view sqlstate() const;  // of the last error of connect() or query(); empty: none, or it had none
  std::vector<std::string> take_notices();  // "WARNING: …", the newest 100
  int server_version() const;  // 150020; 0 while closed
  int backend_pid() const;
  std::optional<std::string> parameter(const char* name) const;  // reported by the server: "in_hot_standby"

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

// Removes every variable that libpq reads (PGPASSWORD, PGOPTIONS, PGSERVICE …) from this process's environment. Before
// any thread starts.
void forget_libpq_environment();

Errc errc_of_sqlstate(std::string_view sqlstate);
std::string quote_literal(std::string_view text);     // 'it''s', E'…' where it holds a backslash
std::string quote_identifier(std::string_view text);  // "a""b", always with quotes

}  // namespace pgdba::net
