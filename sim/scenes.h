// Scenes: for a rule whose absence shows in one interleaving only, that interleaving itself, step by step, with dice for
// who and when. The stories are those of ha-findings.md.
#pragma once

#include <cstdint>
#include <string_view>

namespace pgdba::sim {

class World;

// Plays the scene of `rule` once; nothing happens where the cluster is not well enough to begin it.
void play_scene(World& world, std::string_view rule, uint64_t dice);

}  // namespace pgdba::sim
