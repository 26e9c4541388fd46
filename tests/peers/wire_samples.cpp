// Prints one made-up cluster as wire/ writes it: a JSON object of relative key to value, and of REST bodies by their
// path. patroni_reads_ours.py hands them to Patroni's own code and asks what it understood.
#include <cstdio>

#include "base/json_writer.h"
#include "wire/cluster_json.h"
#include "wire/cluster_view.h"
#include "wire/keys.h"
#include "wire/patroni_rest.h"

namespace {

using namespace pgdba;

std::vector<wire::KeyValue> sample_keys() {
  std::vector<wire::KeyValue> kvs;
  int64_t revision = 10;
  auto put = [&](const std::string& relative, std::string value, int64_t lease = 0) {
    ++revision;
    kvs.push_back({wire::key_prefix("service", "demo") + relative, std::move(value), revision, revision, 1, lease});
  };
  put("initialize", "7711349752793788765");
  put("config",
      R"({"ttl":30,"loop_wait":10,"retry_timeout":10,"synchronous_mode":true,"pause":true,"postgresql":{"use_pg_rewind":true}})");
  put("leader", "pg-primary", 77);

  model::Member leader;
  leader.conn_url = "postgres://10.0.0.1:5432/postgres";
  leader.api_url = "http://10.0.0.1:8008/patroni";
  leader.state = model::PgState::running;
  leader.role = model::Role::primary;
  leader.version = "4.1.4";
  leader.pgdba_version = "0.1.0";
  leader.term = 3;
  leader.checkpoint_after_promote_pending = true;
  leader.xlog_location = Lsn{0x3000148};
  leader.timeline = 2;
  put(wire::keys::member("pg-primary"), wire::format_member(leader), 77);

  model::Member replica = leader;
  replica.conn_url = "postgres://[fd00::2]:5433/postgres";
  replica.api_url = "http://[fd00::2]:8009/patroni";
  replica.role = model::Role::replica;
  replica.checkpoint_after_promote_pending = false;
  replica.tags.nofailover = true;
  replica.tags.other = {{"zone", "\"\\u00e4\""}, {"rack", "7"}, {"load", "1.5"}};
  replica.xlog_location = Lsn{0x3000100};
  replica.receive_lsn = Lsn{0x3000100};
  replica.replay_lsn = Lsn{0x3000000};
  replica.replication_state = "streaming";
  replica.pending_restart = true;
  replica.pending_restart_reason = {{"max_connections", {"100", "200"}}};
  put(wire::keys::member("pg-replica-1"), wire::format_member(replica), 78);

  put("status",
      wire::format_status({Lsn{0x3000148}, {{"pg_primary", Lsn{0x3000148}}, {"app", Lsn{5}}}, {"pg_replica_1"}}));
  put("history", wire::format_history({{1, Lsn{0x3000000}, "no recovery target specified",
                                        "2026-11-23T13:01:02.146127+00:00", "pg-primary"}}));
  put("sync", wire::format_sync({"pg-primary", 0, {"pg-replica-1"}}));
  put("failover", wire::format_failover({"pg-primary", "pg-replica-1", parse_utc("2026-11-24T01:02:03.5Z")}));
  put("failsafe", wire::format_failsafe({{"pg-primary", leader.api_url}, {"pg-replica-1", replica.api_url}}));
  put("pgdba/term", wire::format_term({3, "pg-primary", "", "bootstrap", 2}));
  put(wire::keys::promise("pg-replica-1"), wire::format_promise({}));
  return kvs;
}

wire::NodeStatus sample_status() {
  wire::NodeStatus s;
  s.state = model::PgState::running;
  s.role = model::Role::replica;
  s.server_version = 150020;
  s.replica = wire::ReplicaXlog{Lsn{0x3000100}, Lsn{0x3000000}, parse_utc("2026-11-23T13:00:27Z"), false};
  s.timeline = 2;
  s.dcs_last_seen = 1763902860;
  s.tags.nofailover = true;
  s.patroni_version = "4.1.4";
  s.scope = "demo";
  s.name = "pg-replica-1";
  s.pgdba = wire::PgdbaStatus{"0.1.0", 3, {}, {}, false, true};
  return s;
}

}  // namespace

int main() {
  auto kvs = sample_keys();
  std::string prefix = wire::key_prefix("service", "demo");
  auto view = wire::build_cluster_view(prefix, kvs, {.revision = 99});
  if (!view.unreadable.empty()) {
    std::fprintf(stderr, "wire/ cannot read what it wrote: %s\n", view.unreadable.begin()->first.c_str());
    return 1;
  }
  JsonWriter w(JsonStyle::indented);
  w.begin_object().key("nodes").begin_object();
  for (const wire::KeyValue& kv : kvs) {
    w.key(kv.key.substr(prefix.size())).begin_object().text("key", kv.key).text("value", kv.value);
    w.text("mod_revision", std::to_string(kv.mod));
    if (kv.lease != 0) w.text("lease", std::to_string(kv.lease));
    w.end_object();
  }
  w.end_object();
  w.text("/cluster", wire::format_cluster_answer(wire::make_cluster_report(view, "demo")));
  w.text("/patroni", wire::format_status_answer(sample_status()));
  w.end_object();
  std::printf("%s\n", w.take().c_str());
}
