// The pooler's file: PgBouncer's ini text, with everything that it includes, as typed settings.
//
// Invariant: whatever the bytes, all mistakes are reported at once, one sentence each with file and line, none with a
// password; a reading with errors must not be used. What PgBouncer accepts is accepted, except numbers with something
// after them in connection strings ("pool_size=50x"). Each [pgbouncer] header puts the settings back to their defaults.
// How to call: read_pooler_ini() with the file's text, the caller reads files; then pooler_rules.h on the result.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "conf/pooler_entries.h"
#include "conf/pooler_settings.h"

namespace pgdba::conf {

// The text of a file that another file names; paths are as written there.
using FileReader = std::function<Result<std::string>(const std::string& path)>;

constexpr int kMaxIncludes = 10;  // levels of %include below the first file

struct PoolerConfig {
  PoolerSettings settings;
  std::vector<DatabaseEntry> databases;  // in the order of the file, each name once; "*" among them
  std::vector<UserEntry> users;
  std::vector<PeerEntry> peers;
  std::vector<std::string> warnings;
};

struct PoolerReading {
  PoolerConfig config;
  std::vector<std::string> errors;
  [[nodiscard]] bool ok() const { return errors.empty(); }
};

// `path` is what settings.conffile is, unless the file says otherwise, and what the sentences call the file.
PoolerReading read_pooler_ini(const std::string& path, std::string_view text, const FileReader& include);

}  // namespace pgdba::conf
