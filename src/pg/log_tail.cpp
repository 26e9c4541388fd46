#include "pg/log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "pg/durable.h"

namespace pgdba::pg {

namespace {

constexpr size_t kTail = 256 * 1024;

// Whether the line reports a PANIC, in one of the server's three formats. What a client says (a statement, an error text)
// comes after another severity or on a line of its own that begins with a tab.
bool is_panic(std::string_view line) {
  if (line.starts_with('\t')) return false;
  if (line.find("\"error_severity\":\"PANIC\"") != std::string_view::npos || line.find(",PANIC,") != std::string_view::npos)
    return true;
  size_t panic = line.find("PANIC:  ");
  if (panic == std::string_view::npos) return false;
  for (std::string_view other : {"LOG:  ", "ERROR:  ", "FATAL:  ", "WARNING:  ", "STATEMENT:  ", "DETAIL:  ", "NOTICE:  ", "INFO:  ",
                                 "HINT:  ", "CONTEXT:  ", "QUERY:  "}) {
    if (line.substr(0, panic).find(other) != std::string_view::npos) return false;
  }
  return true;
}

bool panic_in(const std::string& path) {
  std::string text = log_from(path, 0, kTail);
  std::string_view since(text);
  if (auto start = since.rfind("starting PostgreSQL "); start != std::string_view::npos) since.remove_prefix(start);
  for (const std::string& line : split(since, '\n')) {
    if (is_panic(line) && line.find("could not ") != std::string::npos) return true;
  }
  return false;
}

// There, but not to be read: what it says may be the PANIC.
bool unreadable(const std::string& path) { return ::access(path.c_str(), R_OK) != 0 && errno != ENOENT; }

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
  if (unreadable(log_file) || panic_in(log_file)) return true;
  auto current = read_file(layout.in_data("current_logfiles"), 4096);  // "stderr log/postgresql-2026-11-23.log"
  if (!current) return false;
  for (const std::string& line : split(*current, '\n')) {
    auto blank = line.find(' ');
    if (blank == std::string::npos) continue;
    std::string path = line.substr(blank + 1);
    if (!path.starts_with('/')) path = layout.in_data(path);
    if (unreadable(path) || panic_in(path)) return true;
  }
  return false;
}

}  // namespace pgdba::pg
