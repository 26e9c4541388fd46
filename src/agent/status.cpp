#include "agent/status.h"

#include <algorithm>
#include <chrono>

#include "base/text.h"

namespace pgdba::agent {

namespace {

using model::PgProcess;
using model::PgState;

wire::SyncRole sync_role(const StatusInput& in, model::Role role) {
  if (role != model::Role::replica || in.cluster == nullptr || !in.cluster->sync || !in.cluster->config) return wire::SyncRole::none;
  const model::SyncMode mode = in.cluster->config->value.synchronous_mode;
  if (mode == model::SyncMode::off) return wire::SyncRole::none;
  const auto& names = in.cluster->sync->value.standbys;
  const bool listed = std::any_of(names.begin(), names.end(), [&](const std::string& name) { return iequals(name, in.name); });
  if (!listed) return wire::SyncRole::none;
  return mode == model::SyncMode::quorum ? wire::SyncRole::quorum_standby : wire::SyncRole::sync_standby;
}

void describe_running(const model::PgAnswers& answers, wire::NodeStatus& status) {
  status.postmaster_start_time = answers.started;
  if (answers.server_version != 0) status.server_version = answers.server_version;
  status.timeline = answers.timeline;
  if (!answers.in_recovery) {
    status.primary = wire::PrimaryXlog{answers.flush_lsn};
  } else if (answers.wal_exhausted) {
    // Before it has come to the end of the WAL on its disk its position is understated: without "xlog" peers leave it
    // out of a comparison, which is what it needs (W4).
    wire::ReplicaXlog xlog;
    xlog.received = std::max(answers.written_lsn, answers.flush_lsn);
    xlog.replayed = answers.replay_lsn;
    xlog.replayed_timestamp = answers.replay_timestamp;
    xlog.paused = answers.replay_paused;
    status.replica = xlog;
    if (!answers.streaming_from.empty()) status.replication_state = "streaming";
  }
  for (const model::ReplicationRow& row : answers.replication) {
    status.replication.push_back({row.usename, row.application_name, row.client_addr, row.state, row.sync_state, row.sync_priority});
  }
  status.pending_restart_reason = answers.pending_restart;
  status.pending_restart = !answers.pending_restart.empty();
}

}  // namespace

std::optional<PgState> pg_state(const model::LocalPg& pg, const ha::Action* local_action) {
  if (local_action != nullptr) {
    const ha::Body& body = local_action->body;
    if (std::holds_alternative<ha::InitDb>(body)) return PgState::initdb;
    if (std::holds_alternative<ha::Clone>(body)) return PgState::creating_replica;
    if (std::holds_alternative<ha::StopPg>(body) && pg.process != PgProcess::stopped) return PgState::stopping;
    if (std::holds_alternative<ha::StartPg>(body) && !pg.answers) return PgState::starting;
  }
  switch (pg.process) {
    case PgProcess::stopped: return pg.exit_unexpected ? PgState::crashed : PgState::stopped;
    case PgProcess::starting: return PgState::starting;
    case PgProcess::stopping: return PgState::stopping;
    case PgProcess::running: break;
  }
  if (!pg.answers) return std::nullopt;
  return PgState::running;
}

std::optional<model::Position> local_position(const model::LocalPg& pg, const model::ClusterView* cluster) {
  model::Position position;
  if (pg.process == PgProcess::stopped) {
    if (!pg.wal_end) return std::nullopt;
    position = *pg.wal_end;
  } else {
    if (!pg.answers || (pg.answers->in_recovery && !pg.answers->wal_exhausted)) return std::nullopt;
    position.timeline = pg.answers->timeline;
    position.lsn = pg.answers->flush_lsn;
  }
  if (cluster == nullptr) return std::nullopt;
  // A timeline that etcd knows under another nonce, or not at all, cannot be compared (R1).
  auto record = cluster->timelines.find(position.timeline);
  auto own = pg.timeline_nonces.find(position.timeline);
  if (record == cluster->timelines.end() || own == pg.timeline_nonces.end() || own->second != record->second.value.nonce) return std::nullopt;
  position.term = record->second.value.term;
  return position;
}

Lsn leader_lsn(const model::LocalPg& pg, const model::ClusterView* cluster) {
  Lsn known;
  if (cluster != nullptr && cluster->status) known = cluster->status->value.optime;
  if (pg.answers) known = std::max(known, pg.answers->upstream_end_lsn);
  return known;
}

wire::NodeStatus make_status(const StatusInput& in) {
  const model::LocalPg& pg = *in.pg;
  wire::NodeStatus status;
  status.state = pg_state(pg, in.local_action);
  status.role = in.standing.role;
  if (pg.answers) {
    status.role = pg.answers->in_recovery ? model::Role::replica : model::Role::primary;
    describe_running(*pg.answers, status);
  }
  status.sync_role = sync_role(in, status.role);
  status.cluster_unlocked = in.cluster == nullptr || !in.cluster->leader || !in.cluster_fresh;
  if (in.cluster != nullptr) {
    status.pause = in.cluster->config && in.cluster->config->value.pause;
    const auto age = in.now - in.cluster->as_of;
    status.dcs_last_seen = std::chrono::duration_cast<std::chrono::seconds>((in.wall - std::chrono::duration_cast<std::chrono::microseconds>(age)).time_since_epoch()).count();
  } else {
    status.dcs_last_seen = 0;
  }
  status.tags = in.tags;
  if (pg.control && pg.control->system_id != 0) status.system_identifier = std::to_string(pg.control->system_id);
  status.patroni_version = kPatroniVersion;
  status.scope = in.scope;
  status.name = in.name;
  wire::PgdbaStatus own;
  own.version = kVersion;
  own.term = in.standing.term;
  if (in.standing.leader && in.standing.deadline) own.lock_ms = to_ms(*in.standing.deadline - in.now);
  own.position = local_position(pg, in.cluster);
  own.frozen = in.standing.frozen;
  own.gate_open = !(pg.loaded && pg.loaded->gate_closed);
  own.no_data = pg.measured_at != BootTime{} && pg.data != model::DataDir::present;
  status.pgdba = own;
  return status;
}

}  // namespace pgdba::agent
