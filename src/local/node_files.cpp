#include "local/node_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "local/files.h"
#include "local/pooler_files.h"
#include "wire/json_value.h"

namespace pgdba::local {

namespace {

using wire::JsonValue;

JsonValue user(const char* name, const Secret& password) {
  JsonValue out;
  return out.set("username", name).set("password", password.reveal());
}

std::string loopback(uint16_t port) {
  return fmt::format("127.0.0.1:{}", port);
}

// What every member reads from etcd; written there once, by the member that wins the bootstrap.
JsonValue dynamic_configuration(const ClusterFile& cluster) {
  bool fast = cluster.profile == Profile::fast;
  // All nodes at once may clone (two connections each), and a few are for backups and people.
  int senders = 10 + 2 * std::max(0, static_cast<int>(cluster.nodes.size()) - 4);
  JsonValue parameters;
  parameters.set("max_connections", 100)
      .set("max_wal_senders", senders)
      .set("max_replication_slots", senders)
      .set("max_worker_processes", 8)
      .set("wal_level", "replica")
      .set("wal_log_hints", "on")
      .set("wal_keep_size", "64MB")
      .set("max_slot_wal_keep_size", "1GB")
      .set("hot_standby", "on");
  // Small: several of these share a developer's machine. Here and not in the nodes' files, which would win over whatever
  // `cluster config set` says.
  parameters.set("shared_buffers", "32MB")
      .set("work_mem", "4MB")
      .set("maintenance_work_mem", "32MB")
      .set("autovacuum_max_workers", 2)
      .set("max_parallel_workers", 2)
      .set("jit", "off")
      .set("huge_pages", "off")
      .set("min_wal_size", "64MB")
      .set("max_wal_size", "512MB")
      .set("password_encryption", "scram-sha-256")
      .set("log_timezone", "UTC")
      .set("log_line_prefix", "%m [%p] %q%u@%d ")
      .set("log_checkpoints", "on");
  JsonValue postgresql;
  postgresql.set("use_pg_rewind", true).set("use_slots", true).set("parameters", std::move(parameters));
  JsonValue dcs;
  dcs.set("ttl", fast ? 3 : 10)
      .set("loop_wait", fast ? 1 : 3)
      .set("retry_timeout", fast ? 1 : 3)
      .set("maximum_lag_on_failover", 1048576)
      .set("synchronous_mode", "quorum")
      .set("synchronous_node_count", 1)
      .set("postgresql", std::move(postgresql));
  return dcs;
}

// What differs from node to node.
JsonValue local_parameters(const ClusterFile& cluster, const ClusterFile::Node& node) {
  JsonValue out;
  out.set("unix_socket_directories", cluster.socket_dir(node.name))
      .set("unix_socket_permissions", "0700");
  return out;
}

JsonValue access_rules() {
  JsonValue out;
  for (const char* line :
       {"local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256", "host all all ::1/128 scram-sha-256",
        "local replication replicator scram-sha-256", "host replication replicator 127.0.0.1/32 scram-sha-256"}) {
    out.add(line);
  }
  return out;
}

}  // namespace

std::string patroni_yaml(const ClusterFile& cluster, const ClusterFile::Node& node, const Secrets& secrets) {
  JsonValue hosts;
  for (const auto& member : cluster.etcd) hosts.add(loopback(member.client_port));
  JsonValue initdb;
  JsonValue encoding, locale, auth_host, auth_local;
  initdb.add(encoding.set("encoding", "UTF8")).add(locale.set("locale", "C.UTF-8"));
  initdb.add(auth_host.set("auth-host", "scram-sha-256")).add(auth_local.set("auth-local", "scram-sha-256"));
  initdb.add("data-checksums");

  JsonValue log, restapi, etcd3, bootstrap, postgresql, authentication, ctl, basebackup, checkpoint, watchdog;
  log.set("level", "INFO")
      .set("dir", cluster.log_folder(node.name))
      .set("file_num", 2)
      .set("file_size", 4 * 1024 * 1024);
  restapi.set("listen", loopback(node.rest_port)).set("connect_address", loopback(node.rest_port));
  restapi.set("authentication", user(kRestUser, secrets.rest));
  etcd3.set("hosts", std::move(hosts));
  bootstrap.set("dcs", dynamic_configuration(cluster)).set("initdb", std::move(initdb));
  authentication.set("superuser", user(kSuperuser, secrets.superuser));
  authentication.set("replication", user(kReplicator, secrets.replication));
  authentication.set("rewind", user(kRewinder, secrets.rewind));
  basebackup.add(checkpoint.set("checkpoint", "fast"));
  postgresql.set("listen", loopback(node.pg_port))
      .set("connect_address", loopback(node.pg_port))
      .set("data_dir", cluster.data_dir(node.name))
      .set("bin_dir", cluster.bin_dir)
      .set("pgpass", cluster.node_folder(node.name) + "/pgpass")
      .set("use_unix_socket", true)
      .set("authentication", std::move(authentication))
      .set("parameters", local_parameters(cluster, node))
      .set("pg_hba", access_rules())
      .set("basebackup", std::move(basebackup))
      .set("remove_data_directory_on_rewind_failure", true)
      .set("remove_data_directory_on_diverged_timelines", true);
  ctl.set("authentication", user(kRestUser, secrets.rest));
  watchdog.set("mode", "off");

  JsonValue yaml;
  yaml.set("scope", cluster.name).set("namespace", "/service").set("name", node.name);
  yaml.set("log", std::move(log))
      .set("restapi", std::move(restapi))
      .set("etcd3", std::move(etcd3))
      .set("bootstrap", std::move(bootstrap));
  yaml.set("postgresql", std::move(postgresql)).set("ctl", std::move(ctl)).set("watchdog", std::move(watchdog));
  return "# Written by `pgdba up`, and again at each `up`. Patroni reads this file as well.\n" +
         wire::format_yaml_value(yaml);
}

std::string passfile_text(const ClusterFile& cluster, const Secrets& secrets) {
  std::vector<uint16_t> ports;
  for (const auto& node : cluster.nodes) ports.push_back(node.pg_port);
  ports.push_back(cluster.pooler_port);
  std::string password;
  for (char c : secrets.superuser.reveal()) password += (c == ':' || c == '\\' ? std::string("\\") : std::string()) + c;
  std::string out = "# Written by `pgdba up`.\n";
  for (const char* host : {"127.0.0.1", "localhost"}) {
    for (uint16_t port : ports)
      out += fmt::format("{}:{}:*:{}:{}\n", host, port, kSuperuser, password);
  }
  return out;
}

std::string curl_config_text(const Secrets& secrets) {
  return fmt::format("user = \"{}:{}\"\n", kRestUser, secrets.rest.reveal());
}

Spec etcd_spec(const ClusterFile& cluster, const ClusterFile::Etcd& member) {
  std::vector<std::string> peers;
  for (const auto& other : cluster.etcd)
    peers.push_back(fmt::format("{}=http://{}", other.name, loopback(other.peer_port)));
  std::string client = "http://" + loopback(member.client_port), peer = "http://" + loopback(member.peer_port);
  Spec spec;
  spec.name = member.name;
  spec.argv = {cluster.etcd_program, "--name=" + member.name, "--data-dir=" + cluster.etcd_data(member.name),
               "--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--listen-peer-urls=" + peer,
               "--initial-advertise-peer-urls=" + peer, "--initial-cluster=" + join(peers, ","),
               "--initial-cluster-token=" + cluster.token, "--initial-cluster-state=new",
               // One leader change less after a freeze: a member that was away asks before it starts an election.
               "--pre-vote=true", "--auto-compaction-mode=periodic", "--auto-compaction-retention=5m",
               "--quota-backend-bytes=268435456", "--snapshot-count=10000", "--host-whitelist=127.0.0.1,localhost",
               "--logger=zap", "--log-level=warn", "--log-outputs=stderr"};
  if (cluster.profile == Profile::fast) {
    spec.argv.push_back("--heartbeat-interval=50");
    spec.argv.push_back("--election-timeout=500");
  }
#if !defined(__x86_64__)
  spec.variables.push_back("ETCD_UNSUPPORTED_ARCH=arm64");  // etcd 3.4 wants to be told
#endif
  spec.folder = cluster.node_folder(member.name);
  spec.log = cluster.root + "/log/" + member.name + ".log";
  return spec;
}

Spec agent_spec(const ClusterFile& cluster, const ClusterFile::Node& node) {
  Spec spec;
  spec.name = node.name;
  spec.argv = {"self", "agent", cluster.yaml(node.name)};
  if (const char* libraries = std::getenv("LD_LIBRARY_PATH"))
    spec.variables.push_back(std::string("LD_LIBRARY_PATH=") + libraries);
  spec.folder = cluster.node_folder(node.name);
  spec.log = cluster.log_folder(node.name) + "/output.log";
  return spec;
}

Result<void> write_node_files(const ClusterFile& cluster) {
  std::vector<std::string> folders = {cluster.root, cluster.root + "/log", cluster.supervised(), cluster.socket_root};
  for (const auto& member : cluster.etcd) folders.push_back(cluster.node_folder(member.name));
  for (const auto& node : cluster.nodes) {
    for (std::string folder :
         {cluster.node_folder(node.name), cluster.log_folder(node.name), cluster.socket_dir(node.name)}) {
      folders.push_back(std::move(folder));
    }
  }
  for (const std::string& folder : folders) {
    if (auto done = make_private_folder(folder); !done) return done;
  }
  auto secrets = ensure_secrets(cluster);
  if (!secrets) return tl::unexpected(secrets.error());
  if (auto done = write_atomic(cluster.passfile(), passfile_text(cluster, *secrets)); !done) return done;
  if (auto done = write_atomic(cluster.root + "/curlrc", curl_config_text(*secrets)); !done) return done;
  for (const auto& node : cluster.nodes) {
    if (auto done = write_atomic(cluster.yaml(node.name), patroni_yaml(cluster, node, *secrets)); !done) return done;
  }
  return write_pooler_files(cluster, *secrets);
}

Result<void> write_specs(const ClusterFile& cluster, const std::vector<std::string>& names) {
  Supervised supervised(cluster.supervised());
  auto wanted = [&](const std::string& name) { return std::ranges::find(names, name) != names.end(); };
  for (const auto& member : cluster.etcd) {
    if (!wanted(member.name)) continue;
    if (auto done = supervised.write_spec(etcd_spec(cluster, member)); !done) return done;
  }
  for (const auto& node : cluster.nodes) {
    if (!wanted(node.name)) continue;
    if (auto done = supervised.write_spec(agent_spec(cluster, node)); !done) return done;
  }
  if (wanted(kPooler)) return supervised.write_spec(pooler_spec(cluster));
  return {};
}

}  // namespace pgdba::local
