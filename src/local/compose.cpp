#include "local/compose.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/text.h"
#include "local/files.h"
#include "local/node_files.h"
#include "local/secrets.h"
#include "wire/json_value.h"

namespace pgdba::local {

namespace {

using wire::JsonValue;

constexpr int kPostgres = 5432, kRest = 8008, kPoolerPort = 6432;  // in the containers
constexpr const char* kSamples[] = {"your_strong_password_here", "your_replication_password_here"};
constexpr const char* kContainerFormat =
    "{{.ID}}\t{{.Label \"com.docker.compose.service\"}}\t{{.State}}\t{{.Status}}\t{{.Label \"com.docker.compose.project.working_dir\"}}";

std::string unescaped(std::string text) {
  for (size_t at = 0; (at = text.find("$$", at)) != std::string::npos; ++at) text.erase(at, 1);
  return text;
}

// The port on this machine that leads to `target` in the container; 0: none.
Result<uint16_t> published(const std::string& service, const JsonValue& definition, int target) {
  const auto* ports = definition["ports"].as_list();
  for (const JsonValue& port : ports ? *ports : JsonValue::List{}) {
    if (port.integer("target") != target) continue;
    int64_t number = port.integer("published", parse_int(port.text("published")).value_or(0));
    if (number <= 0 || number > 65535)
      return fail(Errc::invalid, fmt::format("{} publishes its port {} at no certain one", service, target));
    std::string host = port.text("host_ip");
    if (!host.empty() && host != "127.0.0.1" && host != "0.0.0.0" && host != "localhost")
      return fail(Errc::invalid, fmt::format("{} publishes its port {} on {}, not on 127.0.0.1", service, target, host));
    return static_cast<uint16_t>(number);
  }
  return uint16_t{0};
}

std::optional<std::string> problem_with_password(const char* name, const std::string& value, const char* sample) {
  auto has = [&](char first, char last) {
    return std::ranges::any_of(value, [&](char c) { return c >= first && c <= last; });
  };
  // Characters, not bytes: all but those that go on with one, in UTF-8.
  auto characters = std::ranges::count_if(value, [](char c) { return (c & 0xC0) != 0x80; });
  std::string what;
  if (value.empty())
    what = "is not set. Put it into .env";
  else if (value == sample)
    what = "is still the sample of .env.example. Put a password of your own into .env";
  else if (characters < 12)
    what = "has fewer than 12 characters";
  else if (!has('A', 'Z'))
    what = "has no upper case letter";
  else if (!has('a', 'z'))
    what = "has no lower case letter";
  else if (!has('0', '9'))
    what = "has no digit";
  else if (value.find_first_of("\n\"") != std::string::npos)
    what = "has a quotation mark or a line break, which the pooler's userlist cannot hold";
  else
    return std::nullopt;
  return fmt::format("{} {}", name, what);
}

}  // namespace

std::vector<std::string> ComposeProject::services() const {
  std::vector<std::string> out = etcd;
  for (const auto& node : nodes) out.push_back(node.name);
  out.push_back(pooler);
  return out;
}

Result<ComposeProject> parse_compose_config(std::string_view text, const std::string& folder) {
  auto json = wire::parse_json_value(text);
  if (!json) return tl::unexpected(std::move(json.error()).context("docker compose config"));
  ComposeProject out;
  out.folder = folder;
  out.name = json->text("name");
  const auto* services = (*json)["services"].as_object();
  for (const auto& [name, service] : services ? *services : JsonValue::Object{}) {
    const std::string image = service.text("image");
    auto known = std::ranges::find(out.images, image, &ComposeProject::Image::name);
    if (known == out.images.end()) known = out.images.insert(known, {name, image, false});
    known->built = known->built || !service["build"].is_null();  // one service builds it for all
    auto postgres = published(name, service, kPostgres), rest = published(name, service, kRest),
         pooler = published(name, service, kPoolerPort);
    for (const auto* port : {&postgres, &rest, &pooler}) {
      if (!*port) return tl::unexpected(port->error());
    }
    const JsonValue& environment = service["environment"];
    if (*postgres != 0 && *rest != 0) {
      out.nodes.push_back({name, *postgres, *rest});
      auto value = [&](const char* variable) { return unescaped(environment.text(variable)); };
      out.scope = value("SCOPE");
      out.superuser = Secret(value("POSTGRES_PASSWORD"));
      out.replication = Secret(value("REPLICATION_PASSWORD"));
      out.pooler_password = Secret(value("POOLER_PASSWORD"));
      out.rest_user = value("RESTAPI_USERNAME");
      out.ttl_s = static_cast<int>(parse_int(value("TTL")).value_or(10));
      out.rest_password = Secret(value("RESTAPI_PASSWORD"));
    } else if (*pooler != 0) {
      out.pooler = name;
      out.pooler_port = *pooler;
    } else if (name.starts_with("etcd")) {
      out.etcd.push_back(name);
    }
  }
  if (out.name.empty() || out.scope.empty() || out.nodes.empty() || out.etcd.empty() || out.pooler.empty())
    return fail(Errc::invalid, fmt::format("{} is not the compose project of pgdba's deployments/docker", folder));
  return out;
}

Result<ComposeProject> read_compose_project(const std::string& folder) {
  DockerCall call = compose_call(folder, "", {"config", "--format", "json"});
  auto answer = run_docker(call);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->code != 0) {
    // "error while interpolating …: required variable POSTGRES_PASSWORD is missing a value: …"
    constexpr std::string_view before = "required variable ";
    auto at = answer->complaint.find(before);
    if (at == std::string::npos) return tl::unexpected(docker_error(call, *answer));
    auto words = split(std::string_view(answer->complaint).substr(at + before.size()), ' ');
    return fail(Errc::invalid, words.front() + " is not set. Put it into .env");
  }
  return parse_compose_config(answer->output, folder);
}

