#include "pg/answers.h"

#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "pg/config_files.h"
#include "pg/conninfo.h"
#include "pg/pooler_lookup.h"

namespace pgdba::pg {

namespace {

using model::PgConfig;

std::optional<WallTime> from_epoch_us(std::optional<int64_t> us) {
  if (!us) return std::nullopt;
  return WallTime(std::chrono::microseconds(*us));
}

std::string text_of(const net::Rows& rows, std::string_view column) {
  return std::string(rows.text(0, column).value_or(""));
}

// Rows as one text: chr(30) between rows, chr(31) between fields.
std::vector<model::ReplicationRow> parse_replication(std::string_view text) {
  std::vector<model::ReplicationRow> out;
  for (const std::string& row : split(text, '\x1e')) {
    std::vector<std::string> fields = split(row, '\x1f');
    if (fields.size() != 11) continue;
    auto lsn = [&](size_t at) { return parse_lsn(fields[at]).value_or(Lsn{}); };
    model::ReplicationRow one;
    one.pid = static_cast<int>(parse_int(fields[0]).value_or(0));
    one.application_name = fields[1];
    one.client_addr = fields[2];
    one.state = fields[3];
    one.sync_state = fields[4];
    one.sent = lsn(5);
    one.write = lsn(6);
    one.flush = lsn(7);
    one.replay = lsn(8);
    one.usename = fields[9];
    one.sync_priority = static_cast<int>(parse_int(fields[10]).value_or(0));
    out.push_back(std::move(one));
  }
  return out;
}

std::optional<std::string> conninfo_value(std::string_view conninfo, std::string_view key) {
  // Written by us: key='value' with backslashes before quotes and backslashes.
  std::string wanted = fmt::format("{}='", key);
  size_t at = 0;
  while ((at = conninfo.find(wanted, at)) != std::string_view::npos) {
    if (at == 0 || conninfo[at - 1] == ' ') break;
    ++at;
  }
  if (at == std::string_view::npos) return std::nullopt;
  std::string out;
  for (at += wanted.size(); at < conninfo.size() && conninfo[at] != '\''; ++at) {
    if (conninfo[at] == '\\' && at + 1 < conninfo.size()) ++at;
    out += conninfo[at];
  }
  return out;
}

}  // namespace

std::string observation_query(int major, const Settings& settings) {
  const bool has_pause_state = major >= 14;
  // Every function that fails in one of the two roles stands in a CASE on the role as read first.
  return fmt::format(
      "SELECT r.rec AS in_recovery,"
      " CASE WHEN NOT r.rec THEN pg_current_wal_insert_lsn() END AS insert_lsn,"
      " CASE WHEN NOT r.rec THEN pg_current_wal_flush_lsn() END AS flush_lsn,"
      " CASE WHEN NOT r.rec THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline,"
      " pg_last_wal_replay_lsn() AS replay_lsn,"
      " pg_last_wal_receive_lsn() AS receive_lsn,"
      " CASE WHEN r.rec THEN {0} END AS paused,"
      " (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint AS replay_us,"
      " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started_us,"
      " w.pid IS NOT NULL OR a.receivers > 0 AS has_walreceiver,"
      " w.status, w.received_tli, w.sender_host, w.sender_port, w.latest_end_lsn, w.written_lsn,"
      " a.startup_wait, a.receiver_wait, a.sessions, a.transactions,"
      " (SELECT string_agg(concat_ws(chr(31), pid, coalesce(application_name, ''), coalesce(host(client_addr), ''), "
      "coalesce(state, ''), coalesce(sync_state, ''),"
      "   coalesce(sent_lsn, '0/0'), coalesce(write_lsn, '0/0'), coalesce(flush_lsn, '0/0'), coalesce(replay_lsn, "
      "'0/0'), coalesce(usename, ''), coalesce(sync_priority, 0)), chr(30) ORDER BY pid)"
      "   FROM pg_stat_replication) AS replication,"
      " (SELECT count(*) FROM pg_db_role_setting s, unnest(s.setconfig) c"
      "   WHERE c ~* '^synchronous_commit=(off|false|no|0|local|remote_write)$')"
      "   + CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN 1 ELSE 0 END AS "
      "weak,"
      " EXISTS (SELECT FROM pg_roles o, pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE o.rolname = {1}"
      "   AND n.nspname = 'pgdba' AND p.proname = 'user_lookup' AND p.prosecdef AND p.prosrc = {2}"
      "   AND p.proconfig = ARRAY['search_path=' || {3}] AND NOT has_function_privilege('public', p.oid, 'EXECUTE')"
      "   AND has_function_privilege(o.oid, p.oid, 'EXECUTE') AND has_schema_privilege(o.oid, n.oid, 'USAGE')) AS "
      "pooler_auth,"
      " current_setting('pgdba.ha_config', true) AS ha_config,"
      " current_setting('pgdba.config_generation', true) AS generation,"
      " current_setting('pgdba.term', true) AS term,"
      " current_setting('synchronous_standby_names') AS sync_names,"
      " current_setting('primary_conninfo') AS conninfo,"
      " current_setting('restore_command') AS restore_command"
      " FROM (SELECT pg_is_in_recovery() AS rec OFFSET 0) r"
      " LEFT JOIN pg_stat_wal_receiver w ON true"
      " CROSS JOIN (SELECT max(wait_event) FILTER (WHERE backend_type = 'startup') AS startup_wait,"
      "   count(*) FILTER (WHERE backend_type = 'walreceiver') AS receivers,"
      "   max(wait_event) FILTER (WHERE backend_type = 'walreceiver') AS receiver_wait,"
      "   count(*) FILTER (WHERE backend_type = 'client backend' AND NOT ours) AS sessions,"
      "   count(*) FILTER (WHERE backend_type = 'client backend' AND NOT ours AND xact_start IS NOT NULL) AS "
      "transactions"
      "   FROM (SELECT backend_type, wait_event, xact_start, application_name LIKE 'pgdba%' AND usename = current_user "
      "AS ours FROM pg_stat_activity) b) a",
      has_pause_state ? "pg_get_wal_replay_pause_state() <> 'not paused'" : "pg_is_wal_replay_paused()",
      net::quote_literal(settings.pooler.user), net::quote_literal(kLookupBody), net::quote_literal(kLookupSearchPath));
}

std::optional<RawAnswers> read_answers(const net::Rows& rows, BootTime asked_at, int server_version) {
  auto in_recovery = rows.boolean(0, "in_recovery");
  if (!in_recovery) return std::nullopt;
  RawAnswers out;
  model::PgAnswers& answers = out.answers;
  answers.asked_at = asked_at;
  answers.server_version = server_version;
  answers.in_recovery = *in_recovery;
  answers.replay_lsn = rows.lsn(0, "replay_lsn").value_or(Lsn{});
  out.receive_lsn = rows.lsn(0, "receive_lsn").value_or(Lsn{});
  answers.started = from_epoch_us(rows.integer(0, "started_us"));
  answers.replay_timestamp = from_epoch_us(rows.integer(0, "replay_us"));
  if (!answers.in_recovery) {
    answers.insert_lsn = rows.lsn(0, "insert_lsn").value_or(Lsn{});
    answers.flush_lsn = rows.lsn(0, "flush_lsn").value_or(Lsn{});
    std::string timeline = text_of(rows, "timeline");
    std::from_chars(timeline.data(), timeline.data() + timeline.size(), answers.timeline, 16);
    answers.wal_exhausted = true;
  } else {
    answers.flush_lsn = std::max(out.receive_lsn, answers.replay_lsn);
    answers.written_lsn = std::max(answers.flush_lsn, rows.lsn(0, "written_lsn").value_or(Lsn{}));
    answers.upstream_end_lsn = rows.lsn(0, "latest_end_lsn").value_or(Lsn{});
    answers.replay_paused = rows.boolean(0, "paused").value_or(false);
  }
  out.has_walreceiver = rows.boolean(0, "has_walreceiver").value_or(false);
  // The state says "streaming" before the upstream has agreed to stream. It has, once bytes were written or the
  // walreceiver waits for some in its main loop (connecting and asking are other wait events).
  bool agreed = rows.text(0, "written_lsn").has_value() || text_of(rows, "receiver_wait") == "WalReceiverMain";
  out.receiver_streams = text_of(rows, "status") == "streaming" && agreed;
  answers.streaming_timeline =
      out.receiver_streams ? static_cast<uint32_t>(rows.integer(0, "received_tli").value_or(0)) : 0;
  out.sender_host = text_of(rows, "sender_host");
  out.sender_port = static_cast<uint16_t>(rows.integer(0, "sender_port").value_or(0));
  out.startup_wait = text_of(rows, "startup_wait");
  answers.replication = parse_replication(text_of(rows, "replication"));
  answers.weak_commit_settings = static_cast<int>(rows.integer(0, "weak").value_or(0));
  answers.client_sessions = static_cast<int>(rows.integer(0, "sessions").value_or(0));
  answers.client_transactions = static_cast<int>(rows.integer(0, "transactions").value_or(0));
  answers.pooler_auth_present = rows.boolean(0, "pooler_auth").value_or(false);
  out.ha_config = text_of(rows, "ha_config");
  out.generation = text_of(rows, "generation");
  out.term = text_of(rows, "term");
  out.sync_names = text_of(rows, "sync_names");
  out.conninfo = text_of(rows, "conninfo");
  out.restore_command = text_of(rows, "restore_command");
  return out;
}

std::optional<PgConfig> loaded_config(const RawAnswers& raw) {
  auto config = parse_ha_config(raw.ha_config);
  if (!config) {
    // A server that does not run on our files: say the least safe that is true.
    config.emplace();
    config->upstream = raw.conninfo.empty() ? PgConfig::Upstream::none : PgConfig::Upstream::member;
    config->gate_closed = false;
  }
  if (auto names = parse_sync_names(raw.sync_names); !names) {
    config->sync_names = {};
  } else if (format_sync_names(*names) != format_sync_names(config->sync_names)) {
    config->sync_names = *names;
  }
  config->term = parse_int(raw.term).value_or(0);
  if (raw.conninfo.empty()) {
    if (config->upstream == PgConfig::Upstream::member) {
      config->upstream = PgConfig::Upstream::none;
      config->upstream_member.clear();
      config->upstream_conn_url.clear();
    }
  } else {
    auto claimed = parse_conn_url(config->upstream_conn_url);
    auto host = conninfo_value(raw.conninfo, "host");
    auto port = conninfo_value(raw.conninfo, "port");
    if (config->upstream != PgConfig::Upstream::member || !claimed || host != claimed->host ||
        port != std::to_string(claimed->port)) {
      config->upstream = PgConfig::Upstream::member;
      config->upstream_member.clear();
      config->upstream_conn_url = fmt::format("postgres://{}:{}", host.value_or("?"), port.value_or("5432"));
      config->freeze_nonce.clear();
    }
  }
  std::string probe = fmt::format("echo {} ", config->freeze_nonce.empty() ? "-" : config->freeze_nonce);
  if (config->upstream == PgConfig::Upstream::frozen && !raw.restore_command.starts_with(probe)) {
    config->upstream = PgConfig::Upstream::none;
    config->freeze_nonce.clear();
  }
  return config;
}

}  // namespace pgdba::pg
