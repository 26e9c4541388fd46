// What the commands that change a cluster share: who acts (identity), who is asked (Rest), what was seen before.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/status_view.h"
#include "cli/write_probe.h"
#include "local/identity.h"

namespace pgdba::cli {

inline Duration to_duration(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

class ClusterAction {
 public:
  // Finds the cluster and looks at it once. Errc unreachable when nobody answers.
  static Outcome<std::unique_ptr<ClusterAction>> begin(Context& context, const TargetOptions& options);

  Context& context;
  Target target;
  std::optional<local::ActAs> act;
  Rest rest;
  Sight before;

  [[nodiscard]] const Terminal& terminal() const { return context.terminal; }
  Sight look_again(Duration patience = 400ms) {
    return observe(rest, target, std::max(patience, default_patience(target)));
  }
  // Looks until it holds; the last sight comes back, or nullopt at the deadline.
  std::optional<Sight> wait_until(const std::function<bool(const Sight&)>& holds, BootTime deadline);
  // The member of that name, or "did you mean".
  Outcome<const MemberSight*> member(const std::string& name) const;
  // Sends to one member; a refusal of its (4xx, 5xx) is an answer here, too.
  Outcome<net::Response> send(const std::string& endpoint, const std::string& method, const std::string& path,
                              const std::string& body, Duration patience);
  [[nodiscard]] std::string status_command() const {
    return "pgdba cluster status" + (target.name.empty() ? std::string() : " --name " + target.name);
  }

  ClusterAction(Context& c, Target t, std::optional<local::Identity> identity);
};

// 0.42 s in words for the end of a line: "; writes were away for 0.42 s". Empty when it is not known.
std::string gap_text(const WriteProbe* probe);

}  // namespace pgdba::cli
