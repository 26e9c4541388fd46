// `pgdba stop|start|kill|freeze|thaw TARGET`: faults by name, on processes; verbs_docker.cpp has them for containers.
//
// The effect on the processes is done and verified first. Then, if the leader was hit, the command goes on watching
// until another one takes writes, and says how long they were away; that wait is not the command's success.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/status_view.h"
#include "cli/verb_parts.h"
#include "cli/write_probe.h"
#include "local/files.h"
#include "local/machine.h"

namespace pgdba::cli {

namespace {

using local::Machine;
using local::Reached;

Duration seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

// Processes of this machine.
class Processes : public Parts {
 public:
  Processes(Context& context, const Target& target, const local::Identity& identity, double timeout_s)
      : context_(context), target_(target), machine_(*target.local), identity_(identity), timeout_s_(timeout_s), flag_(target.flag()) {}

  [[nodiscard]] std::vector<std::string> names() const override { return machine_.names(); }
  [[nodiscard]] bool is_down(const std::string& name) const override { return !machine_.report(name).id; }
  [[nodiscard]] bool is_frozen(const std::string& name) const override { return machine_.report(name).frozen; }
  [[nodiscard]] std::string etcd_leader() const override {
    Rest rest(context_.loop, target_.credentials, target_.tls);
    FullSight full = look(rest, target_, 400ms);
    auto leader = std::ranges::find_if(full.machine->etcd, &EtcdSight::leader);
    return leader == full.machine->etcd.end() ? std::string() : leader->name;
  }
  [[nodiscard]] bool wants_start(const std::string& name) const override {
    return is_down(name) || machine_.report(name).want != local::Want::up;
  }
  [[nodiscard]] double ttl_s() const override { return machine_.cluster().profile == local::Profile::fast ? 3 : 10; }
  Outcome<std::string> act(Verb verb, const std::string& name) override;

 private:
  Outcome<std::string> start(const std::string& name);

  Context& context_;
  const Target& target_;
  Machine machine_;
  const local::Identity& identity_;
  double timeout_s_;
  std::string flag_;
};

}  // namespace

const char* past(Verb verb) {
  switch (verb) {
    case Verb::stop: return "stopped";
    case Verb::start: return "started";
    case Verb::kill: return "killed";
    case Verb::freeze: return "froze";
    case Verb::thaw: return "thawed";
  }
  return "";
}

const char* infinitive(Verb verb) {
  switch (verb) {
    case Verb::stop: return "stop";
    case Verb::start: return "start";
    case Verb::kill: return "kill";
    case Verb::freeze: return "freeze";
    case Verb::thaw: return "thaw";
  }
  return "";
}

Outcome<std::string> Processes::start(const std::string& name) {
  auto report = machine_.report(name);
  if (report.id && report.want == local::Want::up) return fmt::format("{} runs already", name);
  machine_.supervised().forget_exits(name);
  if (auto done = machine_.want(name, local::Want::up); !done) return tl::unexpected(as_failure(done.error()));
  if (auto supervisor = machine_.ensure_supervisor(identity_); !supervisor)
    return tl::unexpected(as_failure(supervisor.error()));
  auto id = machine_.wait_started(name, 15s);
  if (!id) return tl::unexpected(as_failure(id.error(), "pgdba logs" + flag_ + " supervisor"));
  return fmt::format("started {} (process {})", name, id->pid);
}

Outcome<std::string> Processes::act(Verb verb, const std::string& name) {
  if (verb == Verb::start) return start(name);
  const bool wakes_or_freezes = verb == Verb::freeze || verb == Verb::thaw;
  if (wakes_or_freezes && is_down(name) && machine_.processes(name).empty()) {
    return give_up(Exit::failed, fmt::format("{} does not run, so it cannot be {}", name, past(verb)),
                   fmt::format("pgdba start{} {}", flag_, name));
  }
  Result<Reached> reached = fail(Errc::bug, "");
  switch (verb) {
    case Verb::stop: reached = machine_.stop(name, seconds(timeout_s_)); break;
    case Verb::kill: reached = machine_.kill(name); break;
    case Verb::freeze: reached = machine_.freeze(name); break;
    case Verb::thaw: reached = machine_.thaw(name); break;
    case Verb::start: break;
  }
  if (!reached) return tl::unexpected(as_failure(reached.error()));
  if (reached->pids.empty()) return fmt::format("{} did not run; it stays down until `pgdba start {}`", name, name);
  std::string line = fmt::format("{} {}: {}", past(verb), name, describe(*reached));
  if (reached->killed) line += fmt::format(" (killed, because it did not stop within {:.0f} s)", timeout_s_);
  return line;
}

namespace {

class Action {
 public:
  Action(Context& context, const VerbOptions& options, const Target& target, Parts& parts)
      : context_(context), options_(options), target_(target), parts_(parts), rest_(context.loop, target.credentials, target.tls) {}

