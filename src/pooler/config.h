// What is configured: pgbouncer.ini and the files that it names, read together, and the core's plain settings made of it.
//
// Invariant: a Loaded is whole or is not there. A file that cannot be read, or a mistake in one, fails the load with every
// reason at once, and whoever had a configuration keeps it.
#pragma once

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

#include "base/error.h"
#include "conf/pooler_hba.h"
#include "conf/pooler_ident.h"
#include "conf/pooler_ini.h"
#include "conf/userlist.h"
#include "pool/settings.h"
#include "pooler/tls.h"

namespace pgdba::pooler {

// What the file system says of a file; another one means that the file has changed.
struct FileMark {
  int64_t seconds = 0, nanoseconds = 0;
  off_t size = 0;
  ino_t inode = 0;
  bool operator==(const FileMark&) const = default;
};
FileMark mark_of(const std::string& path);  // all zero: it cannot be seen

struct Loaded {
  conf::PoolerConfig config;
  conf::Userlist userlist;
  FileMark auth_mark;  // of auth_file, taken before it was read
  conf::Hba hba;
  conf::Ident ident;
  TlsContexts tls;
  std::vector<std::string> warnings;
  uint64_t number = 0;  // rises with each one that comes in force
};

// The errors of a load, one sentence each.
struct LoadFailure {
  std::vector<std::string> errors;
};

tl::expected<Loaded, LoadFailure> load_config(const std::string& path);
// The files that the settings name, again: auth_file alone, or all. The errors; `loaded` is not to be used then.
std::vector<std::string> load_userlist(Loaded& loaded);
std::vector<std::string> load_auth_files(Loaded& loaded);

// cluster_dcs_credentials: one line, "user:password", as etcdctl's --user.
struct DcsLogin {
  std::string user;
  Secret password;
};
Result<DcsLogin> load_dcs_login(const std::string& path);

// auth_seed_file: what it holds, or what was written to it when it was not there.
Result<std::string> load_seed(const std::string& path);

pool::Settings core_settings(const conf::PoolerSettings& settings);
// `requested` is the client's name for it, which differs from the entry's for "*".
pool::Database core_database(const conf::DatabaseEntry& entry, const std::string& requested);
pool::User core_user(const conf::UserEntry& entry);

}  // namespace pgdba::pooler
