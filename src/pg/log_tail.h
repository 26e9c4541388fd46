// What the server's log says about its end.
#pragma once

#include <cstdint>
#include <string>

#include "pg/layout.h"

namespace pgdba::pg {

int64_t size_of(const std::string& path);                                     // 0: no such file
std::string log_from(const std::string& path, int64_t offset, size_t limit);  // the last `limit` bytes after `offset`

// Since the server's last start its log (stderr's file, and the one of the logging collector) has a PANIC about writing
// or syncing a file (H4): what is on this disk may be less than what was acknowledged.
bool log_says_panic(const Layout& layout, const std::string& log_file);

}  // namespace pgdba::pg
