#include "cli/up_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "local/files.h"
#include "local/ports.h"
#include "local/programs.h"
#include "local/secrets.h"

namespace pgdba::cli {

namespace {

using local::ClusterFile;
using local::Machine;

// Programs and ports of a cluster that does not exist yet.
Outcome<ClusterFile> plan_new(const Context& context, const UpOptions& options, const std::string& root,
                              const local::Identity& identity) {
  int nodes = options.nodes.value_or(3);
  int offset = options.port_offset.value_or(0);
  ClusterFile plan = local::plan_cluster(options.name, root, nodes, offset);
  auto programs = local::find_postgres(options.pg_bin_dir);
  if (!programs) return tl::unexpected(as_failure(programs.error()));
  auto etcd = local::find_etcd();
  if (!etcd) return tl::unexpected(as_failure(etcd.error()));
  plan.bin_dir = programs->bin_dir;
  plan.pg_major = programs->major;
  plan.etcd_program = *etcd;
  plan.profile = local::parse_profile(options.profile).value_or(local::Profile::fast);
  plan.socket_root = local::choose_socket_root(root, plan.nodes, identity.uid);
  plan.created = context.loop.wall_now();
  auto random = local::generate_secret();  // not secret here: only another one each time
  if (!random) return tl::unexpected(as_failure(random.error()));
  plan.token = fmt::format("{}-{}", options.name, random->reveal().substr(0, 8));
  std::set<uint16_t> avoid;
  if (auto known = context.registry.read()) {
    for (const Registered& entry : *known) {
      if (!entry.managed) continue;
      if (auto other = local::read_cluster_file(entry.root)) {
        for (uint16_t port : other->ports()) avoid.insert(port);
      }
    }
  }
  if (auto done = local::choose_etcd_ports(plan, avoid); !done) return tl::unexpected(as_failure(done.error()));
  return plan;
}

// What was decided once is not changed by a later `up`: ports and members are in etcd and in every node's files.
Outcome<void> check_same(const ClusterFile& cluster, const UpOptions& options) {
  auto differs = [&](std::string_view flag, const auto& has, const auto& wanted) {
    return give_up(
        Exit::refused, fmt::format("cluster {} exists with {} {}, not {}", cluster.name, flag, has, wanted),
        fmt::format(
            "pgdba up --name {0}   as it is, or another --name, or (deletes its data) pgdba down --name {0} --purge",
            cluster.name));
  };
  if (options.nodes && *options.nodes != static_cast<int>(cluster.nodes.size()))
    return differs("--nodes", cluster.nodes.size(), *options.nodes);
  if (options.port_offset && *options.port_offset != cluster.port_offset)
    return differs("--port-offset", cluster.port_offset, *options.port_offset);
  if (!options.profile.empty() && options.profile != to_string(cluster.profile))
    return differs("--profile", to_string(cluster.profile), options.profile);
  return {};
}

Failure closed_to(const local::Identity& identity, const std::string& root) {
  return {Exit::failed, fmt::format("as root the cluster runs as user {}, who cannot use {}", identity.user, root),
          fmt::format("namei -l {}   shows which folder is closed; or choose another --data-dir", root)};
}

}  // namespace

bool folder_is_free(const std::string& root) {
  auto left = local::list_folder(root);
  return std::ranges::all_of(left, [](const std::string& name) { return name == "lock" || name.ends_with(".tmp"); });
}

Outcome<std::string> find_root(const Context& context, const UpOptions& options) {
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  auto entry = std::ranges::find(*known, options.name, &Registered::name);
  if (entry != known->end() && !entry->managed) {
    return give_up(Exit::refused, fmt::format("{} is the name of an external cluster", options.name),
                   fmt::format("pgdba up --name OTHER   or   pgdba cluster forget --name {}", options.name));
  }
  std::string registered = entry == known->end() ? std::string() : entry->root;
  std::string wanted = options.data_dir.empty() ? std::string() : local::real_path(options.data_dir);
  if (!wanted.empty() && local::exists(wanted) && !local::is_folder(wanted))
    return give_up(Exit::usage, fmt::format("--data-dir {} is not a folder", options.data_dir));
  if (!registered.empty() && !wanted.empty() && registered != wanted &&
      local::exists(local::cluster_file_path(registered))) {
    return give_up(
        Exit::refused, fmt::format("cluster {} is in {}, not in {}", options.name, registered, wanted),
        fmt::format("pgdba up --name {0}   or another --name   or   pgdba down --name {0} --purge", options.name));
  }
  for (const Registered& other : *known) {
    auto inside = [](const std::string& one, const std::string& two) { return (one + "/").starts_with(two + "/"); };
    if (wanted.empty() || !other.managed || other.name == options.name || !local::exists(local::cluster_file_path(other.root))) continue;
    if (inside(wanted, other.root) || inside(other.root, wanted)) {
      return give_up(Exit::refused, fmt::format("{} and {} of cluster {} lie in one another: to purge one would remove both", wanted, other.root, other.name),
                     "another --data-dir");
    }
  }
  if (!wanted.empty()) return wanted;
  return registered.empty() ? local::default_root(options.name) : registered;
}

Outcome<void> prepare_root(const std::string& root, const local::Identity& identity) {
  if (!identity.dropped) {
    if (auto done = local::make_private_folder(root); !done) return tl::unexpected(as_failure(done.error()));
    return {};
  }
  if (!local::exists(root)) {
    // Given away before it has its name: another `up` at the same moment must not find it half made.
    std::string before = fmt::format("{}.{}.tmp", root, ::getpid());
    mode_t old = ::umask(022);
    auto made = local::make_private_folder(before);
    ::umask(old);
    if (!made) return tl::unexpected(as_failure(made.error()));
    bool given = ::lchown(before.c_str(), identity.uid, identity.gid) == 0 && ::rename(before.c_str(), root.c_str()) == 0;
    Error problem = local::errno_error("cannot make " + root);
    if (!given) ::rmdir(before.c_str());
    if (!given && !local::exists(root)) return tl::unexpected(as_failure(problem));
  }
  local::ActAs act(identity);
  struct stat info {};
  if (::eaccess(root.c_str(), R_OK | W_OK | X_OK) != 0 || ::stat(root.c_str(), &info) != 0)
    return tl::unexpected(closed_to(identity, root));
  if (info.st_uid != identity.uid) {
    // An empty folder that the caller made for this is fine; anything else is somebody's.
    return give_up(Exit::refused,
                   fmt::format("{} belongs to uid {}, the cluster would run as {}", root, info.st_uid, identity.user),
                   fmt::format("chown {}: {}   or choose another --data-dir", identity.user, root));
  }
  return {};
}

Outcome<void> check_ports(const Machine& machine) {
  const ClusterFile& cluster = machine.cluster();
  std::vector<std::string> taken;
  auto check = [&](const std::string& owner, uint16_t port) {
    if (local::port_is_free(port)) return;
    auto own = machine.processes(owner);
    auto find = [&] {
      local::ActAsCaller caller;  // root sees everybody
      return local::find_holder(port);
    };
    local::PortHolder holder = find();
    bool ours =
        holder.pid && std::ranges::any_of(own, [&](const local::ProcessStat& p) { return p.id.pid == *holder.pid; });
    if (!ours) taken.push_back(local::describe_holder(holder));
  };
  for (const auto& node : cluster.nodes) {
    check(node.name, node.pg_port);
    check(node.name, node.rest_port);
  }
  for (const auto& member : cluster.etcd) {
    check(member.name, member.client_port);
    check(member.name, member.peer_port);
  }
  if (cluster.pooler_port != 0) check(local::kPooler, cluster.pooler_port);
  if (taken.empty()) return {};
  auto offset = local::first_free_offset(static_cast<int>(cluster.nodes.size()));
  bool exists = local::exists(local::cluster_file_path(cluster.root));
  std::string next =
      exists   ? fmt::format("stop what holds it, or make another cluster: pgdba up --name OTHER --port-offset {}",
                             offset.value_or(100))
      : offset ? fmt::format("pgdba up --port-offset {}   ({} is the first offset at which every port is free)",
                             *offset, *offset)
               : "free the port, then pgdba up";
  return give_up(Exit::failed, join(taken, "; "), next);
}

Outcome<UpPlan> plan_up(const Context& context, const UpOptions& options, const std::string& root,
                        const local::Identity& identity) {
  auto found = local::read_cluster_file(root);
  if (!found && found.error().code == Errc::denied && identity.dropped) return tl::unexpected(closed_to(identity, root));
  if (!found && found.error().code != Errc::not_found) return tl::unexpected(as_failure(found.error()));
  if (!found) {
    if (!folder_is_free(root)) {
      return give_up(Exit::refused, fmt::format("{} is not empty, and it is no cluster of pgdba", root),
                     "pgdba up --data-dir DIR   with an empty or new folder");
    }
    auto made = plan_new(context, options, root, identity);
    if (!made) return tl::unexpected(made.error());
    return UpPlan{std::move(*made), true};
  }
  if (found->name != options.name) {
    return give_up(Exit::refused, fmt::format("{} holds cluster {}, not {}", root, found->name, options.name),
                   fmt::format("pgdba up --name {} --data-dir {}", found->name, root));
  }
  if (auto same = check_same(*found, options); !same) return tl::unexpected(same.error());
  if (!options.pg_bin_dir.empty()) {
    auto programs = local::find_postgres(options.pg_bin_dir);
    if (!programs) return tl::unexpected(as_failure(programs.error()));
    if (programs->major != found->pg_major) {
      return give_up(
          Exit::refused,
          fmt::format("the data is of PostgreSQL {}, {} has {}", found->pg_major, programs->bin_dir, programs->version),
          "pgdba up without --pg-bin-dir");
    }
    found->bin_dir = programs->bin_dir;
  }
  return UpPlan{std::move(*found), false};
}

}  // namespace pgdba::cli
