// `pgdba down [--purge]` of containers: stopped in the order of processes (pooler, replicas, leader, etcd), so that nobody
// takes over from a leader that is leaving, then removed by `docker compose down`. Data is in volumes and stays; with --purge
// it goes, too, and everything is looked for afterwards. .env stays: it is its owner's.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/containers.h"
#include "cli/status_view.h"
#include "local/files.h"
#include "local/ports.h"

namespace pgdba::cli {

namespace {

// Compose waits so long for a container to end by itself, then Docker kills it.
std::vector<std::string> with_patience(std::vector<std::string> command, double seconds) {
  command.insert(command.end(), {"--timeout", fmt::format("{:.0f}", seconds)});
  return command;
}

Outcome<void> stop_in_order(Context& context, const Target& target, const std::vector<local::Container>& containers, double seconds) {
  const local::ClusterFile& cluster = *target.local;
  Rest rest(context.loop, target.credentials, target.tls);
  Sight sight = look(rest, target, 400ms, false).sight;
  std::vector<std::string> replicas, leaders, etcd, etcd_leader;
  for (const auto& node : cluster.nodes) (sight.leader == node.name ? leaders : replicas).push_back(node.name);
  for (const auto& member : cluster.etcd) etcd.push_back(member.name);
  // It would wait for seconds to hand over to others that are just leaving, too.
  if (std::string leader = local::etcd_leader_of(containers, etcd); !leader.empty()) {
    std::erase(etcd, leader);
    etcd_leader.push_back(leader);
  }
  for (std::vector<std::string> names : {std::vector<std::string>{cluster.compose->pooler}, replicas, leaders, etcd, etcd_leader}) {
    std::erase_if(names, [&](const std::string& name) {
      return std::ranges::none_of(containers, [&](const local::Container& c) { return c.service == name && (c.running() || c.paused()); });
    });
    if (names.empty()) continue;
    auto command = with_patience({"stop"}, seconds);
    command.insert(command.end(), names.begin(), names.end());
    local::DockerCall call = local::compose_call(cluster.compose->folder, cluster.compose->project, command);
    call.patience = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds + 60));
    if (auto done = run_compose(call); !done) return done;
    context.terminal.phase("stopped " + join(names, ", "));
  }
  return {};
}

// What is left of the project in the engine, as sentences.
Outcome<std::vector<std::string>> look_for_rest(const local::ClusterFile& cluster, bool purged) {
  std::vector<std::string> out;
  auto containers = local::containers_of(cluster.compose->project);
  if (!containers) return tl::unexpected(docker_failure(containers.error()));
  for (const auto& container : *containers) out.push_back("container " + container.service);
  for (const char* kind : {"volume", "network"}) {
    auto names = purged ? local::names_of(kind, cluster.compose->project) : Result<std::vector<std::string>>{};
    if (!names) return tl::unexpected(docker_failure(names.error()));
    for (const std::string& name : *names) out.push_back(fmt::format("{} {}", kind, name));
  }
  return out;
}

}  // namespace

Done down_docker(Context& context, const DownOptions& options, const Target& target) {
  Terminal& terminal = context.terminal;
  const local::ClusterFile& cluster = *target.local;
  const std::string &folder = cluster.compose->folder, &project = cluster.compose->project;
  if (auto there = local::check_docker(); !there) return tl::unexpected(docker_failure(there.error()));
  auto containers = local::containers_of(cluster.compose->project);
  if (!containers) return tl::unexpected(docker_failure(containers.error()));
  if (terminal.options().dry_run) {
    terminal.data(fmt::format("would stop {} and remove its containers{}\n", cluster.name, options.purge ? " and its volumes with all data" : ""));
    return Exit::done;
  }
  if (options.purge) {
    auto sure = terminal.confirm(
        fmt::format("This stops cluster {} and deletes all its data in Docker's volumes. Go on?", cluster.name));
    if (!sure) return tl::unexpected(sure.error());
  }
  auto lock = local::FileLock::take(cluster.root + "/lock", 120s, [&](pid_t pid) {
    terminal.say(fmt::format("waiting for another pgdba command (process {})", pid));
  });
  if (!lock) return tl::unexpected(as_failure(lock.error()));

  bool ran = !containers->empty();
  for (const auto& container : *containers) {
    if (!container.paused() || options.purge) continue;
    if (auto done = run_compose(local::compose_call(folder, project, {"unpause", container.service})); !done) return tl::unexpected(done.error());
    terminal.say(fmt::format("{} was frozen: thawed", container.service));
  }
  // What is about to be deleted need not be closed first.
  if (!options.purge) {
    if (auto done = stop_in_order(context, target, *containers, options.timeout_s); !done) return tl::unexpected(done.error());
  }
  auto command = options.purge ? with_patience({"down", "--volumes"}, 0) : with_patience({"down"}, options.timeout_s);
  local::DockerCall call = local::compose_call(folder, project, command);
  call.patience = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options.timeout_s + 120));
  if (auto done = run_compose(call); !done) return tl::unexpected(done.error());
  if (ran) terminal.phase(options.purge ? "removed the containers, the network and the volumes" : "removed the containers and the network");

  auto left = look_for_rest(cluster, options.purge);
  if (!left) return tl::unexpected(left.error());
  // Containers of another engine than the one that was asked (DOCKER_HOST) hold them still.
  for (uint16_t port : cluster.ports()) {
    if ((options.purge || !ran) && !local::port_is_free(port)) left->push_back(local::describe_holder(local::find_holder(port)));
  }
  if (!left->empty()) {
    return give_up(Exit::partly, "not everything is gone: " + join(*left, "; "),
                   fmt::format("pgdba down{}{}", target.flag(), options.purge ? " --purge" : ""));
  }
  if (!options.purge) {
    terminal.say(ran ? fmt::format("{} is down; its data is in Docker's volumes {}_*", cluster.name, cluster.compose->project)
                     : fmt::format("{} was down already", cluster.name));
    return Exit::done;
  }
  if (auto done = local::remove_tree(cluster.root); !done) return tl::unexpected(as_failure(done.error()));
  if (auto done = context.registry.remove(cluster.name); !done) return tl::unexpected(done.error());
  std::string env = local::env_file_path(folder);
  terminal.say(fmt::format("{} is gone: no container, no network, no volume, no port ({} looked at) is left{}", cluster.name,
                           cluster.ports().size(), local::exists(env) ? "; " + env + " stays" : ""));
  return Exit::done;
}

}  // namespace pgdba::cli
