#include "pg/layout.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "pg/durable.h"

namespace pgdba::pg {

namespace {

constexpr size_t kLongestSocket = 107;

Result<void> make_private(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    if (errno == ENOENT) {
      if (auto parent = make_private(folder_of(path)); !parent) return parent;
      if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    }
    return fail(errno == EACCES ? Errc::denied : Errc::unavailable,
                fmt::format("cannot make {}: {}", path, std::strerror(errno)));
  }
  return {};
}

std::string longest_socket(const Layout& layout) {
  return layout.in_run(".s.PGSQL.65535.lock");
}
bool fits(const Layout& layout) {
  return longest_socket(layout).size() <= kLongestSocket;
}

}  // namespace

uint32_t path_hash(std::string_view path) {
  uint32_t hash = 2166136261u;
  for (char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

Layout Layout::beside(std::string data_dir, const std::string& socket_folder) {
  while (data_dir.size() > 1 && data_dir.ends_with('/')) data_dir.pop_back();
  Layout out;
  out.state_dir = data_dir + ".pgdba";
  out.run_dir = out.state_dir + "/run";
  out.data_dir = std::move(data_dir);
  if (!fits(out) && socket_folder.starts_with('/')) {
    // The same one at each start: the guardian's page is in it.
    out.run_dir = fmt::format("{}/pgdba-{:08x}", socket_folder, path_hash(out.data_dir));
  }
  return out;
}

Result<void> prepare(const Layout& layout) {
  for (const std::string* path : {&layout.data_dir, &layout.state_dir, &layout.run_dir}) {
    if (!path->starts_with('/')) return fail(Errc::invalid, fmt::format("'{}' is not an absolute path", *path));
    if (path->find_first_of(kNotInPaths) != std::string::npos) {
      return fail(Errc::invalid, fmt::format("'{}': quotes, backslashes, commas, %, $ and line ends are not possible "
                                             "in paths of PostgreSQL's configuration",
                                             *path));
    }
    if (auto made = make_private(*path); !made) return made;
    struct stat info {};
    if (::stat(path->c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
      return fail(Errc::invalid, fmt::format("{} is not a folder", *path));
    if (info.st_uid != ::geteuid())
      return fail(Errc::denied, fmt::format("{} belongs to uid {}, not to us ({})", *path, info.st_uid, ::geteuid()));
    // PostgreSQL accepts 0750 for its data directory; the other two hold what only we may touch.
    mode_t allowed = path == &layout.data_dir ? 0750 : 0700;
    if ((info.st_mode & 0777 & ~allowed) != 0 && ::chmod(path->c_str(), 0700) != 0) {
      return fail(Errc::denied,
                  fmt::format("{} is open to others and its mode cannot be changed: {}", *path, std::strerror(errno)));
    }
  }
  if (!fits(layout)) {
    return fail(Errc::invalid,
                fmt::format("{} is too long for a unix socket ({} bytes, {} at most): choose a shorter data directory, or "
                            "set unix_socket_directories to a short folder",
                            layout.run_dir, longest_socket(layout).size(), kLongestSocket));
  }
  return {};
}

}  // namespace pgdba::pg
