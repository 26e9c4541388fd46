#include "local/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "base/text.h"

namespace pgdba::local {

namespace {

// /proc files have no size; one read of a page or two is enough for what is needed here.
std::string read_proc(pid_t pid, const char* file, size_t limit) {
  std::string path = fmt::format("/proc/{}/{}", pid, file);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.open()) return {};
  std::string out(limit, '\0');
  size_t used = 0;
  while (used < limit) {
    ssize_t n = ::read(fd.get(), out.data() + used, limit - used);
    if (n <= 0) break;
    used += static_cast<size_t>(n);
  }
  out.resize(used);
  return out;
}

std::string read_link(pid_t pid, const char* file) {
  char buffer[4096];
  ssize_t n = ::readlink(fmt::format("/proc/{}/{}", pid, file).c_str(), buffer, sizeof buffer);
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
}

bool has_variable(std::string_view environment, std::string_view variable) {
  for (size_t at = 0; (at = environment.find(variable, at)) != std::string_view::npos; ++at) {
    bool begins = at == 0 || environment[at - 1] == '\0';
    size_t end = at + variable.size();
    bool ends = end == environment.size() || environment[end] == '\0';
    if (begins && ends) return true;
  }
  return false;
}

bool is_postgres_of(pid_t pid, const std::string& data_dir) {
  if (data_dir.empty() || read_link(pid, "cwd") != data_dir) return false;
  // Not the shell of somebody who looks around in there.
  std::string program = read_link(pid, "exe");
  constexpr std::string_view deleted = " (deleted)";
  if (program.ends_with(deleted)) program.resize(program.size() - deleted.size());
  return program.ends_with("/postgres");
}

// It has PostgreSQL's environment, without the marker, and outlives the agent that was its parent.
bool is_guardian_of(const ProcessStat& process, const NodeMark& mark) {
  if (mark.data_dir.empty() || !process.name.starts_with("pgdba-guard")) return false;
  std::string folder = mark.marker.substr(mark.marker.find('=') + 1) + "/data";
  std::string text = command_line(process.id.pid) + " ";
  return text.find("--data-dir " + mark.data_dir + " ") != std::string::npos || text.find("--data-dir " + folder + " ") != std::string::npos;
}

}  // namespace

std::optional<ProcessStat> read_stat(pid_t pid) {
  std::string text = read_proc(pid, "stat", 4096);
  auto open = text.find('(');
  auto close = text.rfind(')');  // the name may hold anything, parentheses and blanks too
  if (open == std::string::npos || close == std::string::npos || close + 2 >= text.size()) return std::nullopt;
  std::vector<std::string> fields = split(trim(std::string_view(text).substr(close + 2)), ' ');
  if (fields.size() < 20 || fields[0].empty()) return std::nullopt;
  ProcessStat out;
  out.name = text.substr(open + 1, close - open - 1);
  out.state = fields[0][0];
  out.parent = static_cast<pid_t>(parse_int(fields[1]).value_or(0));
  out.id = {pid, static_cast<uint64_t>(parse_int(fields[19]).value_or(0))};
  return out;
}

std::vector<ProcessStat> all_processes() {
  std::vector<ProcessStat> out;
  DIR* folder = ::opendir("/proc");
  if (!folder) return out;
  while (dirent* entry = ::readdir(folder)) {
    auto pid = parse_int(entry->d_name);
    if (!pid || *pid <= 0) continue;
    auto stat = read_stat(static_cast<pid_t>(*pid));
    if (stat && !stat->gone()) out.push_back(std::move(*stat));
  }
  ::closedir(folder);
  return out;
}

bool alive(const ProcessId& id) {
  if (id.pid <= 0) return false;
  auto stat = read_stat(id.pid);
  return stat && stat->id == id && !stat->gone();
}

std::string boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 128);
  return text ? std::string(trim(*text)) : std::string();
}

std::string command_line(pid_t pid) {
  std::string text = read_proc(pid, "cmdline", 4096);
  while (!text.empty() && text.back() == '\0') text.pop_back();
  std::ranges::replace(text, '\0', ' ');
  return text;
}

