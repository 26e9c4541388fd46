// What an administrator types, as a value. No I/O, no state: text in, Command out.
//
// The grammar is PgBouncer's: one word, at most one argument (bare, or in double quotes), any number of semicolons.
// "SELECT x" means "SHOW x", for tools that can only select. Invariant: any bytes give a Command or the sentence that
// PgBouncer would answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::pooler {

enum class Verb : uint8_t {
  empty,
  show,
  show_dummy,  // of a parameter that drivers ask for; `argument` is its name, `value` what it says
  set,
  set_dummy,  // a parameter that drivers set and that means nothing here
  pause,
  resume,
  disable,
  enable,
  reconnect,
  wait_close,
  kill,
  kill_client,
  suspend,
  reload,
  shutdown,
};

enum class Show : uint8_t {
  help,
  version,
  databases,
  pools,
  clients,
  servers,
  sockets,
  active_sockets,
  stats,
  stats_totals,
  stats_averages,
  totals,
  users,
  lists,
  config,
  peers,
  peer_pools,
  dns_hosts,
  dns_zones,
  mem,
  state,
  fds,
  cluster,
};

struct Command {
  Verb verb = Verb::empty;
  Show show = Show::help;
  std::string argument;  // a database, an id, the name of a setting; empty: none
  std::string value;     // of a setting
};

Result<Command> parse_command(std::string_view text);

// The word that CommandComplete carries.
std::string tag_of(const Command& command);
// May a user of stats_users give it?
bool only_reads(const Command& command);

}  // namespace pgdba::pooler
