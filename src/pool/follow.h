// From what etcd says of a cluster to what may be lent, and to this pooler's part in a planned switchover. Shared by the
// shell (pooler/) and the simulator, so that what is tested there is what runs.
//
// Pure functions of plain values, and small machines. Invariants: who leads is only what the key `leader` and the newest
// term say together; leaderships are numbered in the order in which they followed each other; "drained" is said only while
// nothing is in flight, in a key written after the switchover that it answers; lending begins again when the switchover is
// over, or when the time to hold is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pool/core.h"
#include "pool/rules.h"

namespace pgdba::pool {

// Keys' values with the revisions that made them.
struct LeaderKey {
  std::string leader;
  int64_t create = 0;
};
struct TermKey {
  uint64_t term = 0;
  std::string leader;
  int64_t mod = 0;
};

struct Leadership {
  std::string leader;     // empty: nobody
  uint64_t term = 0;      // ours, or under a Patroni leader the create revision of its key
  bool own_term = false;  // `term` is the setting pgdba.term of the leader's server
  uint64_t last_own = 0;  // the newest term of ours, whoever leads
};
// A member of ours writes its term in the transaction in which it takes the lock. So a lock that is younger than the term is
// a Patroni leader's, and the term is that of somebody before it.
Leadership leadership_of(const std::optional<LeaderKey>& leader, const std::optional<TermKey>& term);

// Numbers leaderships, since terms of ours and revisions of etcd cannot be compared: whoever is lent under a lower number is
// of the past. A newer leader has a newer term of ours; between Patroni leaders the younger lock counts (one that makes its lock
// again is the same: a primary is stopped before it may lead once more). Another etcd, or one that went back in time, counts
// its revisions anew; another cluster of the same name also its terms.
class Succession {
 public:
  // The newest number. Where `now` is news of the past its leader is taken out: nobody may be lent on it. `etcd`: grows with each
  // etcd that takes the place of another.
  uint64_t number_of(Leadership& now, uint64_t etcd, uint64_t system_identifier);

 private:
  uint64_t number_ = 0;
  std::string leader_;
  uint64_t last_own_ = 0;
  uint64_t created_ = 0;  // a Patroni leader's lock; 0: the leader is one of ours
  uint64_t etcd_ = 0;
  uint64_t system_identifier_ = 0;
};

// Half of this is how old news may be to lend on. A lock lives as long as was configured when its key was written last: a
// longer ttl counts when the owner has moved its lock to it, a shorter one at once. (Whoever has not heard of the shorter
// one goes on for half the old ttl; the walls at the server's side do not depend on it.)
class LockTtl {
 public:
  Micros follow(Micros configured, int64_t lock_mod);

 private:
  Micros ttl_{0};
  int64_t lock_mod_ = 0;
};

struct ClusterState {
  bool known = false;             // etcd has been read
  bool leader_reachable = false;  // somebody leads, and an address of it is known
  bool any_member = false;
  bool switching = false;
  uint64_t number = 0;            // of the leadership
  Moment fresh_until = 0;
};
RouteState primary_route(const ClusterState& state, const Rules& rules);
RouteState reader_route(const ClusterState& state);

// Asked of each new server of a cluster; judge_server() gets the row. Empty: it is the right one.
std::string_view verify_question();
struct Expected {
  uint64_t system_identifier = 0;  // 0: not known
  uint64_t number = 0;             // of the leadership
  uint64_t term = 0;
  bool own_term = false;
};
std::string judge_server(const Server& server, const std::vector<std::optional<std::string>>& row, const Expected& expected);

// The switchover that is in etcd, as far as poolers care.
struct SwitchoverKey {
  enum class Step : uint8_t { draining, stopped, over };  // over: also a hand-over, which drains nothing
  int64_t mod = 0;
  uint64_t term = 0;
  std::string from;
  Step step = Step::over;
  Moment hold = 0;  // microseconds
};

class SwitchoverHold {
 public:
  enum class Change : uint8_t { none, begins, over, gives_up };
  // `leader`: the value of the key; nothing: absent. `term`: the newest of ours.
  Change follow(const std::optional<SwitchoverKey>& key, const std::optional<std::string>& leader, uint64_t term, Moment now);
  // The revision that began the switchover that we hold for; 0: none. The key is written over by the next switchover, so its
  // create revision names none.
  [[nodiscard]] int64_t holding_for() const { return draining_; }

 private:
  int64_t draining_ = 0;
  int64_t seen_ = 0;      // the one that the key told of last
  int64_t given_up_ = 0;  // the one that we held for long enough
  Moment until_ = 0;
};

// What our key says.
enum class Part : uint8_t { open, holding, drained };
Part part_of(int64_t holding_for, int in_flight);
// Whether it has to be written: the key's revision (0: it is not there), what it says and what it should say.
bool must_write(int64_t written_at, Part written, uint64_t written_term, Part wanted, uint64_t wanted_term, int64_t holding_for);

}  // namespace pgdba::pool
