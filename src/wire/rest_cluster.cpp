#include "wire/rest_cluster.h"

#include <algorithm>

#include "base/text.h"
#include "wire/cluster_json.h"
#include "wire/config_json.h"
#include "wire/json_tools.h"
#include "wire/member_parts.h"
#include "wire/moment.h"
#include "wire/rest_status.h"

namespace pgdba::wire {

namespace {

using model::ClusterView;

bool is_standby_cluster(const ClusterView& view) {
  auto config = parse_json_object(view.config_json, kMaxValue);
  const js::object* standby = config ? object_of(*config, "standby_cluster") : nullptr;
  if (!standby) return false;
  return std::ranges::any_of(
      std::initializer_list<const char*>{"host", "port", "restore_command"}, [&](const char* name) {
        const js::value* value = find(*standby, name);
        return value && !value->is_null() && !(value->is_string() && value->get_string().empty());
      });
}

std::string role_of(const std::string& name, const ClusterView& view, bool standby_cluster) {
  if (view.leader && view.leader->value == name) return standby_cluster ? "standby_leader" : "leader";
  if (standby_cluster || !view.config || !view.sync || view.sync->value.leader.empty()) return "replica";
  const auto& standbys = view.sync->value.standbys;
  bool listed = std::ranges::any_of(standbys, [&](const std::string& standby) { return iequals(standby, name); });
  if (!listed) return "replica";
  switch (view.config->value.synchronous_mode) {
    case model::SyncMode::off: return "replica";
    case model::SyncMode::priority: return "sync_standby";
    case model::SyncMode::quorum: return "quorum_standby";
  }
  return "replica";
}

void set_lag(std::optional<uint64_t>& lag, std::optional<Lsn>& shown, const std::optional<Lsn>& lsn, Lsn leader) {
  if (!lsn || !lsn->valid()) return;
  shown = lsn;
  lag = lag_bytes(leader, *lsn);
}

MemberReport report_of(const std::string& name, const model::Member& member, const ClusterView& view,
                       bool standby_cluster) {
  MemberReport r;
  r.name = name;
  r.role = role_of(name, view, standby_cluster);
  bool own_state = r.role == "leader" || member.replication_state.empty();
  r.state = own_state ? to_string(member.state) : member.replication_state;
  r.api_url = member.api_url;
  if (auto address = parse_conn_url(member.conn_url)) {
    r.host = address->host;
    r.port = address->port;
  }
  if (member.timeline != 0) r.timeline = member.timeline;
  r.pending_restart = member.pending_restart;
  r.pending_restart_reason = member.pending_restart_reason;
  r.scheduled_restart = member.scheduled_restart;
  r.tags = member.tags;
  if (!r.is_leader()) {
    Lsn leader = view.status ? view.status->value.optime : Lsn{};
    set_lag(r.receive_lag, r.receive_lsn, member.receive_lsn, leader);
    set_lag(r.replay_lag, r.replay_lsn, member.replay_lsn, leader);
    set_lag(r.lag, r.lsn, member.xlog_location, leader);
  }
  return r;
}

// Patroni assigns lsn before lag when both are unknown, and lag before lsn otherwise.
void write_lag(JsonWriter& w, const std::string& prefix, const std::optional<uint64_t>& lag,
               const std::optional<Lsn>& lsn) {
  if (lsn) {
    w.unsigned_integer(prefix + "lag", lag.value_or(0)).text(prefix + "lsn", format_lsn(*lsn));
  } else {
    w.text(prefix + "lsn", "unknown").text(prefix + "lag", "unknown");
  }
}

void write_member(JsonWriter& w, const MemberReport& m) {
  w.begin_object().text("name", m.name).text("role", m.role).text("state", m.state).text("api_url", m.api_url);
  if (!m.host.empty()) w.text("host", m.host);
  if (m.port) w.unsigned_integer("port", *m.port);
  if (m.timeline) w.unsigned_integer("timeline", *m.timeline);
  write_pending_restart(w, m.pending_restart, m.pending_restart_reason);
  write_scheduled_restart(w, m.scheduled_restart);
  write_tags(w, m.tags);
  if (!m.is_leader()) {
    write_lag(w, "receive_", m.receive_lag, m.receive_lsn);
    write_lag(w, "replay_", m.replay_lag, m.replay_lsn);
    write_lag(w, "", m.lag, m.lsn);
  }
  w.end_object();
}

std::optional<uint64_t> lag_of(const js::object& object, std::string_view name) {
  auto bytes = lsn_of(object, name);  // a number of bytes as well
  return bytes ? std::optional(bytes->bytes) : std::nullopt;
}

std::optional<Lsn> shown_lsn_of(const js::object& object, std::string_view name) {
  auto lsn = parse_lsn(text_of(object, name).value_or(""));
  return lsn ? std::optional(*lsn) : std::nullopt;
}

MemberReport read_member(const js::object& object) {
  MemberReport m;
  m.name = text_of(object, "name").value_or("");
  m.role = text_of(object, "role").value_or("");
  m.state = text_of(object, "state").value_or("");
  m.api_url = text_of(object, "api_url").value_or("");
  m.host = text_of(object, "host").value_or("");
  auto port = integer_of(object, "port");
  if (port && *port > 0 && *port <= 65535) m.port = static_cast<uint16_t>(*port);
  if (uint32_t timeline = timeline_of(object)) m.timeline = timeline;
  m.pending_restart = true_of(object, "pending_restart");
  if (m.pending_restart) m.pending_restart_reason = pending_restart_of(object);
  m.scheduled_restart = scheduled_restart_of(object);
  m.tags = tags_of(object);
  if (m.is_leader()) return m;
  m.receive_lag = lag_of(object, "receive_lag");
  m.replay_lag = lag_of(object, "replay_lag");
  m.lag = lag_of(object, "lag");
  m.receive_lsn = shown_lsn_of(object, "receive_lsn");
  m.replay_lsn = shown_lsn_of(object, "replay_lsn");
  m.lsn = shown_lsn_of(object, "lsn");
  return m;
}

}  // namespace

const MemberReport* ClusterReport::leader() const {
  auto found = std::ranges::find_if(members, &MemberReport::is_leader);
  return found == members.end() ? nullptr : &*found;
}

ClusterReport make_cluster_report(const ClusterView& view, std::string_view scope) {
  ClusterReport report;
  bool standby_cluster = is_standby_cluster(view);
  for (const auto& [name, member] : view.members) {
    report.members.push_back(report_of(name, member.value, view, standby_cluster));
  }
  report.pause = view.config && view.config->value.pause;
  if (view.failover && view.failover->value.scheduled_at) report.scheduled_switchover = view.failover->value;
  report.scope = scope;
  return report;
}

std::string format_cluster_answer(const ClusterReport& report) {
  JsonWriter w(JsonStyle::spaced);
  w.begin_object().key("members").begin_array();
  for (const MemberReport& member : report.members) write_member(w, member);
  w.end_array();
  if (report.pause) w.boolean("pause", true);
  if (report.scheduled_switchover && report.scheduled_switchover->scheduled_at) {
    const model::FailoverRequest& request = *report.scheduled_switchover;
    w.key("scheduled_switchover").begin_object().text("at", format_moment(*request.scheduled_at));
    if (!request.leader.empty()) w.text("from", request.leader);
    if (!request.candidate.empty()) w.text("to", request.candidate);
    w.end_object();
  }
  if (!report.scope.empty()) w.text("scope", report.scope);
  w.end_object();
  return w.take();
}

Result<ClusterReport> parse_cluster_answer(std::string_view text) {
  auto object = parse_json_object(text, kMaxAnswer);
  if (!object) return tl::unexpected(object.error());
  const js::array* members = array_of(*object, "members");
  if (!members) return fail(Errc::invalid, "no list of members: this is not an answer of a Patroni REST API");
  ClusterReport report;
  for (const js::value& item : *members) {
    if (const js::object* member = item.if_object()) report.members.push_back(read_member(*member));
  }
  std::ranges::stable_sort(report.members, {}, &MemberReport::name);
  report.pause = true_of(*object, "pause");
  if (const js::object* planned = object_of(*object, "scheduled_switchover")) {
    model::FailoverRequest request;
    request.leader = text_of(*planned, "from").value_or("");
    request.candidate = text_of(*planned, "to").value_or("");
    auto moment = parse_moment(text_of(*planned, "at").value_or(""));
    if (moment && moment->zone) request.scheduled_at = moment->time;
    if (request.scheduled_at) report.scheduled_switchover = request;
  }
  report.scope = text_of(*object, "scope").value_or("");
  return report;
}

std::string format_history_answer(const std::optional<model::Keyed<std::vector<model::HistoryLine>>>& history) {
  if (!history) return "[]";
  return restyle_json(format_history(history->value), JsonStyle::spaced).value_or("[]");
}

std::optional<HostPort> parse_conn_url(std::string_view url) {
  auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::nullopt;
  url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  if (auto at = url.rfind('@'); at != std::string_view::npos) url.remove_prefix(at + 1);
  HostPort out{.host = {}, .port = 5432};
  size_t host_end = 0;
  if (url.starts_with('[')) {
    host_end = url.find(']');
    if (host_end == std::string_view::npos) return std::nullopt;
    out.host = url.substr(1, host_end - 1);
    ++host_end;
  } else {
    host_end = std::min(url.find(':'), url.size());
    out.host = url.substr(0, host_end);
  }
  std::string_view rest = url.substr(host_end);
  if (out.host.empty()) return std::nullopt;
  if (rest.empty()) return out;
  auto port = rest.starts_with(':') ? parse_int(rest.substr(1)) : std::nullopt;
  if (!port || *port < 1 || *port > 65535) return std::nullopt;
  out.port = static_cast<uint16_t>(*port);
  return out;
}

}  // namespace pgdba::wire
