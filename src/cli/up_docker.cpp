// `pgdba up --docker`: the compose project of deployments/docker, up and proved to take writes.
//
// Compose makes and starts the containers, as `docker compose up -d` in that folder would; what `up` adds is a .env with
// passwords where there is none, checks before anything starts, the same waiting and the same proof as for processes, and an
// entry in the registry. What the other commands need (ports, passfile, REST password) is kept in a folder of the cluster's
// own and written anew by each `up`.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/containers.h"
#include "cli/up_docker_plan.h"
#include "cli/up_ready.h"
#include "cli/up_wait.h"
#include "local/files.h"

namespace pgdba::cli {

namespace {

using local::ComposeProject;
using local::Container;

constexpr int64_t kTooOften = 4;
constexpr int kRefused = 78;  // how the entrypoint ends when the configuration is wrong

Outcome<void> check_options(const UpOptions& options) {
  if (auto name = local::problem_with_name(options.name))
    return give_up(Exit::usage, fmt::format("--name {} {}", options.name, *name), "pgdba up --help");
  const std::pair<const char*, bool> native[] = {{"--nodes", options.nodes.has_value()},
                                                 {"--data-dir", !options.data_dir.empty()},
                                                 {"--pg-bin-dir", !options.pg_bin_dir.empty()},
                                                 {"--port-offset", options.port_offset.has_value()},
                                                 {"--profile", !options.profile.empty()}};
  std::vector<std::string> given;
  for (const auto& [flag, is_given] : native) {
    if (is_given) given.emplace_back(flag);
  }
  if (given.empty()) return {};
  return give_up(Exit::usage,
                 fmt::format("{} {} for clusters of processes; {} runs in containers, whose ports and settings are in .env",
                             join(given, ", "), given.size() == 1 ? "is" : "are", options.name),
                 "pgdba up --docker --help");
}

std::vector<std::string> missing_images(const ComposeProject& project) {
  std::vector<std::string> out;
  for (const auto& image : project.images) {
    auto found = local::ask_docker({.arguments = {"image", "inspect", "--format", "{{.Id}}", image.name}});
    if (!found) out.push_back(fmt::format("{} ({})", image.name, image.built ? "is built now" : "is pulled now"));
  }
  return out;
}

std::string last_lines(const ComposeProject& project, const std::string& service, int lines) {
  auto text = local::ask_docker(local::compose_call(project.folder, project.name,
                                                    {"logs", "--no-color", "--no-log-prefix", "--tail", std::to_string(lines), service}));
  return std::string(trim(text ? *text : ""));
}

// `docker compose up -d`, which also makes anew what .env or an image changed.
Outcome<void> start_containers(Terminal& terminal, const ComposeProject& project, Duration patience) {
  auto missing = missing_images(project);
  if (!missing.empty()) terminal.phase("images: " + join(missing, ", ") + "; that takes minutes");
  const std::vector<std::string> services = project.services();
  local::DockerCall call = local::compose_call(project.folder, project.name, {"up", "-d"});
  // Pulling and building show what they do.
  if (missing.empty())
    call.patience = patience + 60s;
  else
    call.patience.reset();
  call.on_lines = [&](const std::vector<std::string>& lines) {
    std::vector<std::string> started;
    for (const std::string& line : lines) {
      if (!missing.empty()) terminal.say(line);
      auto words = split(trim(line), ' ');
      bool is_started = words.size() >= 3 && words.front() == "Container" && words.back() == "Started";
      if (is_started && std::ranges::find(services, words[1]) != services.end()) started.push_back(words[1]);
    }
    if (!started.empty()) terminal.phase("started " + join(started, ", "));
  };
  auto done = run_compose(call);
  if (done) return done;
  // The service that checks .env ends with a line that says which rule is broken.
  std::string rule = done.error().text.find("check-env") == std::string::npos ? "" : last_lines(project, "check-env", 1);
  if (!rule.empty())
    return give_up(Exit::refused, rule, fmt::format("edit {}, then: pgdba up --docker", local::env_file_path(project.folder)));
  if (!missing.empty() && done.error().next.empty()) {
    done.error().next = fmt::format("an image that is here or can be pulled as ETCD_IMAGE or PGDBA_IMAGE in {}, then: pgdba up --docker",
                                    local::env_file_path(project.folder));
  }
  if (done.error().next.empty()) done.error().next = fmt::format("(cd {} && docker compose ps -a)   or   pgdba logs", project.folder);
  return done;
}

// A container that ends again and again, or refused its configuration. Looked at once a second: it takes two calls.
class Restarts {
 public:
  Restarts(const net::Loop& loop, const ComposeProject& project, const Target& target)
      : loop_(loop), project_(project), target_(target), next_(loop.after(1s)) {}

