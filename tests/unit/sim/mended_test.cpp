// Seeds that once showed a violation, by what they showed. A seed runs another way after most changes of the core or the world, so the decision itself
// is tested in unit/ha where one member's view is enough to show it; this is the whole story as it was found.
#include <gtest/gtest.h>

#include "sim/world.h"

namespace pgdba::sim {
namespace {

struct Mended {
  uint64_t seed;
  const char* what;
};

class MendedSeed : public testing::TestWithParam<Mended> {};

TEST_P(MendedSeed, IsClean) {
  Options options;
  options.make_core = real_core();
  options.poolers = false;  // as they were found
  World world(GetParam().seed, options);
  Verdict verdict = world.run();
  ASSERT_FALSE(verdict.violation) << verdict.violation->promise << ": " << verdict.violation->text;
  EXPECT_GT(verdict.acknowledged, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, MendedSeed,
                         testing::Values(Mended{3294, "panic_in_pause_then_listed_by_name"}, Mended{394, "etcd_wiped_in_pause"},
                                         Mended{433, "acquisition_on_the_keepalive_of_a_deposed_etcd_leader"}, Mended{1156, "bootstrap_under_another_lease"},
                                         Mended{2136, "reinitialized_from_a_leader_without_a_disk"}, Mended{2229, "lock_lost_after_etcd_was_restored"},
                                         Mended{2702, "agent_beside_a_stopped_primary"}, Mended{4553, "member_key_overwritten_late"},
                                         Mended{5198, "lease_of_another_ttl"}, Mended{6589, "elected_and_never_promoted"},
                                         Mended{6699, "last_voter_without_a_disk_in_strict_mode"}, Mended{7505, "agent_restarted_during_a_promotion"},
                                         Mended{8058, "former_leader_is_nosync"}, Mended{9156, "acquisition_that_landed_late"}),
                         [](const auto& each) { return std::string(each.param.what); });

}  // namespace
}  // namespace pgdba::sim
