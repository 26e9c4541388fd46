// Files that must be whole or absent after a crash. Blocking.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::pg {

// Temporary file beside it, fsync, rename, fsync of the folder; mode 0600.
Result<void> write_durably(const std::string& path, std::string_view text);
// The same, but nothing is touched when the file has this text already. True: it was written.
Result<bool> write_if_different(const std::string& path, std::string_view text);
Result<void> remove_durably(const std::string& path);  // gone already: done
Result<void> fsync_folder(const std::string& path);
Result<void> rename_durably(const std::string& from, const std::string& to);

bool exists(const std::string& path);
// not_found: there is no such file.
Result<std::string> read_file(const std::string& path, size_t limit = 16 << 20);
std::string folder_of(const std::string& path);

}  // namespace pgdba::pg
