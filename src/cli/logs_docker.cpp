// `pgdba logs` of containers: `docker compose logs`, ordered by time and written like the logs of processes.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/containers.h"
#include "cli/log_lines.h"

namespace pgdba::cli {

namespace {

local::DockerCall call_logs(const local::ClusterFile& cluster, std::vector<std::string> options, const std::vector<std::string>& services) {
  std::vector<std::string> arguments = {"logs", "--no-color", "--timestamps"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), services.begin(), services.end());
  return local::compose_call(cluster.compose->folder, cluster.compose->project, arguments);
}

}  // namespace

Done logs_docker(Context& context, const LogsOptions& options, const Target& target) {
  const local::ClusterFile& cluster = *target.local;
  auto services = chosen_services(cluster, options.sources);
  if (!services) return tl::unexpected(services.error());
  LogPrinter printer(context.terminal, *services);
  std::string newest;
  auto print = [&](const std::vector<std::string>& texts) {
    std::vector<local::ComposeLine> lines;
    for (const std::string& text : texts) {
      if (auto line = local::parse_compose_line(text)) lines.push_back(std::move(*line));
    }
    // Moments of one format and one zone: their text sorts as they do.
    std::ranges::stable_sort(lines, {}, &local::ComposeLine::moment);
    std::vector<local::LogLine> out;
    for (local::ComposeLine& line : lines) {
      newest = std::max(newest, line.moment);
      out.push_back({local::time_of_line(line.moment).value_or(WallTime{}), std::move(line.service), std::move(line.text)});
    }
    printer.print(out);
  };
  auto so_far = call_logs(cluster, {"--tail", options.lines > 0 ? std::to_string(options.lines) : "all"}, *services);
  std::vector<std::string> all;
  so_far.on_lines = [&](const std::vector<std::string>& lines) { all.insert(all.end(), lines.begin(), lines.end()); };
  so_far.patience.reset();
  if (auto done = run_compose(so_far); !done) return tl::unexpected(done.error());
  print(all);
  if (!options.follow) return Exit::done;
  // Docker gives what is as new as that again.
  const std::string last = newest;
  local::DockerCall follow = call_logs(cluster, {"--follow", "--since", last.empty() ? "0s" : last}, *services);
  follow.patience.reset();
  follow.on_lines = [&](std::vector<std::string> texts) {
    std::erase_if(texts, [&](const std::string& line) {
      auto parsed = local::parse_compose_line(line);
      return parsed && !last.empty() && parsed->moment <= last;
    });
    print(texts);
  };
  if (auto done = run_compose(follow); !done) return tl::unexpected(done.error());
  return Exit::done;
}

}  // namespace pgdba::cli
