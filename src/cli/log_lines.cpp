#include "cli/log_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "wire/json_value.h"

namespace pgdba::cli {

namespace {

constexpr std::array<int, 6> kColours = {36, 33, 35, 32, 34, 31};

}  // namespace

LogPrinter::LogPrinter(const Terminal& terminal, std::vector<std::string> sources)
    : terminal_(terminal), sources_(std::move(sources)) {
  for (const std::string& source : sources_) width_ = std::max(width_, source.size());
}

void LogPrinter::print(const std::vector<local::LogLine>& lines) const {
  bool json = terminal_.options().format == Format::json;
  std::string out;
  for (const local::LogLine& line : lines) {
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
    auto index = static_cast<size_t>(std::ranges::find(sources_, line.source) - sources_.begin());
    std::string name = fmt::format("{:{}}", line.source, width_);
    if (terminal_.colour_out()) name = fmt::format("\x1b[{}m{}\x1b[0m", kColours.at(index % kColours.size()), name);
    out += fmt::format("{} | {}\n", name, line.text);
  }
  terminal_.data(out);
}

}  // namespace pgdba::cli
