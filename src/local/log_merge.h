// The logs of all processes as one stream, ordered by time.
//
// Agent, PostgreSQL, etcd and supervisor write different formats; the moment of a line is read from its beginning. A
// line without one (a stack trace, a DETAIL) belongs to the line before it and stays with it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "local/cluster_file.h"

namespace pgdba::local {

struct LogLine {
  WallTime time{};
  std::string source;  // "pg-primary", "etcd1", "supervisor"
  std::string text;
};

// "2026-11-23 13:01:02,146 …", "2026-11-23 13:01:02.146 UTC …", RFC 3339 with Z or offset, etcd's {"ts":"…"}, and
// capnslog's "2026-11-23 13:01:02.146127 W | …"; without a zone it is UTC.
std::optional<WallTime> time_of_line(std::string_view line);

// The files of one source (a node's agent and PostgreSQL, one etcd member, the supervisor), also rotated ones.
std::vector<std::string> log_files(const ClusterFile& cluster, const std::string& source);
std::vector<std::string> log_sources(const ClusterFile& cluster);

// Follows the files of several sources. read() gives what was appended since the last call, in order of time; the first
// call gives at most `lines` lines of each source (0: all).
class LogReader {
 public:
  LogReader(const ClusterFile& cluster, std::vector<std::string> sources, int lines);
  std::vector<LogLine> read();

 private:
  struct Position {
    int64_t offset = 0;
    std::string rest;      // a line that is not complete yet
    WallTime last_time{};  // of the line before
  };
  void read_file_into(const std::string& path, const std::string& source, std::vector<LogLine>& out);

  const ClusterFile& cluster_;
  std::vector<std::string> sources_;
  int lines_;
  bool first_ = true;
  std::map<uint64_t, Position> positions_;  // by inode: a rotation renames
};

}  // namespace pgdba::local
