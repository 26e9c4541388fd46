// Everything the core may look at when it decides: one consistent picture, taken by the shell before each step.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ha/action.h"
#include "model/cluster.h"
#include "model/local.h"

namespace pgdba::ha {

// Which etcd answered, under which of its leaders. A raft term alone is no name for it: an etcd that was rebuilt counts
// from one again, and a member of the one before may still answer.
struct Era {
  uint64_t cluster_id = 0;
  uint64_t raft_term = 0;  // 0: not known
  bool operator==(const Era&) const = default;
};

// The end of one action.
struct Completion {
  enum class Outcome {
    done,
    failed,   // it certainly did not take effect, or not wholly (jobs); `text` says why
    unknown,  // no answer: a write to etcd that may still land
    dropped,  // never begun, because one before it in its lane failed
  };
  ActionId id = 0;
  Outcome outcome = Outcome::done;
  std::string text;
  BootTime sent_at{};            // read before the request left
  BootTime answered_at{};
  bool succeeded = false;        // Txn, ProveLock, ProbeSync: the compares held
  model::Revision revision = 0;  // Txn: of etcd after it
  model::LeaseId lease = 0;      // GrantLease
  Duration ttl{};                // GrantLease, KeepAlive: as answered; 0 = the lease is gone
  Era era;
};

// What another member said over REST and what its ports answered, last time we asked.
struct Peer {
  enum class Port { accepted, refused, unreachable, timeout };
  BootTime asked_at{};
  BootTime answered_at{};
  Port pg_port = Port::timeout;
  Port api_port = Port::timeout;
  bool api_answered = false;
  bool is_primary = false;            // its PostgreSQL says that it is out of recovery, or its agent says it leads
  bool running = false;
  std::optional<Lsn> position;        // nullopt: it has none (W4)
  bool no_data = false;               // its own agent says that its data directory is empty or half-made
  uint32_t timeline = 0;
  bool may_lead = true;
};

// The leader's own word, over a replication connection and a query, before we follow it (R1, R3).
struct UpstreamHistory {
  std::string from;
  BootTime asked_at{};
  uint64_t system_id = 0;
  model::Term term = 0;       // its pgdba.term; 0 under Patroni
  uint32_t timeline = 0;
  Lsn flush_lsn;              // as IDENTIFY_SYSTEM says
  std::map<uint32_t, Lsn> ends;  // timeline -> where the leader's history leaves it
  bool in_recovery = true;
};

// The guardian's shared page as found by an agent that starts (L5).
struct Page {
  bool guardian_alive = false;
  std::optional<BootTime> deadline;
  model::LeaseId lease = 0;
  model::Revision leader_mod = 0;
  model::Term term = 0;
};

// An operator's request through REST; the core answers each once.
struct Request {
  enum class Kind { restart, reinitialize, shutdown };
  uint64_t id = 0;
  Kind kind = Kind::restart;
  bool force = false;
};

struct View {
  BootTime now{};
  WallTime wall{};
  // nullptr until the first reading. A new cluster_id or a lower raft_term than before means that etcd was replaced.
  const model::ClusterView* cluster = nullptr;
  model::LocalPg pg;
  std::optional<model::FreezeRecord> freeze_record;
  Page page;
  std::map<std::string, Peer> peers;
  std::optional<UpstreamHistory> upstream;
  std::vector<Request> requests;       // not answered yet; a restart that is gone from here before it began is not done any more
  std::optional<model::ScheduledRestart> scheduled_restart;  // only shown, in the member key
  std::vector<Completion> completed;   // since the last step
  // Actions given out and not completed are remembered by the core; the shell runs them whatever the view says.
};

struct Decision {
  std::vector<Action> actions;
  BootTime wake_at{};        // call step() again by then even if nothing happens
  Duration observe_every{};  // how fresh the core wants LocalPg from now on (20 ms … loop_wait)
  std::string state;         // one line for people: "no action. I am (pg-primary), the leader with the lock"
};

}  // namespace pgdba::ha
