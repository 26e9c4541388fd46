// `pgdba down [--purge]`: the pooler, then replicas, so that nobody takes over from a leader that is leaving, then the leader,
// etcd, the supervisor. With --purge everything is deleted, and looked for afterwards.
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/status_view.h"
#include "cli/up_plan.h"
#include "local/files.h"
#include "local/machine.h"

namespace pgdba::cli {

namespace {

using local::Machine;

Duration seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

// Ends them at the same time. What had to be killed is named.
Outcome<std::vector<std::string>> end_all(const Machine& machine, const std::vector<std::string>& names, bool cleanly,
                                          Duration patience) {
  std::vector<std::optional<Result<local::Reached>>> results(names.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < names.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = cleanly ? machine.stop(names[i], patience) : machine.kill(names[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> killed;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!*results[i]) return tl::unexpected(as_failure(results[i]->error()));
    if ((*results[i])->killed) killed.push_back(names[i]);
  }
  return killed;
}

// No folder, or what an `up` leaves in it that died before it wrote cluster.json.
bool nothing_made(const std::string& root) {
  return !local::exists(root) || (local::is_folder(root) && folder_is_free(root));
}

}  // namespace

Done down(Context& context, const DownOptions& options) {
  Terminal& terminal = context.terminal;
  auto target = find_managed(context, options.target, "down");
  if (!target) {
    // A registered cluster whose folder is gone, or was never filled, has nothing to stop.
    auto known = options.purge ? context.registry.read() : Outcome<std::vector<Registered>>{};
    if (!known) return tl::unexpected(target.error());
    std::string name = options.target.name.empty() && known->size() == 1 ? known->front().name : options.target.name;
    auto gone = std::ranges::find_if(
        *known, [&](const Registered& r) { return r.managed && r.compose.empty() && r.name == name && nothing_made(r.root); });
    if (gone == known->end()) return tl::unexpected(target.error());
    if (terminal.options().dry_run) {
      terminal.data(fmt::format("would forget {}\n", name));
      return Exit::done;
    }
    if (auto done = local::remove_tree(gone->root); !done) return tl::unexpected(as_failure(done.error()));
    if (auto done = context.registry.remove(name); !done) return tl::unexpected(done.error());
    terminal.say(fmt::format("{} had no files any more; it is forgotten", name));
    return Exit::done;
  }
  if (target->in_containers()) return down_docker(context, options, *target);
  auto identity = identity_of(*target);
  if (!identity) return tl::unexpected(identity.error());
  const local::ClusterFile& cluster = *target->local;
  if (terminal.options().dry_run) {
    terminal.data(fmt::format("would stop {}{}\n", cluster.name, options.purge ? " and delete " + cluster.root : ""));
    return Exit::done;
  }
  if (options.purge) {
    auto sure = terminal.confirm(
        fmt::format("This stops cluster {} and deletes all its data in {}. Go on?", cluster.name, cluster.root));
    if (!sure) return tl::unexpected(sure.error());
  }
  local::ActAs act(*identity);
  auto lock = local::FileLock::take(cluster.root + "/lock", 120s, [&](pid_t pid) {
    terminal.say(fmt::format("waiting for another pgdba command (process {})", pid));
  });
  if (!lock) return tl::unexpected(as_failure(lock.error()));

  Machine machine(cluster);
  bool ran = machine.anything_runs();
  // A node that is to stop cleanly asks etcd, and waits for the others.
  for (const std::string& name : options.purge ? std::vector<std::string>{} : machine.names()) {
    if (!machine.report(name).frozen) continue;
    if (auto thawed = machine.thaw(name); !thawed) return tl::unexpected(as_failure(thawed.error()));
    terminal.say(fmt::format("{} was frozen: thawed", name));
  }
  Rest rest(context.loop, target->credentials, target->tls);
  FullSight seen = look(rest, *target, 400ms);
  std::vector<std::string> replicas, leaders, etcd, etcd_leader;
  for (const auto& node : cluster.nodes) (seen.sight.leader == node.name ? leaders : replicas).push_back(node.name);
  // An etcd leader hands over before it ends, and waits for seconds if the others are just leaving, too.
  for (const EtcdSight& member : seen.machine->etcd) (member.leader ? etcd_leader : etcd).push_back(member.name);
  std::vector<std::string> killed;
  std::vector<std::string> pooler;
  if (cluster.pooler_port != 0) pooler.emplace_back(local::kPooler);
  for (const auto& [what, names] : {std::pair<std::string, std::vector<std::string>>{"pooler", pooler},
                                    {"replicas", replicas},
                                    {"leader", leaders},
                                    {"etcd", etcd},
                                    {"etcd leader", etcd_leader}}) {
    if (names.empty()) continue;
    // What is about to be deleted need not be closed first.
    auto done = end_all(machine, names, !options.purge, seconds(options.timeout_s));
    if (!done) return tl::unexpected(done.error());
    killed.insert(killed.end(), done->begin(), done->end());
    if (ran) terminal.phase(fmt::format("{} {}", options.purge ? "ended" : "stopped", join(names, ", ")));
  }
  if (auto done = machine.stop_supervisor(); !done) return tl::unexpected(as_failure(done.error()));
  for (const std::string& name : killed)
    terminal.warn(fmt::format("{} did not stop within {:.0f} s and was killed; its next start recovers from its WAL",
                              name, options.timeout_s));

  if (!options.purge) {
    for (const std::string& name : machine.names()) {
      auto left = machine.processes(name);
      if (!left.empty())
        return give_up(Exit::partly, fmt::format("{} still has {} processes", name, left.size()),
                       "pgdba down" + target->flag());
    }
    terminal.say(ran ? fmt::format("{} is down; its data is in {}", cluster.name, cluster.root)
                     : fmt::format("{} was down already", cluster.name));
    return Exit::done;
  }
  auto left = machine.purge();
  if (!left) return tl::unexpected(as_failure(left.error()));
  if (!left->empty())
    return give_up(Exit::partly, "not everything is gone: " + join(*left, "; "),
                   "pgdba down" + target->flag() + " --purge");
  if (auto done = context.registry.remove(cluster.name); !done) return tl::unexpected(done.error());
  terminal.say(fmt::format("{} is gone: no process, no port ({} looked at), no file is left", cluster.name,
                           cluster.ports().size()));
  return Exit::done;
}

}  // namespace pgdba::cli
