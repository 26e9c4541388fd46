// Which PostgreSQL programs there are: versions 13 to 18.
#pragma once

#include <string>

#include "base/error.h"

namespace pgdba::pg {

struct Install {
  std::string bin_dir;
  int version = 0;  // 150018
  [[nodiscard]] int major() const { return version / 10000; }
  [[nodiscard]] std::string program(std::string_view name) const { return bin_dir + "/" + std::string(name); }
};

// With `bin_dir`: that one or an error. Else the newest of Debian's /usr/lib/postgresql/N/bin and /usr/pgsql-N/bin,
// else the `postgres` in PATH. With `major` (of an existing data directory) only that version. Runs `postgres
// --version`: blocking, some milliseconds. not_found names the places that were looked at.
Result<Install> find_install(const std::string& bin_dir, int major = 0);

// PG_VERSION of a data directory; 0: there is none.
int data_dir_major(const std::string& data_dir);

}  // namespace pgdba::pg
