#include "wire/rest_status.h"

#include <algorithm>

#include "base/text.h"
#include "wire/json_tools.h"
#include "wire/member_parts.h"
#include "wire/moment.h"

namespace pgdba::wire {

namespace {

std::string python_time(WallTime time) {
  return format_moment(time, ' ');
}

std::optional<WallTime> time_of(const js::object& object, std::string_view name) {
  auto text = text_of(object, name);
  auto moment = text ? parse_moment(*text) : std::nullopt;
  return moment && moment->zone ? std::optional(moment->time) : std::nullopt;
}

void write_xlog(JsonWriter& w, const NodeStatus& s) {
  if (s.primary) {
    w.key("xlog").begin_object().unsigned_integer("location", s.primary->location.bytes).end_object();
  } else if (s.replica) {
    w.key("xlog").begin_object().unsigned_integer("received_location", s.replica->received.bytes);
    w.unsigned_integer("replayed_location", s.replica->replayed.bytes).key("replayed_timestamp");
    if (s.replica->replayed_timestamp) {
      w.text(python_time(*s.replica->replayed_timestamp));
    } else {
      w.null();
    }
    w.boolean("paused", s.replica->paused).end_object();
  }
}

void write_replication(JsonWriter& w, const std::vector<WalSender>& senders) {
  if (senders.empty()) return;
  w.key("replication").begin_array();
  for (const WalSender& sender : senders) {
    w.begin_object().text("usename", sender.usename).text("application_name", sender.application_name);
    if (sender.client_addr.empty()) {
      w.null("client_addr");
    } else {
      w.text("client_addr", sender.client_addr);
    }
    w.text("state", sender.state).text("sync_state", sender.sync_state).integer("sync_priority", sender.sync_priority);
    w.end_object();
  }
  w.end_array();
}

void write_pgdba(JsonWriter& w, const PgdbaStatus& p) {
  w.key("pgdba").begin_object().text("version", p.version).integer("term", p.term);
  if (p.lock_ms) w.integer("lock_ms", *p.lock_ms);
  if (p.position) {
    w.key("position").begin_object().integer("term", p.position->term).unsigned_integer("tli", p.position->timeline);
    w.text("lsn", format_lsn(p.position->lsn)).end_object();
  }
  w.boolean("frozen", p.frozen).boolean("gate_open", p.gate_open);
  if (p.no_data) w.boolean("no_data", true);
  w.end_object();
}

std::optional<PgdbaStatus> pgdba_of(const js::object& parent) {
  const js::object* object = object_of(parent, "pgdba");
  if (!object) return std::nullopt;
  PgdbaStatus p;
  p.version = text_of(*object, "version").value_or("");
  p.term = std::max<int64_t>(0, integer_of(*object, "term").value_or(0));
  p.lock_ms = integer_of(*object, "lock_ms");
  if (const js::object* position = object_of(*object, "position")) {
    auto lsn = parse_lsn(text_of(*position, "lsn").value_or(""));
    int64_t tli = integer_of(*position, "tli").value_or(-1);
    int64_t term = integer_of(*position, "term").value_or(-1);
    if (lsn && tli >= 0 && tli <= UINT32_MAX && term >= 0) {
      p.position = model::Position{.term = term, .timeline = static_cast<uint32_t>(tli), .lsn = *lsn};
    }
  }
  p.frozen = true_of(*object, "frozen");
  const js::value* gate = find(*object, "gate_open");
  p.gate_open = !gate || !gate->is_bool() || gate->get_bool();
  p.no_data = true_of(*object, "no_data");
  return p;
}

void read_xlog(const js::object& object, NodeStatus& s) {
  const js::object* xlog = object_of(object, "xlog");
  if (!xlog) xlog = object_of(object, "wal");
  if (!xlog) return;
  if (auto location = lsn_of(*xlog, "location")) {
    s.primary = PrimaryXlog{*location};
    return;
  }
  auto received = lsn_of(*xlog, "received_location");
  auto replayed = lsn_of(*xlog, "replayed_location");
  if (!received && !replayed) return;
  s.replica = ReplicaXlog{received.value_or(Lsn{}), replayed.value_or(Lsn{}), time_of(*xlog, "replayed_timestamp"),
                          true_of(*xlog, "paused")};
}

std::vector<WalSender> replication_of(const js::object& object) {
  std::vector<WalSender> senders;
  const js::array* rows = array_of(object, "replication");
  if (!rows) return senders;
  for (const js::value& item : *rows) {
    const js::object* row = item.if_object();
    if (!row) continue;
    auto text = [&](std::string_view name) { return text_of(*row, name).value_or(""); };
    auto priority = std::clamp<int64_t>(integer_of(*row, "sync_priority").value_or(0), 0, 1'000'000);
    senders.push_back({text("usename"), text("application_name"), text("client_addr"), text("state"),
                       text("sync_state"), static_cast<int>(priority)});
  }
  return senders;
}

}  // namespace

std::optional<Lsn> NodeStatus::wal_position() const {
  if (primary) return primary->location;
  if (replica) return std::max(replica->received, replica->replayed);
  return std::nullopt;
}

std::string format_status_answer(const NodeStatus& s) {
  JsonWriter w(JsonStyle::spaced);
  w.begin_object().text("state", s.state ? to_string(*s.state) : "unknown");
  if (s.postmaster_start_time) w.text("postmaster_start_time", python_time(*s.postmaster_start_time));
  w.text("role", to_string(s.role));
  if (s.server_version) w.integer("server_version", *s.server_version);
  write_xlog(w, s);
  if (s.sync_role == SyncRole::quorum_standby) w.boolean("quorum_standby", true);
  if (s.sync_role == SyncRole::sync_standby) w.boolean("sync_standby", true);
  if (s.timeline) {
    w.unsigned_integer("timeline", *s.timeline);
  } else if (s.has_position()) {
    w.null("timeline");
  }
  if (!s.replication_state.empty()) w.text("replication_state", s.replication_state);
  write_replication(w, s.replication);
  if (s.pause) w.boolean("pause", true);
  if (s.cluster_unlocked) w.boolean("cluster_unlocked", true);
  if (s.failsafe_mode_is_active) w.boolean("failsafe_mode_is_active", true);
  if (s.dcs_last_seen) w.integer("dcs_last_seen", *s.dcs_last_seen);
  write_tags(w, s.tags);
  if (!s.system_identifier.empty()) w.text("database_system_identifier", s.system_identifier);
  write_pending_restart(w, s.pending_restart, s.pending_restart_reason);
  w.key("patroni")
      .begin_object()
      .text("version", s.patroni_version)
      .text("scope", s.scope)
      .text("name", s.name)
      .end_object();
  write_scheduled_restart(w, s.scheduled_restart);
  if (s.watchdog_failed) w.boolean("watchdog_failed", true);
  if (s.pgdba) write_pgdba(w, *s.pgdba);
  w.end_object();
  return w.take();
}

Result<NodeStatus> parse_status_answer(std::string_view text) {
  auto parsed = parse_json_object(text, kMaxAnswer);
  if (!parsed) return tl::unexpected(parsed.error());
  const js::object& object = *parsed;
  auto role = text_of(object, "role");
  if (!role) return fail(Errc::invalid, "no role: this is not an answer of a Patroni REST API");
  NodeStatus s;
  s.state = model::parse_pg_state(text_of(object, "state").value_or(""));
  s.role = model::parse_role(*role).value_or(model::Role::uninitialized);
  s.postmaster_start_time = time_of(object, "postmaster_start_time");
  auto version = integer_of(object, "server_version");
  if (version && *version > 0 && *version < 10'000'000) s.server_version = static_cast<int>(*version);
  read_xlog(object, s);
  if (true_of(object, "sync_standby")) s.sync_role = SyncRole::sync_standby;
  if (true_of(object, "quorum_standby")) s.sync_role = SyncRole::quorum_standby;
  if (uint32_t timeline = timeline_of(object)) s.timeline = timeline;
  s.replication_state = text_of(object, "replication_state").value_or("");
  s.replication = replication_of(object);
  s.pause = true_of(object, "pause");
  s.cluster_unlocked = true_of(object, "cluster_unlocked");
  s.failsafe_mode_is_active = true_of(object, "failsafe_mode_is_active");
  s.dcs_last_seen = integer_of(object, "dcs_last_seen");
  s.tags = tags_of(object);
  s.system_identifier = text_of(object, "database_system_identifier").value_or("");
  s.pending_restart = true_of(object, "pending_restart");
  if (s.pending_restart) s.pending_restart_reason = pending_restart_of(object);
  if (const js::object* patroni = object_of(object, "patroni")) {
    s.patroni_version = text_of(*patroni, "version").value_or("");
    s.scope = text_of(*patroni, "scope").value_or("");
    s.name = text_of(*patroni, "name").value_or("");
  }
  s.scheduled_restart = scheduled_restart_of(object);
  s.watchdog_failed = true_of(object, "watchdog_failed");
  s.pgdba = pgdba_of(object);
  return s;
}

}  // namespace pgdba::wire
