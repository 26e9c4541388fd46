// The configuration files of one data directory: renders them, writes them durably, reads back what they say.
//
//   postgresql.base.conf   what initdb wrote, renamed once
//   postgresql.conf        generated: include of the former, the parameters sorted, then what holds at rest: no upstream,
//                          nobody acknowledges
//   pg_hba.conf            at rest: the gate is closed
//   pg_ident.conf
//   postgresql.auto.conf   recovery and synchronous settings are taken out of it, because it would win
//   run_dir/pgdba.ha.conf  what a postmaster of ours is started with (config_file): include of postgresql.conf, then all
//                          that model::PgConfig decides, in one atomically renamed file
//   run_dir/pg_hba.conf    the gate as PgConfig wants it
//
// So no moment at which agent, guardian and postgres die together leaves files behind with which another start would
// stream, acknowledge or let clients in.
//
// Invariants. The same input gives the same bytes. What read_on_disk() says is never safer than what PostgreSQL would
// load: pgdba.ha.conf carries its own meaning (pgdba.ha_config) beside the settings, and "gate closed" is believed only
// if the pg_hba.conf beside it, which is written first, has the gate as well. A parameter or hba line that PostgreSQL would refuse,
// so that it would load none of the rest, is left out with a warning.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "model/local.h"
#include "net/loop.h"
#include "net/task.h"
#include "pg/install.h"
#include "pg/settings.h"

namespace pgdba::pg {

struct RenderedFiles {
  std::string postgresql_conf;
  std::string ha_conf;
  std::string pg_hba;      // in force
  std::string rest_hba;    // of a server at rest
  std::string pg_ident;    // empty: not ours
  std::string passfile;    // of the walreceiver
  std::string generation;  // changes with any byte of the others; ha_conf sets pgdba.config_generation to it
  std::vector<std::string> warnings;
};

// Pure. Names and values of parameters are not checked here (check_parameters). `os_user`: who we are, for "peer" in
// pg_hba.
RenderedFiles render(const Settings& settings, const FileInputs& inputs, const model::PgConfig& config,
                     const Install& install, const std::string& os_user);

struct Written {
  bool changed = false;         // a reload is needed
  bool access_changed = false;  // pg_hba.conf or pg_ident.conf is among what changed
  std::string generation;
  std::vector<std::string> warnings;
};

// Writes what differs, each file by a temporary one, fsync, rename, fsync of the folder. Also puts postgresql.base.conf
// in its place, cleans postgresql.auto.conf, and removes history stubs once an upstream is configured. Without
// configured pg_hba lines, those that were there first are used (kept in pg_hba.base.conf). Blocking (fsync): call it
// through net::Loop::offload.
Result<Written> write_files(const Settings& settings, FileInputs inputs, const model::PgConfig& config,
                            const Install& install);

// What the files say now. Without pgdba.ha.conf PostgreSQL cannot be started, which is as frozen as can be: the result
// is then PgConfig's default. An error says that a file cannot be read: then nothing is known.
Result<model::PgConfig> read_on_disk(const Layout& layout);
// What pgdba.ha.conf alone says, whatever became of the files beside it. Errors: not_found, invalid, or why it cannot be read.
Result<model::PgConfig> read_ha_config(const Layout& layout);

// Asks the postgres program whether it would take these parameters, and leaves out, with a warning, those that it does
// not know or whose value it refuses: one of them would keep it from starting or from loading the others. Runs it at
// least once (~20 ms), and once more for each that is left out. `folder`: any that exists.
struct CheckedParameters {
  std::map<std::string, std::string> good;
  std::vector<std::string> warnings;
};
Task<Result<CheckedParameters>> check_parameters(net::Loop& loop, const Install& install, std::string folder,
                                                 std::map<std::string, std::string> parameters, BootTime deadline);

// pgdba.ha_config: PgConfig as one line of text, and back (nullopt: not ours).
std::string format_ha_config(const model::PgConfig& config);
std::optional<model::PgConfig> parse_ha_config(std::string_view text);

// synchronous_standby_names.
std::string format_sync_names(const model::SyncNames& names);
std::optional<model::SyncNames> parse_sync_names(std::string_view text);

}  // namespace pgdba::pg
