// etcd v3 requests and answers as plain values. etcd_json.h has their JSON, dcs/ sends them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "wire/key_value.h"

namespace pgdba::wire::etcd {

// In every answer.
struct Header {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  int64_t revision = 0;   // of the store when it was answered
  uint64_t raft_term = 0;
  bool operator==(const Header&) const = default;
};

struct Range {
  Header header;
  std::vector<KeyValue> kvs;
};

// What must hold for a transaction to take its `then` side.
struct Compare {
  enum class Target { version, create, mod, value, lease };
  enum class Relation { equal, greater, less, not_equal };
  std::string key;
  Target target = Target::mod;
  Relation relation = Relation::equal;
  int64_t number = 0;  // for all targets but value
  std::string value;

  static Compare absent(std::string key) { return {std::move(key), Target::create, Relation::equal, 0, {}}; }
  static Compare exists(std::string key) { return {std::move(key), Target::create, Relation::greater, 0, {}}; }
  static Compare mod_is(std::string key, int64_t revision) {
    return {std::move(key), Target::mod, Relation::equal, revision, {}};
  }
  static Compare lease_is(std::string key, int64_t lease) {
    return {std::move(key), Target::lease, Relation::equal, lease, {}};
  }
  static Compare value_is(std::string key, std::string value) {
    return {std::move(key), Target::value, Relation::equal, 0, std::move(value)};
  }
};

struct Op {
  enum class Kind { put, remove, range };
  Kind kind = Kind::put;
  std::string key;
  bool prefix = false;  // remove, range: every key that begins with `key`
  std::string value;    // put
  int64_t lease = 0;    // put; 0: none

  static Op put(std::string key, std::string value, int64_t lease = 0) {
    return {Kind::put, std::move(key), false, std::move(value), lease};
  }
  static Op remove(std::string key) { return {Kind::remove, std::move(key), false, {}, 0}; }
  static Op remove_prefix(std::string prefix) { return {Kind::remove, std::move(prefix), true, {}, 0}; }
  static Op range(std::string key) { return {Kind::range, std::move(key), false, {}, 0}; }  // linearizable
  static Op range_prefix(std::string prefix) { return {Kind::range, std::move(prefix), true, {}, 0}; }
};

// All compares hold: then_ops, else else_ops; both atomically. The new revision is TxnResult::header.revision, which
// is also the mod revision of every key that was put.
struct Txn {
  // Constructors, because g++ 12 destroys a brace-initialised aggregate inside a co_await expression twice.
  Txn() = default;
  Txn(std::vector<Compare> when, std::vector<Op> then, std::vector<Op> otherwise = {})
      : compares(std::move(when)), then_ops(std::move(then)), else_ops(std::move(otherwise)) {}

  std::vector<Compare> compares;
  std::vector<Op> then_ops;
  std::vector<Op> else_ops;
};

struct OpResult {
  Op::Kind kind = Op::Kind::put;
  int64_t removed = 0;        // remove: how many keys
  std::vector<KeyValue> kvs;  // range
};

struct TxnResult {
  Header header;
  bool succeeded = false;         // which side ran
  std::vector<OpResult> results;  // one per operation of that side, in order
};

struct Lease {
  Header header;
  int64_t id = 0;
  int64_t ttl_s = 0;  // 0 or less: gone
};

struct Member {
  uint64_t id = 0;
  std::string name;
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool learner = false;
};

struct Status {
  Header header;
  std::string version;
  uint64_t leader = 0;  // 0: this member sees none
};

// One message of a watch stream.
struct WatchMessage {
  Header header;
  bool created = false;
  bool canceled = false;
  int64_t compact_revision = 0;  // positive: the wanted revision is older than this one, which is the oldest left
  std::string cancel_reason;
  bool fragment = false;         // more of the same revision follows
  std::vector<KeyEvent> events;  // none, and neither created nor canceled: progress
};

// etcd's own "no": a gRPC status code and its text.
struct ErrorAnswer {
  int code = 2;
  std::string message;
};

}  // namespace pgdba::wire::etcd
