#include "local/log_merge.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

namespace {

constexpr int64_t kMostAtOnce = 16 * 1024 * 1024;

// The longest front of the text that is a moment; date and time may be joined by a blank or a T.
std::optional<WallTime> leading_time(std::string_view text) {
  constexpr size_t seconds = 19;  // "2026-11-23 13:01:02"
  if (text.size() < seconds || text[4] != '-' || text[13] != ':') return std::nullopt;
  std::string moment(text.substr(0, seconds));
  size_t at = seconds;
  if (at < text.size() && (text[at] == '.' || text[at] == ',')) {
    moment += '.';
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) moment += text[at];
    if (moment.back() == '.') return std::nullopt;
  }
  std::string_view zone = text.substr(at);
  if (zone.starts_with("Z") || zone.starts_with(" UTC")) return parse_utc(moment + "Z");
  if (zone.size() >= 5 && (zone[0] == '+' || zone[0] == '-')) {
    size_t length = zone.size() >= 6 && zone[3] == ':' ? 6 : 5;
    return parse_utc(moment + std::string(zone.substr(0, length)));
  }
  return parse_utc(moment + "Z");
}

}  // namespace

std::optional<WallTime> time_of_line(std::string_view line) {
  if (line.starts_with("{")) {
    constexpr std::string_view key = "\"ts\":\"";
    auto at = line.find(key);
    return at == std::string_view::npos ? std::nullopt : leading_time(line.substr(at + key.size()));
  }
  return leading_time(line);
}

std::vector<std::string> log_sources(const ClusterFile& cluster) {
  std::vector<std::string> out;
  for (const auto& node : cluster.nodes) out.push_back(node.name);
  for (const auto& member : cluster.etcd) out.push_back(member.name);
  if (cluster.pooler_port != 0) out.emplace_back(kPooler);
  out.emplace_back("supervisor");
  return out;
}

std::vector<std::string> log_files(const ClusterFile& cluster, const std::string& source) {
  std::vector<std::string> out;
  bool node = cluster.find_node(source) != nullptr;
  std::string folder = node ? cluster.log_folder(source) : cluster.root + "/log";
  for (const std::string& name : list_folder(folder)) {
    bool belongs = node || name == source + ".log" || name == source + ".log.1";
    if (belongs) out.push_back(folder + "/" + name);
  }
  return out;
}

LogReader::LogReader(const ClusterFile& cluster, std::vector<std::string> sources, int lines)
    : cluster_(cluster), sources_(std::move(sources)), lines_(lines) {}

void LogReader::read_file_into(const std::string& path, const std::string& source, std::vector<LogLine>& out) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd.open() || ::fstat(fd.get(), &info) != 0) return;
  bool is_new = !positions_.contains(info.st_ino);
  Position& position = positions_[info.st_ino];
  // A copy made by rotation holds what a follower has read already.
  if (is_new && !first_ && path.ends_with(".1")) position.offset = info.st_size;
  if (info.st_size < position.offset) position = {0, {}, position.last_time};
  if (position.offset == 0 && info.st_size > kMostAtOnce) position.offset = info.st_size - kMostAtOnce;
  char buffer[65536];
  for (;;) {
    ssize_t n = ::pread(fd.get(), buffer, sizeof buffer, position.offset);
    if (n <= 0) break;
    position.offset += n;
    position.rest.append(buffer, static_cast<size_t>(n));
  }
  size_t begin = 0;
  for (size_t end; (end = position.rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
    std::string text = position.rest.substr(begin, end - begin);
    auto time = time_of_line(text);
    if (time) position.last_time = *time;
    out.push_back({position.last_time, source, std::move(text)});
  }
  position.rest.erase(0, begin);
}

std::vector<LogLine> LogReader::read() {
  std::vector<LogLine> out;
  for (const std::string& source : sources_) {
    std::vector<LogLine> lines;
    for (const std::string& path : log_files(cluster_, source)) read_file_into(path, source, lines);
    std::ranges::stable_sort(lines, {}, &LogLine::time);
    if (first_ && lines_ > 0 && lines.size() > static_cast<size_t>(lines_))
      lines.erase(lines.begin(), lines.end() - lines_);
    std::ranges::move(lines, std::back_inserter(out));
  }
  std::ranges::stable_sort(out, {}, &LogLine::time);
  first_ = false;
  return out;
}

}  // namespace pgdba::local
