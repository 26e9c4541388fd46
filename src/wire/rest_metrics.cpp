#include "wire/rest_metrics.h"

#include <fmt/format.h>

#include "base/json_writer.h"
#include "base/text.h"

namespace pgdba::wire {

namespace {

std::string escape_label(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

class Exposition {
 public:
  explicit Exposition(std::string labels) : labels_(std::move(labels)) {}

  void add(std::string_view name, std::string_view type, std::string_view help, std::string_view value,
           std::string_view comment = {}, std::string_view before_labels = {}) {
    out_ += fmt::format("# HELP {} {}\n", name, help);
    if (!comment.empty()) out_ += fmt::format("# {}\n", comment);
    out_ += fmt::format("# TYPE {} {}\n{}{}{} {}\n", name, type, name, before_labels, labels_, value);
  }
  void gauge(std::string_view name, std::string_view help, int64_t value) {
    add(name, "gauge", help, fmt::format("{}", value));
  }
  void flag(std::string_view name, std::string_view help, bool value) { add(name, "gauge", help, value ? "1" : "0"); }
  void position(std::string_view name, std::string_view help, std::optional<Lsn> lsn) {
    add(name, "counter", help, fmt::format("{}", lsn ? lsn->bytes : 0));
  }
  void time(std::string_view name, std::string_view help, const std::optional<WallTime>& time) {
    double seconds = time ? static_cast<double>(time->time_since_epoch().count()) / 1e6 : 0;
    add(name, "gauge", help, time ? JsonWriter().number(seconds).str() : "0");
  }
  std::string take() { return std::move(out_); }

 private:
  std::string labels_;
  std::string out_;
};

std::string state_words() {
  return "Values: 0=initdb, 1=initdb_failed, 2=custom_bootstrap, 3=custom_bootstrap_failed, 4=creating_replica, "
         "5=running, 6=starting, 7=bootstrap_starting, 8=start_failed, 9=restarting, 10=restart_failed, 11=stopping, "
         "12=stopped, 13=stop_failed, 14=crashed";
}

std::optional<Lsn> replica_lsn(const NodeStatus& s, Lsn ReplicaXlog::*field) {
  return s.replica ? std::optional((*s.replica).*field) : std::nullopt;
}

void write_role(Exposition& e, const NodeStatus& s) {
  using model::Role;
  e.flag("patroni_primary", "Value is 1 if this node is the leader, 0 otherwise.", s.role == Role::primary);
  e.position("patroni_xlog_location",
             "Current location of the Postgres transaction log, 0 if this node is not the leader.",
             s.primary ? std::optional(s.primary->location) : std::nullopt);
  e.flag("patroni_standby_leader", "Value is 1 if this node is the standby_leader, 0 otherwise.",
         s.role == Role::standby_leader);
  e.flag("patroni_replica", "Value is 1 if this node is a replica, 0 otherwise.", s.role == Role::replica);
  e.flag("patroni_sync_standby", "Value is 1 if this node is a sync standby, 0 otherwise.",
         s.sync_role == SyncRole::sync_standby);
  e.flag("patroni_quorum_standby", "Value is 1 if this node is a quorum standby, 0 otherwise.",
         s.sync_role == SyncRole::quorum_standby);
}

void write_replay(Exposition& e, const NodeStatus& s) {
  e.position("patroni_xlog_received_location",
             "Current location of the received Postgres transaction log, 0 if this node is not a replica.",
             replica_lsn(s, &ReplicaXlog::received));
  e.position("patroni_xlog_replayed_location",
             "Current location of the replayed Postgres transaction log, 0 if this node is not a replica.",
             replica_lsn(s, &ReplicaXlog::replayed));
  e.time("patroni_xlog_replayed_timestamp", "Current timestamp of the replayed Postgres transaction log, 0 if null.",
         s.replica ? s.replica->replayed_timestamp : std::nullopt);
  e.flag("patroni_xlog_paused", "Value is 1 if the Postgres xlog is paused, 0 otherwise.",
         s.replica && s.replica->paused);
  if (!s.server_version) return;
  e.flag("patroni_postgres_streaming", "Value is 1 if Postgres is streaming, 0 otherwise.",
         s.replication_state == "streaming");
  e.flag("patroni_postgres_in_archive_recovery", "Value is 1 if Postgres is replicating from archive, 0 otherwise.",
         s.replication_state == "in archive recovery");
}

}  // namespace

std::string padded_version(std::string_view version) {
  std::string out;
  for (const std::string& part : split(version, '.')) {
    if (part.size() < 2) out.append(2 - part.size(), '0');
    out += part;
  }
  return out.empty() ? "0" : out;
}

std::string format_metrics(const MetricsInput& in) {
  const NodeStatus& s = *in.status;
  Exposition e(fmt::format("{{scope=\"{}\",name=\"{}\"}}", escape_label(s.scope), escape_label(s.name)));
  e.add("patroni_version", "gauge", "Patroni semver without periods.", padded_version(s.patroni_version));
  e.flag("patroni_postgres_running", "Value is 1 if Postgres is running, 0 otherwise.",
         s.state == model::PgState::running);
  e.time("patroni_postmaster_start_time", "Epoch seconds since Postgres started.", s.postmaster_start_time);
  write_role(e, s);
  write_replay(e, s);
  // The blank before the labels is Patroni's; scrapers accept it.
  e.add("patroni_postgres_server_version", "gauge", "Version of Postgres (if running), 0 otherwise.",
        fmt::format("{}", s.server_version.value_or(0)), {}, " ");
  e.flag("patroni_cluster_unlocked", "Value is 1 if the cluster is unlocked, 0 if locked.", s.cluster_unlocked);
  e.flag("patroni_failsafe_mode_is_active", "Value is 1 if failsafe mode is active, 0 if inactive.",
         s.failsafe_mode_is_active);
  e.flag("patroni_failsafe_mode_enabled", "Value is 1 if failsafe mode is enabled, 0 if disabled.",
         in.failsafe_mode_enabled);
  e.flag("patroni_failsafe_member", "Value is 1 if this node is a member of the failsafe topology, 0 otherwise.",
         in.failsafe_member);
  e.gauge("patroni_postgres_timeline", "Postgres timeline of this node (if running), 0 otherwise.",
          s.timeline.value_or(0));
  e.gauge("patroni_dcs_last_seen", "Epoch timestamp when DCS was last contacted successfully by Patroni.",
          s.dcs_last_seen.value_or(0));
  e.flag("patroni_pending_restart", "Value is 1 if the node needs a restart, 0 otherwise.", s.pending_restart);
  e.flag("patroni_is_paused", "Value is 1 if auto failover is disabled, 0 otherwise.", s.pause);
  e.add("patroni_postgres_state", "gauge", "Numeric representation of Postgres state.",
        fmt::format("{}", s.state ? static_cast<int>(*s.state) : -1), state_words());
  e.gauge("patroni_failover_priority", "Failover priority of this node, 0 if it may not become the leader.",
          in.failover_priority);
  for (const OwnMetric& own : in.own) e.add(own.name, own.type, own.help, own.value);
  return e.take();
}

}  // namespace pgdba::wire
