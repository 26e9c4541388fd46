// Everything that one seed draws: the cluster, how fast its parts are, and which faults come when.
//
// Swarm style: each seed switches most fault kinds off and gives the others rates of their own. Faults are drawn ahead, each with dice
// of its own, so that a failing seed can be minimised by leaving faults out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "events.h"
#include "model/cluster.h"
#include "model/names.h"

namespace pgdba::sim {

struct Fault {
  enum class Kind {
    kill_postmaster,   // SIGKILL; its backends live on until the guardian ends them
    crash_backend,     // one backend dies: the whole server ends (or restarts itself, mutation h3)
    kill_agent,        // comes back after a while
    freeze_agent,
    kill_guardian,     // postgres dies with it
    freeze_guardian,   // without the agent
    freeze_postgres,
    freeze_node,       // all processes; the clock runs
    pause_machine,     // a hypervisor pause: the clock stands still as well
    power_loss,
    kill_everything,   // agent, guardian and postgres of a node at once; the supervisor starts the agent again
    cut_members,       // between two members
    reject_members,    // a firewall that resets: looks like a death (W12)
    isolate_member,    // from all members and clients, etcd reachable or not
    cut_etcd,          // between one member and etcd
    flap,              // a link comes and goes
    etcd_leader_change,
    etcd_quorum_loss,
    etcd_wipe,
    etcd_restore,
    etcd_lies,         // a deposed etcd leader with a stalled disk answers keepalives of a member (L1)
    delete_leader_key,
    revoke_lease,
    slow_watch,        // one member's watch lags by seconds
    block_replay,      // a long query on a standby
    busy_checkpointer, // an immediate checkpoint (Y3)
    panic_fsync,       // postgres dies, the end of its WAL with it (H4)
    lose_cache,        // power loss on a disk that lied
    lose_disk,         // the data directory is empty when the node comes back
    fail_job,          // a clone or rewind under way dies
    disk_refuses,      // file systems turn read-only after an error: nothing is written or started; a primary panics
    change_ttl,
    change_count,      // synchronous_node_count
    pause_cluster,     // maintenance mode, for a while
    switchover,        // an operator's request, through the failover key
    restart_request,
    reinit_request,
    stop_outside,      // pg_ctl stop -m fast behind the agent's back
    start_outside,     // pg_ctl start of a data directory at rest (G2)
    stop_agent,        // SIGTERM: an orderly shutdown, started again later
    crash_after_promotion,  // the next primary dies soon after it was promoted
    swap_faults,       // a standby goes away for a while and another one after it: sync sets change
    kCount,
    scene,  // of the plan's focus (scenes.h); never drawn otherwise
    freeze_pooler,     // these are drawn with dice of their own, where there are real poolers
    kill_pooler,
    cut_pooler,        // from etcd, a member or its clients
    lag_pooler,        // its watch lags
  };
  Time at{};
  Kind kind = Kind::kill_postmaster;
  uint64_t dice = 0;
};
std::string_view to_string(Fault::Kind kind);

struct Plan {
  uint64_t seed = 0;
  std::string focus;  // rule whose absence this plan is made to show; empty: none
  int members = 3;
  model::SyncMode mode = model::SyncMode::quorum;
  bool strict = false;
  int node_count = 1;
  Duration ttl = 3s;
  std::vector<model::Tags> tags;
  bool fresh = false;      // bootstrap from nothing; else data directories exist and everything is stopped
  bool old_minor = false;  // a primary that starts does not wait for synchronous standbys at once (before SYNC_STANDBY_INIT)
  Time length = 40s;       // of the safety phase
  Duration patience = 90s; // of the liveness phase

  Duration latency_low = 200us;
  Duration latency_high = 2ms;
  double slow_message = 0.0;
  Duration slow_message_max = 500ms;
  double lost_request = 0.0;  // to etcd: never arrives
  double lost_answer = 0.0;   // from etcd: applied, unanswered
  double late_request = 0.0;  // to etcd: arrives after its sender gave up
  Duration late_max = 6s;
  double drift = 0.0;         // of member clocks, relative
  Duration watch_lag = 20ms;  // at most, mostly
  double slow_reload = 0.0;   // a process that takes a reload late
  Duration slow_reload_max = 1s;
  double slow_obey = 0.0;     // the startup process notices a cleared conninfo late (W3)
  Duration slow_obey_max = 2s;
  double slow_kill = 0.0;     // a backend that does not die at once (in a disk wait)
  Duration slow_kill_max = 2s;
  double slow_exhaust = 0.0;  // a restarted standby needs long to come to the end of its WAL
  Duration slow_exhaust_max = 3s;
  double long_statement = 0.0;
  double slow_reply = 0.0;    // an acknowledgement of a standby that stays long in a socket
  Duration slow_reply_max = 800ms;
  double job_failure = 0.0;
  double misread = 0.0;       // a reading of files that says nothing, or what somebody else has written there for a moment
  double early_word = 0.0;    // the end of a local action is heard before a reading that shows it
  Duration disk = 2ms;        // of one fsync, at most mostly
  int writers = 3;
  int direct_writers = 1;
  int readers = 2;
  Duration think = 60ms;      // between two writes of one client
  // Clients that go through real poolers (pooler_host.h).
  int poolers = 0;
  int pooled_writers = 0;
  int pooled_readers = 0;
  int pool_size = 2;
  size_t pool_statements = 200;
  bool pool_checks = false;   // check query and lifetime often
  Duration pool_wait = 120s;  // query_wait_timeout
  double pooler_backlog = 0;  // a socket that does not take all at once

  std::vector<Fault> faults;
};

// The focus of the pooler's own rules (pool/rules.h).
inline constexpr std::string_view kPoolFocus = "pool";

// `focus`: empty, the name of a rule of ha/rules.h, or kPoolFocus.
Plan draw_plan(uint64_t seed, const std::string& focus, bool poolers = true);
std::string describe(const Plan& plan);

}  // namespace pgdba::sim
