#include "cli/status_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "local/compose.h"
#include "local/etcd_status.h"

namespace pgdba::cli {

namespace {

using wire::JsonValue;

std::string down_word(const local::ProcessReport& report) {
  if (report.want == local::Want::killed) return "killed";
  if (report.want == local::Want::stopped) return "stopped";
  return report.exits.last.empty() ? "down" : "crashed";
}

std::string state_of(const local::ProcessReport& report) {
  return report.frozen ? "frozen" : report.id ? "running" : down_word(report);
}

MachineSight look_at_machine(const local::Machine& machine) {
  MachineSight out;
  auto part = [](const local::ProcessReport& report, local::NodePids pids) {
    return MachineSight::Part{report.name, pids, state_of(report), report.exits.restarts, report.exits.last};
  };
  for (const auto& node : machine.cluster().nodes) out.nodes.push_back(part(machine.report(node.name), machine.pids(node.name)));
  for (const auto& member : machine.cluster().etcd) {
    auto report = machine.report(member.name);
    EtcdSight sight{member.name, machine.cluster().client_url(member), {}, false, false, {}, report.exits.restarts};
    if (report.id) sight.pid = report.id->pid;
    sight.state = state_of(report);
    out.etcd.push_back(std::move(sight));
  }
  if (machine.cluster().pooler_port != 0) {
    auto report = machine.report(local::kPooler);
    out.pooler = part(report, {report.id ? std::optional(report.id->pid) : std::nullopt, {}, {}});
  }
  if (auto id = machine.supervisor()) out.supervisor = id->pid;
  return out;
}

// Docker's words for states in ours. What it says of itself over REST tells more than a node's health check.
std::string state_of(const local::Container* container, bool node = false) {
  if (!container) return "down";
  if (container->paused()) return "frozen";
  if (container->state == "exited" || container->state == "created") return "stopped";
  if (!container->running()) return "crashed";
  if (node || container->well()) return "running";
  return container->status.find("(unhealthy)") != std::string::npos ? "unhealthy" : "starting";
}

MachineSight look_at_containers(const local::ClusterFile& cluster, const std::vector<local::Container>& containers) {
  MachineSight out;
  out.containers = true;
  auto find = [&](const std::string& service) {
    auto found = std::ranges::find(containers, service, &local::Container::service);
    return found == containers.end() ? nullptr : &*found;
  };
  for (const auto& node : cluster.nodes) out.nodes.push_back({node.name, {}, state_of(find(node.name), true), 0, {}});
  for (const auto& member : cluster.etcd) {
    std::string state = state_of(find(member.name));
    out.etcd.push_back({member.name, {}, {}, state == "running", false, state, {}});
  }
  out.pooler = {cluster.compose->pooler, {}, state_of(find(cluster.compose->pooler)), 0, {}};
  return out;
}

// The process table knows why a member is silent.
void explain_silence(Sight& sight, const MachineSight& machine) {
  for (MemberSight& member : sight.members) {
    auto node = std::ranges::find(machine.nodes, member.name, &MachineSight::Part::name);
    if (node == machine.nodes.end() || member.status) continue;
    std::string before = member.state;
    if (!node->running()) {
      // What others still read in etcd about it is of the past.
      member.role.reset();
      member.timeline.reset();
      member.lsn.reset();
      member.received.reset();
      member.lag_bytes.reset();
      member.lag_seconds.reset();
      member.sync_state.reset();
      member.pending_restart.reset();
    }
    if (!node->running()) {
      member.state = node->state;
    } else if (member.state == "missing") {
      member.state = "starting";
    }
    if (member.state == before) continue;
    // Whatever was wrong with it by what others still read about it.
    std::erase_if(sight.problems, [&](const std::string& problem) { return problem.starts_with(member.name + " is "); });
    sight.problems.push_back(fmt::format("{} is {}", member.name, member.state));
  }
}

Task<Result<std::vector<Result<net::Response>>>> ask_etcd(Rest& rest, std::vector<Call> calls, BootTime deadline) {
  std::vector<Task<Result<net::Response>>> tasks;
  for (Call& call : calls) tasks.push_back(rest.send(std::move(call), deadline));
  co_return co_await net::all(rest.loop(), std::move(tasks));
}

void look_at_etcd(Rest& rest, MachineSight& machine, Duration patience) {
  std::vector<Call> calls;
  std::vector<EtcdSight*> asked;
  for (EtcdSight& member : machine.etcd) {
    if (member.state != "running") continue;
    calls.push_back({.url = member.client_url + local::kEtcdStatusPath, .method = "POST", .body = "{}"});
    asked.push_back(&member);
  }
  if (calls.empty()) return;
  BootTime deadline = rest.loop().after(patience);
  auto answers = net::run_blocking(rest.loop(), ask_etcd(rest, std::move(calls), deadline), deadline + 100ms);
  if (!answers) return;
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& answer = (*answers)[i];
    auto status =
        answer && answer->status == 200 ? local::parse_etcd_status(answer->body) : fail(Errc::unavailable, "");
    asked[i]->healthy = status && status->leader_id != 0;
    asked[i]->leader = status && status->leads();
  }
}

std::string host_port(const MemberSight& member) {
  if (member.host.empty()) return "-";
  std::string host = member.host.find(':') != std::string::npos ? "[" + member.host + "]" : member.host;
  return member.port ? fmt::format("{}:{}", host, *member.port) : host;
}

template <class T>
std::string shown(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : "-";
}

Tint tint_of(const MemberSight& member, bool leader) {
  if (leader && member.status) return Tint::good;
  if (member.state == "streaming") return Tint::good;
  return member.state == "running" || member.state == "starting" || member.state == "creating replica" ? Tint::warn
                                                                                                       : Tint::bad;
}

std::optional<JsonValue> pid_json(const std::optional<pid_t>& pid) {
  return pid ? std::optional<JsonValue>(int{*pid}) : std::nullopt;
}

JsonValue member_json(const Target& target, const MemberSight& member, const MachineSight* machine) {
  JsonValue out;
  out.set("name", member.name);
  out.set("host", member.host.empty() ? JsonValue() : JsonValue(member.host));
  out.set("port", member.port ? JsonValue(int{*member.port}) : JsonValue());
  out.set("api_url", !member.endpoint.empty() ? JsonValue(member.endpoint)
                     : member.api_url.empty() ? JsonValue()
                                              : JsonValue(member.api_url));
  out.set("role", member.role).set("state", member.state);
  out.set("timeline", member.timeline ? JsonValue(int64_t{*member.timeline}) : JsonValue());
  out.set("lsn", member.lsn ? JsonValue(format_lsn(*member.lsn)) : JsonValue());
  out.set("received_lsn", member.received ? JsonValue(format_lsn(*member.received)) : JsonValue());
  out.set("lag_bytes", member.lag_bytes).set("lag_seconds", member.lag_seconds).set("sync_state", member.sync_state);
  out.set("pending_restart", member.pending_restart);
  if (!machine || !target.local) return out;
  auto node = std::ranges::find(machine->nodes, member.name, &MachineSight::Part::name);
  if (node == machine->nodes.end()) return out;
  if (machine->containers) return out.set("container", node->state);
  JsonValue pids;
  pids.set("agent", pid_json(node->pids.agent))
      .set("guardian", pid_json(node->pids.guardian))
      .set("postmaster", pid_json(node->pids.postmaster));
  out.set("pids", std::move(pids)).set("restarts", node->restarts);
  out.set("last_exit", node->last_exit.empty() ? JsonValue() : JsonValue(node->last_exit));
  out.set("log", target.local->log_folder(member.name)).set("data_dir", target.local->data_dir(member.name));
  return out;
}

}  // namespace