Result<Fd> open_pidfd(const ProcessId& id) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, id.pid, 0)));
  if (!fd.open()) return tl::unexpected(errno_error(fmt::format("process {}", id.pid)));
  // The descriptor holds whoever has the pid now; it is ours if the start time says so after it was opened.
  auto stat = read_stat(id.pid);
  if (!stat || stat->id != id || stat->gone())
    return fail(Errc::not_found, fmt::format("process {} has ended", id.pid));
  return fd;
}

bool send_signal(const ProcessId& id, int signal) {
  auto fd = open_pidfd(id);
  return fd && ::syscall(SYS_pidfd_send_signal, fd->get(), signal, nullptr, 0) == 0;
}

bool wait_gone(const std::vector<ProcessId>& ids, Duration patience) {
  auto give_up = std::chrono::steady_clock::now() + patience;
  for (const ProcessId& id : ids) {
    auto fd = open_pidfd(id);
    if (!fd) continue;
    for (;;) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(give_up - std::chrono::steady_clock::now());
      pollfd wait{fd->get(), POLLIN, 0};
      int ready = ::poll(&wait, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
      if (ready > 0) break;
      if (ready == 0) return false;
    }
  }
  return true;
}

std::vector<ProcessStat> find_node(const NodeMark& mark) {
  std::vector<ProcessStat> everybody = all_processes();
  std::set<pid_t> ours;
  std::multimap<pid_t, pid_t> children;
  for (const ProcessStat& process : everybody) {
    children.emplace(process.parent, process.id.pid);
    if (process.id.pid == ::getpid()) continue;
    if (has_variable(read_proc(process.id.pid, "environ", 65536), mark.marker) ||
        is_postgres_of(process.id.pid, mark.data_dir) || is_guardian_of(process, mark)) {
      ours.insert(process.id.pid);
    }
  }
  std::vector<pid_t> queue(ours.begin(), ours.end());
  while (!queue.empty()) {
    pid_t parent = queue.back();
    queue.pop_back();
    auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      if (ours.insert(child->second).second) queue.push_back(child->second);
    }
  }
  std::erase_if(everybody, [&](const ProcessStat& process) { return !ours.contains(process.id.pid); });
  // Parents first: the agent before its guardian, the postmaster before its backends.
  std::ranges::sort(everybody, {}, [](const ProcessStat& p) { return std::pair(p.id.start_ticks, p.id.pid); });
  return everybody;
}

std::vector<ProcessStat> signal_node(const NodeMark& mark, int signal) {
  std::vector<ProcessStat> reached;
  for (int round = 0; round < 20; ++round) {
    bool found_new = false;
    for (const ProcessStat& process : find_node(mark)) {
      bool known = std::ranges::any_of(reached, [&](const ProcessStat& other) { return other.id == process.id; });
      if (known || !send_signal(process.id, signal)) continue;
      reached.push_back(process);
      found_new = true;
    }
    if (!found_new) break;
  }
  return reached;
}

Result<std::vector<ProcessStat>> kill_node(const NodeMark& mark, Duration patience) {
  auto give_up = std::chrono::steady_clock::now() + patience;
  std::vector<ProcessStat> killed;
  for (;;) {
    for (ProcessStat& process : signal_node(mark, SIGKILL)) killed.push_back(std::move(process));
    std::vector<ProcessId> ids;
    for (const ProcessStat& process : killed) ids.push_back(process.id);
    wait_gone(ids, 500ms);
    std::vector<ProcessStat> left = find_node(mark);
    if (left.empty()) return killed;
    if (std::chrono::steady_clock::now() >= give_up) {
      std::vector<std::string> names;
      for (const ProcessStat& process : left)
        names.push_back(fmt::format("{} ({}, state {})", process.id.pid, process.name, process.state));
      return fail(Errc::timeout, "these processes do not die: " + join(names, ", "));
    }
  }
}

}  // namespace pgdba::local
