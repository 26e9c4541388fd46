#include "pg/log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>

#include "base/text.h"
#include "pg/durable.h"

namespace pgdba::pg {

namespace {

constexpr int64_t kMost = 64 << 20;      // of one file, from its end
constexpr size_t kChunk = 1 << 20;
constexpr size_t kLine = 64 * 1024;      // what counts of one line; a statement may be longer
constexpr std::string_view kStart = "starting PostgreSQL ";

// What a client says (a statement, an error text) comes after another severity or on a line of its own that begins with a tab.
bool after_other_severity(std::string_view before) {
  for (std::string_view other : {"ERROR:  ", "FATAL:  ", "WARNING:  ", "STATEMENT:  ", "DETAIL:  ", "NOTICE:  ", "INFO:  ", "HINT:  ",
                                 "CONTEXT:  ", "QUERY:  "}) {
    if (before.find(other) != std::string_view::npos) return true;
  }
  return false;
}

// Whether the line reports a PANIC, in one of the server's three formats.
bool is_panic(std::string_view line) {
  if (line.starts_with('\t')) return false;
  if (line.find("\"error_severity\":\"PANIC\"") != std::string_view::npos || line.find(",PANIC,") != std::string_view::npos)
    return true;
  size_t panic = line.find("PANIC:  ");
  if (panic == std::string_view::npos) return false;
  std::string_view before = line.substr(0, panic);
  return before.find("LOG:  ") == std::string_view::npos && !after_other_severity(before);
}

// The first words of a postmaster, in the same three formats.
bool is_start(std::string_view line) {
  size_t at = line.find(kStart);
  if (at == std::string_view::npos || line.starts_with('\t') || after_other_severity(line.substr(0, at))) return false;
  std::string_view before = line.substr(0, at);
  for (std::string_view says : {"LOG:  ", ",LOG,00000,\"", "\"message\":\""}) {
    if (before.ends_with(says)) return true;
  }
  return false;
}

// A log read forwards: what its last life says.
class Reading {
 public:
  void take(std::string_view chunk) {
    for (;;) {
      size_t end = chunk.find('\n');
      std::string_view part = chunk.substr(0, end);
      if (line_.empty() && end != std::string_view::npos) {
        judge(part.substr(0, kLine));
      } else {
        line_ += part.substr(0, kLine - std::min(kLine, line_.size()));
        if (end != std::string_view::npos) last();
      }
      if (end == std::string_view::npos) return;
      chunk.remove_prefix(end + 1);
    }
  }
  void last() {
    judge(line_);
    line_.clear();
  }
  bool started = false;  // it holds the beginning of the last life
  bool panic = false;    // after that

 private:
  void judge(std::string_view line) {
    if (is_start(line)) {
      started = true;
      panic = false;
    } else if (line.find("PANIC") != std::string_view::npos && is_panic(line) && line.find("could not ") != std::string_view::npos) {
      panic = true;
    }
  }
  std::string line_;
};

enum class Outcome { read, absent, unreadable, shrank };

Outcome read_log(const std::string& path, Reading& out) {
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT ? Outcome::absent : Outcome::unreadable;
  struct stat info {};
  Outcome outcome = Outcome::unreadable;
  if (::fstat(file, &info) == 0) {
    int64_t at = std::max<int64_t>(0, info.st_size - kMost);
    std::string chunk(kChunk, '\0');
    ssize_t got = 0;
    while ((got = ::pread(file, chunk.data(), chunk.size(), at)) > 0) {
      out.take(std::string_view(chunk.data(), static_cast<size_t>(got)));
      at += got;
    }
    out.last();
    if (got == 0 && ::fstat(file, &info) == 0) outcome = info.st_size < at ? Outcome::shrank : Outcome::read;
  }
  ::close(file);
  return outcome;
}

// The current file first: what is rotated away meanwhile is found in `before` then.
bool panic_in(const std::string& path, const std::optional<std::string>& before) {
  for (int tries = 0; tries < 3; ++tries) {
    Reading now;
    const Outcome outcome = read_log(path, now);
    if (outcome == Outcome::unreadable) return true;
    if (outcome == Outcome::shrank) continue;  // emptied while it was read
    if (now.panic || now.started || !before) return now.panic;
    Reading then;
    return read_log(*before, then) == Outcome::unreadable || then.panic;
  }
  return true;  // it cannot be told
}

// The logging collector's file before this one: the newest other one of its kind beside it.
std::optional<std::string> predecessor(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code none;
  std::optional<std::string> found;
  fs::file_time_type newest{};
  fs::directory_iterator folder(fs::path(path).parent_path(), none);
  for (; !none && folder != fs::directory_iterator(); folder.increment(none)) {
    std::error_code gone;
    if (folder->path() == fs::path(path) || folder->path().extension() != fs::path(path).extension()) continue;
    if (!folder->is_regular_file(gone)) continue;
    auto written = folder->last_write_time(gone);
    if (gone || (found && written <= newest)) continue;
    found = folder->path().string();
    newest = written;
  }
  return found;
}

}  // namespace

int64_t size_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

std::string log_from(const std::string& path, int64_t offset, size_t limit) {
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  struct stat info {};
  std::string text;
  if (::fstat(file, &info) == 0 && info.st_size > offset) {
    offset = std::max<int64_t>(offset, info.st_size - static_cast<int64_t>(limit));
    text.resize(static_cast<size_t>(info.st_size - offset));
    ssize_t got = ::pread(file, text.data(), text.size(), offset);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  }
  ::close(file);
  return text;
}

bool log_says_panic(const Layout& layout, const std::string& log_file) {
  if (panic_in(log_file, log_file + ".1")) return true;
  auto current = read_file(layout.in_data("current_logfiles"), 4096);  // "stderr log/postgresql-2026-11-23.log"
  if (!current) return false;
  for (const std::string& line : split(*current, '\n')) {
    auto blank = line.find(' ');
    if (blank == std::string::npos) continue;
    std::string path = line.substr(blank + 1);
    if (!path.starts_with('/')) path = layout.in_data(path);
    if (panic_in(path, predecessor(path))) return true;
  }
  return false;
}

}  // namespace pgdba::pg
