#include "conf/pooler_ini.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.h"
#include "conf/pooler_checks.h"
#include "conf/pooler_values.h"

namespace pgdba::conf {

namespace {

// A line that is no section.
constexpr const char* kWanted =
    "expected key = value; a key with other characters than letters, digits, _ . - * stands in single quotes";
constexpr size_t kMaxFiles = 1000;  // a file that includes itself twice would be read 2^10 times
constexpr size_t kMaxErrors = 100;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
bool is_name_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
         c == '-' || c == '*';
}
std::string_view skip(std::string_view text, bool (*what)(char)) {
  while (!text.empty() && what(text.front())) text.remove_prefix(1);
  return text;
}

class Reader {
 public:
  Reader(PoolerReading& out, const FileReader& include) : out_(out), include_(include) {}

  void read_file(const std::string& path, std::string_view text, int level) {
    ++files_;
    size_t number = 0;
    while (!text.empty() && !stopped_) {
      auto end = text.find('\n');
      place_ = fmt::format("{}:{}", path, ++number);
      read_line(text.substr(0, end), level);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
  }

  void finish(const std::string& path) {
    if (!out_.errors.empty()) return;
    if (!main_section_) return out_.errors.push_back(fmt::format("section [pgbouncer] is missing in {}", path));
    for (const auto& [name, place] : set_at_) warn_if_idle(*find_setting(name), place);
    for (const DatabaseEntry& entry : out_.config.databases) {
      if (entry.max_lag && entry.role == Role::primary)
        warn(fmt::format("max_lag of database \"{}\" has no effect: a primary is not behind", shown(entry.name)));
    }
    for (const Contradiction& each : check_pooler(out_.config)) {
      auto at = set_at_.find(std::string(each.setting));
      const std::string sentence = fmt::format("{} ({})", each.sentence, at == set_at_.end() ? path : at->second);
      if (each.fatal) out_.errors.push_back(sentence);
      else warn(sentence);
    }
  }

 private:
  void error(const std::string& sentence, const std::string& detail = "") {
    if (stopped_) return;
    out_.errors.push_back(fmt::format("{} ({}){}{}", sentence, place_, detail.empty() ? "" : ": ", detail));
    if (out_.errors.size() < kMaxErrors) return;
    out_.errors.emplace_back("more mistakes follow");
    stopped_ = true;
  }
  void warn(const std::string& sentence) { out_.config.warnings.push_back(sentence); }

  void read_line(std::string_view line, int level) {
    line = skip(line, is_space);
    while (line.starts_with('[')) {  // PgBouncer goes on behind the bracket as if a line began there
      auto end = line.find(']');
      if (end == std::string_view::npos) return error("syntax error in configuration", "a section's name ends with ]");
      begin_section(std::string(line.substr(1, end - 1)));
      line = skip(line.substr(end + 1), is_space);
    }
    if (line.empty() || line.front() == '#' || line.front() == ';') return;
    if (line.find('\0') != std::string_view::npos) return error("syntax error in configuration", "a zero byte");
    if (line.starts_with("%include") && line.size() > 8 && is_blank(line[8]))
      return read_include(line.substr(9), level);
    auto name = read_name(line);
    line = skip(line, is_blank);
    if (!name || !line.starts_with('=')) return error("syntax error in configuration", kWanted);
    set(*name, trim(line.substr(1)));
  }

  // Takes the name off the line; quoted if it holds other characters than those of a plain one.
  static std::optional<std::string> read_name(std::string_view& line) {
    std::string name;
    if (!line.starts_with('\'')) {
      auto rest = skip(line, is_name_char);
      name = line.substr(0, line.size() - rest.size());
      line = rest;
    } else {
      size_t at = 1;
      for (;; ++at) {
        if (at >= line.size()) return std::nullopt;
        if (line[at] == '\'') {
          ++at;
          if (at == line.size() || line[at] != '\'') break;
        }
        name += line[at];
      }
      line.remove_prefix(at);
    }
    if (name.empty()) return std::nullopt;
    return name;
  }

  void read_include(std::string_view rest, int level) {
    std::string path(trim(rest));
    if (path.empty()) return error("syntax error in configuration", "%include needs a path");
    if (level >= kMaxIncludes || files_ >= kMaxFiles) return error("too many levels of %include");
    auto text = include_ ? include_(path) : fail(Errc::not_found, "files cannot be included here");
    if (!text) return error(fmt::format("could not include \"{}\"", shown(path)), text.error().text);
    read_file(path, *text, level + 1);
  }

  void begin_section(const std::string& name) {
    if (name != "pgbouncer" && name != "databases" && name != "users" && name != "peers") {
      section_ = "?";  // what follows belongs to a section that is no use; one sentence is enough
      return error(fmt::format("invalid section \"{}\" in configuration", shown(name)), "expected pgbouncer, databases, users or peers");
    }
    section_ = name;
    if (name != "pgbouncer") return;
    std::string conffile = out_.config.settings.conffile;
    out_.config.settings = default_pooler_settings();
    out_.config.settings.conffile = conffile;
    set_at_.clear();
    main_section_ = true;
  }

  void set(const std::string& name, std::string_view value) {
    if (section_ == "?") return;
    if (section_.empty()) return error(fmt::format("parameter {} stands before the first section", shown(name)));
    if (section_ == "pgbouncer") return set_setting(name, value);
    if (section_ == "databases")
      return add(parse_database_entry(name, value), out_.config.databases, &DatabaseEntry::name);
    if (section_ == "users") return add(parse_user_entry(name, value), out_.config.users, &UserEntry::name);
    add(parse_peer_entry(name, value), out_.config.peers, &PeerEntry::id);
  }

  void set_setting(const std::string& name, std::string_view value) {
    const SettingRow* row = find_setting(name);
    if (row == nullptr) {
      std::vector<std::string> names;
      for (const SettingRow& known : setting_rows()) names.emplace_back(known.name);
      auto meant = name.size() <= 64 ? nearest(name, names) : std::nullopt;
      return error(fmt::format("unknown parameter: pgbouncer/{} in configuration", shown(name)),
                   meant ? fmt::format("did you mean {}?", *meant) : "");
    }
    auto problem = row->read(out_.config.settings, value);
    if (!problem) {
      set_at_[name] = place_;
      return;
    }
    // A URL with a login in it is refused, and not repeated.
    bool login = value.find("://") != std::string_view::npos && value.find('@') != std::string_view::npos;
    if (value.find(" ;") != std::string_view::npos || value.find(" #") != std::string_view::npos)
      *problem += std::string(problem->empty() ? "" : "; ") + "a comment needs a line of its own";
    error(fmt::format("invalid value \"{}\" for parameter {} in configuration", login ? "***" : shown(value), name),
          *problem);
  }

  // An entry that is there already is replaced, where it stands.
  template <class Entry, class Key>
  void add(EntryReading<Entry> reading, std::vector<Entry>& entries, Key Entry::*key) {
    for (const std::string& sentence : reading.errors) error(sentence);
    if (!reading.errors.empty()) return;
    auto [at, fresh] = index<Entry>().try_emplace(fmt::format("{}", reading.entry.*key), entries.size());
    if (fresh) {
      entries.push_back(std::move(reading.entry));
    } else {
      warn(fmt::format("\"{}\" is given twice in [{}], the last one counts ({})", shown(at->first), section_, place_));
      entries[at->second] = std::move(reading.entry);
    }
  }
  template <class Entry>
  std::map<std::string, size_t>& index() {
    if constexpr (std::is_same_v<Entry, DatabaseEntry>) {
      return databases_;
    } else if constexpr (std::is_same_v<Entry, UserEntry>) {
      return users_;
    } else {
      return peers_;
    }
  }

  void warn_if_idle(const SettingRow& row, const std::string& place) {
    if (row.acted_on) return;
    static const PoolerSettings kDefaults = default_pooler_settings();
    if (row.write(out_.config.settings) == row.write(kDefaults)) return;
    warn(fmt::format("parameter {} has no effect: {} ({})", row.name, row.not_done, place));
  }

  PoolerReading& out_;
  const FileReader& include_;
  std::string place_;    // "file:line"
  std::string section_;  // "": none yet, "?": an unknown one
  bool main_section_ = false;
  bool stopped_ = false;
  size_t files_ = 0;
  std::map<std::string, std::string> set_at_;  // settings of the last [pgbouncer], and where they stand
  std::map<std::string, size_t> databases_, users_, peers_;
};

}  // namespace

PoolerReading read_pooler_ini(const std::string& path, std::string_view text, const FileReader& include) {
  PoolerReading out;
  out.config.settings = default_pooler_settings();
  out.config.settings.conffile = path;
  Reader reader(out, include);
  reader.read_file(path, text, 0);
  reader.finish(path);
  return out;
}

}  // namespace pgdba::conf