  Done run();

 private:
  Outcome<std::vector<std::string>> resolve();
  Outcome<std::string> resolve_one(const std::string& what);
  [[nodiscard]] bool is_down(const std::string& name) const { return parts_.is_down(name); }
  [[nodiscard]] bool is_frozen(const std::string& name) const { return parts_.is_frozen(name); }
  [[nodiscard]] const local::ClusterFile& cluster() const { return *target_.local; }
  void tell(const std::string& line) const;
  void watch_failover(const WriteProbe* probe);
  Outcome<void> watch_return(const std::vector<std::string>& names);

  Context& context_;
  const VerbOptions& options_;
  const Target& target_;
  Parts& parts_;
  Rest rest_;
  Sight before_;
};

void Action::tell(const std::string& line) const {
  context_.terminal.phase(line);
}

Outcome<std::string> Action::resolve_one(const std::string& what) {
  auto names = parts_.names();
  if (std::ranges::find(names, what) != names.end()) return what;
  if (what == local::kPooler && cluster().compose) return cluster().compose->pooler;
  bool wakes = options_.verb == Verb::start || options_.verb == Verb::thaw;
  if (what == "primary" || what == "leader") {
    if (before_.leader && cluster().find_node(*before_.leader)) {
      if (wakes)
        return give_up(Exit::usage, fmt::format("the primary is {}, and it runs", *before_.leader),
                       fmt::format("pgdba {}   for everything that is down", infinitive(options_.verb)));
      return *before_.leader;
    }
    return give_up(Exit::failed, "there is no primary now", "pgdba status" + target_.flag());
  }
  if (what == "replica") {
    for (const MemberSight& member : before_.members) {
      bool suits = member.name != before_.leader && cluster().find_node(member.name);
      if (suits &&
          (wakes ? is_down(member.name) || is_frozen(member.name) : !is_down(member.name) && !is_frozen(member.name)))
        return member.name;
    }
    return give_up(Exit::failed, wakes ? "no replica is down" : "no replica runs now", "pgdba status" + target_.flag());
  }
  if (what == "etcd-leader") {
    if (std::string leader = parts_.etcd_leader(); !leader.empty()) return leader;
    return give_up(Exit::failed, "etcd has no leader now", "pgdba status" + target_.flag());
  }
  names.insert(names.end(), {"primary", "replica", "etcd-leader", "all"});
  auto guess = nearest(what, names);
  return give_up(Exit::usage,
                 fmt::format("{} is no target{}", what, guess ? fmt::format("; did you mean {}?", *guess) : ""),
                 "one of: " + join(names, ", "));
}

Outcome<std::vector<std::string>> Action::resolve() {
  std::vector<std::string> out;
  std::vector<std::string> wanted = options_.what;
  bool wakes = options_.verb == Verb::start || options_.verb == Verb::thaw;
  if (wanted.empty() && !wakes) {
    return give_up(Exit::usage, fmt::format("say what to {}", infinitive(options_.verb)),
                   fmt::format("pgdba {} TARGET   with one of: {}, primary, replica, etcd-leader, all",
                               infinitive(options_.verb), join(parts_.names(), ", ")));
  }
  if (wanted.empty()) wanted = {"all"};
  for (const std::string& what : wanted) {
    if (what == "all") {
      for (const std::string& name : parts_.names()) {
        bool suits = options_.verb == Verb::start  ? parts_.wants_start(name)
                     : options_.verb == Verb::thaw ? is_frozen(name)
                                                   : true;
        if (suits) out.push_back(name);
      }
      continue;
    }
    auto one = resolve_one(what);
    if (!one) return tl::unexpected(one.error());
    if (std::ranges::find(out, *one) == out.end()) out.push_back(*one);
  }
  return out;
}

// Not part of success: the cluster may be unable to fail over, and that can be what somebody wants to see.
void Action::watch_failover(const WriteProbe* probe) {
  const std::string& old = *before_.leader;
  double ttl = parts_.ttl_s();
  auto give_up = context_.loop.after(seconds(ttl + 7));
  std::string leader;
  while (leader.empty() && context_.loop.now() < give_up) {
    Sight sight = look(rest_, target_, 200ms).sight;
    if (sight.leader && sight.leader_answers && *sight.leader != old) leader = *sight.leader;
    if (leader.empty()) std::this_thread::sleep_for(20ms);
  }
  if (leader.empty()) {
    context_.terminal.warn("no other node has taken over; pgdba status" + target_.flag() + " says why");
    return;
  }
  std::string line = fmt::format("{} leads now", leader);
  if (probe && probe->wait_acknowledged(3, 5s)) {
    if (auto gap = probe->longest_gap())
      line += fmt::format("; writes were away for {}", human_seconds(std::chrono::duration<double>(*gap).count()));
  }
  tell(line);
}

// After `start` and `thaw`: back in means streaming and counted on by the leader, or leading.
Outcome<void> Action::watch_return(const std::vector<std::string>& names) {
  auto deadline = context_.loop.after(seconds(options_.timeout_s));
  std::vector<std::string> waiting;
  for (const std::string& name : names) {
    if (cluster().find_node(name)) waiting.push_back(name);
  }
  FullSight full;
  while (!waiting.empty() && context_.loop.now() < deadline) {
    full = look(rest_, target_, 200ms);
    std::erase_if(waiting, [&](const std::string& name) {
      const MemberSight* member = full.sight.find(name);
      bool leads = full.sight.leader == name && full.sight.leader_answers;
      bool follows = member && full.sight.leader && member->state == "streaming" && !full.sight.soon_in_sync(*member);
      if (leads || follows)
        tell(fmt::format("{} is back in: {}", name, leads ? "it leads" : "it streams from " + *full.sight.leader));
      return leads || follows;
    });
    if (!waiting.empty()) std::this_thread::sleep_for(25ms);
  }
  if (waiting.empty()) return {};
  return give_up(Exit::timed_out,
                 fmt::format("{} started, but not back in after {:.0f} s: {}", join(waiting, ", "), options_.timeout_s,
                             join(full.sight.problems, "; ")),
                 fmt::format("pgdba status{0}   pgdba logs{0} {1}", target_.flag(), waiting.front()));
}

Done Action::run() {
  const Terminal& terminal = context_.terminal;
  before_ = look(rest_, target_, 400ms).sight;
  auto names = resolve();
  if (!names) return tl::unexpected(names.error());
  if (names->empty()) {
    terminal.say(options_.verb == Verb::thaw ? "nothing is frozen" : "everything runs already");
    return Exit::done;
  }
  if (terminal.options().dry_run) {
    terminal.data(fmt::format("would {} {}\n", infinitive(options_.verb), join(*names, ", ")));
    return Exit::done;
  }
  bool harms = options_.verb == Verb::stop || options_.verb == Verb::kill || options_.verb == Verb::freeze;
  bool hits_leader =
      harms && before_.leader && before_.leader_answers && std::ranges::find(*names, *before_.leader) != names->end();
  bool others_stay = std::ranges::any_of(cluster().nodes, [&](const auto& node) {
    return std::ranges::find(*names, node.name) == names->end() && !is_down(node.name) && !is_frozen(node.name);
  });
  std::optional<WriteProbe> probe;
  bool watches = hits_leader && others_stay && options_.wait;
  if (watches) {
    probe.emplace(target_);
    probe->wait_acknowledged(3, 1s);
  }
  context_.terminal.restart_clock();
  for (const std::string& name : *names) {
    auto done = parts_.act(options_.verb, name);
    if (!done) return tl::unexpected(done.error());
    tell(*done);
  }
  if (watches) watch_failover(&*probe);
  if (!harms && options_.wait) {
    if (auto back = watch_return(*names); !back) return tl::unexpected(back.error());
  }
  return Exit::done;
}

}  // namespace

Done act_on_parts(Context& context, const VerbOptions& options, const Target& target, Parts& parts) {
  return Action(context, options, target, parts).run();
}

Done act_on(Context& context, const VerbOptions& options) {
  auto target = find_managed(context, options.target, infinitive(options.verb));
  if (!target) return tl::unexpected(target.error());
  if (target->in_containers()) return act_on_docker(context, options, *target);
  auto identity = identity_of(*target);
  if (!identity) return tl::unexpected(identity.error());
  local::ActAs act(*identity);
  auto lock = local::FileLock::take(target->local->root + "/lock", 120s, [&](pid_t pid) {
    context.terminal.say(fmt::format("waiting for another pgdba command (process {})", pid));
  });
  if (!lock) return tl::unexpected(as_failure(lock.error()));
  Processes parts(context, *target, *identity, options.timeout_s);
  return Action(context, options, *target, parts).run();
}

}  // namespace pgdba::cli