FullSight look(Rest& rest, const Target& target, Duration patience, bool containers) {
  FullSight out;
  if (target.in_containers() && !containers) {
    // Only what the members say.
  } else if (target.in_containers()) {
    auto found = local::containers_of(target.local->compose->project);
    if (found)
      out.machine = look_at_containers(*target.local, *found);
    else
      out.machine_unknown = found.error().text;
  } else if (target.local) {
    out.machine = look_at_machine(local::Machine(*target.local));
  }
  Target asked = target;
  if (out.machine) {
    // Nobody listens where no agent runs; a refused connection would only cost time.
    for (auto& member : asked.members) {
      auto node = std::ranges::find(out.machine->nodes, member.name, &MachineSight::Part::name);
      if (node != out.machine->nodes.end() && !node->running()) member.endpoint.clear();
    }
  }
  out.sight = observe(rest, asked, patience);
  if (!target.local) return out;
  for (MemberSight& member : out.sight.members) {
    const auto* node = target.local->find_node(member.name);
    if (!node) continue;
    member.endpoint = target.local->rest_url(*node);
    // Containers publish names that only their network knows.
    if (member.host.empty() || target.in_containers()) member.host = "127.0.0.1";
    if (!member.port || target.in_containers()) member.port = node->pg_port;
    if (!member.status && member.state != "missing") member.state = "unreachable";
  }
  if (!out.machine) return out;
  explain_silence(out.sight, *out.machine);
  if (!out.machine->containers) look_at_etcd(rest, *out.machine, patience);
  auto healthy = std::ranges::count_if(out.machine->etcd, &EtcdSight::healthy);
  for (const EtcdSight& member : out.machine->etcd) {
    if (!member.healthy)
      out.sight.problems.push_back(
          fmt::format("{} is {}", member.name, member.state == "running" ? "without a leader" : member.state));
  }
  if (healthy * 2 <= static_cast<int64_t>(out.machine->etcd.size()))
    out.sight.problems.emplace_back("etcd has no quorum");
  if (out.machine->pooler && !out.machine->pooler->running())
    out.sight.problems.push_back(fmt::format("the pooler is {}", out.machine->pooler->state));
  if (!out.machine->containers && !out.machine->supervisor)
    out.sight.problems.emplace_back("the supervisor does not run (pgdba up starts it again)");
  return out;
}