ClusterFile cluster_of(const ComposeProject& project, const std::string& name, const std::string& root, WallTime created) {
  ClusterFile out;
  out.name = name;
  out.root = root;
  out.nodes = project.nodes;
  for (const std::string& member : project.etcd) out.etcd.push_back({member, 0, 0});
  out.pooler_port = project.pooler_port;
  out.created = created;
  out.compose = {project.folder, project.name, project.scope, project.pooler, project.rest_user, project.ttl_s};
  return out;
}

Result<void> write_compose_state(const ClusterFile& cluster, const ComposeProject& project) {
  for (const std::string& folder : {cluster.root, cluster.secrets()}) {
    if (auto done = make_private_folder(folder); !done) return done;
  }
  Secrets secrets;
  secrets.superuser = project.superuser;
  if (auto done = write_atomic(cluster.passfile(), passfile_text(cluster, secrets)); !done) return done;
  if (auto done = write_rest_secret(cluster, project.rest_password); !done) return done;
  return write_cluster_file(cluster);
}

std::optional<std::string> problem_with_passwords(const ComposeProject& project) {
  const Secret& pooler = project.pooler_password.empty() ? project.replication : project.pooler_password;
  if (auto problem = problem_with_password("POSTGRES_PASSWORD", project.superuser.reveal(), kSamples[0])) return problem;
  if (auto problem = problem_with_password("REPLICATION_PASSWORD", project.replication.reveal(), kSamples[1])) return problem;
  if (auto problem = problem_with_password("POOLER_PASSWORD", pooler.reveal(), "")) return problem;
  if (project.rest_user.empty() != project.rest_password.empty())
    return "RESTAPI_USERNAME and RESTAPI_PASSWORD belong together: set both or neither";
  return std::nullopt;
}

std::string env_text(std::string_view example, const Secret& superuser, const Secret& replication) {
  std::string out;
  bool found[2] = {false, false};
  const std::string lines[2] = {"POSTGRES_PASSWORD=" + superuser.reveal(), "REPLICATION_PASSWORD=" + replication.reveal()};
  for (const std::string& line : split(trim(example), '\n')) {
    int which = line.starts_with("POSTGRES_PASSWORD=") ? 0 : line.starts_with("REPLICATION_PASSWORD=") ? 1 : -1;
    if (which >= 0) found[which] = true;
    out += (which >= 0 ? lines[which] : line) + "\n";
  }
  for (int i = 0; i < 2; ++i) {
    if (!found[i]) out += lines[i] + "\n";
  }
  return out;
}

Result<void> make_env_file(const std::string& folder) {
  auto example = read_file(folder + "/.env.example");
  if (!example && example.error().code != Errc::not_found) return tl::unexpected(example.error());
  Secret secrets[2];
  for (Secret& secret : secrets) {
    // Letters and digits at random; one in 300 has no digit.
    do {
      auto made = generate_secret();
      if (!made) return tl::unexpected(made.error());
      secret = std::move(*made);
    } while (problem_with_password("", secret.reveal(), ""));
  }
  // Whole from the first moment, and never in place of another one: a link to an existing name fails.
  std::string path = env_file_path(folder), before = fmt::format("{}.{}.tmp", path, ::getpid());
  if (auto done = write_atomic(before, env_text(example ? *example : "", secrets[0], secrets[1])); !done) return done;
  int failed = ::link(before.c_str(), path.c_str()) == 0 ? 0 : errno;
  ::unlink(before.c_str());
  if (failed == EEXIST) return fail(Errc::conflict, path + " is there already");
  errno = failed;
  return failed == 0 ? Result<void>{} : tl::unexpected(errno_error("cannot make " + path));
}

bool Container::well() const {
  return running() && status.find("(unhealthy)") == std::string::npos && status.find("(health: starting)") == std::string::npos;
}

std::vector<Container> parse_containers(std::string_view text) {
  std::vector<Container> out;
  for (const std::string& line : split(text, '\n')) {
    auto fields = split(line, '\t');
    if (fields.size() >= 5) out.push_back({fields[0], fields[1], fields[2], fields[3], fields[4]});
  }
  std::ranges::sort(out, {}, &Container::service);
  return out;
}

