// What the server's log says about its end.
#pragma once

#include <cstdint>
#include <string>

#include "pg/layout.h"

namespace pgdba::pg {

int64_t size_of(const std::string& path);                                     // 0: no such file
std::string log_from(const std::string& path, int64_t offset, size_t limit);  // the last `limit` bytes after `offset`

// Since the server's last start its log (stderr's file, and those of the logging collector, csv and json too) has a PANIC
// about something that it "could not" do with a file (H4), or cannot be read: what is on this disk may be less than what
// was acknowledged. Where the current file does not go back to that start, the one that was rotated away counts as well (the
// supervisor's is called .1). Reads up to 64 MiB of each, in chunks: for a helper thread.
bool log_says_panic(const Layout& layout, const std::string& log_file);

}  // namespace pgdba::pg
