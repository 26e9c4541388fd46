// One function per command; arguments.cpp turns argv into these structs. Each returns its exit code, or a Failure that
// arguments.cpp prints. Data has been printed when it returns.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/target.h"

namespace pgdba::cli {

using Done = Outcome<Exit>;

struct UpOptions {
  std::string name = "local-ha";
  std::optional<int> nodes;
  std::string data_dir;
  std::string pg_bin_dir;
  std::optional<int> port_offset;
  std::string profile;  // empty: fast, or what the cluster has
  double timeout_s = 90;
  bool docker = false;      // the compose project instead of processes
  std::string compose_dir;  // empty: deployments/docker of this program's own tree
};
Done up(Context& context, const UpOptions& options);
Done up_docker(Context& context, const UpOptions& options);

struct DownOptions {
  TargetOptions target;
  bool purge = false;
  double timeout_s = 60;  // for one node to stop by itself; then it is killed
};
Done down(Context& context, const DownOptions& options);
Done down_docker(Context& context, const DownOptions& options, const Target& target);

struct StatusOptions {
  TargetOptions target;
  bool check = false;               // Nagios' exit codes and one line
  std::optional<double> timeout_s;  // for members that do not answer
};
Done status(Context& context, const StatusOptions& options);

struct EnvOptions {
  TargetOptions target;
};
Done env(Context& context, const EnvOptions& options);

struct PsqlOptions {
  TargetOptions target;
  bool replica = false;
  std::vector<std::string> arguments;  // for psql
};
Done psql(Context& context, const PsqlOptions& options);  // returns only when psql could not be started

struct LogsOptions {
  TargetOptions target;
  std::vector<std::string> sources;  // members, "etcd", "etcd1", "supervisor"; none: all
  bool follow = false;
  int lines = 200;  // of each source at the start; 0: all
};
Done logs(Context& context, const LogsOptions& options);
Done logs_docker(Context& context, const LogsOptions& options, const Target& target);

enum class Verb { stop, start, kill, freeze, thaw };
struct VerbOptions {
  TargetOptions target;
  Verb verb = Verb::stop;
  std::vector<std::string> what;  // member, primary, replica, etcd1, etcd-leader, all
  bool wait = true;               // for the consequence in the cluster: a new leader, the node streaming again
  double timeout_s = 60;
};
Done act_on(Context& context, const VerbOptions& options);
Done act_on_docker(Context& context, const VerbOptions& options, const Target& target);

struct ConnectOptions {
  std::string name;
  std::string patroni_url;
  std::string pg_host;
  int pg_port = 0;
  std::string cacert;
  bool replace = false;
  double timeout_s = 5;
};
Done connect(Context& context, const ConnectOptions& options);
Done list(Context& context);
Done forget(Context& context, const std::string& name);
Done history(Context& context, const TargetOptions& target);

struct MoveOptions {  // switchover and failover
  TargetOptions target;
  bool failover = false;
  std::string candidate;
  bool allow_data_loss = false;
  double timeout_s = 60;
};
Done move_leader(Context& context, const MoveOptions& options);

struct MembersOptions {  // restart, reload, reinit
  TargetOptions target;
  std::vector<std::string> members;  // none: all (not for reinit)
  std::string role;                  // only those: primary, replica
  bool pending = false;              // restart: only those that wait for one
  bool force = false;                // reinit: also when a job runs there
  double timeout_s = 120;
};
Done restart(Context& context, const MembersOptions& options);
Done reload(Context& context, const MembersOptions& options);
Done reinit(Context& context, const MembersOptions& options);

struct PauseOptions {
  TargetOptions target;
  bool pause = true;
  double timeout_s = 30;
};
Done pause(Context& context, const PauseOptions& options);

struct ConfigOptions {
  TargetOptions target;
  std::vector<std::string> assignments;  // "ttl=5", "postgresql.parameters.work_mem=8MB", "x=null" removes
  std::string file;                      // a YAML or JSON document to merge in; "-": stdin
  double timeout_s = 30;
};
Done config_show(Context& context, const ConfigOptions& options);
Done config_set(Context& context, const ConfigOptions& options);

}  // namespace pgdba::cli
