// `pgdba cluster connect`: finds out which cluster answers at these addresses, who its members are, and which of them
// can be reached from here.
//
// Published addresses are often names that only the cluster's own network knows (containers). Then the next ports of
// the given hosts are tried (8008 → 8009, 8010 …), and whoever answers with the same scope and system identifier is
// kept, so that later commands go on through any of them.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/observe.h"
#include "local/cluster_file.h"
#include "local/files.h"
#include "wire/patroni_rest.h"

namespace pgdba::cli {

namespace {

struct Found {
  std::string origin;
  wire::NodeStatus status;
};

Duration seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

// Who answers with a status, of all these at once.
std::vector<Found> ask_status(Rest& rest, const std::vector<std::string>& origins, Duration patience,
                              std::vector<std::string>* problems) {
  std::vector<Call> calls;
  for (const std::string& origin : origins) calls.push_back({.url = origin + "/patroni"});
  auto answers = rest.calls(calls, patience);
  std::vector<Found> out;
  for (size_t i = 0; i < origins.size(); ++i) {
    if (!answers[i]) {
      if (problems) problems->push_back(fmt::format("{}: {}", origins[i], answers[i].error().text));
      continue;
    }
    auto status = wire::parse_status_answer(answers[i]->body);
    if (!status || status->scope.empty()) {
      if (problems)
        problems->push_back(fmt::format("{} answers, but not as Patroni does ({})", origins[i], answers[i]->status));
      continue;
    }
    out.push_back({origins[i], std::move(*status)});
  }
  return out;
}

class Discovery {
 public:
  Discovery(Context& context, const ConnectOptions& options, Rest& rest)
      : terminal_(context.terminal), options_(options), rest_(rest) {}

  Outcome<Registered> run(const std::vector<std::string>& origins);

 private:
  void keep(const std::vector<Found>& found);
  void learn_members(const std::vector<Found>& found);
  [[nodiscard]] std::vector<std::string> without_endpoint() const;

