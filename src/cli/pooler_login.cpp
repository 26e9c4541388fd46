#include "cli/pooler_login.h"

#include <fmt/format.h>

#include "local/secrets.h"
#include "net/password.h"
#include "net/pq.h"
#include "wire/scram.h"

namespace pgdba::cli {

namespace {

bool is_of(std::string_view stored, const Secret& password) {
  auto verifier = wire::parse_scram_verifier(stored);
  if (!verifier) return false;
  auto keys = wire::scram_keys(password.reveal(), verifier->challenge);
  return keys && wire::scram_keys_match(*keys, *verifier);
}

Task<Result<void>> compare_and_set(net::Loop& loop, net::PgTarget target, Secret password, BootTime deadline) {
  net::PgConnection db(loop);
  if (auto open = co_await db.connect(std::move(target), deadline); !open) co_return open;
  auto rows = co_await db.query(fmt::format("SELECT rolpassword, rolcanlogin FROM pg_catalog.pg_authid WHERE rolname = {}",
                                            net::quote_literal(local::kPoolerUser)),
                                {}, deadline);
  if (!rows) co_return tl::unexpected(rows.error());
  if (rows->empty()) co_return fail(Errc::unavailable, fmt::format("role {} is not there yet", local::kPoolerUser));
  if (rows->boolean(0, "rolcanlogin").value_or(false) && is_of(rows->text(0, "rolpassword").value_or(""), password))
    co_return Result<void>{};
  auto verifier = net::scram_verifier(password, local::kPoolerUser);
  if (!verifier) co_return tl::unexpected(verifier.error());
  auto set = co_await db.query(fmt::format("ALTER ROLE {} LOGIN PASSWORD {}", net::quote_identifier(local::kPoolerUser),
                                           net::quote_literal(*verifier)),
                               {}, deadline);
  if (!set) co_return tl::unexpected(set.error());
  co_return Result<void>{};
}

}  // namespace

Result<void> ensure_pooler_login(net::Loop& loop, const local::ClusterFile& cluster, uint16_t port, Duration patience) {
  net::forget_libpq_environment();
  auto password = local::read_pooler_secret(cluster);
  if (!password) return tl::unexpected(password.error());
  net::PgTarget target;
  target.host = "127.0.0.1";
  target.port = port;
  target.user = local::kSuperuser;
  target.passfile = cluster.passfile();
  target.application_name = "pgdba_up";
  target.sslmode = "disable";
  // The verifier is of no use in a log.
  target.settings = {{"log_statement", "none"}, {"log_min_duration_statement", "-1"}, {"log_min_error_statement", "panic"}};
  BootTime deadline = loop.after(patience);
  return net::run_blocking(loop, compare_and_set(loop, std::move(target), std::move(*password), deadline), deadline + 100ms);
}

}  // namespace pgdba::cli
