// `pgdba up`: a cluster on this machine, or the one that is there, running and proved to take writes.
//
// Every step may be repeated, so a killed `up` is finished by the next one. Folders, files and what is wanted first;
// then the supervisor, which starts everything; then only waiting and looking. "Ready" needs four things seen: a
// leader, a write that it acknowledged, every other node streaming, a write that came through the pooler.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/up_plan.h"
#include "cli/up_ready.h"
#include "cli/up_wait.h"
#include "local/files.h"
#include "local/machine.h"
#include "local/node_files.h"
#include "local/programs.h"

namespace pgdba::cli {

namespace {

using local::ClusterFile;
using local::Machine;

Outcome<void> check_options(const UpOptions& options) {
  std::string problem;
  if (auto name = local::problem_with_name(options.name)) problem = fmt::format("--name {} {}", options.name, *name);
  if (options.nodes && (*options.nodes < 1 || *options.nodes > local::kMaxNodes)) {
    problem = fmt::format("--nodes is 1 to {}, not {}", local::kMaxNodes, *options.nodes);
  }
  if (options.port_offset && (*options.port_offset < 0 || *options.port_offset > 50000)) {
    problem = fmt::format("--port-offset is 0 to 50000, not {}", *options.port_offset);
  }
  if (!options.profile.empty() && !local::parse_profile(options.profile)) {
    problem = fmt::format("--profile is fast or standard, not {}", options.profile);
  }
  if (!problem.empty()) return give_up(Exit::usage, problem, "pgdba up --help");
  return {};
}

// Everything is wanted up, and nothing is left of an earlier failure. Returns what has to be started.
Outcome<std::vector<std::string>> want_all(const Context& context, const Machine& machine) {
  std::vector<std::string> started;
  for (const std::string& name : machine.names()) {
    auto report = machine.report(name);
    if (report.frozen) {
      if (auto thawed = machine.thaw(name); !thawed) return tl::unexpected(as_failure(thawed.error()));
      context.terminal.say(fmt::format("{} was frozen: thawed", name));
    }
    if (!report.id) {
      started.push_back(name);
      machine.supervised().forget_exits(name);
    }
    if (auto done = machine.want(name, local::Want::up); !done) return tl::unexpected(as_failure(done.error()));
  }
  return started;
}

// A new etcd member asks the others whether it belongs to them, and waits a second for one that listens but does not
// answer yet. One after the other all three are there in a third of the time.
Outcome<void> start_new_etcd(const Machine& machine, Waiting& waiting) {
  const ClusterFile& cluster = machine.cluster();
  if (auto answers = waiting.peer(cluster.etcd.front()); !answers) return answers;
  if (auto done = local::write_specs(cluster, machine.names_of_etcd()); !done)
    return tl::unexpected(as_failure(done.error()));
  return {};
}

Outcome<void> wait_ready(Context& context, const UpPlan& plan, const Machine& machine, Waiting& waiting) {
  Terminal& terminal = context.terminal;
  const ClusterFile& cluster = plan.cluster;
  if (plan.is_new) {
    if (auto done = start_new_etcd(machine, waiting); !done) return done;
  }
  if (auto done = waiting.etcd(); !done) return done;
  terminal.phase("etcd: 3 members, one of them leads");
  if (plan.is_new) {
    // The node that wins the race makes the database; the others have nothing to do before that.
    if (auto done = waiting.first_node(cluster.nodes.front().name); !done) return done;
    terminal.phase(fmt::format("{} makes the database", cluster.nodes.front().name));
    if (auto done = local::write_specs(cluster, machine.names()); !done)
      return tl::unexpected(as_failure(done.error()));
  }
  return wait_serving(terminal, waiting, cluster);
}

// Asked for, or what the cluster of this name is.
Outcome<bool> in_containers(const Context& context, const UpOptions& options) {
  if (options.docker) return true;
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  auto entry = std::ranges::find(*known, options.name, &Registered::name);
  bool docker = entry != known->end() && !entry->compose.empty();
  if (!docker && !options.compose_dir.empty())
    return give_up(Exit::usage, "--compose-dir goes with --docker", "pgdba up --docker --compose-dir " + options.compose_dir);
  return docker;
}

}  // namespace

Done up(Context& context, const UpOptions& options) {
  Terminal& terminal = context.terminal;
  auto containers = in_containers(context, options);
  if (!containers) return tl::unexpected(containers.error());
  if (*containers) return up_docker(context, options);
  if (auto good = check_options(options); !good) return tl::unexpected(good.error());
  auto root = find_root(context, options);
  if (!root) return tl::unexpected(root.error());
  if (auto problem = local::problem_with_root(*root))
    return give_up(Exit::usage, fmt::format("{} {}", *root, *problem), "pgdba up --data-dir DIR");
  auto identity = local::choose_identity(*root);
  if (!identity) return tl::unexpected(as_failure(identity.error()));

  // Before anything is written: what refuses leaves no trace.
  if (terminal.options().dry_run || !local::exists(local::cluster_file_path(*root))) {
    local::ActAs act(*identity);
    auto plan = plan_up(context, options, *root, *identity);
    if (!plan) return tl::unexpected(plan.error());
    if (auto free = check_ports(Machine(plan->cluster)); !free) return tl::unexpected(free.error());
    const ClusterFile& cluster = plan->cluster;
    if (terminal.options().dry_run) {
      terminal.data(fmt::format(
          "would {} cluster {} in {} as user {}: {} nodes, PostgreSQL {} from {}, ports from {}, REST from {}\n",
          plan->is_new ? "make" : "start", cluster.name, *root, identity->user, cluster.nodes.size(), cluster.pg_major,
          cluster.bin_dir, cluster.nodes.front().pg_port, cluster.nodes.front().rest_port));
      return Exit::done;
    }
  }

  if (auto done = prepare_root(*root, *identity); !done) return tl::unexpected(done.error());
  local::ActAs act(*identity);
  auto lock = local::FileLock::take(*root + "/lock", 60s, [&](pid_t pid) {
    terminal.say(fmt::format("waiting for another pgdba command (process {})", pid));
  });
  if (!lock) return tl::unexpected(as_failure(lock.error()));
  auto plan = plan_up(context, options, *root, *identity);
  if (!plan) return tl::unexpected(plan.error());
  const ClusterFile& cluster = plan->cluster;
  Machine machine(cluster);
  if (auto free = check_ports(machine); !free) return tl::unexpected(free.error());

  if (plan->is_new && !local::is_tested_major(cluster.pg_major)) {
    terminal.warn(fmt::format("PostgreSQL {} is supported but untested; tested are 15, 17 and 18", cluster.pg_major));
  }
  // First where it can be found, then what it is: nothing that was made is forgotten.
  Registered entry;
  entry.name = cluster.name;
  entry.managed = true;
  entry.root = *root;
  entry.added = cluster.created;
  if (auto done = context.registry.put(entry); !done) return tl::unexpected(done.error());
  if (plan->is_new || !options.pg_bin_dir.empty()) {
    if (auto done = local::write_cluster_file(cluster); !done) return tl::unexpected(as_failure(done.error()));
  }
  if (auto done = local::write_node_files(cluster); !done) return tl::unexpected(as_failure(done.error()));
  std::vector<std::string> first = {cluster.etcd.front().name, cluster.nodes.front().name};
  if (auto done = local::write_specs(cluster, plan->is_new ? first : machine.names()); !done) {
    return tl::unexpected(as_failure(done.error()));
  }
  auto started = want_all(context, machine);
  if (!started) return tl::unexpected(started.error());
  Target target = managed_target(cluster);
  target.named_explicitly = several_known(context);
  bool had_supervisor = machine.supervisor().has_value();
  if (machine.supervisor_is_another_program()) {
    terminal.warn(
        fmt::format("{0} still runs the build of pgdba that started it; to change that: "
                    "pgdba down --name {0} && pgdba up --name {0}",
                    cluster.name));
  }
  // A supervisor of an older build cannot start a pooler: it starts the program that it is itself. What it watches goes
  // on, and the next one adopts it.
  if (machine.supervisor_is_another_program() && !machine.report(local::kPooler).id && cluster.pooler_port != 0) {
    if (auto done = machine.stop_supervisor(); !done) return tl::unexpected(as_failure(done.error()));
  }
  auto supervisor = machine.ensure_supervisor(*identity);
  if (!supervisor) return tl::unexpected(as_failure(supervisor.error()));

  auto patience = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options.timeout_s));
  Waiting waiting(context, target, [&] { return never_starts(machine, target); }, context.loop.after(patience));
  if (!plan->is_new) waiting.look_now();
  if (!plan->is_new && started->empty() && had_supervisor && waiting.full().sight.healthy()) {
    if (auto wrote = waiting.write(); !wrote) return tl::unexpected(wrote.error());
    if (auto wrote = waiting.pooler(); !wrote) return tl::unexpected(wrote.error());
    terminal.say(fmt::format("{} is up and healthy already; nothing was changed", cluster.name));
    print_ready(context, target, waiting.full());
    return Exit::done;
  }
  terminal.phase(plan->is_new       ? fmt::format("{}: {} PostgreSQL {} nodes and 3 etcd members in {}", cluster.name,
                                                  cluster.nodes.size(), cluster.pg_major, *root)
                 : started->empty() ? fmt::format("{}: waiting until it is healthy", cluster.name)
                                    : fmt::format("{}: starting {}", cluster.name, join(*started, ", ")));
  if (auto done = wait_ready(context, *plan, machine, waiting); !done) return tl::unexpected(done.error());
  if (plan->is_new) terminal.say(kNamesAreNoRoles);
  print_ready(context, target, waiting.full());
  return Exit::done;
}

}  // namespace pgdba::cli
