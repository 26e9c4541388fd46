#include "conf/program_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace pgdba::conf {

const ProgramOptions kInitdbOptions{"initdb", {"pgdata", "nosync", "pwfile", "pwprompt", "sync-only", "version"}};
// write-recovery-conf would put primary_conninfo into postgresql.auto.conf, where it wins over a frozen configuration.
const ProgramOptions kBasebackupOptions{"pg_basebackup",
                                        {"pgdata", "format", "wal-method", "xlog-method", "gzip", "version", "dbname",
                                         "host", "port", "username", "password", "write-recovery-conf", "target"}};
const ProgramOptions kRewindOptions{
    "pg_rewind",
    {"target-pgdata", "source-pgdata", "source-server", "write-recovery-conf", "dry-run", "restore-target-wal",
     "config-file", "no-ensure-shutdown", "version", "help"}};

namespace {

using Kind = YamlNode::Kind;

class OptionReader {
 public:
  OptionReader(Section& section, std::string_view key, const ProgramOptions& options)
      : section_(section), key_(key), options_(options) {}

  // `value` null or true: a flag; false: left out.
  void add(std::string_view name, const YamlNode* value) {
    while (name.starts_with('-')) name.remove_prefix(1);
    if (!is_allowed(name)) return;
    if (value && (value->kind == Kind::list || value->kind == Kind::map)) {
      section_.error(key_, fmt::format("the value of {} must be a text or a number, not {}", name, describe(*value)));
      return;
    }
    if (value && value->kind == Kind::boolean && !value->boolean) return;
    bool flag = !value || value->is_null() || value->kind == Kind::boolean;
    if (name == "compress" && options_.program == "pg_basebackup" && (flag || !value->text.starts_with("server"))) {
      section_.error(
          key_, "compress must name a server method (\"server-lz4\", PostgreSQL 15 on): the clone needs plain files");
      return;
    }
    if (!flag && value->text.find('\n') != std::string::npos) {
      section_.error(key_, fmt::format("the value of {} has more than one line", name));
      return;
    }
    out.push_back(flag ? fmt::format("--{}", name) : fmt::format("--{}={}", name, value->text));
  }

  std::vector<std::string> out;

 private:
  bool is_allowed(std::string_view name) {
    bool long_name = name.size() > 1 && name.front() >= 'a' && name.front() <= 'z' &&
                     name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
    if (!long_name) {
      section_.error(key_, fmt::format("\"{}\" is not the long name of an option of {}, like \"encoding\"",
                                       name.substr(0, 40), options_.program));
      return false;
    }
    auto hit = std::ranges::find_if(options_.forbidden, [&](std::string_view word) { return word.starts_with(name); });
    if (hit == options_.forbidden.end()) return true;
    if (*hit == name) {
      section_.error(key_, fmt::format("{} is not allowed for {}: the agent decides it", name, options_.program));
    } else {
      section_.error(
          key_, fmt::format("{} could be short for {}, which is not allowed for {}", name, *hit, options_.program));
    }
    return false;
  }

  Section& section_;
  std::string_view key_;
  const ProgramOptions& options_;
};

}  // namespace

std::vector<std::string> read_program_options(Section& section, std::string_view name, const ProgramOptions& options) {
  const YamlNode* node = section.get(name);
  OptionReader reader(section, name, options);
  if (!node) return {};
  if (node->kind == Kind::map) {
    for (const auto& [key, value] : node->map) reader.add(key, &value);
    return std::move(reader.out);
  }
  if (node->kind != Kind::list) {
    section.wrong(name, fmt::format("a list or a map of options of {}", options.program));
    return {};
  }
  for (const YamlNode& item : node->list) {
    if (item.kind == Kind::text) {
      auto equals = item.text.find('=');
      YamlNode value;
      value.kind = Kind::text;
      if (equals != std::string::npos) value.text = item.text.substr(equals + 1);
      reader.add(std::string_view(item.text).substr(0, equals), equals == std::string::npos ? nullptr : &value);
    } else if (item.kind == Kind::map && item.map.size() == 1) {
      reader.add(item.map[0].first, &item.map[0].second);
    } else {
      section.error(name, fmt::format("expected \"option\" or \"option: value\" in each line, got {}", describe(item)));
    }
  }
  return std::move(reader.out);
}

}  // namespace pgdba::conf