Result<std::vector<Container>> containers_of(const std::string& project) {
  auto text = ask_docker({.arguments = {"ps", "--all", "--no-trunc", "--filter", "label=com.docker.compose.project=" + project,
                                        "--filter", "label=com.docker.compose.oneoff=False",
                                        "--format", kContainerFormat}});
  if (!text) return tl::unexpected(text.error());
  return parse_containers(*text);
}

Result<std::vector<std::string>> names_of(const char* kind, const std::string& project) {
  auto text = ask_docker(
      {.arguments = {kind, "ls", "--filter", "label=com.docker.compose.project=" + project, "--format", "{{.Name}}"}});
  if (!text) return tl::unexpected(text.error());
  std::vector<std::string> out;
  for (const std::string& line : split(*text, '\n')) {
    if (!trim(line).empty()) out.emplace_back(trim(line));
  }
  return out;
}

// "http://etcd1:2379, 8e9e05c52164694d, 3.5.16, 20 kB, true, false, …": the fifth says whether it leads.
std::string parse_etcd_leader(std::string_view text) {
  for (const std::string& line : split(text, '\n')) {
    auto fields = split(line, ',');
    constexpr std::string_view scheme = "http://";
    if (fields.size() < 5 || trim(fields[4]) != "true" || !fields[0].starts_with(scheme)) continue;
    return fields[0].substr(scheme.size(), fields[0].find(':', scheme.size()) - scheme.size());
  }
  return {};
}

std::string etcd_leader_of(const std::vector<Container>& containers, const std::vector<std::string>& members) {
  std::vector<std::string> endpoints;
  const Container* one = nullptr;
  for (const Container& container : containers) {
    if (std::ranges::find(members, container.service) == members.end() || !container.running()) continue;
    endpoints.push_back(fmt::format("http://{}:2379", container.service));
    one = &container;
  }
  if (!one) return {};
  // What the others say is printed even if one of them does not answer.
  auto answer = run_docker({.arguments = {"exec", one->id, "etcdctl", "--command-timeout=2s", "--endpoints=" + join(endpoints, ","),
                                          "endpoint", "status", "--write-out=simple"}});
  return answer ? parse_etcd_leader(answer->output) : std::string();
}

Result<std::vector<ContainerExits>> exits_of(const std::vector<Container>& containers) {
  DockerCall call{.arguments = {"inspect", "--format",
                                "{{index .Config.Labels \"com.docker.compose.service\"}}\t{{.RestartCount}}\t{{.State.ExitCode}}"}};
  for (const Container& container : containers) call.arguments.push_back(container.id);
  std::vector<ContainerExits> out;
  if (containers.empty()) return out;
  auto text = ask_docker(call);
  if (!text) return tl::unexpected(text.error());
  for (const std::string& line : split(*text, '\n')) {
    auto fields = split(line, '\t');
    if (fields.size() < 3) continue;
    out.push_back({fields[0], parse_int(fields[1]).value_or(0), static_cast<int>(parse_int(fields[2]).value_or(0))});
  }
  return out;
}

// "pg-primary  | 2026-11-28T05:07:33.914352008Z text"; without a terminal some versions begin it with ESC [2K. A container's
// number after its service ("pg-replica-1-1") is only there where a service has no container_name.
std::optional<ComposeLine> parse_compose_line(std::string_view line) {
  constexpr std::string_view erase = "\x1b[2K";
  while (line.starts_with(erase)) line.remove_prefix(erase.size());
  auto bar = line.find('|');
  if (bar == std::string_view::npos) return std::nullopt;
  ComposeLine out;
  out.service = trim(line.substr(0, bar));
  line.remove_prefix(std::min(bar + 2, line.size()));
  auto blank = std::min(line.find(' '), line.size());
  out.moment = line.substr(0, blank);
  out.text = line.substr(std::min(blank + 1, line.size()));
  // Zeros at the end of a fraction are not written.
  if (!out.moment.ends_with("Z") || out.moment.size() < 20) return std::nullopt;
  out.moment.pop_back();
  if (out.moment.size() == 19) out.moment += '.';
  out.moment.append(out.moment.size() < 29 ? 29 - out.moment.size() : 0, '0');
  out.moment += 'Z';
  return out;
}

DockerCall compose_call(const std::string& folder, const std::string& project, std::vector<std::string> arguments) {
  DockerCall out{.arguments = {"compose", "--ansi", "never"}, .folder = is_folder(folder) ? folder : "/"};
  out.without = {"COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE"};
  if (!project.empty()) out.arguments.insert(out.arguments.end(), {"--project-name", project});
  std::ranges::move(arguments, std::back_inserter(out.arguments));
  if (!exists(env_file_path(folder))) {
    for (const char* name : {"POSTGRES_PASSWORD", "REPLICATION_PASSWORD"}) {
      if (std::getenv(name) == nullptr) out.variables.push_back(std::string(name) + "=none");
    }
  }
  return out;
}

}  // namespace pgdba::local
