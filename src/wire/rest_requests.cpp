#include "wire/rest_requests.h"

#include <algorithm>

#include "base/json_writer.h"
#include "base/text.h"
#include "base/units.h"
#include "wire/json_tools.h"
#include "wire/moment.h"

namespace pgdba::wire {

namespace {

tl::unexpected<RestAnswer> refuse(int code, std::string text, bool html = false) {
  return tl::unexpected(RestAnswer{code, std::move(text), html});
}

// The body as an object: 411 without a length, 400 for anything that is no filled object.
Parsed<js::object> mandatory_object(std::optional<std::string_view> body) {
  if (!body) return refuse(411, "a Content-Length is required", true);
  auto object = parse_json_object(*body, kMaxRequest);
  if (!object) return refuse(400, object.error().text, true);
  if (object->empty()) return refuse(400, "the JSON object is empty", true);
  return std::move(*object);
}

Parsed<js::object> optional_object(std::optional<std::string_view> body) {
  if (!body || body->empty()) return js::object();
  auto object = parse_json_object(*body, kMaxRequest);
  if (!object) return refuse(400, object.error().text, true);
  return std::move(*object);
}

// A name in the request: absent, null, false and 0 are all "not given"; another kind is nobody's name.
Parsed<std::string> name_of(const js::object& object, std::string_view field) {
  const js::value* value = find(object, field);
  if (!value || value->is_null()) return std::string();
  if (const js::string* text = value->if_string()) return std::string(view(*text));
  return refuse(400, fmt::format("{}: expected a member's name, got {}", field, kind_name(*value)));
}

Parsed<WallTime> moment_of(const js::value& value, std::string_view action, WallTime now) {
  auto time = value.is_string() ? parse_schedule(view(value.get_string()), now)
                                : tl::expected<WallTime, ScheduleError>(tl::unexpected(ScheduleError::unreadable));
  if (!time) return tl::unexpected(schedule_answer(time.error(), action));
  return *time;
}

bool is_given(const js::value* value) {
  if (!value || value->is_null()) return false;
  return !(value->is_string() && value->get_string().empty()) && !(value->is_bool() && !value->get_bool());
}

std::optional<RestAnswer> read_filter(std::string_view name, const js::value& value, WallTime now,
                                      RestartRequest& out) {
  if (name == "schedule") {
    auto time = moment_of(value, "restart", now);
    if (!time) return time.error();
    out.schedule = *time;
  } else if (name == "role") {
    auto role = value.is_string() ? model::parse_role(view(value.get_string())) : std::nullopt;
    if (role != model::Role::primary && role != model::Role::standby_leader && role != model::Role::replica) {
      return RestAnswer{400, "PostgreSQL role should be either primary, standby_leader, or replica"};
    }
    out.role = role;
  } else if (name == "postgres_version") {
    auto version = parse_postgres_version(value.is_string() ? std::string(view(value.get_string())) : to_json(value));
    if (!version) return RestAnswer{400, version.error().text};
    out.postgres_version = *version;
  } else if (name == "timeout") {
    auto timeout = parse_duration(value.is_string() ? std::string(view(value.get_string())) : to_json(value));
    if (!timeout || *timeout < 1s) return RestAnswer{400, "Timeout should be a positive number of seconds"};
    out.timeout = timeout;
  } else if (name == "restart_pending") {
    out.restart_pending = true;  // Patroni looks only at whether it is there
  } else {
    return RestAnswer{400, fmt::format("Unknown filter for the scheduled restart: {}", name)};
  }
  return std::nullopt;
}

bool bool_of(const js::object& object, std::string_view field) {
  const js::value* value = find(object, field);
  if (!value) return false;
  return parse_bool(value->is_string() ? std::string(view(value->get_string())) : to_json(*value)).value_or(false);
}

std::string_view explanation(int code) {
  switch (code) {
    case 400: return "Bad request syntax or unsupported method";
    case 404: return "Nothing matches the given URI";
    case 409: return "Request conflict";
    case 411: return "Client must specify Content-Length";
    case 413: return "Entity is too large";
    case 501: return "Server does not support this operation";
    case 502: return "Invalid responses from another server/proxy";
    case 503: return "The server cannot process the request due to a high load";
    default: return reason_phrase(code);
  }
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

std::string_view reason_phrase(int code) {
  switch (code) {
    case 200: return "OK";
    case 202: return "Accepted";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 422: return "Unprocessable Entity";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    default: return "Unknown";
  }
}

RestBody render_answer(const RestAnswer& answer, bool client_speaks_json) {
  std::string text = answer.text.empty() && answer.html ? std::string(explanation(answer.code)) : answer.text;
  if (client_speaks_json) {
    if (!answer.why.empty()) text += ": " + answer.why;
    JsonWriter w(JsonStyle::spaced);
    w.begin_object().text("message", text).end_object();
    return {"application/json", w.take()};
  }
  if (!answer.html) return {"text/html", std::move(text)};
  std::string message = answer.text.empty() ? std::string(reason_phrase(answer.code)) : escape_html(answer.text);
  return {"text/html;charset=utf-8",
          fmt::format(
              "<!DOCTYPE html>\n<html><head><title>Error response</title></head>\n<body><h1>Error response</h1>\n"
              "<p>Error code: {}</p>\n<p>Message: {}.</p>\n<p>Error code explanation: {} - {}.</p>\n</body></html>\n",
              answer.code, message, answer.code, explanation(answer.code))};
}

bool is_json_content_type(std::string_view header) {
  return iequals(trim(header.substr(0, header.find(';'))), "application/json");
}

Parsed<SwitchoverRequest> parse_switchover_request(bool switchover, std::optional<std::string_view> body, bool paused,
                                                   WallTime now) {
  auto object = mandatory_object(body);
  if (!object) return tl::unexpected(object.error());
  SwitchoverRequest r{.switchover = switchover, .leader = {}, .candidate = {}, .scheduled_at = {}};
  for (auto [field, target] : {std::pair{"leader", &r.leader}, {"candidate", &r.candidate}, {"member", &r.candidate}}) {
    if (!target->empty()) continue;
    auto name = name_of(*object, field);
    if (!name) return tl::unexpected(name.error());
    *target = std::move(*name);
  }
  if (!switchover && r.candidate.empty())
    return refuse(400, "Failover could be performed only to a specific candidate");
  if (switchover && r.leader.empty()) return refuse(400, "Switchover could be performed only from a specific leader");
  if (const js::value* at = find(*object, "scheduled_at"); is_given(at)) {
    if (!switchover) return refuse(400, "Failover can't be scheduled");
    if (paused) return refuse(400, "Can't schedule switchover in the paused state");
    auto time = moment_of(*at, "switchover", now);
    if (!time) return tl::unexpected(time.error());
    r.scheduled_at = *time;
  }
  if (paused && r.candidate.empty()) {
    return refuse(400, "Switchover is possible only to a specific candidate in a paused state");
  }
  if (!r.leader.empty()) r.switchover = true;
  if (r.leader == r.candidate) return refuse(400, "Switchover target and source are the same");
  return r;
}

Parsed<RestartRequest> parse_restart_request(std::optional<std::string_view> body, bool paused, WallTime now) {
  auto object = optional_object(body);
  if (!object) return tl::unexpected(object.error());
  if (paused && find(*object, "schedule")) return refuse(500, "Can't schedule restart in the paused state");
  RestartRequest r;
  for (const js::key_value_pair& item : *object) {
    if (auto answer = read_filter({item.key().data(), item.key().size()}, item.value(), now, r))
      return tl::unexpected(*answer);
  }
  return r;
}

Parsed<ReinitializeRequest> parse_reinitialize_request(std::optional<std::string_view> body) {
  auto object = optional_object(body);
  if (!object) return tl::unexpected(object.error());
  return ReinitializeRequest{bool_of(*object, "force"), bool_of(*object, "from_leader")};
}

Parsed<std::string> parse_config_request(std::optional<std::string_view> body) {
  auto object = mandatory_object(body);
  if (!object) return tl::unexpected(object.error());
  return to_json(js::value(std::move(*object)));
}

Parsed<FailsafeRequest> parse_failsafe_request(std::optional<std::string_view> body) {
  auto object = mandatory_object(body);
  if (!object) return tl::unexpected(object.error());
  FailsafeRequest r;
  r.name = text_of(*object, "name").value_or("");
  r.conn_url = text_of(*object, "conn_url").value_or("");
  r.api_url = text_of(*object, "api_url").value_or("");
  if (const js::object* slots = object_of(*object, "slots")) {
    for (const js::key_value_pair& slot : *slots) {
      if (auto lsn = lsn_of(slot.value())) r.slots[std::string(slot.key().data(), slot.key().size())] = *lsn;
    }
  }
  if (r.name.empty()) return refuse(400, "name: expected the name of the member that asks", true);
  return r;
}

std::string format_switchover_request(const SwitchoverRequest& r) {
  JsonWriter w;
  w.begin_object();
  if (!r.leader.empty()) w.text("leader", r.leader);
  if (!r.candidate.empty()) w.text("candidate", r.candidate);
  if (r.scheduled_at) w.text("scheduled_at", format_moment(*r.scheduled_at));
  w.end_object();
  return w.take();
}

std::string format_restart_request(const RestartRequest& r) {
  JsonWriter w;
  w.begin_object();
  if (r.schedule) w.text("schedule", format_moment(*r.schedule));
  if (r.role) w.text("role", to_string(*r.role));
  if (r.postgres_version) {
    int v = *r.postgres_version;
    w.text("postgres_version", v >= 100000 ? fmt::format("{}.{}", v / 10000, v % 10000)
                                           : fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100));
  }
  if (r.timeout) w.integer("timeout", std::chrono::ceil<std::chrono::seconds>(*r.timeout).count());
  if (r.restart_pending) w.boolean("restart_pending", true);
  w.end_object();
  return w.take();
}

std::string format_reinitialize_request(const ReinitializeRequest& r) {
  JsonWriter w;
  w.begin_object().boolean("force", r.force).boolean("from_leader", r.from_leader).end_object();
  return w.take();
}

tl::expected<WallTime, ScheduleError> parse_schedule(std::string_view text, WallTime now) {
  auto moment = parse_moment(text);
  if (!moment) return tl::unexpected(ScheduleError::unreadable);
  if (!moment->zone) return tl::unexpected(ScheduleError::no_zone);
  if (moment->time < now) return tl::unexpected(ScheduleError::in_the_past);
  return moment->time;
}

RestAnswer schedule_answer(ScheduleError error, std::string_view action) {
  switch (error) {
    case ScheduleError::no_zone:
      return {400, fmt::format("Timezone information is mandatory for the scheduled {}", action)};
    case ScheduleError::in_the_past: return {422, fmt::format("Cannot schedule {} in the past", action)};
    case ScheduleError::unreadable: break;
  }
  return {422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"};
}

Result<int> parse_postgres_version(std::string_view text) {
  std::vector<int> parts;
  for (const std::string& part : split(text, '.')) {
    auto number = parse_int(trim(part));
    if (!number || *number < 0 || *number > 9999)
      return fail(Errc::invalid, fmt::format("Invalid PostgreSQL version: {}", text));
    parts.push_back(static_cast<int>(*number));
  }
  if (parts.empty()) return fail(Errc::invalid, "Invalid PostgreSQL version: ");
  bool modern = parts.size() == 2 && parts[0] >= 10 && parts[0] < 100;
  bool old = parts.size() == 3 && parts[0] < 100 && parts[1] < 100 && parts[2] < 100;
  if (modern) return parts[0] * 10000 + parts[1];
  if (old) return parts[0] * 10000 + parts[1] * 100 + parts[2];
  return fail(Errc::invalid, fmt::format("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: {}", text));
}

}  // namespace pgdba::wire
