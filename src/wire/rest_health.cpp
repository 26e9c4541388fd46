#include "wire/rest_health.h"

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "base/units.h"
#include "model/tags.h"

namespace pgdba::wire {

namespace {

constexpr int kGood = 200;
constexpr int kBad = 503;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// No parameter, or one that cannot be read: unlimited, as in Patroni.
std::optional<int64_t> wanted_lag(const RestTarget& target) {
  auto text = target.parameter("lag");
  return text ? parse_bytes(*text) : std::nullopt;
}

bool lags_more_than(Lsn leader, Lsn position, int64_t limit) {
  // A limit may be negative; 128 bits hold every sum.
  return leader.valid() && static_cast<__int128>(leader.bytes) > static_cast<__int128>(position.bytes) + limit;
}

struct Codes {
  int leader = kBad;
  int primary = kBad;
  int standby_leader = kBad;
  int replica = kBad;
};

Codes codes_of(const HealthInput& in, const RestTarget& target) {
  const NodeStatus& s = *in.status;
  using model::Role;
  Codes c;
  auto lag = wanted_lag(target);
  Lsn replayed = s.replica ? s.replica->replayed : Lsn{};
  bool lagging = lag && lags_more_than(in.leader_lsn, replayed, *lag);
  auto wanted_state = target.parameter("replication_state");
  bool state_fits = !wanted_state || *wanted_state == s.replication_state;
  if (s.role == Role::replica && s.state == model::PgState::running && !in.noloadbalance && !lagging && state_fits)
    c.replica = kGood;
  if (!in.has_cluster && s.pause) {
    c.primary = s.role == Role::primary ? kGood : kBad;
    c.standby_leader = s.role == Role::standby_leader ? kGood : kBad;
    c.leader = std::min(c.primary, c.standby_leader);
  } else if (in.believes_leader) {
    c.leader = kGood;
    if (in.standby_cluster) {
      c.replica = kBad;
      c.standby_leader = s.role == Role::replica || s.role == Role::standby_leader ? kGood : kBad;
    } else {
      c.primary = kGood;
    }
  }
  return c;
}

// Row 7 of the table: needs a view of the cluster, because otherwise nobody knows who is synchronous.
int sync_code(std::string_view path, SyncRole role, const Codes& c) {
  bool sync = role == SyncRole::sync_standby;
  bool quorum = role == SyncRole::quorum_standby;
  bool leads = c.primary == kGood || c.standby_leader == kGood;
  if (path == "/sync" || path == "/synchronous") return sync ? c.replica : kBad;
  if (path == "/quorum") return quorum ? c.replica : kBad;
  if (path == "/async" || path == "/asynchronous") return !sync && !quorum ? c.replica : kBad;
  if (path == "/read-only-quorum") return leads ? kGood : quorum ? c.replica : kBad;
  if (path == "/read-only-sync" || path == "/read-only-synchronous") return leads ? kGood : sync ? c.replica : kBad;
  return kBad;
}

// A tag as Patroni compares it with the parameter: texts as they are, everything else in lower case.
std::string tag_text(std::string_view json) {
  if (json.size() >= 2 && json.front() == '"') return std::string(json.substr(1, json.size() - 2));
  if (json == "null") return "none";
  return lower(json);
}

bool tags_fit(const model::Tags& tags, const RestTarget& target) {
  constexpr std::string_view prefix = "tag_";
  std::optional<model::TagEntries> published;
  for (const auto& [name, value] : target.parameters) {
    if (!name.starts_with(prefix)) continue;
    if (target.parameter(name) != std::string_view(value)) continue;  // only the first of a name counts
    if (!published) published = model::published_tags(tags);
    auto tag = std::ranges::find(*published, name.substr(prefix.size()), &std::pair<std::string, std::string>::first);
    if (tag == published->end() || tag_text(tag->second) != value) return false;
  }
  return true;
}

}  // namespace

std::optional<std::string_view> RestTarget::parameter(std::string_view name) const {
  for (const auto& [key, value] : parameters) {
    if (key == name) return value;
  }
  return std::nullopt;
}

RestTarget parse_target(std::string_view target) {
  RestTarget out;
  target = target.substr(0, target.find('#'));
  auto question = target.find('?');
  std::string_view path = target.substr(0, question);
  // A proxy asks for "http://host:port/path".
  if (auto scheme = path.find("://"); scheme != std::string_view::npos && !path.starts_with('/')) {
    auto slash = path.find('/', scheme + 3);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash);
  }
  out.path = path.empty() ? "/" : path;
  if (question == std::string_view::npos) return out;
  for (const std::string& part : split(target.substr(question + 1), '&')) {
    auto equals = part.find('=');
    if (equals == std::string::npos || equals + 1 == part.size()) continue;
    out.parameters.emplace_back(decode(std::string_view(part).substr(0, equals)),
                                decode(std::string_view(part).substr(equals + 1)));
  }
  return out;
}

