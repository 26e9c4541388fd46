// The names of the keys below /<namespace>/<scope>/ (patroni.md 1.2, ha.md section 4).
//
// "Relative" means below key_prefix(). Names of members and scopes are used as they are: Patroni escapes nothing, so
// a name with a slash cannot be told from two levels and is refused by conf/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pgdba::wire {

// "/service/demo/" from "service", "/service" or "/service/" and "demo"; repeated slashes are collapsed. Always ends in
// one slash, so that it does not also cover the scope "demo2".
std::string key_prefix(std::string_view name_space, std::string_view scope);

enum class KeyKind {
  unknown,  // also a key with more slashes than its kind has
  // Patroni's
  initialize,
  config,
  leader,
  member,
  status,
  history,
  sync,
  failover,
  failsafe,
  optime_leader,
  // Ours, below pgdba/
  term,
  beat,
  released,
  promise,
  timeline,
  suspect,
  intent,
  switchover,
  pooler,
};

struct KeyName {
  KeyKind kind = KeyKind::unknown;
  std::string_view name;  // of the member, pooler or timeline; points into the argument
};
KeyName classify_key(std::string_view relative);

namespace keys {

inline constexpr std::string_view initialize = "initialize";
inline constexpr std::string_view config = "config";
inline constexpr std::string_view leader = "leader";
inline constexpr std::string_view members = "members/";
inline constexpr std::string_view status = "status";
inline constexpr std::string_view history = "history";
inline constexpr std::string_view sync = "sync";
inline constexpr std::string_view failover = "failover";
inline constexpr std::string_view failsafe = "failsafe";
inline constexpr std::string_view optime_leader = "optime/leader";
inline constexpr std::string_view term = "pgdba/term";
inline constexpr std::string_view beat = "pgdba/beat";
inline constexpr std::string_view released = "pgdba/released";
inline constexpr std::string_view switchover = "pgdba/switchover";

std::string member(std::string_view name);   // members/<name>
std::string promise(std::string_view name);  // pgdba/promise/<name>
std::string suspect(std::string_view name);  // pgdba/suspect/<name>
std::string intent(std::string_view name);   // pgdba/intent/<name>
std::string pooler(std::string_view id);     // pgdba/pooler/<id>
std::string timeline(uint32_t number);       // pgdba/timeline/<number>, decimal

}  // namespace keys

}  // namespace pgdba::wire
