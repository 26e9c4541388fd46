// What the freeze probe (restore_command of a frozen configuration) has written: "<nonce> <file>" per call.
#pragma once

#include <string>
#include <string_view>

#include "pg/layout.h"

namespace pgdba::pg {

struct ProbeCalls {
  std::string segment;  // the WAL segment of the last call with this nonce; history files do not count
  int repeated = 0;     // how often it was asked for in a row
};
ProbeCalls parse_probe_calls(std::string_view text, std::string_view nonce);
ProbeCalls read_probe_calls(const Layout& layout, std::string_view nonce);

// Called five times a second while frozen, the file grows: emptied when it is large.
void trim_probe_file(const Layout& layout);

}  // namespace pgdba::pg
