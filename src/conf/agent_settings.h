// The local settings of one agent, typed: what patroni.yml and PATRONI_* say, with Patroni's defaults filled in.
//
// Only what is acted on is here; other known keys are accepted and named in a warning (conf/patroni_yaml.h). Settings
// that belong to the cluster (ttl, synchronous_mode, …) are not local: they come from the `config` key in etcd, and
// from `bootstrap.dcs_json` before the first bootstrap.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/line_format.h"
#include "base/secret.h"
#include "base/time.h"
#include "conf/host_port.h"
#include "model/cluster.h"

namespace pgdba::conf {

// A database user with what libpq needs to log in. `options`: sslmode, sslcert, sslkey, sslrootcert, sslcrl,
// sslcrldir, gssencmode, channel_binding, sslnegotiation, as given.
struct Login {
  std::string username;
  Secret password;
  Secret sslpassword;
  std::map<std::string, std::string> options;
  bool operator==(const Login&) const = default;
};

struct RestapiSettings {
  Address listen;           // host empty or "*": every address
  Address connect_address;  // published as api_url; the listen address if not given
  std::string username;     // empty: no basic authentication
  Secret password;
  std::string certfile;  // filled: TLS
  std::string keyfile;
  Secret keyfile_password;
  std::string cafile;
  std::string ciphers;
  enum class VerifyClient { none, optional, required } verify_client = VerifyClient::none;
  std::vector<std::string> allowlist;
  bool allowlist_include_members = false;
  std::vector<std::pair<std::string, std::string>> extra_headers;  // http_ and, with TLS, https_extra_headers over them
  int request_queue_size = 5;
  std::string server_tokens = "original";  // original, minimal, productonly
};

struct EtcdSettings {
  struct Endpoint {
    std::string protocol;  // http or https
    Address address;
    bool operator==(const Endpoint&) const = default;
  };
  std::vector<Endpoint> endpoints;  // never empty
  std::string username;
  Secret password;
  std::string cacert;
  std::string cert;
  std::string key;
  bool use_proxies = false;  // true: these endpoints and no others, no member discovery
};

struct BootstrapSettings {
  bool present = false;             // without the section this node never starts a new cluster
  std::string dcs_json = "{}";      // bootstrap.dcs, compact JSON, verbatim
  std::vector<std::string> initdb;  // arguments as they go to argv: "--encoding=UTF8", "--data-checksums"
  std::vector<std::string> pg_hba;
  std::string method = "initdb";
  std::string post_bootstrap;  // a command for the shell, run once in a new cluster; gets a connection string as its argument
  Duration delay{};  // pgdba's own: so long this node leaves it to others to make a new cluster
};

struct PostgresqlSettings {
  std::vector<std::string> listen_addresses;  // as for the GUC: "127.0.0.1", "*"
  uint16_t port = 0;
  Address connect_address;  // published as conn_url; the first usable listen address if not given
  std::string data_dir;
  std::string bin_dir;     // empty: PATH
  std::string database = "postgres";
  std::string pgpass;  // absolute; the password file of what connects to other members; empty: some in the run directory
  Login superuser;
  Login replication;
  Login rewind;                                    // the superuser if not given
  std::map<std::string, std::string> parameters;   // GUC to value as PostgreSQL text
  std::optional<std::vector<std::string>> pg_hba;  // given, also empty: hides the dynamic one
  std::optional<std::vector<std::string>> pg_ident;
  std::vector<std::string> basebackup;  // arguments for pg_basebackup: "--checkpoint=fast"
  std::vector<std::string> rewind_options;
  std::optional<bool> use_pg_rewind;  // nullopt: what the dynamic configuration says
  bool remove_data_directory_on_rewind_failure = false;
  bool remove_data_directory_on_diverged_timelines = false;
  bool use_unix_socket = false;
  bool use_unix_socket_repl = false;
  Duration pg_ctl_timeout = 60s;
};

struct LogSettings {
  std::string type = "plain";  // plain, json
  std::string level = "INFO";  // DEBUG, INFO, WARNING, ERROR, CRITICAL
  std::string dir;             // empty: stderr
  int file_num = 4;
  int64_t file_size = 25 * 1000 * 1000;  // bytes
  std::optional<int> mode;               // permission bits; nullopt: the agent's umask, so 0600
  std::optional<LineFormat> format;      // nullopt: this project's own lines
  std::string dateformat;                // of asctime, for strftime; empty: Python's, with milliseconds
  int max_queue_size = 1024;             // lines that wait for a slow disk
  bool operator==(const LogSettings&) const = default;
};

struct CtlSettings {
  std::string username;  // empty: those of restapi
  Secret password;
  bool insecure = false;
  std::string cacert;
  std::string certfile;
  std::string keyfile;
  Secret keyfile_password;
};

struct AgentSettings {
  std::string scope;
  std::string name;
  std::string name_space = "/service";
  RestapiSettings restapi;
  EtcdSettings etcd;
  BootstrapSettings bootstrap;
  PostgresqlSettings postgresql;
  LogSettings log;
  CtlSettings ctl;
  model::Tags tags;
};

}  // namespace pgdba::conf
