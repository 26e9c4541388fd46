// The processes of one local cluster: what is wanted, what runs, and the verbs on them. Blocking; everything is read
// from disk and the process table each time, nothing is remembered.
//
// Call it as the cluster's user (identity.h). Verbs first write what is wanted, then act, then verify; each may be
// repeated, and one that was killed half-way is finished by the next.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "local/cluster_file.h"
#include "local/identity.h"
#include "local/process.h"
#include "local/supervised.h"

namespace pgdba::local {

struct ProcessReport {
  std::string name;
  bool node = false;
  Want want = Want::up;
  std::optional<ProcessId> id;  // of the agent, of etcd or of the pooler
  bool frozen = false;
  Exits exits;
};

struct NodePids {
  std::optional<pid_t> agent, guardian, postmaster;
};

struct Reached {
  int agents = 0, guardians = 0, poolers = 0, postmasters = 0, backends = 0, others = 0;
  std::vector<pid_t> pids;
  bool killed = false;  // it did not end by itself in time
};
std::string describe(const Reached& reached);  // "agent, guardian, postgres and 9 more processes"

class Machine {
 public:
  explicit Machine(ClusterFile cluster) : cluster_(std::move(cluster)), supervised_(cluster_.supervised()) {}

  [[nodiscard]] const ClusterFile& cluster() const { return cluster_; }
  [[nodiscard]] const Supervised& supervised() const { return supervised_; }
  [[nodiscard]] std::vector<std::string> names() const;  // nodes, etcd members, the pooler
  [[nodiscard]] std::vector<std::string> names_of_etcd() const;
  [[nodiscard]] bool is_node(const std::string& name) const { return cluster_.find_node(name) != nullptr; }

  [[nodiscard]] ProcessReport report(const std::string& name) const;
  [[nodiscard]] NodePids pids(const std::string& node) const;
  [[nodiscard]] std::optional<ProcessId> supervisor() const { return supervised_.running(Supervised::supervisor); }
  // Is it another build of the program than this one? (After `make`, until `down` and `up`.)
  [[nodiscard]] bool supervisor_is_another_program() const;
  [[nodiscard]] std::vector<ProcessStat> processes(const std::string& name) const { return find_node(mark(name)); }
  [[nodiscard]] bool anything_runs() const;

  // One supervisor, started if there is none.
  Result<ProcessId> ensure_supervisor(const Identity& identity) const;
  Result<void> stop_supervisor() const;

  // Nothing to do where `up` ended before anything could be supervised.
  Result<void> want(const std::string& name, Want want) const {
    return exists(supervised_.folder()) ? supervised_.write_want(name, want) : Result<void>{};
  }
  // Clean: SIGTERM to the agent (which stops its PostgreSQL), etcd or the pooler; after `patience` everything that is left dies.
  Result<Reached> stop(const std::string& name, Duration patience) const;
  // SIGKILL to every process of the node, as nearly at once as can be.
  Result<Reached> kill(const std::string& name) const;
  Result<Reached> freeze(const std::string& name) const;  // SIGSTOP; returns when every process stands still
  Result<Reached> thaw(const std::string& name) const;    // SIGCONT; when none does
  // Waits until the supervisor has started it.
  Result<ProcessId> wait_started(const std::string& name, Duration patience) const;

  // Removes everything of a cluster that is down, and looks whether it is gone. What is left comes back as sentences.
  Result<std::vector<std::string>> purge() const;

 private:
  Result<Reached> signal_until(const std::string& name, int signal, bool frozen) const;
  [[nodiscard]] NodeMark mark(const std::string& name) const;

  ClusterFile cluster_;
  Supervised supervised_;
};

}  // namespace pgdba::local