Urls urls_of(const Target& target, const Sight& sight) {
  std::vector<std::string> hosts, ports, pairs;
  auto add = [&](const std::string& host, uint16_t port) {
    hosts.push_back(host);
    ports.push_back(std::to_string(port));
    pairs.push_back(fmt::format("{}:{}", host.find(':') != std::string::npos ? "[" + host + "]" : host, port));
  };
  Urls out;
  if (target.local) {
    for (const auto& node : target.local->nodes) add("127.0.0.1", node.pg_port);
    out.passfile = target.local->passfile();
    if (uint16_t port = target.local->pooler_port; port != 0) {
      out.pooler.libpq = fmt::format("postgresql://postgres@127.0.0.1:{}/postgres", port);
      out.pooler.jdbc = fmt::format("jdbc:postgresql://127.0.0.1:{}/postgres?user=postgres", port);
      out.pooler.psql = fmt::format("PGPASSFILE={} psql {}", out.passfile, out.pooler.libpq);
      out.pooler_ro = out.pooler.libpq + "_ro?target_session_attrs=any";
    }
  } else if (!target.pg_host.empty()) {
    for (size_t i = 0; i < std::max<size_t>(1, sight.members.size()); ++i) {
      uint16_t published = i < sight.members.size() ? sight.members[i].port.value_or(5432) : uint16_t{5432};
      add(target.pg_host, target.pg_port ? static_cast<uint16_t>(target.pg_port + i) : published);
    }
  } else {
    for (const MemberSight& member : sight.members) {
      if (!member.host.empty()) add(member.host, member.port.value_or(5432));
    }
  }
  for (const auto& member : target.members) {
    if (!member.endpoint.empty()) out.rest.push_back(member.endpoint);
  }
  if (hosts.empty()) return out;
  std::string list = join(pairs, ",");
  out.libpq = fmt::format("postgresql://postgres@{}/postgres?target_session_attrs=read-write&connect_timeout=3", list);
  out.jdbc = fmt::format("jdbc:postgresql://{}/postgres?user=postgres&targetServerType=primary&connectTimeout=3", list);
  out.psql = fmt::format("psql '{}'", out.libpq);
  return out;
}

