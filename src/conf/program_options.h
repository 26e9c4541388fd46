// Private to conf/: options for initdb, pg_basebackup and pg_rewind, as patroni.yml lists them, to arguments.
//
// The agent passes some options itself; those, and what would defeat it, are refused by name, also when abbreviated
// (getopt takes any beginning that is not ambiguous).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/section.h"

namespace pgdba::conf {

struct ProgramOptions {
  std::string_view program;
  std::vector<std::string_view> forbidden;
};
extern const ProgramOptions kInitdbOptions;
extern const ProgramOptions kBasebackupOptions;
extern const ProgramOptions kRewindOptions;

// A list of "name", "name=value" and {name: value}, or a map. "--encoding=UTF8", each one argument.
std::vector<std::string> read_program_options(Section& section, std::string_view name, const ProgramOptions& options);

}  // namespace pgdba::conf
