#include "cli/up_docker_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "base/text.h"
#include "cli/containers.h"
#include "cli/write_probe.h"
#include "local/files.h"
#include "local/ports.h"
#include "local/secrets.h"

namespace pgdba::cli {

namespace {

using local::ComposeProject;
using local::Container;

bool has_compose_file(const std::string& folder) {
  return std::ranges::any_of(std::initializer_list<const char*>{"docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"},
                             [&](const char* name) { return local::exists(folder + "/" + name); });
}

// Passwords that Compose knows without .env.
std::vector<std::string> passwords_in_environment() {
  std::vector<std::string> out = {"POSTGRES_PASSWORD", "REPLICATION_PASSWORD"};
  std::erase_if(out, [](const std::string& name) { return std::getenv(name.c_str()) == nullptr; });
  return out;
}

// Not only out of this user's sight.
bool is_gone(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

// PG_REPLICA_1_REST_PORT: the variable of .env for a service's port.
std::string variable_of(std::string service, const char* end) {
  for (char& c : service) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return service + end;
}

}  // namespace

Outcome<std::string> find_compose_folder(const UpOptions& options, const std::string& registered) {
  std::string next = "pgdba up --docker --compose-dir DIR   with the folder deployments/docker of pgdba's source";
  std::string folder = !options.compose_dir.empty() ? local::real_path(options.compose_dir) : registered;
  if (folder.empty()) {
    std::string program = local::real_path("/proc/self/exe");
    folder = local::absolute(program.substr(0, program.rfind('/')) + "/../deployments/docker");
  }
  if (!has_compose_file(folder)) return give_up(Exit::usage, fmt::format("there is no docker-compose.yml in {}", folder), next);
  return folder;
}

Outcome<DockerPlan> plan_up_docker(const std::string& folder) {
  if (auto there = local::check_docker(); !there) return tl::unexpected(docker_failure(there.error()));
  DockerPlan plan;
  const std::string env = local::env_file_path(folder), to_edit = fmt::format("edit {}, then: pgdba up --docker", env);
  plan.overridden = passwords_in_environment();
  plan.makes_env = !local::exists(env) && plan.overridden.empty();
  if (!local::exists(env) && plan.overridden.size() == 1) {
    return give_up(Exit::refused, fmt::format("the environment has {}, which Compose prefers to .env, and there is no other password", plan.overridden[0]),
                   fmt::format("unset {}   or set both passwords, then: pgdba up --docker", plan.overridden[0]));
  }
  if (local::exists(env) && ::access(env.c_str(), R_OK) != 0)
    return give_up(Exit::failed, local::errno_text("cannot read " + env), fmt::format("sudo chown $USER {}   or, as its owner: pgdba up --docker", env));
  auto project = local::read_compose_project(folder);
  if (!project) return tl::unexpected(docker_failure(project.error(), to_edit));
  if (auto problem = plan.makes_env ? std::nullopt : local::problem_with_passwords(*project))
    return give_up(Exit::refused, *problem, to_edit);
  auto containers = local::containers_of(project->name);
  if (!containers) return tl::unexpected(docker_failure(containers.error()));
  auto volumes = local::names_of("volume", project->name);
  if (!volumes) return tl::unexpected(docker_failure(volumes.error()));
  plan.has_data = !volumes->empty();
  if (plan.makes_env && plan.has_data) {
    return give_up(Exit::refused,
                   fmt::format("there is no {}, but data of an earlier cluster, which takes only its old passwords", env),
                   fmt::format("put that .env back, or delete the data: docker volume rm {}", join(*volumes, " ")));
  }
  for (const Container& container : *containers) {
    // Of a folder that has moved: these containers are this one's now.
    if (container.folder.empty() || is_gone(container.folder) || local::real_path(container.folder) == folder) continue;
    return give_up(Exit::refused, fmt::format("project {} runs from {} already, not from {}", project->name, container.folder, folder),
                   fmt::format("pgdba up --docker --compose-dir {0}   or   (cd {0} && docker compose down)", container.folder));
  }
  plan.project = std::move(*project);
  plan.containers = std::move(*containers);
  return plan;
}

Outcome<void> check_published_ports(const DockerPlan& plan, const std::vector<uint16_t>& before) {
  std::vector<std::string> taken, variables;
  auto check = [&](const std::string& service, uint16_t port, const char* end) {
    auto own = std::ranges::find(plan.containers, service, &Container::service);
    bool holds = own != plan.containers.end() && (own->running() || own->paused() || own->state == "restarting");
    bool moved = !before.empty() && std::ranges::find(before, port) == before.end();
    if ((holds && !moved) || local::port_is_free(port)) return;
    taken.push_back(local::describe_holder(local::find_holder(port)));
    variables.push_back(variable_of(service, end) + "=…");
  };
  for (const auto& node : plan.project.nodes) {
    check(node.name, node.pg_port, "_PORT");
    check(node.name, node.rest_port, "_REST_PORT");
  }
  check(plan.project.pooler, plan.project.pooler_port, "_PORT");
  if (taken.empty()) return {};
  return give_up(Exit::failed, join(taken, "; "),
                 fmt::format("free the port, or another one in {}: {}", local::env_file_path(plan.project.folder), join(variables, " ")));
}

// Containers made anew with a password that the database does not have could not use it: a change begins in PostgreSQL.
Outcome<void> check_passwords(Context& context, const DockerPlan& plan) {
  const ComposeProject& project = plan.project;
  const Secret& pooler = project.pooler_password.empty() ? project.replication : project.pooler_password;
  const std::tuple<const char*, const char*, const Secret&> roles[] = {{"POSTGRES_PASSWORD", local::kSuperuser, project.superuser},
                                                                       {"REPLICATION_PASSWORD", local::kReplicator, project.replication},
                                                                       {"POOLER_PASSWORD", local::kPoolerUser, pooler}};
  for (const auto& node : project.nodes) {
    auto own = std::ranges::find(plan.containers, node.name, &Container::service);
    if (own == plan.containers.end() || !own->running()) continue;
    for (const auto& [variable, role, password] : roles) {
      auto in = local::port_is_free(node.pg_port) ? Result<void>{} : log_in(context.loop, node.pg_port, role, password, 2s);
      if (in || in.error().code != Errc::denied) continue;
      return give_up(Exit::refused, fmt::format("{} of .env is not what role {} has in the running database", variable, role),
                     fmt::format("pgdba psql   and there \\password {}   or put the old one back into {}", role,
                                 local::env_file_path(project.folder)));
    }
  }
  return {};
}

// What `cluster connect` registered of this very project is replaced; any other cluster keeps its name.
Outcome<void> check_free_name(const Context& context, const UpOptions& options, const ComposeProject& project) {
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  for (const Registered& entry : *known) {
    if (entry.name != options.name && entry.compose == project.folder && local::exists(local::cluster_file_path(entry.root))) {
      return give_up(Exit::refused, fmt::format("the containers of {} are cluster {} already", project.folder, entry.name),
                     "pgdba up --docker --name " + entry.name);
    }
    if (entry.name != options.name || !entry.compose.empty()) continue;
    auto is_ours = [&](const Registered::Member& member) {
      return std::ranges::any_of(project.nodes, [&](const auto& node) {
        return member.endpoint == fmt::format("http://127.0.0.1:{}", node.rest_port) ||
               member.endpoint == fmt::format("http://localhost:{}", node.rest_port);
      });
    };
    if (!entry.managed && !entry.members.empty() && std::ranges::all_of(entry.members, is_ours)) continue;
    return give_up(Exit::refused,
                   fmt::format("{} is the name of {}", options.name,
                               entry.managed ? "a cluster of processes on this machine" : "an external cluster"),
                   "pgdba up --docker --name OTHER");
  }
  return {};
}

}  // namespace pgdba::cli