  const Terminal& terminal_;
  const ConnectOptions& options_;
  Rest& rest_;
  Registered entry_;
  std::optional<wire::ClusterReport> report_;
};

// Everybody's names and published addresses, from the first who tells them.
void Discovery::learn_members(const std::vector<Found>& found) {
  for (const Found& one : found) {
    auto answer = rest_.call({.url = one.origin + "/cluster"}, seconds(options_.timeout_s));
    auto report = answer ? wire::parse_cluster_answer(answer->body) : fail(Errc::unavailable, "");
    if (!report) continue;
    report_ = std::move(*report);
    for (const auto& member : report_->members) entry_.members.push_back({member.name, ""});
    return;
  }
}

void Discovery::keep(const std::vector<Found>& found) {
  for (const Found& one : found) {
    const auto& status = one.status;
    bool same = status.scope == entry_.scope && (entry_.system_identifier.empty() || status.system_identifier.empty() ||
                                                 status.system_identifier == entry_.system_identifier);
    if (!same) continue;
    if (entry_.system_identifier.empty()) entry_.system_identifier = status.system_identifier;
    std::string name = member_name(one.origin, status, report_ ? &*report_ : nullptr);
    auto member = std::ranges::find(entry_.members, name, &Registered::Member::name);
    if (member == entry_.members.end()) member = entry_.members.insert(entry_.members.end(), {name, ""});
    if (member->endpoint.empty()) member->endpoint = one.origin;
  }
}

std::vector<std::string> Discovery::without_endpoint() const {
  std::vector<std::string> out;
  for (const auto& member : entry_.members) {
    if (member.endpoint.empty()) out.push_back(member.name);
  }
  return out;
}

Outcome<Registered> Discovery::run(const std::vector<std::string>& origins) {
  std::vector<std::string> problems;
  std::vector<Found> found = ask_status(rest_, origins, seconds(options_.timeout_s), &problems);
  if (found.empty())
    return give_up(Exit::unreachable, "nobody answers: " + join(problems, "; "),
                   "pgdba cluster connect … --patroni-url http://HOST:8008   with the address of a member");
  for (const std::string& problem : problems) terminal_.warn(problem);
  entry_.name = options_.name;
  entry_.scope = found.front().status.scope;
  entry_.system_identifier = found.front().status.system_identifier;
  for (const Found& one : found) {
    if (one.status.scope == entry_.scope) continue;
    return give_up(Exit::refused,
                   fmt::format("these are different clusters: {} is {}, {} is {}", found.front().origin, entry_.scope,
                               one.origin, one.status.scope),
                   "pgdba cluster connect with the addresses of one cluster");
  }
  learn_members(found);
  keep(found);
  std::vector<std::string> published;
  for (size_t i = 0; report_ && i < report_->members.size(); ++i) {
    auto url = net::parse_url(report_->members[i].api_url);
    if (url) published.push_back(url->origin());
  }
  if (!without_endpoint().empty())
    keep(ask_status(rest_, published, std::min<Duration>(seconds(options_.timeout_s), 2s), nullptr));
  if (!without_endpoint().empty()) {
    std::vector<std::string> guesses;
    for (const std::string& origin : origins) {
      auto url = net::parse_url(origin);
      for (size_t i = 1; url && i <= entry_.members.size() + 2; ++i) {
        if (url->port + i > 65535) break;
        net::Url next = *url;
        next.port = static_cast<uint16_t>(url->port + i);
        guesses.push_back(next.origin());
      }
    }
    keep(ask_status(rest_, guesses, 1s, nullptr));
  }
  std::ranges::sort(entry_.members, {}, &Registered::Member::name);
  return entry_;
}

}  // namespace

Done connect(Context& context, const ConnectOptions& options) {
  Terminal& terminal = context.terminal;
  if (auto problem = local::problem_with_name(options.name))
    return give_up(Exit::usage, fmt::format("--name {} {}", options.name, *problem));
  auto known = context.registry.read();
  if (!known) return tl::unexpected(known.error());
  auto old = std::ranges::find(*known, options.name, &Registered::name);
  if (old != known->end() && old->managed) {
    return give_up(
        Exit::refused,
        fmt::format("{} is the name of a cluster that `pgdba up` made here; --replace would lose it", options.name),
        "another --name");
  }
  if (old != known->end() && !options.replace) {
    return give_up(Exit::refused, fmt::format("a cluster named {} is registered already", options.name),
                   "the same command with --replace, or another --name");
  }
  auto origins = parse_endpoints(options.patroni_url);
  if (!origins) return tl::unexpected(origins.error());
  std::string problem;
  std::string cacert = options.cacert.empty() ? "" : local::absolute(options.cacert);
  auto tls = tls_for(*origins, cacert, problem);
  if (!problem.empty()) return give_up(Exit::usage, problem);
  auto credentials = context.registry.credentials(options.name);
  if (!credentials) return tl::unexpected(credentials.error());
  Rest rest(context.loop, *credentials, tls);
  auto entry = Discovery(context, options, rest).run(*origins);
  if (!entry) return tl::unexpected(entry.error());
  entry->pg_host = options.pg_host;
  entry->pg_port = static_cast<uint16_t>(options.pg_port);
  entry->cacert = cacert;
  entry->added = context.loop.wall_now();
  std::vector<std::string> reached, unreached;
  for (const auto& member : entry->members)
    (member.endpoint.empty() ? unreached : reached)
        .push_back(member.endpoint.empty()
                       ? member.name
                       : fmt::format("{} at {}",
                                     member.name.empty() ? "a member that does not say its name" : member.name,
                                     member.endpoint));
  if (terminal.options().dry_run) {
    terminal.data(fmt::format("would register {}: scope {}, {}\n", entry->name, entry->scope, join(reached, ", ")));
    return Exit::done;
  }
  if (auto done = context.registry.put(*entry); !done) return tl::unexpected(done.error());
  terminal.say(fmt::format("{}: scope {}, system identifier {}", entry->name, entry->scope,
                           entry->system_identifier.empty() ? "unknown" : entry->system_identifier));
  terminal.say("reached: " + join(reached, ", "));
  if (!unreached.empty())
    terminal.warn(fmt::format("not reachable from here: {}; commands go through the others", join(unreached, ", ")));
  if (reached.size() == 1 && entry->members.size() > 1)
    terminal.warn("only one member is reachable: when it is down, so is every command");
  terminal.say(fmt::format("next: pgdba cluster status --name {}", entry->name));
  return Exit::done;
}

}  // namespace pgdba::cli
