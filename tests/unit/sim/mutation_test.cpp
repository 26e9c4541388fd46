// A simulator that cannot fail proves nothing: with one rule of ha/rules.h switched off, a seed of that rule's directed
// schedule must show a violation which the same seed does not show with the rule on.
#include <gtest/gtest.h>

#include "sim/focus.h"
#include "sim/world.h"

namespace pgdba::sim {
namespace {

Verdict run(const std::string& rule, uint64_t seed, bool mutated, bool liveness) {
  Options options;
  options.make_core = real_core();
  options.focus = rule;
  options.liveness = liveness;
  auto flag = ha::find_rule(rule);
  if (mutated && flag) options.rules.*(*flag) = false;
  World world(seed, options);
  return world.run();
}

class Mutation : public testing::TestWithParam<Focus> {};

TEST_P(Mutation, IsCaught) {
  std::string rule(GetParam().rule);
  ASSERT_TRUE(ha::find_rule(rule)) << rule;
  for (uint64_t seed = 1; seed <= GetParam().within; ++seed) {
    Verdict broken = run(rule, seed, true, GetParam().liveness);
    if (!broken.violation) continue;
    if (run(rule, seed, false, GetParam().liveness).violation) continue;  // not the mutation's doing
    RecordProperty("seed", static_cast<int>(seed));
    std::printf("%s: seed %d: %s: %s\n", rule.c_str(), static_cast<int>(seed), broken.violation->promise.c_str(), broken.violation->text.c_str());
    return;
  }
  FAIL() << "the absence of rule " << rule << " was not noticed within " << GetParam().within << " seeds";
}

INSTANTIATE_TEST_SUITE_P(Rules, Mutation, testing::ValuesIn(focuses()), [](const auto& each) { return std::string(each.param.rule); });

}  // namespace
}  // namespace pgdba::sim
