#include "cli/action.h"

#include <fmt/format.h>

#include <thread>

#include "base/text.h"

namespace pgdba::cli {

ClusterAction::ClusterAction(Context& c, Target t, std::optional<local::Identity> identity)
    : context(c), target(std::move(t)), rest(c.loop, target.credentials, target.tls) {
  if (identity) act.emplace(*identity);
}

Outcome<std::unique_ptr<ClusterAction>> ClusterAction::begin(Context& context, const TargetOptions& options) {
  auto target = find_target(context, options);
  if (!target) return tl::unexpected(target.error());
  std::optional<local::Identity> identity;
  if (target->managed) {
    auto chosen = identity_of(*target);
    if (!chosen) return tl::unexpected(chosen.error());
    identity = *chosen;
  }
  auto out = std::make_unique<ClusterAction>(context, std::move(*target), identity);
  // A little longer than status waits: what follows rests on it.
  out->before = out->look_again(2s);
  if (out->before.answers == 0) {
    std::vector<std::string> asked = out->target.endpoints();
    return give_up(Exit::unreachable, "no member answers (asked: " + join(asked, ", ") + ")",
                   out->target.managed ? "pgdba up --name " + out->target.name : out->status_command());
  }
  return out;
}

std::optional<Sight> ClusterAction::wait_until(const std::function<bool(const Sight&)>& holds, BootTime deadline) {
  for (;;) {
    Sight sight = look_again(200ms);
    if (holds(sight)) return sight;
    if (context.loop.now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(25ms);
  }
}

Outcome<const MemberSight*> ClusterAction::member(const std::string& name) const {
  if (const MemberSight* found = before.find(name)) return found;
  auto names = before.names();
  auto guess = nearest(name, names);
  return give_up(
      Exit::usage,
      fmt::format("the cluster has no member {}{}", name, guess ? fmt::format("; did you mean {}?", *guess) : ""),
      "one of: " + join(names, ", "));
}

Outcome<net::Response> ClusterAction::send(const std::string& endpoint, const std::string& method,
                                           const std::string& path, const std::string& body, Duration patience) {
  auto answer = rest.call({.url = endpoint + path, .method = method, .body = body}, patience);
  if (!answer)
    return tl::unexpected(as_failure(std::move(answer.error()).context(fmt::format("{} {}{}", method, endpoint, path)),
                                     status_command()));
  if (answer->status == 401 || answer->status == 403) {
    std::string next = target.managed
                           ? "pgdba up --name " + target.name + "   writes its credentials again"
                           : fmt::format(
                                 "PGDBA_REST_USER=… PGDBA_REST_PASSWORD=… before the command, or a line "
                                 "{}:USER:PASSWORD in {} (mode 0600)",
                                 target.name.empty() ? "*" : target.name, context.registry.credentials_file());
    return give_up(Exit::refused, fmt::format("{} wants other credentials: {}", endpoint, message_of(*answer)), next);
  }
  return *answer;
}

std::string gap_text(const WriteProbe* probe) {
  if (!probe || !probe->wait_acknowledged(3, 5s)) return {};
  auto gap = probe->longest_gap();
  return gap ? fmt::format("; writes were away for {}", human_seconds(std::chrono::duration<double>(*gap).count()))
             : std::string();
}

}  // namespace pgdba::cli
