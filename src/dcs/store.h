// What the distributed configuration store offers, and what its answers mean. Knows no key name, decides nothing.
//
// Every write names the revision it expects, by compares. The outcome of a call is one of three, and the safety rules
// rest on telling them apart:
//   a value            answered. A lost compare is an answer (succeeded == false), so is a lease that is gone.
//   Errc::unavailable  certainly not applied: nothing was sent, or etcd said so. Trying again is safe.
//   Errc::timeout      UNKNOWN: it was sent, and no answer came, or one that leaves it open. It may still take effect,
//                      even later. Never treat it as "not done".
// Others: denied (credentials), not_found (a put names a lease that is gone: not applied), invalid (not applied),
// conflict (the endpoints belong to another etcd cluster than before, see accept_cluster()).
// A write is never sent twice. Reads and keepalives are idempotent and may go to several endpoints in turn.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/task.h"
#include "wire/etcd.h"

namespace pgdba::dcs {

using wire::KeyEvent;
using wire::KeyValue;
using wire::etcd::Compare;
using wire::etcd::Header;
using wire::etcd::Member;
using wire::etcd::Op;
using wire::etcd::OpResult;
using wire::etcd::Range;
using wire::etcd::Txn;
using wire::etcd::TxnResult;

// linearizable: went through a quorum when it was answered. serializable: what that member remembers, may be stale.
enum class Read { linearizable, serializable };

struct LeaseGrant {
  Header header;
  int64_t id = 0;
  std::chrono::seconds ttl{0};  // as granted, may differ from the wish
};

struct KeepAlive {
  Header header;
  std::chrono::seconds ttl{0};  // 0: the lease is gone
  BootTime sent_at;             // just before the request that was answered was sent: the lease lives at least until
                                // sent_at + ttl by etcd's clock
};

struct WatchBatch {
  enum class Kind {
    events,     // changes, in order; never a part of one revision
    progress,   // a sign of life; everything up to header.revision has been delivered (not what this answer said, but
                // the one before it: older etcd lets it overtake events)
    compacted,  // the wanted revision is gone: list again, then watch from there. The watch has ended.
    foreign,    // the endpoints now belong to another etcd cluster: list again. The watch has ended.
  };
  Kind kind = Kind::events;
  Header header;
  std::vector<KeyEvent> events;
};

// A stream of changes. It moves between endpoints by itself and continues after the last revision delivered: nothing
// is lost, repeated or reordered. Destroying it ends it.
class Watch {
 public:
  virtual ~Watch() = default;
  // The next batch. timeout: nothing came until the deadline; call again. unavailable: no endpoint answers at the
  // moment (the text says why); it keeps trying, call again. denied: credentials.
  virtual Task<Result<WatchBatch>> next(BootTime deadline) = 0;
  // When the stream last said anything (events, or an answer to "are you there"): how old the view can be.
  virtual BootTime last_heard() const = 0;
  virtual std::string endpoint() const = 0;  // of the present connection, for people; empty: none
};

class Store {
 public:
  virtual ~Store() = default;

  // All keys that begin with `prefix`, sorted, of one revision.
  virtual Task<Result<Range>> range_prefix(std::string prefix, Read read, BootTime deadline) = 0;

  // Refused as Errc::bug when it has no operation at all: etcd answers such a transaction from one member's memory.
  // Ranges inside are always linearizable; there is no way to ask for others.
  virtual Task<Result<TxnResult>> txn(Txn txn, BootTime deadline) = 0;

  virtual Task<Result<LeaseGrant>> lease_grant(std::chrono::seconds ttl, BootTime deadline) = 0;
  virtual Task<Result<KeepAlive>> lease_keepalive(int64_t id, BootTime deadline) = 0;
  virtual Task<Result<Header>> lease_revoke(int64_t id, BootTime deadline) = 0;  // not_found: already gone

  // Events after `after_revision` (of the range that the caller has read: Range::header.revision).
  virtual std::unique_ptr<Watch> watch(std::string prefix, int64_t after_revision) = 0;

  virtual Task<Result<std::vector<Member>>> members(BootTime deadline) = 0;

  // After Errc::conflict or WatchBatch::foreign: the cluster id that the endpoints have now (0: still the same), and
  // the caller's word that it knows (it has listed again and dropped what it believed).
  virtual uint64_t foreign_cluster() const = 0;
  virtual void accept_cluster(uint64_t cluster_id) = 0;
};

}  // namespace pgdba::dcs
