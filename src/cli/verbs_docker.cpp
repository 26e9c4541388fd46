// The verbs on containers: `docker compose stop|start|kill|pause|unpause SERVICE`, and what Docker says of it afterwards.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "cli/containers.h"
#include "cli/verb_parts.h"
#include "local/files.h"

namespace pgdba::cli {

namespace {

using local::Container;

class Containers : public Parts {
 public:
  Containers(const local::ClusterFile& cluster, double timeout_s, std::string flag)
      : cluster_(cluster), timeout_s_(timeout_s), flag_(std::move(flag)) {}

  // Once before anything is asked, and after each change.
  Outcome<void> look() {
    auto found = local::containers_of(cluster_.compose->project);
    if (!found) return tl::unexpected(docker_failure(found.error()));
    containers_ = std::move(*found);
    return {};
  }

  [[nodiscard]] std::vector<std::string> names() const override { return *chosen_services(cluster_, {}); }
  [[nodiscard]] bool is_down(const std::string& name) const override { return !is(name, {"running", "paused"}); }
  [[nodiscard]] bool is_frozen(const std::string& name) const override { return is(name, {"paused"}); }
  [[nodiscard]] std::string etcd_leader() const override {
    std::vector<std::string> members;
    for (const auto& member : cluster_.etcd) members.push_back(member.name);
    return local::etcd_leader_of(containers_, members);
  }
  [[nodiscard]] bool wants_start(const std::string& name) const override { return is_down(name); }
  [[nodiscard]] double ttl_s() const override { return cluster_.compose->ttl_s; }
  Outcome<std::string> act(Verb verb, const std::string& name) override;

 private:
  [[nodiscard]] bool is(const std::string& name, std::initializer_list<std::string_view> states) const {
    return std::ranges::any_of(containers_, [&](const Container& container) {
      return container.service == name && std::ranges::find(states, container.state) != states.end();
    });
  }

  const local::ClusterFile& cluster_;
  double timeout_s_;
  std::string flag_;
  std::vector<Container> containers_;
};

Outcome<std::string> Containers::act(Verb verb, const std::string& name) {
  if (std::ranges::none_of(containers_, [&](const Container& container) { return container.service == name; }))
    return give_up(Exit::failed, fmt::format("there is no container {}", name), "pgdba up" + flag_);
  const bool down = is_down(name), frozen = is_frozen(name);
  if (verb == Verb::start && !down && !frozen) return fmt::format("{} runs already", name);
  if ((verb == Verb::stop || verb == Verb::kill) && down)
    return fmt::format("{} did not run; it stays down until `pgdba start {}`", name, name);
  if ((verb == Verb::freeze || verb == Verb::thaw) && down) {
    return give_up(Exit::failed, fmt::format("{} does not run, so it cannot be {}", name, past(verb)),
                   fmt::format("pgdba start{} {}", flag_, name));
  }
  if ((verb == Verb::freeze && frozen) || (verb == Verb::thaw && !frozen))
    return fmt::format("{} {}", name, frozen ? "is frozen already" : "is not frozen");
  std::vector<std::string> command;
  switch (verb) {
    case Verb::stop: command = {"stop", "--timeout", fmt::format("{:.0f}", timeout_s_), name}; break;
    case Verb::start: command = {frozen ? "unpause" : "start", name}; break;
    case Verb::kill: command = {"kill", name}; break;
    case Verb::freeze: command = {"pause", name}; break;
    case Verb::thaw: command = {"unpause", name}; break;
  }
  local::DockerCall call = local::compose_call(cluster_.compose->folder, cluster_.compose->project, command);
  call.patience = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout_s_ + 60));
  if (auto done = run_compose(call); !done) return tl::unexpected(done.error());
  if (auto seen = look(); !seen) return tl::unexpected(seen.error());
  bool as_wanted = verb == Verb::stop || verb == Verb::kill ? is_down(name) : is_frozen(name) == (verb == Verb::freeze) && !is_down(name);
  if (!as_wanted)
    return give_up(Exit::failed, fmt::format("Docker did it, but {} is not {}", name, past(verb)), "pgdba status" + flag_);
  return fmt::format("{} {}: its container", past(verb), name);
}

}  // namespace

Done act_on_docker(Context& context, const VerbOptions& options, const Target& target) {
  auto lock = local::FileLock::take(target.local->root + "/lock", 120s, [&](pid_t pid) {
    context.terminal.say(fmt::format("waiting for another pgdba command (process {})", pid));
  });
  if (!lock) return tl::unexpected(as_failure(lock.error()));
  Containers parts(*target.local, options.timeout_s, target.flag());
  if (auto seen = parts.look(); !seen) return tl::unexpected(seen.error());
  return act_on_parts(context, options, target, parts);
}

}  // namespace pgdba::cli
