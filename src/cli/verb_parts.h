// What `stop`, `start`, `kill`, `freeze` and `thaw` act on: processes of this machine, or containers. Who is meant by a role,
// and what the cluster makes of it, is the same for both (verbs.cpp).
#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"

namespace pgdba::cli {

const char* past(Verb verb);        // "froze"
const char* infinitive(Verb verb);  // "freeze"

class Parts {
 public:
  virtual ~Parts() = default;
  [[nodiscard]] virtual std::vector<std::string> names() const = 0;
  [[nodiscard]] virtual bool is_down(const std::string& name) const = 0;
  [[nodiscard]] virtual bool is_frozen(const std::string& name) const = 0;
  [[nodiscard]] virtual std::string etcd_leader() const = 0;  // empty: none
  // `start` without a target takes it: down, or running though it was to stay down.
  [[nodiscard]] virtual bool wants_start(const std::string& name) const = 0;
  // Does it and verifies it. What to tell comes back: "killed pg-primary: agent, guardian, postgres and 9 more processes".
  virtual Outcome<std::string> act(Verb verb, const std::string& name) = 0;
  [[nodiscard]] virtual double ttl_s() const = 0;
};

// Acts and watches. The caller holds the cluster's lock and acts as its user.
Done act_on_parts(Context& context, const VerbOptions& options, const Target& target, Parts& parts);

}  // namespace pgdba::cli
