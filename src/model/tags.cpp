#include "model/tags.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace pgdba::model {

namespace {

using Texts = std::map<std::string, std::string>;

std::string_view unquoted(std::string_view json) {
  if (json.size() >= 2 && json.front() == '"' && json.back() == '"') return json.substr(1, json.size() - 2);
  return json;
}

bool is_true(const std::string& json) {
  std::string_view text = unquoted(json);
  if (auto value = parse_bool(text)) return *value;
  return !text.empty() && text != "null" && json != "[]" && json != "{}";
}

bool flag(const Texts& texts, const char* name) {
  auto found = texts.find(name);
  return found != texts.end() && is_true(found->second);
}

std::optional<int> priority(const Texts& texts, const char* name) {
  auto found = texts.find(name);
  if (found == texts.end()) return std::nullopt;
  auto number = parse_int(trim(unquoted(found->second)));
  if (!number) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(*number, -1'000'000, 1'000'000));
}

void interpret(const Texts& texts, Tags& tags) {
  tags.nofailover = flag(texts, "nofailover");
  tags.failover_priority = priority(texts, "failover_priority").value_or(1);
  if (texts.contains("nofailover") && !tags.nofailover && tags.failover_priority <= 0) tags.failover_priority = 1;
  tags.nosync = texts.contains("nosync") ? flag(texts, "nosync") : priority(texts, "sync_priority").value_or(1) <= 0;
  tags.noloadbalance = flag(texts, "noloadbalance");
  tags.clonefrom = flag(texts, "clonefrom");
}

void drop_false(Texts& texts) {
  auto drop = [&](const char* name, const char* unless) {
    auto found = texts.find(name);
    if (found != texts.end() && !is_true(found->second) && !(unless && texts.contains(unless))) texts.erase(found);
  };
  drop("clonefrom", nullptr);
  drop("noloadbalance", nullptr);
  drop("nostream", nullptr);
  drop("nofailover", "failover_priority");
  drop("nosync", "sync_priority");
}

// What a field alone is published as; empty: not at all.
std::string canonical(bool value) {
  return value ? "true" : "";
}
std::string canonical(int value) {
  return value == 1 ? "" : fmt::format("{}", value);
}

template <class Visit>
void for_each_field(Visit visit) {
  visit("nofailover", &Tags::nofailover);
  visit("failover_priority", &Tags::failover_priority);
  visit("nosync", &Tags::nosync);
  visit("noloadbalance", &Tags::noloadbalance);
  visit("clonefrom", &Tags::clonefrom);
}

}  // namespace

Tags make_tags(const TagEntries& entries) {
  Texts texts;
  for (const auto& [name, json] : entries) texts[name] = json;
  Tags tags;
  interpret(texts, tags);
  drop_false(texts);
  for_each_field([&](const char* name, auto field) {
    auto found = texts.find(name);
    if (found != texts.end() && found->second == canonical(tags.*field)) texts.erase(found);
  });
  tags.other = std::move(texts);
  return tags;
}

TagEntries published_tags(const Tags& tags) {
  Tags from_texts;
  interpret(tags.other, from_texts);
  Texts texts = tags.other;
  for_each_field([&](const char* name, auto field) {
    if (from_texts.*field == tags.*field && texts.contains(name)) return;
    std::string text = canonical(tags.*field);
    if (text.empty()) {
      texts.erase(name);
    } else {
      texts[name] = text;
    }
  });
  drop_false(texts);
  return {texts.begin(), texts.end()};
}

}  // namespace pgdba::model
