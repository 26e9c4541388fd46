#include "pg/history.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.h"
#include "pg/durable.h"

namespace pgdba::pg {

namespace {

constexpr std::string_view kStub = "# pgdba: this number was taken by another node\n";

std::optional<uint32_t> timeline_of(std::string_view name) {
  if (name.size() != 16 || !name.ends_with(".history")) return std::nullopt;
  uint32_t value = 0;
  auto [stop, error] = std::from_chars(name.data(), name.data() + 8, value, 16);
  if (error != std::errc() || stop != name.data() + 8) return std::nullopt;
  return value;
}

std::vector<uint32_t> timelines_with_file(const Layout& layout) {
  std::vector<uint32_t> out;
  DIR* folder = ::opendir(layout.in_data("pg_wal").c_str());
  if (folder == nullptr) return out;
  while (const dirent* entry = ::readdir(folder)) {
    if (auto timeline = timeline_of(entry->d_name)) out.push_back(*timeline);
  }
  ::closedir(folder);
  std::ranges::sort(out);
  return out;
}

std::string path_of(const Layout& layout, uint32_t timeline) {
  return layout.in_data("pg_wal/" + history_file_name(timeline));
}

}  // namespace

std::string history_file_name(uint32_t timeline) {
  return fmt::format("{:08X}.history", timeline);
}

std::map<uint32_t, Lsn> parse_history(std::string_view text) {
  std::map<uint32_t, Lsn> out;
  for (const std::string& line : split(text, '\n')) {
    std::string_view rest = trim(line);
    if (rest.empty() || rest.starts_with('#')) continue;
    auto blank = rest.find_first_of(" \t");
    if (blank == std::string_view::npos) continue;
    auto timeline = parse_int(rest.substr(0, blank));
    rest = trim(rest.substr(blank));
    auto lsn = parse_lsn(rest.substr(0, rest.find_first_of(" \t")));
    if (timeline && *timeline > 0 && *timeline <= UINT32_MAX && lsn) out[static_cast<uint32_t>(*timeline)] = *lsn;
  }
  return out;
}

Result<std::vector<History>> KnownHistories::read(const Layout& layout) {
  struct stat folder {};
  const bool there = ::stat(layout.in_data("pg_wal").c_str(), &folder) == 0;
  const int64_t changed = there ? folder.st_mtim.tv_sec * 1'000'000'000 + folder.st_mtim.tv_nsec : -1;
  if (there && changed == changed_ns_ && folder.st_ino == inode_) return known_;
  auto fresh = read_histories(layout);
  if (!fresh) return fresh;
  // A file that comes within the clock's tick of the last change leaves the folder's time as it is.
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const bool settled = there && now.tv_sec * 1'000'000'000 + now.tv_nsec > changed + 1'000'000'000;
  changed_ns_ = settled ? changed : -1;
  inode_ = folder.st_ino;
  known_ = *fresh;
  return fresh;
}

Result<std::vector<History>> read_histories(const Layout& layout) {
  std::vector<History> out;
  for (uint32_t timeline : timelines_with_file(layout)) {
    auto text = read_file(path_of(layout, timeline), 1 << 20);
    if (!text && text.error().code == Errc::not_found) continue;  // removed meanwhile
    if (!text) return tl::unexpected(text.error());
    if (*text == kStub) continue;
    out.push_back({timeline, parse_history(*text)});
  }
  return out;
}

std::map<uint32_t, Lsn> timeline_starts(const std::vector<History>& histories) {
  std::map<uint32_t, Lsn> out{{1, Lsn{}}};
  for (const History& history : histories) {
    Lsn begin;
    for (auto entry = history.ends.begin(); entry != history.ends.end(); ++entry) {
      auto next = std::next(entry);
      if (next == history.ends.end()) {
        begin = entry->second;
      } else {
        out.emplace(next->first, entry->second);
      }
    }
    out[history.timeline] = begin;
  }
  return out;
}

Result<void> write_history_stubs(const Layout& layout, const std::vector<uint32_t>& taken) {
  for (uint32_t timeline : taken) {
    if (exists(path_of(layout, timeline))) continue;
    if (auto written = write_durably(path_of(layout, timeline), kStub); !written) return written;
  }
  return {};
}

Result<void> remove_history_stubs(const Layout& layout) {
  for (uint32_t timeline : timelines_with_file(layout)) {
    auto text = read_file(path_of(layout, timeline), 1 << 20);
    if (!text || *text != kStub) continue;
    if (auto removed = remove_durably(path_of(layout, timeline)); !removed) return removed;
  }
  return {};
}

}  // namespace pgdba::pg
