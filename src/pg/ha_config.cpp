// pgdba.ha_config and synchronous_standby_names as text, and back.
#include <fmt/format.h>

#include "base/text.h"
#include "pg/config_files.h"

namespace pgdba::pg {

namespace {

using model::PgConfig;
using model::SyncNames;

bool plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
}

// Everything but letters, digits, '-', '_' and '.' as %XX: the result has no blank, quote, colon or comma.
std::string percent_encode(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (plain(c)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return std::nullopt;
    out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  return out;
}

constexpr std::pair<PgConfig::Upstream, std::string_view> kUpstreams[] = {
    {PgConfig::Upstream::frozen, "frozen"}, {PgConfig::Upstream::none, "none"}, {PgConfig::Upstream::member, "member"}};
constexpr std::pair<SyncNames::Kind, std::string_view> kKinds[] = {
    {SyncNames::Kind::none, "none"}, {SyncNames::Kind::any, "any"}, {SyncNames::Kind::first, "first"}};

template <class T, size_t N>
std::string_view word_of(const std::pair<T, std::string_view> (&table)[N], T value) {
  for (const auto& [key, word] : table) {
    if (key == value) return word;
  }
  return {};
}

template <class T, size_t N>
std::optional<T> value_of(const std::pair<T, std::string_view> (&table)[N], std::string_view word) {
  for (const auto& [key, text] : table) {
    if (text == word) return key;
  }
  return std::nullopt;
}

bool parse_sync(std::string_view text, SyncNames& out) {
  std::vector<std::string> parts = split(text, ':');
  if (parts.size() != 3) return false;
  auto kind = value_of(kKinds, parts[0]);
  auto count = parse_int(parts[1]);
  if (!kind || !count) return false;
  out.kind = *kind;
  out.count = static_cast<int>(*count);
  for (const std::string& name : split(parts[2], ',')) {
    auto decoded = percent_decode(name);
    if (!decoded) return false;
    out.names.insert(*decoded);
  }
  return true;
}

}  // namespace

std::string format_ha_config(const PgConfig& config) {
  std::vector<std::string> names;
  for (const std::string& name : config.sync_names.names) names.push_back(percent_encode(name));
  return fmt::format("1 upstream={} member={} url={} nonce={} sync={}:{}:{} gate={} term={}",
                     word_of(kUpstreams, config.upstream), percent_encode(config.upstream_member),
                     percent_encode(config.upstream_conn_url), percent_encode(config.freeze_nonce),
                     word_of(kKinds, config.sync_names.kind), config.sync_names.count, join(names, ","),
                     config.gate_closed ? "closed" : "open", config.term);
}

std::optional<PgConfig> parse_ha_config(std::string_view text) {
  std::vector<std::string> words = split(text, ' ');
  if (words.size() != 8 || words[0] != "1") return std::nullopt;
  PgConfig out;
  for (size_t i = 1; i < words.size(); ++i) {
    auto equals = words[i].find('=');
    if (equals == std::string::npos) return std::nullopt;
    std::string key = words[i].substr(0, equals);
    std::string value = words[i].substr(equals + 1);
    if (key == "upstream") {
      auto upstream = value_of(kUpstreams, value);
      if (!upstream) return std::nullopt;
      out.upstream = *upstream;
    } else if (key == "sync") {
      if (!parse_sync(value, out.sync_names)) return std::nullopt;
    } else if (key == "gate") {
      if (value != "open" && value != "closed") return std::nullopt;
      out.gate_closed = value == "closed";
    } else if (key == "term") {
      auto term = parse_int(value);
      if (!term) return std::nullopt;
      out.term = *term;
    } else {
      auto decoded = percent_decode(value);
      if (!decoded) return std::nullopt;
      std::string* field = key == "member"  ? &out.upstream_member
                           : key == "url"   ? &out.upstream_conn_url
                           : key == "nonce" ? &out.freeze_nonce
                                            : nullptr;
      if (field == nullptr) return std::nullopt;
      *field = *decoded;
    }
  }
  return out;
}

std::string format_sync_names(const SyncNames& names) {
  if (names.kind == SyncNames::Kind::none || names.names.empty()) return {};
  std::vector<std::string> quoted;
  for (const std::string& name : names.names) {
    std::string one = "\"";
    for (char c : name) {
      if (c == '"') one += '"';
      one += c;
    }
    quoted.push_back(one + "\"");
  }
  return fmt::format("{} {} ({})", names.kind == SyncNames::Kind::any ? "ANY" : "FIRST", names.count,
                     join(quoted, ","));
}

std::optional<SyncNames> parse_sync_names(std::string_view text) {
  SyncNames out;
  text = trim(text);
  if (text.empty()) return out;
  auto open = text.find('(');
  if (open == std::string_view::npos || !text.ends_with(')')) return std::nullopt;
  std::vector<std::string> head;
  for (const std::string& word : split(trim(text.substr(0, open)), ' ')) {
    if (!word.empty()) head.push_back(word);
  }
  if (head.empty() || head.size() > 2) return std::nullopt;
  if (head.size() == 2 && !iequals(head[0], "any") && !iequals(head[0], "first")) return std::nullopt;
  out.kind = head.size() == 2 && iequals(head[0], "any") ? SyncNames::Kind::any : SyncNames::Kind::first;
  auto count = parse_int(head.back());
  if (!count || *count < 1) return std::nullopt;
  out.count = static_cast<int>(*count);
  std::string_view list = text.substr(open + 1, text.size() - open - 2);
  while (!(list = trim(list)).empty()) {
    std::string name;
    if (list.starts_with('"')) {
      size_t at = 1;
      for (; at < list.size(); ++at) {
        if (list[at] != '"') {
          name += list[at];
        } else if (at + 1 < list.size() && list[at + 1] == '"') {
          name += '"';
          ++at;
        } else {
          break;
        }
      }
      if (at >= list.size()) return std::nullopt;
      list = trim(list.substr(at + 1));
    } else {
      auto comma = list.find(',');
      name = lower(trim(list.substr(0, comma)));
      list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma);
    }
    if (name.empty()) return std::nullopt;
    out.names.insert(name);
    if (!list.empty() && !list.starts_with(',')) return std::nullopt;
    if (!list.empty()) list.remove_prefix(1);
  }
  return out;
}

}  // namespace pgdba::pg
