// How long writes are away, measured as a client sees it: one small committed write after the other, to whichever node
// takes it, each 10 ms, from a thread of its own. What counts is the longest time between two acknowledged ones.
//
// Works where this user has the cluster's password (made by `up`). It writes pg_logical_emit_message: WAL, no table.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "cli/target.h"

namespace pgdba::cli {

class WriteProbe {
 public:
  // Starts at once. `target` must be managed.
  explicit WriteProbe(const Target& target);
  ~WriteProbe();
  WriteProbe(const WriteProbe&) = delete;
  WriteProbe& operator=(const WriteProbe&) = delete;

  [[nodiscard]] int acknowledged() const;
  bool wait_acknowledged(int more, Duration patience) const;  // until so many more than now were acknowledged
  // Between two acknowledged writes so far, or since the last one. nullopt: none was acknowledged.
  [[nodiscard]] std::optional<Duration> longest_gap() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// One write on the node at this port, acknowledged by PostgreSQL (in synchronous mode that includes the standbys).
Result<void> write_once(net::Loop& loop, const local::ClusterFile& cluster, uint16_t port, Duration patience);

// denied: the node at this port does not take this password of the user.
Result<void> log_in(net::Loop& loop, uint16_t port, const std::string& user, const Secret& password, Duration patience);

}  // namespace pgdba::cli
