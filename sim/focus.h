// Directed schedules: for each rule of ha/rules.h the weights that make the interleaving of its finding likely, and
// the number of such seeds within which its absence must show.
#pragma once

#include <string_view>
#include <vector>

#include "plan.h"

namespace pgdba::sim {

struct Focus {
  std::string_view rule;
  uint64_t within;  // seeds 1 … within of the focus hold one that fails with the rule off and passes with it on
  bool liveness = false;  // its absence shows in C or D only
};
const std::vector<Focus>& focuses();

// Draws cluster, speeds and faults for the rule named in `plan.focus`, over what draw_plan() has drawn already.
void apply_focus(Plan& plan, Random& random);

}  // namespace pgdba::sim
