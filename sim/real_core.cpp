#include "brain.h"
#include "ha/core.h"

namespace pgdba::sim {

namespace {

class RealCore : public Brain {
 public:
  RealCore(const ha::Self& self, const ha::Rules& rules) : core_(self, rules) {}
  ha::Decision step(const ha::View& view) override { return core_.step(view); }

 private:
  ha::Core core_;
};

}  // namespace

BrainFactory real_core() {
  return [](const ha::Self& self, const ha::Rules& rules) -> std::unique_ptr<Brain> { return std::make_unique<RealCore>(self, rules); };
}

}  // namespace pgdba::sim
