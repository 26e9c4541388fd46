// create_users and ensure_pooler_auth; see actions.h.
#include <fmt/format.h>

#include "base/text.h"
#include "net/password.h"
#include "net/process.h"
#include "pg/actions.h"
#include "pg/conninfo.h"
#include "pg/durable.h"
#include "pg/pooler_lookup.h"

namespace pgdba::pg {

namespace {

using net::quote_identifier;
using net::quote_literal;

constexpr std::pair<const char*, const char*> kQuiet[] = {{"log_statement", "none"},
                                                          {"log_min_duration_statement", "-1"},
                                                          {"log_min_error_statement", "panic"},
                                                          {"log_duration", "off"},
                                                          {"log_min_duration_sample", "-1"},
                                                          {"log_transaction_sample_rate", "0"},
                                                          {"auto_explain.log_min_duration", "-1"},
                                                          {"pgaudit.log", "none"},
                                                          {"pg_stat_statements.track_utility", "off"}};

// A connection of its own on which nothing that is said reaches the server's log.
Task<Result<std::unique_ptr<net::PgConnection>>> quiet_connection(Server& server, BootTime deadline) {
  auto db = std::make_unique<net::PgConnection>(server.loop());
  net::PgTarget target = server.local_target("pgdba");
  for (const auto& [name, value] : kQuiet) target.settings.emplace_back(name, value);
  auto open = co_await db->connect(std::move(target), deadline);
  if (!open) co_return tl::unexpected(std::move(open.error()).context("while creating roles"));
  co_return std::move(db);
}

// CREATE ROLE if it is not there, then the attributes, then the password as a verifier made here: the server never sees
// it.
Task<Result<void>> ensure_role(net::Loop& loop, net::PgConnection& db, std::string user, Secret password,
                               std::string attributes, BootTime deadline) {
  auto known = co_await db.query("SELECT 1 FROM pg_roles WHERE rolname = $1", with(user), deadline);
  if (!known) co_return tl::unexpected(known.error());
  if (known->empty()) {
    auto created = co_await db.query(fmt::format("CREATE ROLE {}", quote_identifier(user)), {}, deadline);
    if (!created) co_return tl::unexpected(created.error());
  }
  auto altered = co_await db.query(fmt::format("ALTER ROLE {} {}", quote_identifier(user), attributes), {}, deadline);
  if (!altered) co_return tl::unexpected(altered.error());
  if (password.empty()) co_return Result<void>{};
  std::function<Result<std::string>()> encrypt = [password, user] { return net::scram_verifier(password, user); };
  auto verifier = co_await loop.offload(encrypt);
  if (!verifier) co_return tl::unexpected(verifier.error());
  auto set = co_await db.query(
      fmt::format("ALTER ROLE {} PASSWORD {}", quote_identifier(user), quote_literal(*verifier)), {}, deadline);
  if (!set) co_return tl::unexpected(set.error());
  co_return Result<void>{};
}

Task<Result<void>> pooler_auth(net::Loop& loop, net::PgConnection& db, const PoolerAuth& pooler, BootTime deadline) {
  if (pooler.user.empty()) co_return Result<void>{};
  auto there = co_await db.query("SELECT 1 FROM pg_roles WHERE rolname = $1", with(pooler.user), deadline);
  if (!there) co_return tl::unexpected(there.error());
  // An operator may have given it another password since; only a new role gets ours.
  if (there->empty()) {
    if (auto made =
            co_await ensure_role(loop, db, pooler.user, pooler.password,
                                 "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS", deadline);
        !made) {
      co_return made;
    }
  }
  std::string sql = fmt::format(
      "BEGIN;"
      "CREATE SCHEMA IF NOT EXISTS pgdba;"
      "REVOKE ALL ON SCHEMA pgdba FROM PUBLIC;"
      "GRANT USAGE ON SCHEMA pgdba TO {0};"
      "CREATE OR REPLACE FUNCTION pgdba.user_lookup(IN i_username text, OUT uname text, OUT phash text) RETURNS SETOF "
      "record"
      " LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {1} AS {2};"
      "REVOKE ALL ON FUNCTION pgdba.user_lookup(text) FROM PUBLIC;"
      "GRANT EXECUTE ON FUNCTION pgdba.user_lookup(text) TO {0};"
      "COMMIT",
      quote_identifier(pooler.user), kLookupSearchPath, quote_literal(kLookupBody));
  auto done = co_await db.query(std::move(sql), {}, deadline);
  if (!done) co_return tl::unexpected(std::move(done.error()).context("while making the pooler's lookup function"));
  co_return Result<void>{};
}

Task<Result<void>> run_post_bootstrap(Server& server, BootTime deadline) {
  const Settings& settings = server.settings();
  HostPort here{settings.layout.run_dir, server.inputs().port};
  std::string passfile = settings.layout.in_run("post_bootstrap.pass");
  // A unix socket's line in a password file may name the folder as the host.
  if (auto written = write_durably(passfile, passfile_line(here, settings.superuser)); !written) co_return written;
  net::ProcessSpec spec;
  std::string dsn = format_conninfo({{"host", here.host},
                                     {"port", std::to_string(here.port)},
                                     {"user", settings.superuser.user},
                                     {"dbname", settings.database}});
  spec.argv = {"/bin/sh", "-c", settings.post_bootstrap + " \"$1\"", "post_bootstrap", dsn};
  spec.env = {{"PGPASSFILE", passfile},
              {"PGOPTIONS", "-c synchronous_commit=local -c statement_timeout=0"},
              {"PGPASSWORD", ""}};
  auto ran = co_await net::run_process(server.loop(), std::move(spec), deadline);
  auto removed = remove_durably(passfile);
  if (!ran) co_return tl::unexpected(std::move(ran.error()).context("post_bootstrap"));
  if (!ran->status.success())
    co_return fail(Errc::invalid, fmt::format("post_bootstrap {}: {}", ran->status.describe(), trim(ran->output)));
  co_return removed;
}

}  // namespace

Task<Result<void>> create_users(Server& server, bool with_post_bootstrap, BootTime deadline) {
  const Settings& settings = server.settings();
  auto db = co_await quiet_connection(server, deadline);
  if (!db) co_return tl::unexpected(db.error());
  net::PgConnection& on = **db;
  if (auto made = co_await ensure_role(server.loop(), on, settings.superuser.user, settings.superuser.password,
                                       "SUPERUSER LOGIN", deadline);
      !made)
    co_return made;
  if (with_post_bootstrap && !settings.post_bootstrap.empty()) {
    if (auto ran = co_await run_post_bootstrap(server, deadline); !ran) co_return ran;
  }
  if (!settings.replication.user.empty() && settings.replication.user != settings.superuser.user) {
    if (auto made = co_await ensure_role(server.loop(), on, settings.replication.user, settings.replication.password,
                                         "REPLICATION LOGIN", deadline);
        !made)
      co_return made;
  }
  if (!settings.rewind.user.empty() && settings.rewind.user != settings.superuser.user) {
    if (auto made =
            co_await ensure_role(server.loop(), on, settings.rewind.user, settings.rewind.password, "LOGIN", deadline);
        !made)
      co_return made;
    for (const char* function : {"pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
                                 "pg_read_binary_file(text)", "pg_read_binary_file(text, bigint, bigint, boolean)"}) {
      auto granted = co_await on.query(fmt::format("GRANT EXECUTE ON FUNCTION pg_catalog.{} TO {}", function,
                                                   quote_identifier(settings.rewind.user)),
                                       {}, deadline);
      if (!granted) co_return tl::unexpected(granted.error());
    }
  }
  co_return co_await pooler_auth(server.loop(), on, settings.pooler, deadline);
}

Task<Result<void>> ensure_pooler_auth(Server& server, BootTime deadline) {
  auto db = co_await quiet_connection(server, deadline);
  if (!db) co_return tl::unexpected(db.error());
  co_return co_await pooler_auth(server.loop(), **db, server.settings().pooler, deadline);
}

}  // namespace pgdba::pg
