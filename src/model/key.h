// Names of keys without their bytes: which key of the cluster a transaction compares or writes.
#pragma once

#include <compare>
#include <string>

namespace pgdba::model {

enum class KeyKind {
  initialize, config, leader, sync, status, history, failover,
  member,      // name: member
  term, beat, released, switchover,
  timeline,    // name: the number in decimal
  promise, suspect, intent,  // name: member
  pooler,      // name: pooler id
};

struct Key {
  KeyKind kind = KeyKind::leader;
  std::string name;
  auto operator<=>(const Key&) const = default;
};

}  // namespace pgdba::model
