// Where everything of one member lives. Three folders, by what they must survive:
//
//   data_dir   PGDATA. The marks in it travel with the data: novote, initdb, timelines (copied by a clone or rewind, as
//              the history of the data itself is). Its configuration files are those of a server at rest (G2, G4): whoever
//              starts PostgreSQL behind the agent's back gets no upstream, no acknowledgement and no client.
//   state_dir  beside it, survives a wipe of PGDATA and a reboot: the freeze record, the mark "unusable".
//   run_dir    private (0700), short, may be a tmpfs: sockets, password files, the guardian's page, and the files that a
//              postmaster of ours runs on: pgdba.ha.conf, which includes postgresql.conf and overrides it, and pg_hba.conf.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::pg {

struct Layout {
  std::string data_dir;
  std::string state_dir;
  std::string run_dir;

  // state_dir and run_dir beside a data directory for which nothing else was chosen: /a/b/data -> /a/b/data.pgdba,
  // …/run. Where that is too long for a unix socket, run_dir is <socket_folder>/pgdba-<hash of data_dir>, if there is one.
  static Layout beside(std::string data_dir, const std::string& socket_folder = {});

  [[nodiscard]] std::string in_data(std::string_view name) const { return data_dir + "/" + std::string(name); }
  [[nodiscard]] std::string in_state(std::string_view name) const { return state_dir + "/" + std::string(name); }
  [[nodiscard]] std::string in_run(std::string_view name) const { return run_dir + "/" + std::string(name); }

  [[nodiscard]] std::string standby_signal() const { return in_data("standby.signal"); }
  [[nodiscard]] std::string postmaster_pid() const { return in_data("postmaster.pid"); }
  [[nodiscard]] std::string postgresql_conf() const { return in_data("postgresql.conf"); }
  [[nodiscard]] std::string base_conf() const { return in_data("postgresql.base.conf"); }
  [[nodiscard]] std::string auto_conf() const { return in_data("postgresql.auto.conf"); }
  [[nodiscard]] std::string hba_conf() const { return in_data("pg_hba.conf"); }
  [[nodiscard]] std::string ident_conf() const { return in_data("pg_ident.conf"); }
  [[nodiscard]] std::string novote_mark() const { return in_data("pgdba.novote"); }
  [[nodiscard]] std::string initdb_mark() const { return in_data("pgdba.initdb"); }
  [[nodiscard]] std::string timelines_file() const { return in_data("pgdba.timelines"); }
  [[nodiscard]] std::string unusable_mark() const { return in_state("unusable"); }
  [[nodiscard]] std::string freeze_record() const { return in_state("freeze"); }
  [[nodiscard]] std::string ha_conf() const { return in_run("pgdba.ha.conf"); }
  [[nodiscard]] std::string live_hba_conf() const { return in_run("pg_hba.conf"); }
  [[nodiscard]] std::string guardian_page() const { return in_run("guardian.page"); }
  [[nodiscard]] std::string probe_file() const { return in_run("freeze.probe"); }
};

// FNV-1a: a stable short name for a path, nothing secret.
uint32_t path_hash(std::string_view path);

// What no path of PostgreSQL's configuration files may hold.
inline constexpr std::string_view kNotInPaths = "'\"\\\n\r%$`,";

// Makes the folders with mode 0700. denied: one belongs to somebody else or is open to others; invalid: a path is
// relative, holds a quote or newline, or run_dir is too long for a unix socket (107 bytes with its name).
Result<void> prepare(const Layout& layout);

}  // namespace pgdba::pg
