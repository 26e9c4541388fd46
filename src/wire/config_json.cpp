// Typed reading of the dynamic configuration. Changing its text is in config_patch.cpp.
#include "wire/config_json.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "wire/json_tools.h"

namespace pgdba::wire {

namespace {

using model::DynamicConfig;

constexpr int64_t kLongest = 10LL * 365 * 86400;  // seconds; longer times are typing errors and would overflow sums

std::string shown(const js::value& value) {
  std::string text = to_json(value);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

// PostgreSQL's text of a setting; nullopt for lists and objects.
std::optional<std::string> setting_text(const js::value& value) {
  if (const js::string* text = value.if_string()) return std::string(view(*text));
  if (value.is_bool()) return value.get_bool() ? "on" : "off";
  if (value.is_number()) return to_json(value);
  return std::nullopt;
}

// Reads one level of the configuration. Every reader leaves its target alone when the key is absent or null, and gives
// a warning and puts `base` there when the value is of no use.
class ConfigFields {
 public:
  ConfigFields(const js::object& object, std::string path, std::vector<std::string>& warnings)
      : object_(object), path_(std::move(path)), warnings_(warnings) {}

  void boolean(std::string_view name, bool& target, bool base) {
    const js::value* value = present(name);
    if (!value) return;
    std::optional<bool> read;
    if (auto text = setting_text(*value)) read = parse_bool(*text);
    store(name, *value, read, target, base, "on or off");
  }

  template <class Int>
  void number(std::string_view name, Int& target, Int base, int64_t low, int64_t high, std::string_view wanted,
              bool bytes = false) {
    const js::value* value = present(name);
    if (!value) return;
    std::optional<Int> read;
    auto text = setting_text(*value);
    auto found = !text || value->is_bool() ? std::nullopt : parse_bytes(*text);
    if (found && !bytes && value->is_string() && !parse_int(trim(*text))) found.reset();
    if (found && *found >= low && *found <= high) read = static_cast<Int>(*found);
    store(name, *value, read, target, base, wanted);
  }

  // The first of the names that is present.
  void seconds(std::initializer_list<std::string_view> names, Duration& target, Duration base, Duration low) {
    for (std::string_view name : names) {
      const js::value* value = present(name);
      if (!value) continue;
      std::optional<Duration> read;
      auto text = setting_text(*value);
      if (text && !value->is_bool()) read = parse_duration(*text);
      if (read && (*read < low || *read > std::chrono::seconds(kLongest))) read.reset();
      store(name, *value, read, target, base, "a number of seconds, or a text like \"30s\" or \"5min\"");
      return;
    }
  }

  void sync_mode(std::string_view name, model::SyncMode& target, model::SyncMode base) {
    const js::value* value = present(name);
    if (!value) return;
    std::optional<model::SyncMode> read;
    if (auto text = setting_text(*value)) {
      if (auto on = parse_bool(*text)) read = *on ? model::SyncMode::priority : model::SyncMode::off;
      if (iequals(*text, "quorum")) read = model::SyncMode::quorum;
    }
    store(name, *value, read, target, base, "on, off or quorum");
  }

  void settings(std::string_view name, std::map<std::string, std::string>& target) {
    const js::object* found = child(name);
    if (!found) return;
    for (const js::key_value_pair& item : *found) {
      if (item.value().is_null()) continue;
      std::string_view key(item.key().data(), item.key().size());
      if (auto text = setting_text(item.value())) {
        target[lower(key)] = *text;
      } else {
        warn(fmt::format("{}.{}", name, key), item.value(), "a text, a number or a boolean", "it is left out");
      }
    }
  }

  void lines(std::string_view name, std::vector<std::string>& target, const std::vector<std::string>& base) {
    const js::value* value = present(name);
    if (!value) return;
    std::optional<std::vector<std::string>> read;
    if (const js::array* list = value->if_array()) {
      read.emplace();
      for (const js::value& line : *list) {
        if (!line.is_string()) {
          read.reset();
          break;
        }
        read->emplace_back(view(line.get_string()));
      }
    }
    store(name, *value, read, target, base, "a list of lines");
  }

  const js::object* child(std::string_view name) {
    const js::value* value = present(name);
    if (!value) return nullptr;
    if (!value->is_object()) warn(name, *value, "an object", "it is left out");
    return value->if_object();
  }

 private:
  const js::value* present(std::string_view name) {
    const js::value* value = find(object_, name);
    return value && !value->is_null() ? value : nullptr;
  }

  template <class T>
  void store(std::string_view name, const js::value& value, std::optional<T> read, T& target, const T& base,
             std::string_view wanted) {
    target = read ? std::move(*read) : base;
    if (!read) warn(name, value, wanted, "the value in force before stays");
  }

  void warn(std::string_view name, const js::value& value, std::string_view wanted, std::string_view consequence) {
    warnings_.push_back(fmt::format("{}{}: expected {}, got {}; {}", path_, name, wanted, shown(value), consequence));
  }

  const js::object& object_;
  std::string path_;
  std::vector<std::string>& warnings_;
};

void read_postgresql(const js::object& object, ConfigReading& out, const DynamicConfig::Postgresql& base) {
  DynamicConfig::Postgresql& pg = out.config.postgresql;
  ConfigFields fields(object, "postgresql.", out.warnings);
  fields.boolean("use_pg_rewind", pg.use_pg_rewind, base.use_pg_rewind);
  fields.boolean("use_slots", pg.use_slots, base.use_slots);
  fields.settings("parameters", pg.parameters);
  fields.lines("pg_hba", pg.pg_hba, base.pg_hba);
  fields.lines("pg_ident", pg.pg_ident, base.pg_ident);
}

ConfigReading read_object(const js::object& object, const DynamicConfig& base) {
  ConfigReading out;
  DynamicConfig& c = out.config;
  constexpr int64_t unlimited = INT64_MAX;
  ConfigFields f(object, "", out.warnings);
  f.seconds({"ttl"}, c.timings.ttl, base.timings.ttl, 1s);
  f.seconds({"loop_wait"}, c.timings.loop_wait, base.timings.loop_wait, 1ms);
  f.seconds({"retry_timeout"}, c.timings.retry_timeout, base.timings.retry_timeout, 1ms);
  constexpr std::string_view size = "a number of bytes, or a text like \"1MB\"";
  f.number("maximum_lag_on_failover", c.maximum_lag_on_failover, base.maximum_lag_on_failover, 0, unlimited, size,
           true);
  f.number("maximum_lag_on_syncnode", c.maximum_lag_on_syncnode, base.maximum_lag_on_syncnode, -1, unlimited, size,
           true);
  f.number("max_timelines_history", c.max_timelines_history, base.max_timelines_history, 0, 1'000'000,
           "a whole number from 0 on");
  f.seconds({"primary_start_timeout", "master_start_timeout"}, c.primary_start_timeout, base.primary_start_timeout, 0s);
  f.seconds({"primary_stop_timeout", "master_stop_timeout"}, c.primary_stop_timeout, base.primary_stop_timeout, 0s);
  f.sync_mode("synchronous_mode", c.synchronous_mode, base.synchronous_mode);
  f.boolean("synchronous_mode_strict", c.synchronous_mode_strict, base.synchronous_mode_strict);
  f.number("synchronous_node_count", c.synchronous_node_count, base.synchronous_node_count, 0, 1000,
           "a whole number from 0 to 1000");
  f.boolean("failsafe_mode", c.failsafe_mode, base.failsafe_mode);
  f.boolean("pause", c.pause, base.pause);
  f.boolean("check_timeline", c.check_timeline, base.check_timeline);
  f.seconds({"member_slots_ttl"}, c.member_slots_ttl, base.member_slots_ttl, 0s);
  if (const js::object* postgresql = f.child("postgresql")) read_postgresql(*postgresql, out, base.postgresql);
  return out;
}

}  // namespace

Result<ConfigReading> parse_dynamic_config(std::string_view json, const DynamicConfig& base) {
  auto object = parse_json_object(json, kMaxConfig);
  if (!object) return tl::unexpected(object.error());
  return read_object(*object, base);
}

std::vector<std::string> check_dynamic_config(std::string_view json) {
  auto object = parse_json_object(json, kMaxConfig);
  if (!object) return {object.error().text};
  ConfigReading reading = read_object(*object, {});
  std::vector<std::string> problems = std::move(reading.warnings);
  const model::Timings& t = reading.config.timings;
  auto s = [](Duration d) { return std::chrono::duration<double>(d).count(); };
  if (t.ttl < 2s)
    problems.push_back(fmt::format("ttl: {} s is less than 2 s, below which no failover is safe", s(t.ttl)));
  // Below 20 s the other two follow ttl (model::adjust), so that only their explicit values can be a mistake there.
  if (t.ttl >= 20s && t.loop_wait + 2 * t.retry_timeout > t.ttl) {
    problems.push_back(fmt::format("ttl: loop_wait {} s + 2 * retry_timeout {} s must not be more than ttl {} s",
                                   s(t.loop_wait), s(t.retry_timeout), s(t.ttl)));
  }
  return problems;
}

}  // namespace pgdba::wire
