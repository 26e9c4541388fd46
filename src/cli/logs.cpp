// `pgdba logs [-f] [SOURCE…]`: all logs of a local cluster as one stream, each line with its source in front.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/text.h"
#include "cli/commands.h"
#include "local/log_merge.h"

namespace pgdba::cli {

namespace {

constexpr std::array<int, 6> kColours = {36, 33, 35, 32, 34, 31};

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
  auto identity = identity_of(*target);
  if (!identity) return tl::unexpected(identity.error());
  local::ActAs act(*identity);
  auto sources = chosen(*target->local, options.sources);
  if (!sources) return tl::unexpected(sources.error());
  size_t width = 0;
  for (const std::string& source : *sources) width = std::max(width, source.size());
  local::LogReader reader(*target->local, *sources, options.lines);
  const Terminal& terminal = context.terminal;
  bool json = terminal.options().format == Format::json;
  for (;;) {
    std::string out;
    for (const local::LogLine& line : reader.read()) {
      if (json) {
        wire::JsonValue item;
        bool known = line.time != WallTime{};
        item.set("schema_version", 1)
            .set("time", known ? wire::JsonValue(format_utc(line.time)) : wire::JsonValue())
            .set("source", line.source)
            .set("line", line.text);
        out += wire::format_json_value(item, JsonStyle::compact) + "\n";
        continue;
      }
      auto index = static_cast<size_t>(std::ranges::find(*sources, line.source) - sources->begin());
      std::string name = fmt::format("{:{}}", line.source, width);
      if (terminal.colour_out()) name = fmt::format("\x1b[{}m{}\x1b[0m", kColours.at(index % kColours.size()), name);
      out += fmt::format("{} | {}\n", name, line.text);
    }
    terminal.data(out);
    if (!options.follow) return Exit::done;
    std::this_thread::sleep_for(200ms);
  }
}

}  // namespace pgdba::cli
