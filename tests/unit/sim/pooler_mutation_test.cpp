// A simulator that cannot fail proves nothing: with one rule of pool/rules.h switched off, a seed of the poolers' directed schedule
// must show a violation which the same seed does not show with the rule on.
#include <gtest/gtest.h>

#include "sim/world.h"

namespace pgdba::sim {
namespace {

struct Broken {
  const char* rule;
  uint64_t within;
  const char* promise;
};

Verdict run(const char* rule, uint64_t seed, bool mutated) {
  Options options;
  options.make_core = real_core();
  options.focus = kPoolFocus;
  options.liveness = false;
  auto flag = pool::find_rule(rule);
  if (mutated && flag) options.pool_rules.*(*flag) = false;
  World world(seed, options);
  return world.run();
}

class PoolerMutation : public testing::TestWithParam<Broken> {};

TEST_P(PoolerMutation, IsCaught) {
  const Broken& broken = GetParam();
  ASSERT_TRUE(pool::find_rule(broken.rule)) << broken.rule;
  for (uint64_t seed = 1; seed <= broken.within; ++seed) {
    Verdict verdict = run(broken.rule, seed, true);
    if (!verdict.violation || run(broken.rule, seed, false).violation) continue;
    EXPECT_EQ(verdict.violation->promise, broken.promise) << verdict.violation->text;
    std::printf("%s: seed %d: %s: %s\n", broken.rule, static_cast<int>(seed), verdict.violation->promise.c_str(), verdict.violation->text.c_str());
    return;
  }
  FAIL() << "the absence of rule " << broken.rule << " was not noticed within " << broken.within << " seeds";
}

INSTANTIATE_TEST_SUITE_P(Rules, PoolerMutation,
                         testing::Values(Broken{"newest_term_only", 60, "B"}, Broken{"fresh_view_only", 25, "B"}, Broken{"hold_in_switchover", 10, "C"},
                                         Broken{"owes_nothing", 5, "bytes"}, Broken{"verify_first", 15, "bytes"}, Broken{"doubt_is_said", 10, "bytes"},
                                         Broken{"own_parameters", 5, "bytes"}, Broken{"whole_messages", 30, "bytes"}),
                         [](const auto& each) { return std::string(each.param.rule); });

TEST(PoolerMutation, EveryRuleHasOne) { EXPECT_EQ(pool::rule_names().size(), 8u); }

}  // namespace
}  // namespace pgdba::sim
