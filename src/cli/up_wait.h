// The phases of `up` after everything was started: each waits until it has seen what it names, until the deadline, or
// until a process has ended so often that waiting is of no use.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/status_view.h"
#include "local/machine.h"

namespace pgdba::cli {

class Waiting {
 public:
  // `hopeless` says why waiting is of no use; asked at each look.
  Waiting(Context& context, const Target& target, std::function<std::optional<Failure>()> hopeless, BootTime deadline);

  // The member answers its peers. Others that start only then need not wait a second for an answer of it.
  Outcome<void> peer(const local::ClusterFile::Etcd& member);
  Outcome<void> etcd();  // all of its members are healthy
  // It has begun to make the database, so the bootstrap is its own.
  Outcome<void> first_node(const std::string& name);
  Outcome<void> leader();
  Outcome<void> write();  // the leader acknowledges one
  // It can look up passwords, and a write through it is acknowledged. Nothing to do where a cluster has none.
  Outcome<void> pooler();
  Outcome<void> replicas();
  // They are in the synchronous set, where there is one: before that the leader acknowledges alone, and nobody may take over.
  Outcome<void> synchronous();
  // For the picture at the end: a moment in which nothing is wrong, if there is one soon.
  void settle();

  void look_now() { full_ = look(rest_, target_, 400ms, false); }
  void look_closely() { full_ = look(rest_, target_, 400ms); }  // at the containers, too
  [[nodiscard]] const FullSight& full() const { return full_; }

 private:
  [[nodiscard]] Failure wrong_password(const std::string& why) const;
  Outcome<void> until(const std::string& what, const std::function<bool()>& holds);
  [[nodiscard]] const local::ClusterFile& cluster() const { return *target_.local; }

  Context& context_;
  const Target& target_;
  std::function<std::optional<Failure>()> hopeless_;
  Rest rest_;
  BootTime deadline_;
  FullSight full_;
};

// The last phases, from a leader to a write through the pooler, with a line for each.
Outcome<void> wait_serving(Terminal& terminal, Waiting& waiting, const local::ClusterFile& cluster);

// A process of this machine that ended again and again.
std::optional<Failure> never_starts(const local::Machine& machine, const Target& target);

}  // namespace pgdba::cli
