// The one observation query and how its row is read.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "model/local.h"
#include "net/pq.h"
#include "pg/settings.h"

namespace pgdba::pg {

// Facts of one answer that PgAnswers does not carry, from which the Observer concludes.
struct RawAnswers {
  model::PgAnswers answers;  // timeline of a standby, wal_exhausted and frozen_nonce are left to the Observer
  std::string ha_config;     // pgdba.ha_config as this session has it
  std::string generation;
  std::string term;        // pgdba.term
  std::string sync_names;  // synchronous_standby_names
  std::string conninfo;    // primary_conninfo
  std::string restore_command;
  Lsn receive_lsn;               // 0: no walreceiver was ever started by this postmaster
  bool has_walreceiver = false;  // its process exists
  bool receiver_streams = false;
  std::string sender_host;
  uint16_t sender_port = 0;
  std::string startup_wait;  // wait event of the startup process; empty: none, or no such process
};

std::string observation_query(int major, const Settings& settings);
// nullopt: the row is not of that query.
std::optional<RawAnswers> read_answers(const net::Rows& rows, BootTime asked_at, int server_version);

// What the running server has taken, from what it says itself. Where its settings are not those that pgdba.ha_config
// claims (somebody has used ALTER SYSTEM), the settings count.
std::optional<model::PgConfig> loaded_config(const RawAnswers& raw);

}  // namespace pgdba::pg
