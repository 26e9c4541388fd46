#include "cli/observe.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "wire/cluster_json.h"

namespace pgdba::cli {

namespace {

using wire::ClusterReport;
using wire::MemberReport;
using wire::NodeStatus;

bool runs_as_primary(const NodeStatus& status) {
  return status.role == model::Role::primary && status.state == model::PgState::running && status.primary.has_value();
}

// Behind a closed gate it lets no client in yet.
bool serves_as_primary(const NodeStatus& status) {
  return runs_as_primary(status) && (!status.pgdba || status.pgdba->gate_open);
}

// The answers of members lag behind etcd by different amounts. The word of the member that is a primary with the lock
// counts first, then that of anybody who sees a leader, then anybody's.
const ClusterReport* best_report(const std::vector<MemberAnswers>& answers) {
  const ClusterReport* best = nullptr;
  int best_rank = -1;
  for (const MemberAnswers& answer : answers) {
    if (!answer.report) continue;
    const MemberReport* leader = answer.report->leader();
    bool own = leader && answer.status && leader->name == answer.status->name && runs_as_primary(*answer.status) &&
               !answer.status->cluster_unlocked;
    int rank = own ? 2 : leader ? 1 : 0;
    if (rank > best_rank) {
      best = &*answer.report;
      best_rank = rank;
    }
  }
  return best;
}

std::string state_text(const NodeStatus& status) {
  if (!status.state) return "unknown";
  bool replica = status.role != model::Role::primary && *status.state == model::PgState::running;
  return replica && !status.replication_state.empty() ? status.replication_state
                                                      : std::string(model::to_string(*status.state));
}

void fill_from_report(MemberSight& sight, const MemberReport& report) {
  sight.api_url = report.api_url;
  sight.host = report.host;
  sight.port = report.port;
  sight.role = report.role;
  sight.state = report.state;
  sight.timeline = report.timeline;
  sight.lsn = report.replay_lsn ? report.replay_lsn : report.lsn;
  sight.received = report.receive_lsn;
  sight.lag_bytes = report.replay_lag ? report.replay_lag : report.lag;
  sight.pending_restart = report.pending_restart;
}

void fill_from_itself(MemberSight& sight, const NodeStatus& status) {
  sight.state = state_text(status);
  if (status.timeline) sight.timeline = status.timeline;
  sight.lsn = status.primary   ? std::optional(status.primary->location)
              : status.replica ? std::optional(status.replica->replayed)
                               : std::nullopt;
  sight.received = status.replica ? std::optional(status.replica->received) : std::nullopt;
  sight.lag_bytes.reset();
  sight.pending_restart = status.pending_restart;
  if (!sight.role) sight.role = status.role == model::Role::primary ? "primary" : "replica";
  if (status.sync_role == wire::SyncRole::quorum_standby) sight.role = "quorum_standby";
  if (status.sync_role == wire::SyncRole::sync_standby) sight.role = "sync_standby";
}

void judge_lag(MemberSight& sight, const MemberSight* leader, WallTime now) {
  if (!sight.status || !sight.status->replica) return;
  const auto& replica = *sight.status->replica;
  std::optional<Lsn> ahead = leader && leader->status && leader->status->primary
                                 ? std::optional(leader->status->primary->location)
                                 : std::nullopt;
  if (ahead) sight.lag_bytes = lag_bytes(*ahead, replica.replayed);
  bool streams = sight.state == "streaming";
  bool nothing_left = (ahead && replica.replayed >= *ahead) || (streams && replica.replayed >= replica.received);
  if (nothing_left) {
    sight.lag_seconds = 0;
  } else if (replica.replayed_timestamp) {
    sight.lag_seconds = std::max(0.0, std::chrono::duration<double>(now - *replica.replayed_timestamp).count());
  }
}

// Patroni before 3.1 does not say of itself that it streams; its leader does.
void ask_leader_about(MemberSight& sight, const MemberSight* leader) {
  if (sight.state != "running" || !sight.status || !sight.status->replica || !leader || !leader->status) return;
  auto row = std::ranges::find(leader->status->replication, sight.name, &wire::WalSender::application_name);
  if (row != leader->status->replication.end() && row->state == "streaming") sight.state = "streaming";
}

std::optional<std::string> sync_state_of(const MemberSight& sight) {
  if (!sight.role) return std::nullopt;
  if (*sight.role == "quorum_standby") return "quorum";
  if (*sight.role == "sync_standby") return "sync";
  if (*sight.role == "replica") return "async";
  return std::nullopt;
}

// History has a line for each promotion; on timeline 1 there was none, and this primary leads at least since its start.
std::optional<WallTime> since(const Sight& sight) {
  const MemberSight* leader = sight.leader_sight();
  if (!leader) return std::nullopt;
  for (auto line = sight.history.rbegin(); line != sight.history.rend(); ++line) {
    if (line->new_leader.empty()) continue;
    return line->new_leader == *sight.leader ? parse_utc(line->timestamp) : std::nullopt;
  }
  return leader->status && leader->timeline == 1u ? leader->status->postmaster_start_time : std::nullopt;
}

void find_problems(Sight& sight) {
  if (!sight.leader) sight.problems.emplace_back("no leader");
  if (sight.leader && !sight.leader_answers) {
    const MemberSight* leader = sight.leader_sight();
    sight.problems.push_back(leader && !leader->endpoint.empty() && !leader->status
                                 ? fmt::format("the leader {} does not answer", *sight.leader)
                             : leader && leader->endpoint.empty()
                                 ? fmt::format("the leader {} cannot be asked from here", *sight.leader)
                                 : fmt::format("the leader {} does not run as primary yet", *sight.leader));
  }
  std::optional<uint32_t> timeline = sight.leader_sight() ? sight.leader_sight()->timeline : std::nullopt;
  std::vector<std::string> primaries;
  for (const MemberSight& member : sight.members) {
    if (member.status && runs_as_primary(*member.status)) primaries.push_back(member.name);
    if (sight.leader && member.name == *sight.leader) continue;
    bool streams = member.state == "streaming" || (member.state == "running" && !member.status);
    if (member.status && runs_as_primary(*member.status)) {
      sight.problems.push_back(fmt::format("{} runs as primary without the leader lock", member.name));
    } else if (member.status && member.state == "running") {
      sight.problems.push_back(fmt::format("{} runs but does not stream", member.name));
    } else if (!streams) {
      sight.problems.push_back(fmt::format("{} is {}", member.name, member.state));
    } else if (timeline && member.timeline && *member.timeline != *timeline) {
      sight.problems.push_back(
          fmt::format("{} is on timeline {}, the leader on {}", member.name, *member.timeline, *timeline));
    }
  }
  if (primaries.size() > 1)
    sight.problems.push_back("more than one member says that it is primary: " + join(primaries, ", "));
}

}  // namespace

const MemberSight* Sight::find(std::string_view name) const {
  auto found = std::ranges::find(members, name, [](const MemberSight& m) { return std::string_view(m.name); });
  return found == members.end() ? nullptr : &*found;
}

std::vector<std::string> Sight::names() const {
  std::vector<std::string> out;
  for (const MemberSight& member : members) out.push_back(member.name);
  return out;
}

bool Sight::soon_in_sync(const MemberSight& member) const {
  if (member.in_sync() || member.state != "streaming" || !member.status || member.status->tags.nosync) return false;
  return std::ranges::any_of(members, [](const MemberSight& other) { return other.role == "quorum_standby"; });
}

std::string member_name(const std::string& origin, const NodeStatus& status, const ClusterReport* report) {
  if (!status.name.empty() || !report) return status.name;
  auto here = net::parse_url(origin);
  std::vector<std::string> same_port;
  for (const MemberReport& member : report->members) {
    auto published = net::parse_url(member.api_url);
    if (!here || !published) continue;
    if (published->origin() == here->origin()) return member.name;
    if (published->port == here->port) same_port.push_back(member.name);
  }
  if (same_port.size() == 1) return same_port.front();
  const MemberReport* leader = report->leader();
  return leader && status.role == model::Role::primary ? leader->name : std::string();
}

Sight compose(const std::vector<Registered::Member>& expected, const std::vector<MemberAnswers>& answers,
              WallTime now) {
  Sight out;
  std::map<std::string, MemberSight> members;
  auto sight_of = [&](const std::string& name) -> MemberSight& {
    MemberSight& sight = members[name];
    sight.name = name;
    return sight;
  };
  for (const auto& member : expected) {
    if (!member.name.empty()) sight_of(member.name).endpoint = member.endpoint;
  }
  const ClusterReport* report = best_report(answers);
  if (report) {
    out.scope = report->scope;
    out.pause = report->pause;
    out.scheduled_switchover = report->scheduled_switchover;
    for (const MemberReport& member : report->members) fill_from_report(sight_of(member.name), member);
    if (const MemberReport* leader = report->leader()) out.leader = leader->name;
  }
  bool all_unlocked = true;
  for (const MemberAnswers& answer : answers) {
    if (answer.history && answer.history->size() >= out.history.size()) out.history = *answer.history;
    if (!answer.status) continue;
    const NodeStatus& status = *answer.status;
    ++out.answers;
    all_unlocked = all_unlocked && status.cluster_unlocked;
    std::string name = status.name.empty() && !answer.asked.name.empty()
                           ? answer.asked.name
                           : member_name(answer.asked.endpoint, status, report);
    if (name.empty()) continue;
    MemberSight& sight = sight_of(name);
    sight.endpoint = answer.asked.endpoint;
    sight.status = status;
    fill_from_itself(sight, status);
    if (out.scope.empty()) out.scope = status.scope;
    if (out.system_identifier.empty()) out.system_identifier = status.system_identifier;
    out.pause = out.pause || status.pause;
    if (status.dcs_last_seen) {
      WallTime seen{std::chrono::seconds(*status.dcs_last_seen)};
      out.dcs_last_seen = std::max(out.dcs_last_seen.value_or(seen), seen);
    }
  }
  // Everybody who answered knows that nobody holds the lock: the name in the report is of the past.
  if (out.answers > 0 && all_unlocked) out.leader.reset();
  const MemberSight* leader = nullptr;
  for (auto& [name, sight] : members) {
    bool in_report =
        report && std::ranges::any_of(report->members, [&](const MemberReport& m) { return m.name == name; });
    if (!sight.status && !sight.endpoint.empty()) {
      sight.state = in_report ? "unreachable" : "missing";
    } else if (!sight.status && !in_report) {
      sight.state = "missing";
    }
    if (out.leader == name) leader = &sight;
    if (!out.leader && sight.role && (*sight.role == "leader" || *sight.role == "standby_leader"))
      sight.role = "replica";
  }
  out.leader_answers = leader && leader->status &&
                       (serves_as_primary(*leader->status) || leader->status->role == model::Role::standby_leader);
  for (auto& [name, sight] : members) {
    ask_leader_about(sight, leader);
    judge_lag(sight, leader, now);
    sight.sync_state = sync_state_of(sight);
    out.members.push_back(sight);
  }
  out.leader_since = since(out);
  find_problems(out);
  return out;
}

Sight observe(Rest& rest, const Target& target, Duration patience) {
  static constexpr std::string_view kPaths[] = {"/patroni", "/cluster", "/history"};
  std::vector<Call> calls;
  std::vector<MemberAnswers> answers;
  for (const auto& member : target.members) {
    if (member.endpoint.empty()) continue;
    answers.push_back({.asked = member, .status = {}, .report = {}, .history = {}, .problem = {}});
    for (std::string_view path : kPaths) calls.push_back({.url = member.endpoint + std::string(path)});
  }
  BootTime began = rest.loop().now();
  auto results = rest.calls(calls, patience);
  for (size_t i = 0; i < answers.size(); ++i) {
    auto body = [&](size_t path) -> const std::string* {
      const auto& result = results[i * 3 + path];
      return result && result->status == 200 ? &result->body : nullptr;
    };
    if (!results[i * 3]) answers[i].problem = results[i * 3].error().text;
    if (const std::string* text = body(0)) {
      if (auto status = wire::parse_status_answer(*text)) answers[i].status = std::move(*status);
    }
    if (const std::string* text = body(1)) {
      if (auto report = wire::parse_cluster_answer(*text)) answers[i].report = std::move(*report);
    }
    if (const std::string* text = body(2)) {
      if (auto history = wire::parse_history(*text)) answers[i].history = std::move(*history);
    }
  }
  Sight out = compose(target.members, answers, rest.loop().wall_now());
  out.measured_at = began;
  if (out.scope.empty()) out.scope = target.scope;
  return out;
}

Duration default_patience(const Target& target) {
  auto all = target.endpoints();
  bool here = std::ranges::all_of(all, [](const std::string& url) {
    return url.find("://127.0.0.1:") != std::string::npos || url.find("://localhost:") != std::string::npos ||
           url.find("://[::1]:") != std::string::npos;
  });
  return here ? 400ms : 2s;
}

std::string best_endpoint(const Sight& sight) {
  const MemberSight* leader = sight.leader_sight();
  if (leader && leader->status) return leader->endpoint;
  for (const MemberSight& member : sight.members) {
    if (member.status) return member.endpoint;
  }
  return {};
}

}  // namespace pgdba::cli
