// One key of etcd as bytes with what etcd knows about it, and one event of a watch. Shared by dcs/, which fetches
// them, and cluster_view.h, which gives them meaning.
#pragma once

#include <cstdint>
#include <string>

namespace pgdba::wire {

struct KeyValue {
  std::string key;  // absolute, with the namespace and scope in front
  std::string value;
  int64_t create = 0;   // revision in which the key was created
  int64_t mod = 0;      // revision of its last change; 0: the key does not exist
  int64_t version = 0;  // number of changes since it was created
  int64_t lease = 0;    // 0: none
  bool operator==(const KeyValue&) const = default;
};

struct KeyEvent {
  enum class Kind { put, remove };
  Kind kind = Kind::put;
  KeyValue kv;  // of a remove only `key` and `mod` (the revision of the removal) count
  bool operator==(const KeyEvent&) const = default;
};

}  // namespace pgdba::wire
