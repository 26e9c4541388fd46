#include "cli/target.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "local/files.h"
#include "local/secrets.h"

namespace pgdba::cli {

namespace {

constexpr const char* kDefaultName = "local-ha";

bool names_port(std::string_view url) {
  url.remove_prefix(url.find("://") + 3);
  std::string_view authority = url.substr(0, url.find_first_of("/?"));
  return authority.starts_with("[") ? authority.find("]:") != std::string_view::npos
                                    : authority.find(':') != std::string_view::npos;
}

Outcome<Target> registered_target(const Registered& entry) {
  auto identity = identity_at(entry.root);
  if (!identity) return tl::unexpected(identity.error());
  local::ActAs act(*identity);
  auto cluster = local::read_cluster_file(entry.root);
  if (!cluster) {
    bool gone = cluster.error().code == Errc::not_found;
    return give_up(
        Exit::failed,
        gone ? fmt::format("cluster {} is registered, but {} holds none", entry.name, entry.root)
             : cluster.error().text,
        gone ? fmt::format("pgdba up --name {}   or   pgdba cluster forget --name {}", entry.name, entry.name) : "");
  }
  return managed_target(*cluster);
}

Outcome<Target> external_target(const Context& context, const Registered& entry) {
  Target out;
  out.name = entry.name;
  out.scope = entry.scope;
  out.system_identifier = entry.system_identifier;
  out.members = entry.members;
  out.pg_host = entry.pg_host;
  out.pg_port = entry.pg_port;
  out.cacert = entry.cacert;
  auto credentials = context.registry.credentials(entry.name);
  if (!credentials) return tl::unexpected(credentials.error());
  out.credentials = std::move(*credentials);
  return out;
}

Outcome<Target> with_tls(Target target) {
  std::string problem;
  target.tls = tls_for(target.endpoints(), target.cacert, problem);
  if (!problem.empty()) return give_up(Exit::usage, problem);
  return target;
}

Outcome<Target> by_name(const Context& context, const std::vector<Registered>& known, const std::string& name) {
  auto found = std::ranges::find(known, name, &Registered::name);
  if (found != known.end()) return found->managed ? registered_target(*found) : external_target(context, *found);
  // The registry may have been lost, or belong to another HOME: the folder says that the cluster exists.
  std::string root = local::default_root(name);
  if (!local::problem_with_name(name) && local::exists(local::cluster_file_path(root))) {
    Registered entry;
    entry.name = name;
    entry.root = root;
    return registered_target(entry);
  }
  std::vector<std::string> names;
  for (const Registered& entry : known) names.push_back(entry.name);
  auto guess = nearest(name, names);
  std::string text = fmt::format("no cluster is named {}", name);
  if (guess) text += fmt::format("; did you mean {}?", *guess);
  return give_up(Exit::usage, text, names.empty() ? "pgdba up" : "pgdba cluster list");
}

}  // namespace

std::vector<std::string> Target::endpoints() const {
  std::vector<std::string> out;
  for (const auto& member : members) {
    if (!member.endpoint.empty()) out.push_back(member.endpoint);
  }
  return out;
}

std::string Target::flag() const {
  return named_explicitly ? " --name " + name : "";
}

std::shared_ptr<net::TlsContext> tls_for(const std::vector<std::string>& urls, const std::string& cacert,
                                         std::string& problem) {
  bool needed = std::ranges::any_of(urls, [](const std::string& url) { return url.starts_with("https://"); });
  if (!needed) return {};
  net::TlsClientOptions options;
  options.ca_file = cacert;
  auto context = net::TlsContext::client(options);
  if (context) return *context;
  problem = context.error().text;
  return {};
}

Outcome<std::vector<std::string>> parse_endpoints(const std::string& list) {
  std::vector<std::string> out;
  for (const std::string& item : split(list, ',')) {
    std::string text(trim(item));
    if (text.empty()) continue;
    if (text.find("://") == std::string::npos) text = "http://" + text;
    auto url = net::parse_url(text);
    if (!url)
      return give_up(Exit::usage, fmt::format("--patroni-url {}: {}", item, url.error().text),
                     "--patroni-url http://HOST:8008");
    // The customary port of the API when none is given.
    if (!names_port(text)) url->port = 8008;
    std::string origin = url->origin();
    if (std::ranges::find(out, origin) == out.end()) out.push_back(std::move(origin));
  }
  if (out.empty()) return give_up(Exit::usage, "--patroni-url names no address", "--patroni-url http://HOST:8008");
  return out;
}

Outcome<Target> find_target(const Context& context, const TargetOptions& options) {
  if (!options.patroni_url.empty()) {
    if (!options.name.empty()) return give_up(Exit::usage, "--name and --patroni-url exclude each other");
    auto endpoints = parse_endpoints(options.patroni_url);
    if (!endpoints) return tl::unexpected(endpoints.error());
    Target out;
    for (std::string& endpoint : *endpoints) out.members.push_back({"", std::move(endpoint)});
    out.cacert = options.cacert;
    auto credentials = context.registry.credentials("*");
    if (!credentials) return tl::unexpected(credentials.error());
    out.credentials = std::move(*credentials);
    return with_tls(std::move(out));
  }
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  std::string name = options.name;
  if (name.empty() && known->size() == 1) name = known->front().name;
  if (name.empty() && known->empty()) {
    if (!local::exists(local::cluster_file_path(local::default_root(kDefaultName)))) {
      return give_up(Exit::usage, "no cluster is known here",
                     "pgdba up   (makes one on this machine)   or   pgdba cluster connect --name N --patroni-url URL");
    }
    name = kDefaultName;
  }
  if (name.empty()) {
    std::vector<std::string> names;
    for (const Registered& entry : *known) names.push_back(entry.name);
    return give_up(Exit::usage,
                   fmt::format("several clusters are known ({}); say which one is meant", join(names, ", ")),
                   "the same command with --name " + names.front());
  }
  auto found = by_name(context, *known, name);
  if (!found) return found;
  found->named_explicitly = known->size() > 1;
  if (!options.cacert.empty()) found->cacert = options.cacert;
  return with_tls(std::move(*found));
}

Outcome<Target> find_managed(const Context& context, const TargetOptions& options, std::string_view verb) {
  auto found = find_target(context, options);
  if (found && !found->managed) {
    return give_up(Exit::refused,
                   fmt::format("`{}` works on clusters that `pgdba up` made on this machine; {} is run by others", verb,
                               found->name),
                   fmt::format("pgdba cluster status --name {}", found->name));
  }
  return found;
}

Target managed_target(const local::ClusterFile& cluster) {
  Target out;
  out.name = cluster.name;
  out.managed = true;
  out.scope = cluster.compose ? cluster.compose->scope : cluster.name;
  for (const auto& node : cluster.nodes) out.members.push_back({node.name, cluster.rest_url(node)});
  if (auto secret = local::read_rest_secret(cluster))
    out.credentials = {cluster.compose ? cluster.compose->rest_user : local::kRestUser, std::move(*secret)};
  out.local = cluster;
  return out;
}

Outcome<local::Identity> identity_of(const Target& target) {
  return identity_at(target.local ? target.local->root : "");
}

Outcome<local::Identity> identity_at(const std::string& root) {
  // PostgreSQL's processes never run as root, so a cluster file of root's is of containers.
  struct stat info {};
  if (::getuid() == 0 && ::lstat(local::cluster_file_path(root).c_str(), &info) == 0 && info.st_uid == 0)
    return local::current_identity();
  auto identity = local::choose_identity(root);
  if (!identity) return tl::unexpected(as_failure(identity.error()));
  return *identity;
}

}  // namespace pgdba::cli
