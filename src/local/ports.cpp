#include "local/ports.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "local/files.h"
#include "local/process.h"

namespace pgdba::local {

namespace {

// Inodes of the sockets that listen on this port, on any address.
std::set<std::string> listening_inodes(uint16_t port) {
  std::set<std::string> out;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    auto text = read_file(table, 64 * 1024 * 1024);
    if (!text) continue;
    std::string wanted = fmt::format(":{:04X}", port);
    for (const std::string& line : split(*text, '\n')) {
      std::vector<std::string> fields;
      for (std::string& field : split(line, ' ')) {
        if (!field.empty()) fields.push_back(std::move(field));
      }
      constexpr std::string_view listen = "0A";
      if (fields.size() > 9 && fields[1].ends_with(wanted) && fields[3] == listen) out.insert(fields[9]);
    }
  }
  return out;
}

bool holds_socket(pid_t pid, const std::set<std::string>& inodes) {
  std::string folder = fmt::format("/proc/{}/fd", pid);
  DIR* entries = ::opendir(folder.c_str());
  if (!entries) return false;
  bool found = false;
  while (dirent* entry = ::readdir(entries)) {
    char target[64];
    ssize_t n = ::readlink((folder + "/" + entry->d_name).c_str(), target, sizeof target);
    std::string_view link(target, n > 0 ? static_cast<size_t>(n) : 0);
    if (link.starts_with("socket:[") && inodes.contains(std::string(link.substr(8, link.size() - 9)))) {
      found = true;
      break;
    }
  }
  ::closedir(entries);
  return found;
}

}  // namespace

bool port_is_free(uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.open()) return false;
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);  // as the servers do: TIME_WAIT does not count
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

PortHolder find_holder(uint16_t port) {
  PortHolder out{port, std::nullopt, {}};
  std::set<std::string> inodes = listening_inodes(port);
  if (inodes.empty()) return out;
  // The oldest one: a server's children hold its socket, too.
  std::vector<ProcessStat> processes = all_processes();
  std::ranges::sort(processes, {}, [](const ProcessStat& p) { return std::pair(p.id.start_ticks, p.id.pid); });
  for (const ProcessStat& process : processes) {
    if (!holds_socket(process.id.pid, inodes)) continue;
    out.pid = process.id.pid;
    std::string command = command_line(process.id.pid);
    out.program = command.empty() ? process.name : command.substr(0, 120);
    break;
  }
  return out;
}

std::string describe_holder(const PortHolder& holder) {
  if (holder.pid) return fmt::format("port {} is held by process {} ({})", holder.port, *holder.pid, holder.program);
  return fmt::format("port {} is held by a process of another user; to see which: sudo ss -ltnp 'sport = :{}'",
                     holder.port, holder.port);
}

std::optional<int> first_free_offset(int nodes, const std::function<bool(uint16_t)>& is_free) {
  for (int offset = 0; offset < 20000; offset += 10) {
    ClusterFile plan = plan_cluster("x", "/", nodes, offset);
    bool free = is_free(plan.pooler_port) && std::ranges::all_of(plan.nodes, [&](const ClusterFile::Node& node) {
                  return is_free(node.pg_port) && is_free(node.rest_port);
                });
    if (free) return offset;
  }
  return std::nullopt;
}

Result<void> choose_etcd_ports(ClusterFile& cluster, const std::set<uint16_t>& avoid,
                               const std::function<bool(uint16_t)>& is_free) {
  std::set<uint16_t> taken = avoid;
  for (const auto& node : cluster.nodes) taken.insert({node.pg_port, node.rest_port});
  taken.insert(cluster.pooler_port);
  constexpr uint32_t end = 32768;
  uint32_t next = 12379 + 6 * (static_cast<uint32_t>(cluster.port_offset) / 10 % 400);
  auto take = [&]() -> uint16_t {
    for (; next < end; ++next) {
      auto port = static_cast<uint16_t>(next);
      if (taken.contains(port) || !is_free(port)) continue;
      ++next;
      return port;
    }
    return 0;
  };
  for (auto& member : cluster.etcd) {
    member.client_port = take();
    member.peer_port = take();
    if (member.peer_port == 0)
      return fail(Errc::invalid, fmt::format("no free port for etcd between 12379 and {}", end));
  }
  return {};
}

}  // namespace pgdba::local
