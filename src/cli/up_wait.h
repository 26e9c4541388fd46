// The phases of `up` after everything was started: each waits until it has seen what it names, until the deadline, or
// until a process has ended so often that waiting is of no use.
#pragma once

#include <functional>
#include <string>

#include "cli/commands.h"
#include "cli/status_view.h"
#include "local/machine.h"

namespace pgdba::cli {

class Waiting {
 public:
  Waiting(Context& context, const Target& target, const local::Machine& machine, BootTime deadline);

  // The member answers its peers. Others that start only then need not wait a second for an answer of it.
  Outcome<void> peer(const local::ClusterFile::Etcd& member);
  Outcome<void> etcd();
  // It has begun to make the database, so the bootstrap is its own.
  Outcome<void> first_node(const std::string& name);
  Outcome<void> leader();
  Outcome<void> write();  // the leader acknowledges one
  // It can look up passwords, and a write through it is acknowledged. Nothing to do where a cluster has none.
  Outcome<void> pooler();
  Outcome<void> replicas();
  // They are in the synchronous set, where there is one: before that the leader acknowledges alone, and nobody may take over.
  Outcome<void> synchronous();
  // For the picture at the end: a moment in which nothing is wrong, if there is one within a second.
  void settle();

  void look_now() { full_ = look(rest_, target_, 400ms); }
  [[nodiscard]] const FullSight& full() const { return full_; }

 private:
  Outcome<void> until(const std::string& what, const std::function<bool()>& holds);
  [[nodiscard]] std::optional<Failure> never_starts() const;

  Context& context_;
  const Target& target_;
  const local::Machine& machine_;
  Rest rest_;
  BootTime deadline_;
  FullSight full_;
};

}  // namespace pgdba::cli
