#include "local/pooler_files.h"

#include <fmt/format.h>

#include <vector>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

std::string pooler_ini_text(const ClusterFile& cluster) {
  std::vector<std::string> etcd;
  for (const auto& member : cluster.etcd) etcd.push_back(fmt::format("127.0.0.1:{}", member.client_port));
  return fmt::format(
      R"(; Written by `pgdba up`, and again at each `up`. PgBouncer's settings; those that begin with "cluster" or "failover",
; "role" and "max_lag" are pgdba's own.
[databases]
; Any database, on the primary, whoever that is. While there is none, transactions wait.
* = role=primary
; A name that ends in _ro leads to the database without it, on a replica that is at most so far behind (if none is, on the
; primary). For a database that is really called like that: sales_ro = role=primary
*_ro = role=replica max_lag=16MB

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {0}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
max_prepared_statements = 200
query_wait_timeout = 120
; libpq's own multi-host programs and JDBC send it
ignore_startup_parameters = extra_float_digits

; Everybody logs in with the password that PostgreSQL has: {1} may ask for it, which needs a database that always exists.
auth_type = scram-sha-256
auth_file = {2}/userlist.txt
; Made at the first start; the salts that users get who do not exist, the same ones for ever, as real salts are.
auth_seed_file = {2}/salt.seed
auth_user = {1}
auth_dbname = postgres
auth_query = SELECT uname, phash FROM pgdba.user_lookup($1)
admin_users = {3}

cluster_dcs = etcd://{4}
cluster_scope = {5}
cluster_namespace = /service/
)",
      cluster.pooler_port, kPoolerUser, cluster.pooler_folder(), kSuperuser, join(etcd, ","), cluster.name);
}

std::string userlist_text(const Secrets& secrets) {
  return fmt::format("\"{}\" \"{}\"\n\"{}\" \"{}\"\n", kPoolerUser, secrets.pooler.reveal(), kSuperuser,
                     secrets.superuser.reveal());
}

Spec pooler_spec(const ClusterFile& cluster) {
  Spec spec;
  spec.name = kPooler;
  spec.argv = {"self", "pooler", cluster.pooler_ini()};
  spec.folder = cluster.pooler_folder();
  spec.log = cluster.root + "/log/pooler.log";
  return spec;
}

Result<void> write_pooler_files(const ClusterFile& cluster, const Secrets& secrets) {
  if (cluster.pooler_port == 0) return {};
  if (auto done = make_private_folder(cluster.pooler_folder()); !done) return done;
  if (auto done = write_atomic(cluster.pooler_folder() + "/userlist.txt", userlist_text(secrets)); !done) return done;
  return write_atomic(cluster.pooler_ini(), pooler_ini_text(cluster));
}

}  // namespace pgdba::local
