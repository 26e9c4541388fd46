#include "wire/keys.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace pgdba::wire {

namespace {

void append_collapsed(std::string& out, std::string_view part) {
  for (char c : part) {
    if (c != '/' || out.empty() || out.back() != '/') out += c;
  }
}

bool is_timeline(std::string_view text) {
  uint32_t number = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size() && number != 0 && text.front() != '0';
}

constexpr std::pair<std::string_view, KeyKind> kPlain[] = {{keys::initialize, KeyKind::initialize},
                                                           {keys::config, KeyKind::config},
                                                           {keys::leader, KeyKind::leader},
                                                           {keys::status, KeyKind::status},
                                                           {keys::history, KeyKind::history},
                                                           {keys::sync, KeyKind::sync},
                                                           {keys::failover, KeyKind::failover},
                                                           {keys::failsafe, KeyKind::failsafe},
                                                           {keys::optime_leader, KeyKind::optime_leader},
                                                           {keys::term, KeyKind::term},
                                                           {keys::beat, KeyKind::beat},
                                                           {keys::released, KeyKind::released},
                                                           {keys::switchover, KeyKind::switchover}};

constexpr std::pair<std::string_view, KeyKind> kNamed[] = {
    {keys::members, KeyKind::member},     {"pgdba/promise/", KeyKind::promise}, {"pgdba/timeline/", KeyKind::timeline},
    {"pgdba/suspect/", KeyKind::suspect}, {"pgdba/intent/", KeyKind::intent},   {"pgdba/pooler/", KeyKind::pooler}};

}  // namespace

std::string key_prefix(std::string_view name_space, std::string_view scope) {
  std::string out = "/";
  for (std::string_view part : {name_space, scope}) {
    append_collapsed(out, part);
    append_collapsed(out, "/");
  }
  return out;
}

KeyName classify_key(std::string_view relative) {
  for (auto [name, kind] : kPlain) {
    if (relative == name) return {kind, {}};
  }
  for (auto [prefix, kind] : kNamed) {
    if (!relative.starts_with(prefix)) continue;
    std::string_view name = relative.substr(prefix.size());
    if (name.empty() || name.find('/') != std::string_view::npos) break;
    if (kind == KeyKind::timeline && !is_timeline(name)) break;
    return {kind, name};
  }
  return {};
}

namespace keys {

std::string member(std::string_view name) {
  return fmt::format("{}{}", members, name);
}
std::string promise(std::string_view name) {
  return fmt::format("pgdba/promise/{}", name);
}
std::string suspect(std::string_view name) {
  return fmt::format("pgdba/suspect/{}", name);
}
std::string intent(std::string_view name) {
  return fmt::format("pgdba/intent/{}", name);
}
std::string pooler(std::string_view id) {
  return fmt::format("pgdba/pooler/{}", id);
}
std::string timeline(uint32_t number) {
  return fmt::format("pgdba/timeline/{}", number);
}

}  // namespace keys

}  // namespace pgdba::wire
