// The pooler's promises as switches, all on. Only the simulator's mutation tests switch one off, to prove that its absence
// is noticed (as ha/rules.h does for the agent). No configuration sets them.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace pgdba::pool {

struct Rules {
  bool newest_term_only = true;   // a server of an older term is closed and never lent
  bool fresh_view_only = true;    // nobody is lent on a view older than ttl/2
  bool hold_in_switchover = true; // nobody is lent while a planned switchover drains
  bool owes_nothing = true;       // a server goes back only when every answer has come
  bool verify_first = true;       // what a new server says of itself, and answers, is looked at before it is lent
  bool doubt_is_said = true;      // a lost COMMIT is 08007, not 08006
  bool own_parameters = true;     // a server gets its client's parameters before the client's requests
  bool whole_messages = true;     // nothing of ours is said in the middle of a server's message
};

struct RuleName {
  std::string_view name;
  bool Rules::*flag;
};
std::span<const RuleName> rule_names();
// Nothing: no rule is called so.
std::optional<bool Rules::*> find_rule(std::string_view name);

}  // namespace pgdba::pool
