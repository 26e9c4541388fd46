// What pg/ is told by its user: who this member is, where it lives, and how to log in. Nothing here is secret but
// Login.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/secret.h"
#include "base/time.h"
#include "pg/layout.h"

namespace pgdba::pg {

// A database user. `options` are libpq's: sslmode, sslcert, sslkey, sslrootcert, sslcrl, gssencmode, channel_binding …
struct Login {
  std::string user;
  Secret password;
  std::map<std::string, std::string> options;
  bool operator==(const Login&) const = default;
};

// The least-privileged role with which a pooler looks up passwords (auth_query). Without a user none is made.
struct PoolerAuth {
  std::string user = "pgdba_pooler";
  Secret password;  // empty: the role is made, but cannot log in by password until somebody sets one
  bool operator==(const PoolerAuth&) const = default;
};

// Fixed while the agent runs.
struct Settings {
  std::string name;          // of this member; application_name of its walreceiver
  std::string cluster_name;  // the scope
  Layout layout;
  std::string bin_dir;   // empty: looked for
  std::string log_file;  // stdout and stderr of PostgreSQL, appended
  std::string database = "postgres";
  std::string pgpass;    // the password file of the walreceiver and of jobs, written again for each; empty: some in run_dir
  Login superuser;
  Login replication;
  Login rewind;  // user empty: the superuser
  PoolerAuth pooler;
  std::vector<std::string> initdb_options;  // as they go to argv
  std::vector<std::string> basebackup_options;
  std::vector<std::string> rewind_options;
  Duration start_timeout = 60s;  // of a start or a promotion (pg_ctl_timeout)
  std::string post_bootstrap;  // a command; gets a connection string without password as its one argument

  [[nodiscard]] const Login& rewind_login() const { return rewind.user.empty() ? superuser : rewind; }
  [[nodiscard]] std::string walreceiver_passfile() const { return pgpass.empty() ? layout.in_run("walreceiver.pass") : pgpass; }
};

// What may change while the agent runs, from the local file and from the dynamic configuration.
struct FileInputs {
  std::vector<std::string> listen_addresses = {"127.0.0.1"};
  uint16_t port = 5432;
  std::map<std::string, std::string> parameters;  // name to value as PostgreSQL text; those that pg/ owns are ignored
  std::map<std::string, std::string> recovery;    // restore_command and its like: not for a frozen server, nor one at rest
  std::vector<std::string> pg_hba;                // lines; empty: what initdb wrote stays
  std::vector<std::string> pg_ident;
  bool use_slots = true;    // primary_slot_name = slot_name(name)
  std::string custom_conf;  // included instead of postgresql.base.conf
  bool operator==(const FileInputs&) const = default;
};

}  // namespace pgdba::pg
