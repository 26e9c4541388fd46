#include "cli/containers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"

namespace pgdba::cli {

Failure docker_failure(const Error& error, std::string next) {
  if (error.code == Errc::not_found)
    next = "install Docker Engine 20.10 or later with the Compose plugin, or run without it: pgdba up";
  if (error.code == Errc::unavailable) next = "sudo systemctl start docker   (or set DOCKER_HOST to where an engine listens)";
  if (error.code == Errc::denied)
    next = "sudo usermod -aG docker $USER   adds you to the docker group; log in again, then the same command";
  return as_failure(error, std::move(next));
}

Outcome<void> run_compose(const local::DockerCall& call) {
  auto answer = local::run_docker(call);
  if (!answer) return tl::unexpected(docker_failure(answer.error()));
  if (answer->code != 0) return tl::unexpected(docker_failure(local::docker_error(call, *answer)));
  return {};
}

Outcome<std::vector<std::string>> chosen_services(const local::ClusterFile& cluster, const std::vector<std::string>& wanted) {
  std::vector<std::string> all, out;
  for (const auto& node : cluster.nodes) all.push_back(node.name);
  for (const auto& member : cluster.etcd) all.push_back(member.name);
  all.push_back(cluster.compose->pooler);
  if (wanted.empty()) return all;
  for (const std::string& name : wanted) {
    if (name == "etcd") {
      for (const auto& member : cluster.etcd) out.push_back(member.name);
    } else if (name == local::kPooler) {
      out.push_back(cluster.compose->pooler);
    } else if (std::ranges::find(all, name) != all.end()) {
      out.push_back(name);
    } else {
      auto guess = nearest(name, all);
      return give_up(Exit::usage, fmt::format("no container {}{}", name, guess ? fmt::format("; did you mean {}?", *guess) : ""),
                     "one of: etcd, pooler, " + join(all, ", "));
    }
  }
  return out;
}

}  // namespace pgdba::cli
