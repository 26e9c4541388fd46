// What is configured: pgbouncer.ini and the files that it names, read together, and the core's plain settings made of it.
//
// Invariant: a Loaded is whole or is not there. A file that cannot be read, or a mistake in one, fails the load with every
// reason at once, and whoever had a configuration keeps it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "conf/pooler_hba.h"
#include "conf/pooler_ident.h"
#include "conf/pooler_ini.h"
#include "conf/userlist.h"
#include "pool/settings.h"
#include "pooler/tls.h"

namespace pgdba::pooler {

struct Loaded {
  conf::PoolerConfig config;
  conf::Userlist userlist;
  conf::Hba hba;
  conf::Ident ident;
  TlsContexts tls;
  std::vector<std::string> warnings;
};

// The errors of a load, one sentence each.
struct LoadFailure {
  std::vector<std::string> errors;
};

tl::expected<Loaded, LoadFailure> load_config(const std::string& path);

pool::Settings core_settings(const conf::PoolerSettings& settings);
// `requested` is the client's name for it, which differs from the entry's for "*".
pool::Database core_database(const conf::DatabaseEntry& entry, const std::string& requested);
pool::User core_user(const conf::UserEntry& entry);

}  // namespace pgdba::pooler
