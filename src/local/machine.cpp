#include "local/machine.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <thread>

#include "base/text.h"
#include "local/files.h"
#include "local/leftovers.h"
#include "local/ports.h"
#include "local/supervisor.h"

namespace pgdba::local {

namespace {

Reached count(const std::vector<ProcessStat>& processes) {
  Reached out;
  for (const ProcessStat& process : processes) {
    out.pids.push_back(process.id.pid);
    if (process.name.starts_with("postgres")) {
      // Backends overwrite their command line with a title: "postgres: pg: checkpointer".
      (command_line(process.id.pid).starts_with("postgres: ") ? out.backends : out.postmasters)++;
    } else if (process.name.starts_with("pgdba")) {
      std::string command = command_line(process.id.pid);
      bool guards = command.find(" guardian") != std::string::npos, pools = command.find(" pooler ") != std::string::npos;
      (guards ? out.guardians : pools ? out.poolers : out.agents)++;
    } else {
      out.others++;
    }
  }
  return out;
}

}  // namespace

std::string describe(const Reached& reached) {
  std::vector<std::string> parts;
  if (reached.agents) parts.emplace_back("agent");
  if (reached.guardians) parts.emplace_back("guardian");
  if (reached.postmasters) parts.emplace_back("postgres");
  if (reached.poolers) parts.emplace_back("pooler");
  int more = reached.backends + reached.others;
  if (parts.empty()) return more == 0 ? "nothing" : more == 1 ? "1 process" : fmt::format("{} processes", more);
  std::string out = join(parts, ", ");
  if (more > 0) out += fmt::format(" and {} more process{}", more, more == 1 ? "" : "es");
  return out;
}

std::vector<std::string> Machine::names() const {
  std::vector<std::string> out;
  for (const auto& node : cluster_.nodes) out.push_back(node.name);
  for (const auto& member : cluster_.etcd) out.push_back(member.name);
  if (cluster_.pooler_port != 0) out.emplace_back(kPooler);
  return out;
}

std::vector<std::string> Machine::names_of_etcd() const {
  std::vector<std::string> out;
  for (const auto& member : cluster_.etcd) out.push_back(member.name);
  return out;
}

NodeMark Machine::mark(const std::string& name) const {
  std::string data = is_node(name) ? cluster_.data_dir(name) : std::string();
  if (char* real = data.empty() ? nullptr : ::realpath(data.c_str(), nullptr)) {
    data = real;
    ::free(real);
  }
  return {node_marker(cluster_.node_folder(name)), data};
}

ProcessReport Machine::report(const std::string& name) const {
  ProcessReport out{
      name, is_node(name), supervised_.read_want(name), supervised_.running(name), false, supervised_.read_exits(name)};
  if (out.id) {
    auto stat = read_stat(out.id->pid);
    out.frozen = stat && stat->frozen();
  }
  return out;
}

NodePids Machine::pids(const std::string& node) const {
  NodePids out;
  if (auto id = supervised_.running(node)) out.agent = id->pid;
  auto text = read_file(cluster_.data_dir(node) + "/postmaster.pid", 4096);
  auto pid = text ? parse_int(trim(text->substr(0, text->find('\n')))) : std::nullopt;
  auto stat = pid ? read_stat(static_cast<pid_t>(*pid)) : std::nullopt;
  // The file outlives a killed postmaster, and its pid may be anybody's by then.
  if (!stat || stat->gone() || !stat->name.starts_with("postgres")) return out;
  if (command_line(stat->id.pid).find(cluster_.data_dir(node)) == std::string::npos) return out;
  out.postmaster = stat->id.pid;
  auto parent = read_stat(stat->parent);
  if (parent && command_line(parent->id.pid).find(" guardian") != std::string::npos) out.guardian = parent->id.pid;
  return out;
}

bool Machine::supervisor_is_another_program() const {
  auto id = supervisor();
  struct stat theirs {
  }, ours{};
  if (!id || ::stat(fmt::format("/proc/{}/exe", id->pid).c_str(), &theirs) != 0 || ::stat("/proc/self/exe", &ours) != 0)
    return false;
  return theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev;
}

bool Machine::anything_runs() const {
  auto all = names();
  return supervisor() || std::ranges::any_of(all, [&](const std::string& name) { return !processes(name).empty(); });
}

Result<ProcessId> Machine::ensure_supervisor(const Identity& identity) const {
  if (auto id = supervisor()) return *id;
  auto program = program_for(identity, cluster_.root);
  if (!program) return tl::unexpected(program.error());
  return start_supervisor(supervised_, cluster_.root + "/log/supervisor.log", identity, *program);
}

Result<void> Machine::stop_supervisor() const {
  auto id = supervisor();
  if (!id) return {};
  send_signal(*id, SIGTERM);
  send_signal(*id, SIGCONT);
  if (wait_gone({*id}, 2s)) return {};
  send_signal(*id, SIGKILL);
  if (wait_gone({*id}, 5s)) return {};
  return fail(Errc::timeout, fmt::format("the supervisor (process {}) does not die", id->pid));
}

Result<Reached> Machine::stop(const std::string& name, Duration patience) const {
  if (auto done = want(name, Want::stopped); !done) return tl::unexpected(done.error());
  auto give_up = std::chrono::steady_clock::now() + patience;
  Reached reached = count(processes(name));
  auto id = supervised_.running(name);
  if (id) {
    send_signal(*id, SIGTERM);
    // A frozen one would never notice.
    signal_node(mark(name), SIGCONT);
    wait_gone({*id}, patience);
  }
  // The guardian and the last processes of PostgreSQL follow within moments. Without an agent nobody stops them.
  Duration grace = id ? Duration(2s) : Duration(0s);
  auto until = std::min(give_up, std::chrono::steady_clock::now() +
                                     std::chrono::duration_cast<std::chrono::steady_clock::duration>(grace));
  while (!processes(name).empty() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(10ms);
  if (processes(name).empty()) return reached;
  reached.killed = true;
  auto killed = kill_node(mark(name), 10s);
  if (!killed) return tl::unexpected(killed.error());
  return reached;
}

Result<Reached> Machine::kill(const std::string& name) const {
  if (auto done = want(name, Want::killed); !done) return tl::unexpected(done.error());
  Reached reached = count(processes(name));  // before: the dead have no command line
  remember_shared_memory(cluster_, name, processes(name));
  auto killed = kill_node(mark(name), 10s);
  if (!killed) return tl::unexpected(killed.error());
  return reached;
}

Result<Reached> Machine::freeze(const std::string& name) const {
  return signal_until(name, SIGSTOP, true);
}
Result<Reached> Machine::thaw(const std::string& name) const {
  return signal_until(name, SIGCONT, false);
}

// A signal is taken when the process is next scheduled, which can be a while: one that runs on would make the fault half
// a fault.
Result<Reached> Machine::signal_until(const std::string& name, int signal, bool frozen) const {
  Reached reached = count(signal_node(mark(name), signal));
  auto give_up = std::chrono::steady_clock::now() + 10s;
  for (;;) {
    auto left = processes(name);
    std::erase_if(left, [&](const ProcessStat& process) { return process.frozen() == frozen; });
    if (left.empty()) return reached;
    if (std::chrono::steady_clock::now() >= give_up) {
      return fail(Errc::timeout, fmt::format("process {} ({}) of {} is in state {} after the signal", left.front().id.pid,
                                             left.front().name, name, left.front().state));
    }
    std::this_thread::sleep_for(5ms);
  }
}

Result<ProcessId> Machine::wait_started(const std::string& name, Duration patience) const {
  auto give_up = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (auto id = supervised_.running(name)) return *id;
    if (std::chrono::steady_clock::now() >= give_up)
      return fail(Errc::timeout, fmt::format("{} was not started in time", name));
    std::this_thread::sleep_for(5ms);
  }
}

Result<std::vector<std::string>> Machine::purge() const {
  for (const auto& node : cluster_.nodes) remove_shared_memory(cluster_, node.name);
  if (cluster_.socket_root != cluster_.root + "/run") {
    if (auto done = remove_tree(cluster_.socket_root); !done) return tl::unexpected(done.error());
  }
  std::vector<std::string> left;
  for (const std::string& name : names()) {
    for (const ProcessStat& process : processes(name))
      left.push_back(fmt::format("process {} ({}) of {}", process.id.pid, process.name, name));
  }
  if (auto id = supervisor()) left.push_back(fmt::format("process {} (supervisor)", id->pid));
  if (left.empty()) {
    // cluster.json goes last: a purge that is killed half-way can be repeated.
    std::vector<std::string> last = {"cluster.json", "lock"};
    auto entries = list_folder(cluster_.root);
    std::ranges::stable_partition(
        entries, [&](const std::string& entry) { return std::ranges::find(last, entry) == last.end(); });
    for (const std::string& entry : entries) {
      if (auto done = remove_tree(cluster_.root + "/" + entry); !done) left.push_back(done.error().text);
    }
    // The folder above may be writable for the caller only (root); what `up` made there goes, too, when it is empty.
    ActAsCaller caller;
    ::rmdir(cluster_.root.c_str());
    std::string parent = cluster_.root.substr(0, cluster_.root.rfind('/'));
    if (parent.ends_with("/pgdba")) ::rmdir(parent.c_str());
  }
  for (uint16_t port : cluster_.ports()) {
    if (!port_is_free(port)) left.push_back(describe_holder(find_holder(port)));
  }
  for (const std::string& path : {cluster_.root, cluster_.socket_root}) {
    if (exists(path)) left.push_back(path + " is still there");
  }
  return left;
}

}  // namespace pgdba::local
