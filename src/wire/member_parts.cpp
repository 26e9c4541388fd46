#include "wire/member_parts.h"

#include "model/tags.h"

namespace pgdba::wire {

namespace {

std::string key_text(const js::key_value_pair& item) {
  return {item.key().data(), item.key().size()};
}

std::string as_text(const js::value& value) {
  if (value.is_null()) return {};
  if (const js::string* text = value.if_string()) return std::string(view(*text));
  return to_json(value);
}

}  // namespace

model::Tags tags_of(const js::object& parent) {
  const js::object* found = object_of(parent, "tags");
  if (!found) return {};
  model::TagEntries entries;
  for (const js::key_value_pair& item : *found) entries.emplace_back(key_text(item), to_json(item.value()));
  return model::make_tags(entries);
}

void write_tags(JsonWriter& writer, const model::Tags& tags) {
  auto entries = model::published_tags(tags);
  if (entries.empty()) return;
  writer.key("tags").begin_object();
  for (const auto& [name, json] : entries) writer.raw(name, json);
  writer.end_object();
}

PendingRestart pending_restart_of(const js::object& parent) {
  PendingRestart reason;
  const js::object* found = object_of(parent, "pending_restart_reason");
  if (!found) return reason;
  for (const js::key_value_pair& item : *found) {
    const js::object* change = item.value().if_object();
    if (!change) continue;
    const js::value* before = find(*change, "old_value");
    const js::value* after = find(*change, "new_value");
    reason[key_text(item)] = {before ? as_text(*before) : "", after ? as_text(*after) : ""};
  }
  return reason;
}

void write_pending_restart(JsonWriter& writer, bool pending, const PendingRestart& reason) {
  if (!pending) return;
  writer.boolean("pending_restart", true);
  if (reason.empty()) return;
  writer.key("pending_restart_reason").begin_object();
  for (const auto& [name, change] : reason) {
    writer.key(name).begin_object();
    writer.text("old_value", change.old_value).text("new_value", change.new_value).end_object();
  }
  writer.end_object();
}

std::optional<model::ScheduledRestart> scheduled_restart_of(const js::object& parent) {
  const js::object* found = object_of(parent, "scheduled_restart");
  if (!found) return std::nullopt;
  model::ScheduledRestart restart;
  for (const js::key_value_pair& item : *found) {
    std::string name = key_text(item);
    if (name == "schedule") {
      restart.schedule = as_text(item.value());
    } else if (name == "postmaster_start_time") {
      restart.postmaster_start_time = as_text(item.value());
    } else {
      restart.filters[name] = to_json(item.value());
    }
  }
  return restart;
}

void write_scheduled_restart(JsonWriter& writer, const std::optional<model::ScheduledRestart>& restart) {
  if (!restart) return;
  writer.key("scheduled_restart").begin_object().text("schedule", restart->schedule);
  for (const auto& [name, json] : restart->filters) writer.raw(name, json);
  if (!restart->postmaster_start_time.empty()) writer.text("postmaster_start_time", restart->postmaster_start_time);
  writer.end_object();
}

uint32_t timeline_of(const js::object& parent) {
  int64_t number = integer_of(parent, "timeline").value_or(0);
  return number > 0 && number <= UINT32_MAX ? static_cast<uint32_t>(number) : 0;
}

}  // namespace pgdba::wire
