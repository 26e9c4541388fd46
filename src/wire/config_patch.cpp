// Changing and comparing the text of the dynamic configuration.
#include <algorithm>

#include "base/text.h"
#include "wire/config_json.h"
#include "wire/json_tools.h"

namespace pgdba::wire {

namespace {

constexpr size_t kMaxDepth = 30;  // of a path; boost::json stops at 32 levels

// Two values are equal when Python's str() gives the same text for them, which is how Patroni tells whether a PATCH
// changes anything: 5 and "5" are equal, true and "true" are not ("True").
std::string python_text(const js::value& value) {
  if (const js::string* text = value.if_string()) return std::string(view(*text));
  if (value.is_bool()) return value.get_bool() ? "True" : "False";
  if (value.is_null()) return "None";
  return to_json(value, JsonStyle::spaced);
}

bool is_structured(const js::value& value) {
  return value.is_object() || value.is_array();
}

// Without the values that `goes` names, in one pass: each stable_erase would move all that follows.
template <class Goes>
void rebuild_without(js::object& object, const Goes& goes) {
  js::object kept(object.storage());
  kept.reserve(object.size());
  for (js::key_value_pair& item : object) {
    if (!goes(item)) kept.emplace(item.key(), std::move(item.value()));
  }
  object = std::move(kept);
}

void drop_nulls(js::value& value) {
  js::object* object = value.if_object();
  if (!object) return;
  rebuild_without(*object, [](const js::key_value_pair& item) { return item.value().is_null(); });
  for (js::key_value_pair& item : *object) drop_nulls(item.value());
}

bool merge(js::object& config, const js::object& patch) {
  bool changed = false;
  bool some_go = false;
  for (const js::key_value_pair& item : patch) {
    const js::value& value = item.value();
    js::value* current = config.if_contains(item.key());
    if (value.is_null()) {
      if (!current) continue;
      changed |= !current->is_null();
      some_go = true;
    } else if (current && current->is_object() && value.is_object()) {
      changed |= merge(current->get_object(), value.get_object());
    } else if (!current || is_structured(*current) != is_structured(value) ||
               python_text(*current) != python_text(value)) {
      js::value& target = config[item.key()];
      target = value;
      drop_nulls(target);
      changed = true;
    }
  }
  if (some_go) {
    rebuild_without(config, [&](const js::key_value_pair& item) {
      const js::value* word = patch.if_contains(item.key());
      return word != nullptr && word->is_null();
    });
  }
  return changed;
}

std::string path_of(const std::string& parent, std::string_view name) {
  return parent.empty() ? std::string(name) : fmt::format("{}.{}", parent, name);
}

void diff(const js::object& before, const js::object& after, const std::string& path, std::vector<ConfigChange>& out) {
  for (const js::key_value_pair& item : after) {
    std::string here = path_of(path, {item.key().data(), item.key().size()});
    const js::value* old = before.if_contains(item.key());
    const js::value& now = item.value();
    if (now.is_object() && (!old || old->is_object())) {
      if (!old && now.get_object().empty()) out.push_back({here, "", "{}"});
      diff(old ? old->get_object() : js::object(), now.get_object(), here, out);
    } else if (!old || to_json(*old) != to_json(now)) {
      out.push_back({here, old ? to_json(*old) : "", to_json(now)});
    }
  }
  for (const js::key_value_pair& item : before) {
    if (after.contains(item.key())) continue;
    out.push_back({path_of(path, {item.key().data(), item.key().size()}), to_json(item.value()), ""});
  }
}

}  // namespace

Result<PatchedConfig> patch_config(std::string_view config, std::string_view patch) {
  auto target = parse_json_object(config, kMaxConfig);
  if (!target) return tl::unexpected(std::move(target.error()).context("the present configuration"));
  auto changes = parse_json_object(patch, kMaxConfig);
  if (!changes) return tl::unexpected(std::move(changes.error()).context("the patch"));
  PatchedConfig out;
  out.changed = merge(*target, *changes);
  out.json = to_json(js::value(std::move(*target)));
  if (out.json.size() > kMaxConfig) return fail(Errc::invalid, "the configuration would be longer than 1 MiB");
  return out;
}

Result<std::string> restyle_json(std::string_view json, JsonStyle style) {
  auto value = parse_json(json, kMaxConfig);
  if (!value) return tl::unexpected(value.error());
  return to_json(*value, style);
}

Result<std::vector<ConfigChange>> diff_config(std::string_view before, std::string_view after) {
  auto a = parse_json_object(before, kMaxConfig);
  if (!a) return tl::unexpected(std::move(a.error()).context("the configuration before"));
  auto b = parse_json_object(after, kMaxConfig);
  if (!b) return tl::unexpected(std::move(b.error()).context("the configuration after"));
  std::vector<ConfigChange> changes;
  diff(*a, *b, "", changes);
  return changes;
}

Result<std::string> config_patch_from_assignment(std::string_view assignment) {
  auto equals = assignment.find('=');
  if (equals == std::string_view::npos || trim(assignment.substr(0, equals)).empty()) {
    return fail(
        Errc::invalid,
        fmt::format("'{}' is not NAME=VALUE, for example ttl=30 or postgresql.parameters.work_mem=64MB", assignment));
  }
  std::string_view name = trim(assignment.substr(0, equals));
  std::vector<std::string> path;
  // A setting may have a dot of its own: postgresql.parameters.pg_stat_statements.max.
  constexpr std::string_view settings = "postgresql.parameters.";
  if (name.starts_with(settings)) {
    path = {"postgresql", "parameters", std::string(name.substr(settings.size()))};
  } else {
    path = split(name, '.');
  }
  if (path.size() > kMaxDepth || std::ranges::any_of(path, [](const std::string& part) { return part.empty(); })) {
    return fail(Errc::invalid, fmt::format("'{}' is not a path like postgresql.parameters.work_mem", name));
  }
  std::string_view text = trim(assignment.substr(equals + 1));
  auto value = parse_json(text, kMaxConfig);
  if (!value && !text.empty() && (text.front() == '{' || text.front() == '[')) {
    return tl::unexpected(std::move(value.error()).context(name));
  }
  JsonWriter w;
  for (const std::string& part : path) w.begin_object().key(part);
  if (value) {
    write_json(w, *value);
  } else {
    w.text(text);
  }
  for (size_t i = 0; i < path.size(); ++i) w.end_object();
  return w.take();
}

}  // namespace pgdba::wire
