// The command line of `pgdba pooler`, which is PgBouncer's. Pure: it reads nothing and says nothing.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace pgdba::pooler {

struct Arguments {
  enum class Do { run, help, version };
  Do what = Do::run;
  bool daemon = false;
  bool quiet = false;   // nothing to stderr once the log is open
  int verbose = 0;      // added to the file's `verbose`
  std::string user{};   // goes before the file's
  std::string file{};
};

// `words` are those behind "pooler". An error is a sentence for a person who mistyped.
Result<Arguments> parse_arguments(const std::vector<std::string>& words);

std::string help_text();
std::string version_text();  // its first line begins as PgBouncer's does: "PgBouncer 1.25.2"

}  // namespace pgdba::pooler
