// What the simulated agent asks for its decisions: ha::Core in earnest, a small core of its own in the tests of the world.
#pragma once

#include <functional>
#include <memory>

#include "ha/rules.h"
#include "ha/settings.h"
#include "ha/view.h"

namespace pgdba::sim {

class Brain {
 public:
  virtual ~Brain() = default;
  virtual ha::Decision step(const ha::View& view) = 0;
};

using BrainFactory = std::function<std::unique_ptr<Brain>(const ha::Self&, const ha::Rules&)>;

// In real_core.cpp.
BrainFactory real_core();

}  // namespace pgdba::sim
