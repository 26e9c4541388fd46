// `pgdba logs [-f] [SOURCE…]`: all logs of a local cluster as one stream, each line with its source in front.
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/log_lines.h"
#include "local/log_merge.h"

namespace pgdba::cli {

namespace {

Outcome<std::vector<std::string>> chosen(const local::ClusterFile& cluster, const std::vector<std::string>& wanted) {
  std::vector<std::string> all = local::log_sources(cluster);
  if (wanted.empty()) return all;
  std::vector<std::string> out;
  for (const std::string& name : wanted) {
    if (name == "etcd") {
      for (const auto& member : cluster.etcd) out.push_back(member.name);
    } else if (std::ranges::find(all, name) != all.end()) {
      out.push_back(name);
    } else {
      auto guess = nearest(name, all);
      return give_up(Exit::usage,
                     fmt::format("no log of {}{}", name, guess ? fmt::format("; did you mean {}?", *guess) : ""),
                     "one of: etcd, " + join(all, ", "));
    }
  }
  return out;
}

}  // namespace

Done logs(Context& context, const LogsOptions& options) {
  auto target = find_managed(context, options.target, "logs");
  if (!target) return tl::unexpected(target.error());
  if (target->in_containers()) return logs_docker(context, options, *target);
  auto identity = identity_of(*target);
  if (!identity) return tl::unexpected(identity.error());
  local::ActAs act(*identity);
  auto sources = chosen(*target->local, options.sources);
  if (!sources) return tl::unexpected(sources.error());
  local::LogReader reader(*target->local, *sources, options.lines);
  LogPrinter printer(context.terminal, *sources);
  for (;;) {
    printer.print(reader.read());
    if (!options.follow) return Exit::done;
    std::this_thread::sleep_for(200ms);
  }
}

}  // namespace pgdba::cli