JsonValue status_json(const Target& target, const FullSight& full, BootTime now) {
  const Sight& sight = full.sight;
  const MachineSight* machine = full.machine ? &*full.machine : nullptr;
  JsonValue out;
  out.set("schema_version", 1).set("name", target.name.empty() ? JsonValue() : JsonValue(target.name));
  out.set("scope", sight.scope.empty() ? JsonValue() : JsonValue(sight.scope));
  out.set("system_identifier", sight.system_identifier.empty() ? JsonValue() : JsonValue(sight.system_identifier));
  out.set("managed", target.managed).set("healthy", sight.healthy()).set("leader", sight.leader);
  out.set("leader_since", sight.leader_since ? JsonValue(format_utc(*sight.leader_since)) : JsonValue());
  out.set("pause", sight.answers > 0 ? JsonValue(sight.pause) : JsonValue());
  out.set("age_ms", sight.answers > 0 ? JsonValue(to_ms(now - sight.measured_at)) : JsonValue());
  out.set("dcs_last_seen", sight.dcs_last_seen ? JsonValue(format_utc(*sight.dcs_last_seen)) : JsonValue());
  JsonValue members = JsonValue::list(), problems = JsonValue::list();
  for (const MemberSight& member : sight.members) members.add(member_json(target, member, machine));
  for (const std::string& problem : sight.problems) problems.add(problem);
  out.set("members", std::move(members)).set("problems", std::move(problems));
  if (sight.scheduled_switchover) {
    JsonValue scheduled;
    const auto& wanted = *sight.scheduled_switchover;
    scheduled.set("from", wanted.leader.empty() ? JsonValue() : JsonValue(wanted.leader));
    scheduled.set("to", wanted.candidate.empty() ? JsonValue() : JsonValue(wanted.candidate));
    scheduled.set("at", wanted.scheduled_at ? JsonValue(format_utc(*wanted.scheduled_at)) : JsonValue());
    out.set("scheduled_switchover", std::move(scheduled));
  }
  if (machine) {
    JsonValue etcd = JsonValue::list(), supervisor;
    for (const EtcdSight& member : machine->etcd) {
      JsonValue item;
      item.set("name", member.name)
          .set("client_url", member.client_url.empty() ? JsonValue() : JsonValue(member.client_url))
          .set("pid", member.pid ? JsonValue(*member.pid) : JsonValue());
      item.set("state", member.state).set("healthy", member.healthy);
      etcd.add(item.set("leader", machine->containers ? JsonValue() : JsonValue(member.leader)));
    }
    supervisor.set("pid", machine->supervisor ? JsonValue(*machine->supervisor) : JsonValue());
    out.set("etcd", std::move(etcd));
    if (!machine->containers) out.set("supervisor", std::move(supervisor));
    if (machine->pooler && target.local) {
      JsonValue pooler;
      pooler.set("pid", pid_json(machine->pooler->pids.agent));
      pooler.set("state", machine->pooler->state).set("port", int{target.local->pooler_port});
      out.set("pooler", pooler.set("restarts", machine->containers ? JsonValue() : JsonValue(machine->pooler->restarts)));
    }
  }
  Urls urls = urls_of(target, sight);
  JsonValue links, rest = JsonValue::list();
  for (const std::string& url : urls.rest) rest.add(url);
  links.set("psql", urls.psql.empty() ? JsonValue() : JsonValue(urls.psql))
      .set("libpq", urls.libpq.empty() ? JsonValue() : JsonValue(urls.libpq));
  links.set("jdbc", urls.jdbc.empty() ? JsonValue() : JsonValue(urls.jdbc)).set("rest", std::move(rest));
  if (!urls.pooler.libpq.empty()) {
    JsonValue pooler;
    pooler.set("psql", urls.pooler.psql).set("libpq", urls.pooler.libpq).set("jdbc", urls.pooler.jdbc);
    links.set("pooler", pooler.set("libpq_ro", urls.pooler_ro));
  }
  out.set("urls", std::move(links));
  if (!urls.passfile.empty()) out.set("passfile", urls.passfile);
  return out;
}

Table status_table(const Sight& sight) {
  bool pending =
      std::ranges::any_of(sight.members, [](const MemberSight& m) { return m.pending_restart.value_or(false); });
  std::vector<std::string> header = {"MEMBER", "HOST", "ROLE", "STATE", "TL", "LSN", "LAG", "LAG TIME", "SYNC"};
  if (pending) header.emplace_back("PENDING RESTART");
  Table table(header);
  for (const MemberSight& member : sight.members) {
    bool leader = sight.leader == member.name;
    std::string lag = leader ? "" : member.lag_bytes ? human_bytes(*member.lag_bytes) : "-";
    std::string time = leader               ? ""
                       : member.lag_seconds ? (*member.lag_seconds == 0 ? "0" : human_seconds(*member.lag_seconds))
                                            : "-";
    std::vector<Table::Cell> row = {{member.name, leader ? Tint::bold : Tint::none, false},
                                    {host_port(member)},
                                    {member.role.value_or("-"), leader ? Tint::bold : Tint::none, false},
                                    {member.state, tint_of(member, leader), false},
                                    {shown(member.timeline), Tint::none, true},
                                    {member.lsn ? format_lsn(*member.lsn) : "-", Tint::none, true},
                                    {lag, Tint::none, true},
                                    {time, Tint::none, true},
                                    {leader ? "" : member.sync_state.value_or("-")}};
    if (pending) row.push_back({member.pending_restart.value_or(false) ? "yes" : ""});
    table.row(std::move(row));
  }
  return table;
}

