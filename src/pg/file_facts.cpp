#include "pg/file_facts.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "pg/config_files.h"
#include "pg/durable.h"
#include "pg/marks.h"

namespace pgdba::pg {

namespace {

bool is_empty_folder(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return errno == ENOENT;
  bool empty = true;
  errno = 0;
  while (const dirent* entry = ::readdir(folder)) {
    std::string_view name(entry->d_name);
    if (name != "." && name != ".." && name != "lost+found") empty = false;
  }
  if (errno != 0) empty = false;
  ::closedir(folder);
  return empty;
}

}  // namespace

Result<FileFacts> read_files(const Layout& layout, KnownHistories& known) {
  FileFacts out;
  for (const std::string& path : {layout.novote_mark(), layout.standby_signal(), layout.in_data("pg_wal")}) {
    if (::access(path.c_str(), F_OK) != 0 && errno != ENOENT) return fail(Errc::unavailable, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  auto histories = known.read(layout);
  if (!histories) return tl::unexpected(histories.error());
  out.histories = std::move(*histories);
  auto nonces = read_timeline_nonces(layout);
  if (!nonces) return tl::unexpected(nonces.error());
  out.nonces = std::move(*nonces);
  out.novote = has_novote(layout);
  out.initdb = initdb_mark(layout);
  out.standby_signal = exists(layout.standby_signal());
  auto on_disk = read_on_disk(layout);
  if (!on_disk) return tl::unexpected(on_disk.error());
  out.on_disk = std::move(*on_disk);
  auto why = unusable_why(layout);
  if (!why) return tl::unexpected(why.error());
  struct stat info {};
  if (*why) {
    out.data = model::DataDir::unusable;
    out.unusable_why = **why;
  } else if (is_empty_folder(layout.data_dir)) {
    out.data = model::DataDir::empty;
  } else if (::stat(layout.in_data("global/pg_control").c_str(), &info) != 0) {
    if (errno != ENOENT) return fail(Errc::unavailable, fmt::format("global/pg_control: {}", std::strerror(errno)));
    out.data = model::DataDir::unusable;
    out.unusable_why = fmt::format("{} is not empty, but has no global/pg_control", layout.data_dir);
  } else {
    out.data = model::DataDir::present;
    out.control_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
    out.control_inode = static_cast<int64_t>(info.st_ino);
  }
  return out;
}

}  // namespace pgdba::pg