  std::optional<Failure> operator()() {
    if (loop_.now() < next_) return std::nullopt;
    next_ = loop_.after(1s);
    auto containers = local::containers_of(project_.name);
    if (!containers) return std::nullopt;
    const std::vector<std::string> services = project_.services();
    std::erase_if(*containers, [&](const Container& container) {
      return container.running() || container.paused() || std::ranges::find(services, container.service) == services.end();
    });
    auto exits = local::exits_of(*containers);
    if (!exits) return std::nullopt;
    for (const local::ContainerExits& one : *exits) {
      if (one.restarts < kTooOften && one.code != kRefused) continue;
      std::string lines;
      for (const std::string& line : split(last_lines(project_, one.service, 6), '\n')) lines += "\n    " + line;
      return Failure{Exit::failed,
                     fmt::format("{} ended with {}, {} times so far. Its last lines:{}", one.service, one.code, one.restarts + 1, lines),
                     fmt::format("pgdba logs{} {}", target_.flag(), one.service)};
    }
    return std::nullopt;
  }

 private:
  const net::Loop& loop_;
  const ComposeProject& project_;
  const Target& target_;
  BootTime next_;
};

Outcome<void> thaw(const Terminal& terminal, const DockerPlan& plan) {
  for (const Container& container : plan.containers) {
    if (!container.paused()) continue;
    if (auto done = run_compose(local::compose_call(plan.project.folder, plan.project.name, {"unpause", container.service})); !done) return done;
    terminal.say(fmt::format("{} was frozen: thawed", container.service));
  }
  return {};
}

}  // namespace

Done up_docker(Context& context, const UpOptions& options) {
  Terminal& terminal = context.terminal;
  if (auto good = check_options(options); !good) return tl::unexpected(good.error());
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  auto entry = std::ranges::find(*known, options.name, &Registered::name);
  bool registered = entry != known->end() && !entry->compose.empty();
  std::string root = registered ? entry->root : context.registry.docker_folder(options.name);
  auto old = local::read_cluster_file(root);
  if (std::string native = local::default_root(options.name); !registered && local::exists(local::cluster_file_path(native))) {
    return give_up(Exit::refused, fmt::format("{} is the name of a cluster of processes in {}", options.name, native),
                   "pgdba up --docker --name OTHER");
  }
  auto folder = find_compose_folder(options, registered ? entry->compose : old && old->compose ? old->compose->folder : "");
  if (!folder) return tl::unexpected(folder.error());
  auto plan = plan_up_docker(*folder);
  if (!plan) return tl::unexpected(plan.error());
  if (auto good = check_free_name(context, options, plan->project); !good) return tl::unexpected(good.error());
  if (auto free = check_published_ports(*plan, old ? old->ports() : std::vector<uint16_t>{}); !free) return tl::unexpected(free.error());
  if (auto good = check_passwords(context, *plan); !good) return tl::unexpected(good.error());
  if (terminal.options().dry_run) {
    terminal.data(fmt::format("would {} cluster {} in containers of {}{}: {} nodes, PostgreSQL from port {}, REST from {}, the pooler on {}\n",
                              plan->has_data ? "start" : "make", options.name, *folder,
                              plan->makes_env ? ", and a .env with two random passwords" : "", plan->project.nodes.size(),
                              plan->project.nodes.front().pg_port, plan->project.nodes.front().rest_port, plan->project.pooler_port));
    return Exit::done;
  }
  mode_t mask = ::umask(077);  // for the folders above, too
  auto made = local::make_private_folder(root);
  ::umask(mask);
  if (!made) return tl::unexpected(as_failure(made.error()));
  auto lock = local::FileLock::take(root + "/lock", 60s, [&](pid_t pid) {
    terminal.say(fmt::format("waiting for another pgdba command (process {})", pid));
  });
  if (!lock) return tl::unexpected(as_failure(lock.error()));
  if (plan->makes_env) {
    auto env = local::make_env_file(*folder);
    if (!env && env.error().code != Errc::conflict) return tl::unexpected(as_failure(env.error()));
    if (env) terminal.say(fmt::format("made {} with two random passwords, for you alone to read", local::env_file_path(*folder)));
    plan = plan_up_docker(*folder);
    if (!plan) return tl::unexpected(plan.error());
  }
  const ComposeProject& project = plan->project;
  if (!plan->overridden.empty()) terminal.warn(fmt::format("{} of the environment counts, not that of .env", join(plan->overridden, ", ")));
  const local::ClusterFile cluster =
      local::cluster_of(project, options.name, root, old ? old->created : context.loop.wall_now());
  if (auto done = local::write_compose_state(cluster, project); !done) return tl::unexpected(as_failure(done.error()));
  Registered now;
  now.name = options.name;
  now.managed = true;
  now.root = root;
  now.compose = *folder;
  now.scope = project.scope;
  now.added = cluster.created;
  if (auto done = context.registry.put(now); !done) return tl::unexpected(done.error());

  // What stays: check-env, for one, ends when it has checked.
  auto running = [&](const std::vector<Container>& containers) {
    std::vector<std::string> ids;
    for (const std::string& service : project.services()) {
      auto found = std::ranges::find(containers, service, &Container::service);
      if (found != containers.end() && found->running()) ids.push_back(found->id);
    }
    return ids;
  };
  const std::vector<std::string> before = running(plan->containers);
  bool is_new = plan->containers.empty() && !plan->has_data;
  if (before.size() < project.services().size()) {
    terminal.phase(fmt::format("{}: {}{} PostgreSQL nodes, {} etcd members and the pooler in containers of {}", options.name,
                               is_new ? "" : "starting ", project.nodes.size(), project.etcd.size(), *folder));
  }
  auto patience = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options.timeout_s));
  if (auto done = thaw(terminal, *plan); !done) return tl::unexpected(done.error());
  if (auto done = start_containers(terminal, project, patience); !done) return tl::unexpected(done.error());
  auto after = local::containers_of(project.name);
  if (!after) return tl::unexpected(docker_failure(after.error()));

  Target target = managed_target(cluster);
  target.named_explicitly = several_known(context);
  Waiting waiting(context, target, Restarts(context.loop, project, target), context.loop.after(patience));
  if (before.size() == project.services().size() && running(*after) == before) {
    waiting.look_closely();
    if (waiting.full().sight.healthy()) {
      if (auto wrote = waiting.write(); !wrote) return tl::unexpected(wrote.error());
      if (auto wrote = waiting.pooler(); !wrote) return tl::unexpected(wrote.error());
      terminal.say(fmt::format("{} is up and healthy already; nothing was changed", options.name));
      print_ready(context, target, waiting.full());
      return Exit::done;
    }
    terminal.phase(fmt::format("{}: waiting until it is healthy", options.name));
  }
  if (auto done = wait_serving(terminal, waiting, cluster); !done) return tl::unexpected(done.error());
  if (is_new) terminal.say(kNamesAreNoRoles);
  print_ready(context, target, waiting.full());
  return Exit::done;
}

}  // namespace pgdba::cli
