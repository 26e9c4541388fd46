// Patroni's keys. Ours are in pgdba_json.cpp.
#include "wire/cluster_json.h"

#include <algorithm>

#include "base/text.h"
#include "wire/json_tools.h"
#include "wire/member_parts.h"
#include "wire/moment.h"

namespace pgdba::wire {

namespace {

using model::Member;

// "postgres://host:port/db?application_name=http://host:8008/patroni", as Patroni wrote it until 2016.
Member parse_legacy_member(std::string_view text) {
  Member member;
  constexpr std::string_view mark = "application_name=";
  auto query = text.find('?');
  member.conn_url = text.substr(0, query);
  if (query == std::string_view::npos) return member;
  for (const std::string& part : split(text.substr(query + 1), '&')) {
    if (part.starts_with(mark)) member.api_url = part.substr(mark.size());
  }
  return member;
}

void write_optional(JsonWriter& writer, std::string_view name, const std::optional<Lsn>& lsn) {
  if (lsn) writer.unsigned_integer(name, lsn->bytes);
}

void write_filled(JsonWriter& writer, std::string_view name, const std::string& text) {
  if (!text.empty()) writer.text(name, text);
}

// An inner value, which Patroni also accepts as JSON text.
std::optional<js::value> inner_value(const js::object& object, std::string_view name) {
  const js::value* value = find(object, name);
  if (!value) return std::nullopt;
  if (!value->is_string()) return *value;
  auto parsed = parse_json(view(value->get_string()), kMaxValue);
  return parsed ? std::optional<js::value>(std::move(*parsed)) : std::nullopt;
}

bool is_blank(std::string_view text) {
  return text.size() <= kMaxValue && trim(text).empty();
}

}  // namespace

Result<Member> parse_member(std::string_view text) {
  if (text.size() <= kMaxValue && text.starts_with("postgres")) return parse_legacy_member(text);
  auto object = parse_json_object(text, kMaxValue);
  if (!object) return tl::unexpected(object.error());
  Member m;
  m.conn_url = text_of(*object, "conn_url").value_or("");
  m.api_url = text_of(*object, "api_url").value_or("");
  m.state = model::parse_pg_state(text_of(*object, "state").value_or("")).value_or(model::PgState::stopped);
  m.role = model::parse_role(text_of(*object, "role").value_or("")).value_or(model::Role::uninitialized);
  m.version = text_of(*object, "version").value_or("");
  m.proxy_url = text_of(*object, "proxy_url").value_or("");
  const js::value* checkpoint = find(*object, "checkpoint_after_promote");
  m.checkpoint_after_promote_pending = checkpoint && checkpoint->is_bool() && !checkpoint->get_bool();
  m.tags = tags_of(*object);
  m.pending_restart = true_of(*object, "pending_restart");
  if (m.pending_restart) m.pending_restart_reason = pending_restart_of(*object);
  m.xlog_location = lsn_of(*object, "xlog_location");
  m.replay_lsn = lsn_of(*object, "replay_lsn");
  m.receive_lsn = lsn_of(*object, "receive_lsn");
  m.replication_state = text_of(*object, "replication_state").value_or("");
  m.timeline = timeline_of(*object);
  m.scheduled_restart = scheduled_restart_of(*object);
  m.pause = true_of(*object, "pause");
  m.pgdba_version = text_of(*object, "pgdba").value_or("");
  m.term = std::max<int64_t>(0, integer_of(*object, "pgdba_term").value_or(0));
  m.ready_term = std::max<int64_t>(0, integer_of(*object, "pgdba_ready_term").value_or(0));
  m.leaving_sync = true_of(*object, "pgdba_leaving_sync");
  m.etcd_reset = true_of(*object, "pgdba_etcd_reset");
  return m;
}

std::string format_member(const Member& m) {
  JsonWriter w;
  w.begin_object();
  w.text("conn_url", m.conn_url).text("api_url", m.api_url);
  w.text("state", to_string(m.state)).text("role", to_string(m.role)).text("version", m.version);
  write_filled(w, "proxy_url", m.proxy_url);
  if (m.checkpoint_after_promote_pending) w.boolean("checkpoint_after_promote", false);
  write_tags(w, m.tags);
  write_pending_restart(w, m.pending_restart, m.pending_restart_reason);
  write_optional(w, "xlog_location", m.xlog_location);
  write_optional(w, "replay_lsn", m.replay_lsn);
  write_optional(w, "receive_lsn", m.receive_lsn);
  write_filled(w, "replication_state", m.replication_state);
  if (m.timeline != 0) w.unsigned_integer("timeline", m.timeline);
  write_scheduled_restart(w, m.scheduled_restart);
  if (m.pause) w.boolean("pause", true);
  write_filled(w, "pgdba", m.pgdba_version);
  if (m.term != 0) w.integer("pgdba_term", m.term);
  if (m.ready_term != 0) w.integer("pgdba_ready_term", m.ready_term);
  if (m.leaving_sync) w.boolean("pgdba_leaving_sync", true);
  if (m.etcd_reset) w.boolean("pgdba_etcd_reset", true);
  w.end_object();
  return w.take();
}

Result<model::SyncState> parse_sync(std::string_view text) {
  model::SyncState sync;
  if (is_blank(text)) return sync;
  auto object = parse_json_object(text, kMaxValue);
  if (!object) return tl::unexpected(object.error());
  sync.leader = text_of(*object, "leader").value_or("");
  if (sync.leader.empty()) return sync;
  if (const js::value* quorum = find(*object, "quorum"); quorum && !quorum->is_null()) {
    auto number = integer_of(*quorum);
    if (!number || *number < 0 || *number > 1'000'000)
      return fail(Errc::invalid, "quorum: expected a whole number from 0 on");
    sync.quorum = static_cast<int>(*number);
  }
  const js::value* standbys = find(*object, "sync_standby");
  if (!standbys || standbys->is_null()) return sync;
  if (!standbys->is_string()) {
    return fail(Errc::invalid,
                fmt::format("sync_standby: expected names with commas between, got {}", kind_name(*standbys)));
  }
  for (const std::string& name : split(view(standbys->get_string()), ',')) {
    if (!is_blank(name)) sync.standbys.emplace(trim(name));
  }
  return sync;
}

std::string format_sync(const model::SyncState& sync) {
  JsonWriter w;
  w.begin_object();
  if (sync.leader.empty()) {
    w.null("leader");
  } else {
    w.text("leader", sync.leader);
  }
  w.integer("quorum", sync.quorum);
  if (sync.standbys.empty()) {
    w.null("sync_standby");
  } else {
    w.text("sync_standby", join({sync.standbys.begin(), sync.standbys.end()}, ","));
  }
  w.end_object();
  return w.take();
}

Result<model::Status> parse_status(std::string_view text) {
  auto value = parse_json(text, kMaxValue);
  if (!value) return tl::unexpected(value.error());
  model::Status status;
  if (auto optime = lsn_of(*value)) return model::Status{.optime = *optime, .slots = {}, .retain_slots = {}};
  const js::object* object = value->if_object();
  if (!object) return fail(Errc::invalid, fmt::format("expected an object or a number, got {}", kind_name(*value)));
  status.optime = lsn_of(*object, "optime").value_or(Lsn{});
  if (auto slots = inner_value(*object, "slots"); slots && slots->is_object()) {
    for (const js::key_value_pair& slot : slots->get_object()) {
      if (auto lsn = lsn_of(slot.value())) status.slots[std::string(slot.key().data(), slot.key().size())] = *lsn;
    }
  }
  if (auto names = inner_value(*object, "retain_slots"); names && names->is_array()) {
    for (const js::value& name : names->get_array()) {
      if (name.is_string()) status.retain_slots.emplace_back(view(name.get_string()));
    }
  }
  return status;
}

std::string format_status(const model::Status& status) {
  JsonWriter w;
  w.begin_object().unsigned_integer("optime", status.optime.bytes);
  if (!status.slots.empty()) {
    w.key("slots").begin_object();
    for (const auto& [name, lsn] : status.slots) w.unsigned_integer(name, lsn.bytes);
    w.end_object();
  }
  if (!status.retain_slots.empty()) {
    w.key("retain_slots").begin_array();
    for (const std::string& name : status.retain_slots) w.text(name);
    w.end_array();
  }
  w.end_object();
  return w.take();
}

Result<model::FailoverRequest> parse_failover(std::string_view text) {
  model::FailoverRequest request;
  if (text.size() > kMaxValue) return fail(Errc::invalid, "too long");
  if (is_blank(text)) return request;
  auto value = parse_json(text, kMaxValue);
  if (!value) {  // "leader:candidate", either may be empty
    auto colon = text.find(':');
    if (text.find_first_of("{}[]\"") != std::string_view::npos) return tl::unexpected(value.error());
    request.leader = trim(text.substr(0, colon));
    if (colon != std::string_view::npos) request.candidate = trim(text.substr(colon + 1));
    return request;
  }
  const js::object* object = value->if_object();
  if (!object) return request;
  request.leader = text_of(*object, "leader").value_or("");
  request.candidate = text_of(*object, "member").value_or("");
  if (const js::value* at = find(*object, "scheduled_at"); at && !at->is_null()) {
    // A time that cannot be read must not turn into "now": as 1970 the request is stale, and the leader clears it.
    auto moment = at->is_string() ? parse_moment(view(at->get_string())) : std::nullopt;
    request.scheduled_at = moment && moment->zone ? moment->time : WallTime{};
  }
  return request;
}

std::string format_failover(const model::FailoverRequest& request) {
  JsonWriter w;
  w.begin_object();
  write_filled(w, "leader", request.leader);
  write_filled(w, "member", request.candidate);
  if (request.scheduled_at) w.text("scheduled_at", format_moment(*request.scheduled_at));
  w.end_object();
  return w.take();
}

Result<std::vector<model::HistoryLine>> parse_history(std::string_view text) {
  std::vector<model::HistoryLine> lines;
  if (is_blank(text)) return lines;
  auto value = parse_json(text, kMaxValue);
  if (!value) return tl::unexpected(value.error());
  const js::array* array = value->if_array();
  if (!array) return fail(Errc::invalid, fmt::format("expected a list, got {}", kind_name(*value)));
  for (const js::value& item : *array) {
    const js::array* fields = item.if_array();
    auto number = fields && fields->size() >= 3 ? integer_of((*fields)[0]) : std::nullopt;
    auto lsn = number ? lsn_of((*fields)[1]) : std::nullopt;
    if (!lsn || *number < 1 || *number > UINT32_MAX) {
      return fail(Errc::invalid, fmt::format("line {} is not [timeline, LSN, reason, time, leader]", lines.size() + 1));
    }
    auto text_at = [&](size_t i) {
      return i < fields->size() && (*fields)[i].is_string() ? std::string(view((*fields)[i].get_string()))
                                                            : std::string();
    };
    lines.push_back({static_cast<uint32_t>(*number), *lsn, text_at(2), text_at(3), text_at(4)});
  }
  return lines;
}

std::string format_history(const std::vector<model::HistoryLine>& lines) {
  JsonWriter w;
  w.begin_array();
  for (const model::HistoryLine& line : lines) {
    w.begin_array().unsigned_integer(line.timeline).unsigned_integer(line.switch_lsn.bytes).text(line.reason);
    if (!line.timestamp.empty() || !line.new_leader.empty()) w.text(line.timestamp);
    if (!line.new_leader.empty()) w.text(line.new_leader);
    w.end_array();
  }
  w.end_array();
  return w.take();
}

Result<std::map<std::string, std::string>> parse_failsafe(std::string_view text) {
  auto object = parse_json_object(text, kMaxValue);
  if (!object) return tl::unexpected(object.error());
  std::map<std::string, std::string> members;
  for (const js::key_value_pair& item : *object) {
    if (item.value().is_string())
      members[std::string(item.key().data(), item.key().size())] = view(item.value().get_string());
  }
  return members;
}

std::string format_failsafe(const std::map<std::string, std::string>& members) {
  JsonWriter w;
  w.begin_object();
  for (const auto& [name, url] : members) w.text(name, url);
  w.end_object();
  return w.take();
}

bool is_system_identifier(std::string_view text) {
  return text.size() >= 10 && text.size() <= 20 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace pgdba::wire