Table status_rows(const Sight& sight) {
  Table table({"name", "host", "port", "role", "state", "timeline", "lsn", "lag_bytes", "lag_seconds", "sync_state",
               "pending_restart"});
  auto plain = [](const auto& value) -> Table::Cell { return {value ? fmt::format("{}", *value) : std::string()}; };
  for (const MemberSight& member : sight.members) {
    table.row({{member.name},
               {member.host},
               plain(member.port),
               plain(member.role),
               {member.state},
               plain(member.timeline),
               {member.lsn ? format_lsn(*member.lsn) : ""},
               plain(member.lag_bytes),
               plain(member.lag_seconds),
               plain(member.sync_state),
               plain(member.pending_restart)});
  }
  return table;
}

std::string status_text(const Terminal& terminal, const Target& target, const FullSight& full, BootTime now) {
  const Sight& sight = full.sight;
  std::string title = target.name.empty() ? sight.scope : target.name;
  std::string out = fmt::format("{}  ", terminal.tint(Tint::bold, title));
  out += sight.healthy()                        ? terminal.tint(Tint::good, "healthy")
         : sight.leader && sight.leader_answers ? terminal.tint(Tint::warn, "degraded")
                                                : terminal.tint(Tint::bad, "UNHEALTHY");
  if (sight.leader) {
    out += fmt::format("   leader {}", *sight.leader);
    if (sight.leader_since)
      out += fmt::format(" since {}",
                         format_utc(std::chrono::floor<std::chrono::seconds>(*sight.leader_since)).substr(0, 19) + "Z");
  } else {
    out += "   no leader";
  }
  if (sight.pause) out += "   " + terminal.tint(Tint::warn, "paused: no automatic failover");
  if (sight.answers > 0)
    out += terminal.tint(Tint::dim, fmt::format("   data {} ms old", to_ms(now - sight.measured_at)));
  out += "\n" + status_table(sight).render(terminal);
  if (full.machine) {
    std::vector<std::string> parts;
    for (const EtcdSight& member : full.machine->etcd)
      parts.push_back(member.name + " " + (member.healthy ? (member.leader ? "leader" : "ok") : member.state));
    const auto& pooler = full.machine->pooler;
    std::string starter = full.machine->supervisor ? fmt::format("process {}", *full.machine->supervisor) : "not running";
    out += fmt::format("etcd: {}   {}{}\n", join(parts, ", "),
                       pooler && target.local ? fmt::format("pooler: {} on {}   ", pooler->state, target.local->pooler_port) : "",
                       target.in_containers() ? "containers of " + target.local->compose->folder : "supervisor: " + starter);
    if (pooler && pooler->restarts > 0)
      out += fmt::format("pooler: restarted {} times, last {}\n", pooler->restarts, pooler->last_exit);
    for (const auto& node : full.machine->nodes) {
      if (node.restarts > 0)
        out += fmt::format("{}: agent restarted {} times, last {}\n", node.name, node.restarts, node.last_exit);
    }
  }
  if (!full.machine_unknown.empty()) out += fmt::format("the containers cannot be looked at: {}\n", full.machine_unknown);
  for (const std::string& problem : sight.problems) out += terminal.tint(Tint::warn, "! " + problem) + "\n";
  if (sight.scheduled_switchover && sight.scheduled_switchover->scheduled_at) {
    out += fmt::format("switchover scheduled at {}\n", format_utc(*sight.scheduled_switchover->scheduled_at));
  }
  return out;
}

void print_status(const Terminal& terminal, const Target& target, const FullSight& full, BootTime now) {
  switch (terminal.options().format) {
    case Format::table: terminal.data(status_text(terminal, target, full, now)); return;
    case Format::tsv: terminal.data(status_rows(full.sight).tsv()); return;
    default: terminal.show(status_json(target, full, now));
  }
}

}  // namespace pgdba::cli
