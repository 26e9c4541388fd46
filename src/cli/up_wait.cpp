#include "cli/up_wait.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/text.h"
#include "cli/pooler_login.h"
#include "cli/write_probe.h"
#include "local/log_merge.h"
#include "wire/config_json.h"

namespace pgdba::cli {

namespace {

constexpr Duration kPoll = 20ms;
constexpr int64_t kTooOften = 4;

std::string last_lines(const local::ClusterFile& cluster, const std::string& name) {
  std::string out;
  for (const local::LogLine& line : local::LogReader(cluster, {name}, 6).read()) out += "\n    " + line.text;
  return out.empty() ? " it wrote none" : out;
}

}  // namespace

Waiting::Waiting(Context& context, const Target& target, std::function<std::optional<Failure>()> hopeless, BootTime deadline)
    : context_(context),
      target_(target),
      hopeless_(std::move(hopeless)),
      rest_(context.loop, target.credentials, target.tls),
      deadline_(deadline) {}

Outcome<void> Waiting::peer(const local::ClusterFile::Etcd& member) {
  Rest plain(context_.loop, {}, {});  // no business of etcd's who we are to the agents
  std::string url = fmt::format("http://127.0.0.1:{}/members", member.peer_port);
  return until(member.name + " to answer its peers", [&] {
    auto answer = plain.call({.url = url}, 300ms);
    return answer && answer->status == 200;
  });
}

Outcome<void> Waiting::etcd() {
  return until("three etcd members to find a leader", [&] {
    look_closely();
    return full_.machine && std::ranges::all_of(full_.machine->etcd, &EtcdSight::healthy);
  });
}

Outcome<void> Waiting::first_node(const std::string& name) {
  return until(name + " to begin", [&] {
    look_now();
    const MemberSight* member = full_.sight.find(name);
    return member && member->status && member->status->state && *member->status->state != model::PgState::stopped;
  });
}

Outcome<void> Waiting::leader() {
  // The passwords of containers come from people. One that the database does not take keeps its own agent out, too, and time
  // does not mend it.
  std::string denied;
  BootTime next = context_.loop.after(2s);
  auto done = until("a leader", [&] {
    look_now();
    if (full_.sight.leader && full_.sight.leader_answers) return true;
    if (!target_.in_containers() || context_.loop.now() < next) return false;
    next = context_.loop.after(1s);
    for (const auto& node : cluster().nodes) {
      auto written = write_once(context_.loop, cluster(), node.pg_port, 500ms);
      if (!written && written.error().code == Errc::denied) denied = written.error().text;
    }
    return !denied.empty();
  });
  if (!denied.empty()) return tl::unexpected(wrong_password(denied));
  return done;
}

Outcome<void> Waiting::write() {
  std::string why;
  bool denied = false;
  auto done = until("the leader to acknowledge a write", [&] {
    const auto* node = full_.sight.leader ? cluster().find_node(*full_.sight.leader) : nullptr;
    auto patience = std::min<Duration>(deadline_ - context_.loop.now(), 5s);
    auto written = node ? write_once(context_.loop, cluster(), node->pg_port, patience)
                        : fail(Errc::unavailable, "no leader");
    if (!written) {
      why = written.error().text;
      look_now();
    }
    denied = !written && written.error().code == Errc::denied && target_.in_containers();
    return written.has_value() || denied;
  });
  if (denied) return tl::unexpected(wrong_password(why));
  if (!done) done.error().text += ": " + why;
  return done;
}

Outcome<void> Waiting::pooler() {
  const local::ClusterFile& cluster = *target_.local;
  if (cluster.pooler_port == 0) return {};
  std::string why;
  bool may_ask = target_.in_containers();  // there the role got its password when the database was made
  auto done = until("the pooler to pass on a write", [&] {
    const auto* node = full_.sight.leader ? cluster.find_node(*full_.sight.leader) : nullptr;
    auto patience = std::min<Duration>(deadline_ - context_.loop.now(), 5s);
    Result<void> step = fail(Errc::unavailable, "no leader");
    if (node && !may_ask) step = ensure_pooler_login(context_.loop, cluster, node->pg_port, patience);
    may_ask = may_ask || step.has_value();
    if (may_ask) step = write_once(context_.loop, cluster, cluster.pooler_port, patience);
    if (!step) {
      why = step.error().text;
      look_now();
    }
    return step.has_value();
  });
  if (!done) done.error().text += ": " + why;
  return done;
}

Outcome<void> Waiting::replicas() {
  return until("every other node to stream", [&] {
    look_now();
    const Sight& sight = full_.sight;
    return sight.leader_answers && sight.members.size() >= cluster().nodes.size() &&
           std::ranges::all_of(sight.members, [&](const MemberSight& member) {
             return sight.leader == member.name || member.state == "streaming";
           });
  });
}

Outcome<void> Waiting::synchronous() {
  std::optional<model::SyncMode> mode;
  return until("the replicas to become synchronous", [&] {
    look_now();
    const Sight& sight = full_.sight;
    if (!mode) {
      auto answer = rest_.call({.url = best_endpoint(sight) + "/config"}, 1s);
      auto config = answer && answer->status == 200 ? wire::parse_dynamic_config(answer->body) : fail(Errc::unavailable, "");
      if (!config) return false;
      mode = config->config.synchronous_mode;
    }
    auto in_set = std::ranges::count_if(sight.members, [](const MemberSight& member) {
      return member.sync_state == "quorum" || member.sync_state == "sync";
    });
    auto others = static_cast<std::ptrdiff_t>(sight.members.size()) - 1;
    return others <= 0 || *mode == model::SyncMode::off || (*mode == model::SyncMode::quorum ? in_set == others : in_set > 0);
  });
}

void Waiting::settle() {
  // An engine from version 25 on asks a container that is starting each five seconds, whatever its interval.
  BootTime enough = context_.loop.after(target_.in_containers() ? 7s : 1s);
  for (look_closely(); !full_.sight.healthy() && context_.loop.now() < enough; look_closely()) std::this_thread::sleep_for(kPoll);
}

Failure Waiting::wrong_password(const std::string& why) const {
  return {Exit::failed, "PostgreSQL does not take POSTGRES_PASSWORD of .env: " + why,
          fmt::format("put the password that the database has into {}/.env, then: pgdba up{}", cluster().compose->folder, target_.flag())};
}

Outcome<void> Waiting::until(const std::string& what, const std::function<bool()>& holds) {
  while (!holds()) {
    if (auto broken = hopeless_(); broken) return tl::unexpected(*broken);
    if (context_.loop.now() >= deadline_) {
      std::string seen = full_.sight.problems.empty() ? "" : " Seen last: " + join(full_.sight.problems, "; ") + ".";
      return give_up(Exit::timed_out,
                     fmt::format("waited too long for {}.{} Everything that was started goes on", what, seen),
                     fmt::format("pgdba status{0}   pgdba logs{0}", target_.flag()));
    }
    std::this_thread::sleep_for(kPoll);
  }
  return {};
}

Outcome<void> wait_serving(Terminal& terminal, Waiting& waiting, const local::ClusterFile& cluster) {
  if (auto done = waiting.leader(); !done) return done;
  terminal.phase(fmt::format("{} leads", *waiting.full().sight.leader));
  if (auto done = waiting.replicas(); !done) return done;
  size_t others = cluster.nodes.size() - 1;
  if (others > 0) terminal.phase(fmt::format("{} node{} from it", others, others == 1 ? " streams" : "s stream"));
  if (auto done = waiting.synchronous(); !done) return done;
  // Docker asks its members only each two seconds.
  if (cluster.compose) {
    if (auto done = waiting.etcd(); !done) return done;
  }
  if (auto done = waiting.write(); !done) return done;
  if (auto done = waiting.pooler(); !done) return done;
  terminal.phase("a write through the pooler was acknowledged: ready");
  waiting.settle();
  return {};
}

std::optional<Failure> never_starts(const local::Machine& machine, const Target& target) {
  for (const std::string& name : machine.names()) {
    auto report = machine.report(name);
    if (report.exits.restarts < kTooOften || report.id) continue;
    return Failure{Exit::failed,
                   fmt::format("{} {}, {} times so far. Its last lines:{}", name, report.exits.last,
                               report.exits.restarts, last_lines(machine.cluster(), name)),
                   fmt::format("pgdba logs{} {}", target.flag(), name)};
  }
  return std::nullopt;
}

}  // namespace pgdba::cli
