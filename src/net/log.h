// One line per event: "2026-11-23T13:01:02.146Z INFO  ha: took the lock term=4 lease=7587…".
//
// info is for state changes and decisions with their reasons. An error is logged or returned, not both. Values go at
// the end as key=value; a value that may hold spaces goes through log::quoted(). A Secret prints ***.
// Thread-safe. Before init() lines go to stderr at level info. spdlog stays inside log.cpp.
#pragma once

#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/line_format.h"

namespace pgdba::log {

enum class Level { trace, debug, info, warning, error, off };

struct Options {
  Level level = Level::info;
  std::optional<LineFormat> format;  // nullopt: the line above
  // PgBouncer's lines, which scripts know: "2026-11-23 13:01:02.146 UTC [4711] LOG text", in local time. Goes before `format`.
  bool pgbouncer = false;
  std::string date_format;           // of asctime in `format`, local time, for strftime; empty: "2026-11-23 13:01:02,146"
  bool to_stderr = true;
  std::string dir;             // empty: no file
  std::string file = "pgdba.log";
  int file_count = 4;          // rotated files kept beside the current one
  size_t file_bytes = 25'000'000;
  std::optional<int> file_mode;  // permission bits of each file from its making on; nullopt: umask
  std::string path;            // one file that others rotate: appended to, opened anew by each init(); empty: none
  std::string syslog_ident;    // empty: no syslog
  std::string syslog_facility = "daemon";
  // true: a helper thread writes, and a full disk or a stuck terminal costs the caller nothing; past so many waiting
  // lines the oldest are dropped and counted. For the agent. false: written before the call returns. For the CLI.
  bool background = false;
  size_t most_waiting = 1024;
};

Result<void> init(const Options& options);  // may be called again (reload)
void set_level(Level level);
Level level();
void flush();  // waits for the helper thread at most 1 s
uint64_t dropped();  // lines that a stuck sink cost

Result<Level> parse_level(std::string_view text);  // Patroni's and ours: DEBUG, INFO, WARNING, ERROR, CRITICAL, trace …

// For words that may hold spaces or quotes: connection refused -> "connection refused".
std::string quoted(std::string_view text);

bool enabled(Level level);
void write(Level level, std::string_view component, std::string_view message);
void fatal(std::string_view component, std::string_view message);  // why the program ends, at any level; does not end it

template <class... Args>
void at(Level level, std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void trace(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  at(Level::trace, component, format, std::forward<Args>(args)...);
}
template <class... Args>
void debug(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  at(Level::debug, component, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  at(Level::info, component, format, std::forward<Args>(args)...);
}
template <class... Args>
void warning(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  at(Level::warning, component, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  at(Level::error, component, format, std::forward<Args>(args)...);
}

}  // namespace pgdba::log
