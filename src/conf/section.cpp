#include "conf/section.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace pgdba::conf {

namespace {

using Kind = YamlNode::Kind;

bool is_text_like(const YamlNode& node) {
  return node.kind == Kind::text || node.kind == Kind::integer || node.kind == Kind::number;
}

}  // namespace

Section::Section(const YamlNode* node, std::string path, Problems& problems)
    : node_(node && node->kind == Kind::map ? node : nullptr), path_(std::move(path)), problems_(problems) {}

const YamlNode* Section::peek(std::string_view name) const {
  const YamlNode* found = node_ ? node_->find(name) : nullptr;
  return found && !found->is_null() ? found : nullptr;
}

const YamlNode* Section::get(std::string_view name) {
  asked_.emplace_back(name);
  return peek(name);
}

std::string Section::at(std::string_view name) const {
  const YamlNode* found = peek(name);
  if (!found) found = node_;
  std::string where = found ? found->where() : "";
  return fmt::format("{}{}{}", where, path_, name);
}

void Section::wrong(std::string_view name, std::string_view wanted) {
  const YamlNode* found = peek(name);
  problems_.errors.push_back(
      fmt::format("{}: expected {}, got {}", at(name), wanted, found ? describe(*found) : "nothing"));
}

void Section::missing(std::string_view name, std::string_view hint) {
  problems_.errors.push_back(fmt::format("{}: missing: {}", at(name), hint));
}

void Section::error(std::string_view name, std::string_view sentence) {
  problems_.errors.push_back(fmt::format("{}: {}", at(name), sentence));
}

void Section::warn(std::string_view name, std::string_view sentence) {
  problems_.warnings.push_back(fmt::format("{}: {}", at(name), sentence));
}

Section Section::section(std::string_view name) {
  const YamlNode* found = get(name);
  if (found && found->kind != Kind::map) wrong(name, "a map");
  return {found, fmt::format("{}{}.", path_, name), problems_};
}

std::optional<std::string> Section::text(std::string_view name) {
  const YamlNode* found = get(name);
  if (!found) return std::nullopt;
  if (is_text_like(*found)) return found->text;
  wrong(name, found->kind == Kind::boolean ? "a text (put it in quotes)" : "a text");
  return std::nullopt;
}

std::optional<std::string> Section::address_text(std::string_view name) {
  const YamlNode* found = get(name);
  if (!found) return std::nullopt;
  if (found->kind == Kind::text) return found->text;
  wrong(name, "\"host:port\"");
  return std::nullopt;
}

std::string Section::text_or(std::string_view name, std::string_view fallback) {
  return text(name).value_or(std::string(fallback));
}

std::string Section::word(std::string_view name, std::initializer_list<std::string_view> words,
                          std::string_view fallback) {
  const YamlNode* found = get(name);
  if (!found) return std::string(fallback);
  std::vector<std::string> spelled(words.begin(), words.end());
  if (found->is_scalar()) {
    auto same = std::ranges::find_if(words, [&](std::string_view word) { return iequals(word, found->text); });
    if (same != words.end()) return std::string(*same);
  }
  problems_.errors.push_back(
      fmt::format("{}: expected one of {}, got {}", at(name), join(spelled, ", "),
                  found->is_scalar() ? fmt::format("\"{}\"", found->text.substr(0, 40)) : describe(*found)));
  return std::string(fallback);
}

// The value never appears in a message, whatever it is.
Secret Section::secret(std::string_view name) {
  const YamlNode* found = get(name);
  if (!found) return {};
  if (is_text_like(*found)) return Secret(found->text);
  problems_.errors.push_back(
      fmt::format("{}: expected a text, got {}", at(name),
                  found->kind == Kind::boolean ? "a boolean (put it in quotes)" : describe(*found)));
  return {};
}

std::optional<bool> Section::boolean(std::string_view name) {
  const YamlNode* found = get(name);
  if (!found) return std::nullopt;
  if (found->kind == Kind::boolean) return found->boolean;
  auto value = is_text_like(*found) ? parse_bool(found->text) : std::nullopt;
  if (!value) wrong(name, "true or false");
  return value;
}

int64_t Section::integer(std::string_view name, int64_t fallback, int64_t low, int64_t high) {
  const YamlNode* found = get(name);
  if (!found) return fallback;
  std::optional<int64_t> value;
  if (found->kind == Kind::integer) value = found->integer;
  if (found->kind == Kind::text) value = parse_int(trim(found->text));
  if (value && *value >= low && *value <= high) return *value;
  wrong(name, fmt::format("a whole number from {} to {}", low, high));
  return fallback;
}

Duration Section::seconds(std::string_view name, Duration fallback) {
  const YamlNode* found = get(name);
  if (!found) return fallback;
  auto value = is_text_like(*found) ? parse_duration(found->text) : std::nullopt;
  if (value && *value >= 0s && *value <= std::chrono::hours(24 * 365)) return *value;
  wrong(name, "a number of seconds, or a text like \"30s\" or \"5min\"");
  return fallback;
}

std::optional<std::vector<std::string>> Section::texts(std::string_view name, std::string_view wanted) {
  const YamlNode* found = get(name);
  if (!found) return std::nullopt;
  if (found->kind != Kind::list) {
    wrong(name, wanted);
    return std::nullopt;
  }
  std::vector<std::string> out;
  for (const YamlNode& item : found->list) {
    if (is_text_like(item)) {
      out.push_back(item.text);
    } else {
      problems_.errors.push_back(
          fmt::format("{}{}{}: expected {}, got {} in it", item.where(), path_, name, wanted, describe(item)));
    }
  }
  return out;
}

std::map<std::string, std::string> Section::text_map(std::string_view name) {
  std::map<std::string, std::string> out;
  Section map = section(name);
  if (!map.node_) return out;
  for (const auto& [key, value] : map.node_->map) {
    if (auto text = map.text(key)) out[key] = *text;
  }
  return out;
}

void Section::known_but_idle(std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) {
    asked_.emplace_back(name);
    if (peek(name)) problems_.idle.push_back(fmt::format("{}{}", path_, name));
  }
}

void Section::finish() {
  if (!node_) return;
  for (const auto& [name, value] : node_->map) {
    if (std::ranges::find(asked_, name) != asked_.end()) continue;
    auto guess = name.size() <= 64 ? nearest(name, asked_) : std::nullopt;
    problems_.warnings.push_back(fmt::format("{}{}{}: unknown, ignored{}", value.where(), path_, name.substr(0, 100),
                                             guess ? fmt::format("; did you mean {}?", *guess) : ""));
  }
}

}  // namespace pgdba::conf
