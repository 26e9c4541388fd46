// What of the core's decisions reaches the log: state changes and actions with their reasons, each once.
//
// Renewals, probes and other work of every cycle are logged at debug. An action that is given again and again (a clone
// that fails every second) is logged the first time, then once a minute with a count.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "ha/action.h"
#include "ha/view.h"

namespace pgdba::agent {

class ActionLog {
 public:
  void decided(const ha::Decision& decision, BootTime now);
  void ended(const ha::Completion& completion, BootTime now);
  [[nodiscard]] const std::string& state() const { return state_; }

 private:
  struct Told {
    BootTime at{};
    int again = 0;
  };
  // True: say it now; `again` is how often it was kept back since.
  bool worth_saying(const std::string& line, BootTime now, int& again);

  std::string state_;
  std::map<std::string, Told> told_;
  std::map<ha::ActionId, std::string> names_;  // of actions under way
};

// Work of every cycle.
bool is_routine(const ha::Action& action);

}  // namespace pgdba::agent
