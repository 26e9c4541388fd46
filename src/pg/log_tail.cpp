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

bool panic_in(const std::string& path) {
  std::string text = log_from(path, 0, kTail);
  std::string_view since(text);
  if (auto start = since.rfind("starting PostgreSQL "); start != std::string_view::npos) since.remove_prefix(start);
  for (const std::string& line : split(since, '\n')) {
    if (line.find("PANIC:") == std::string::npos) continue;
    for (std::string_view what : {"could not fsync", "could not fdatasync", "could not write", "could not sync"}) {
      if (line.find(what) != std::string::npos) return true;
    }
  }
  return false;
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
  if (panic_in(log_file)) return true;
  auto current = read_file(layout.in_data("current_logfiles"), 4096);  // "stderr log/postgresql-2026-11-23.log"
  if (!current) return false;
  for (const std::string& line : split(*current, '\n')) {
    auto blank = line.find(' ');
    if (blank == std::string::npos) continue;
    std::string path = line.substr(blank + 1);
    if (panic_in(path.starts_with('/') ? path : layout.in_data(path))) return true;
  }
  return false;
}

}  // namespace pgdba::pg