Route route(std::string_view method, std::string_view path) {
  struct Row {
    std::string_view method, segment;
    Route route;
  };
  static constexpr Row rows[] = {{"GET", "liveness", Route::liveness},
                                 {"GET", "readiness", Route::readiness},
                                 {"GET", "patroni", Route::patroni},
                                 {"GET", "cluster", Route::cluster},
                                 {"GET", "history", Route::history},
                                 {"GET", "config", Route::get_config},
                                 {"GET", "metrics", Route::metrics},
                                 {"GET", "failsafe", Route::get_failsafe},
                                 {"PATCH", "config", Route::patch_config},
                                 {"PUT", "config", Route::put_config},
                                 {"POST", "reload", Route::reload},
                                 {"POST", "restart", Route::restart},
                                 {"DELETE", "restart", Route::delete_restart},
                                 {"POST", "failover", Route::failover},
                                 {"POST", "switchover", Route::switchover},
                                 {"DELETE", "switchover", Route::delete_switchover},
                                 {"POST", "reinitialize", Route::reinitialize},
                                 {"POST", "failsafe", Route::post_failsafe},
                                 {"POST", "citus", Route::mpp},
                                 {"POST", "mpp", Route::mpp},
                                 {"POST", "sigterm", Route::sigterm}};
  auto start = std::min(path.find_first_not_of('/'), path.size());
  std::string_view segment = path.substr(start);
  segment = segment.substr(0, segment.find('/'));
  for (const Row& row : rows) {
    if (row.method == method && row.segment == segment) return row.route;
  }
  if (method == "GET" || method == "HEAD" || method == "OPTIONS") return Route::health;
  return Route::unsupported;
}

bool is_unsafe(Route route) {
  switch (route) {
    case Route::patch_config:
    case Route::put_config:
    case Route::reload:
    case Route::restart:
    case Route::delete_restart:
    case Route::failover:
    case Route::switchover:
    case Route::delete_switchover:
    case Route::reinitialize:
    case Route::post_failsafe:
    case Route::sigterm: return true;
    default: return false;
  }
}

int health_code(const HealthInput& in, const RestTarget& target) {
  Codes c = codes_of(in, target);
  std::string_view path = target.path == "/" ? "/primary" : std::string_view(target.path);
  if (contains(path, "standby_leader") || contains(path, "standby-leader")) return c.standby_leader;
  if (contains(path, "leader")) return c.leader;
  if (contains(path, "master") || contains(path, "primary") || contains(path, "read-write")) return c.primary;
  int code = kBad;
  if (contains(path, "replica")) {
    code = c.replica;
  } else if (contains(path, "read-only") && !contains(path, "sync") && !contains(path, "quorum")) {
    code = c.primary == kGood || c.standby_leader == kGood ? kGood : c.replica;
  } else if (contains(path, "health")) {
    code = in.status->state == model::PgState::running ? kGood : kBad;
  } else if (in.has_cluster) {
    code = sync_code(path, in.status->sync_role, c);
  }
  return code == kGood && tags_fit(*in.tags, target) ? kGood : kBad;
}

int liveness_code(const LivenessInput& in) {
  if (in.paused) return kGood;
  // A replica may be late twice as long: only a primary's delay costs its lock.
  return in.since_last_cycle < in.ttl * (in.running_primary ? 1 : 2) ? kGood : kBad;
}

int readiness_code(const ReadinessInput& in, const RestTarget& target) {
  const NodeStatus& s = *in.status;
  if (in.believes_leader) return kGood;
  if (s.state != model::PgState::running || !s.replica || s.replication_state != "streaming") return kBad;
  if (!in.has_cluster && !in.leader_lsn.valid()) return in.failsafe_active ? kGood : kBad;
  bool write = target.parameter("mode") == std::optional<std::string_view>("write");
  Lsn position = write ? s.replica->received : s.replica->replayed;
  uint64_t bound = std::min<uint64_t>(in.default_lag, std::numeric_limits<int64_t>::max());
  int64_t limit = wanted_lag(target).value_or(static_cast<int64_t>(bound));
  return lags_more_than(in.leader_lsn, position, limit) ? kBad : kGood;
}

}  // namespace pgdba::wire
