// A Sight, and for a cluster of this machine its processes, as JSON (schema_version 1, kept stable), YAML, tsv and
// table.
#pragma once

#include <string>
#include <vector>

#include "cli/observe.h"
#include "cli/terminal.h"
#include "local/machine.h"
#include "wire/json_value.h"

namespace pgdba::cli {

struct EtcdSight {
  std::string name;
  std::string client_url;
  std::optional<int> pid;
  bool healthy = false;
  bool leader = false;
  std::string state;  // running, stopped, killed, frozen, down
  std::optional<int64_t> restarts;
};

// Beside Sight: only of managed clusters. From the process table, or from Docker.
struct MachineSight {
  struct Part {
    std::string name;
    local::NodePids pids;  // the pooler's is that of an agent; of containers there are none
    std::string state;     // running, stopped, killed, frozen, crashed, down
    int64_t restarts = 0;
    std::string last_exit;  // empty: never
    [[nodiscard]] bool running() const { return state == "running"; }
  };
  std::vector<Part> nodes;
  std::vector<EtcdSight> etcd;
  std::optional<Part> pooler;  // none: the cluster has none
  bool containers = false;     // Docker starts again what ends; else the supervisor does
  std::optional<int> supervisor;
};

struct FullSight {
  Sight sight;
  std::optional<MachineSight> machine;
  std::string machine_unknown;  // why Docker could not be asked
};

// One round for everything: members and, for a managed cluster, etcd. The caller acts as the cluster's user. Without the
// containers it costs no call of `docker`.
FullSight look(Rest& rest, const Target& target, Duration patience, bool containers = true);

struct Url {
  std::string psql;  // a command to paste
  std::string libpq;
  std::string jdbc;
};
struct Urls : Url {       // of the nodes, all of them in one
  Url pooler;             // empty: external
  std::string pooler_ro;  // libpq's, of a replica
  std::vector<std::string> rest;
  std::string passfile;  // empty: external
};
Urls urls_of(const Target& target, const Sight& sight);

wire::JsonValue status_json(const Target& target, const FullSight& full, BootTime now);
Table status_table(const Sight& sight);
Table status_rows(const Sight& sight);  // for tsv: the fields of the JSON, plain numbers
std::string status_text(const Terminal& terminal, const Target& target, const FullSight& full, BootTime now);
void print_status(const Terminal& terminal, const Target& target, const FullSight& full, BootTime now);

}  // namespace pgdba::cli
