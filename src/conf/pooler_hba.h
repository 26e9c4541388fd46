// auth_hba_file: who may log in from where, and how they prove who they are.
//
// Invariant: any bytes give rules; what they do not say is refused. As in PgBouncer a line that cannot be read is left
// out and named in `problems`, so the lines after it decide; but one whose method PgBouncer knows and we do not (ldap)
// becomes a rule that rejects, because a later line might let the same client in without a password.
// How to call: parse_hba() with the file's text, then match_hba() for each login; no rule means: refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/ip_range.h"
#include "conf/pooler_ini.h"

namespace pgdba::conf {

enum class HbaMethod { trust, reject, md5, password, scram_sha_256, cert, peer };

struct HbaNames {
  bool all = false;
  bool same_user = false;    // of databases: the one that is called like the user
  bool replication = false;  // of databases: physical replication connections
  std::vector<std::string> names;
  bool operator==(const HbaNames&) const = default;
};

struct HbaRule {
  enum class Type { local, host, hostssl, hostnossl } type = Type::local;
  HbaNames databases;
  HbaNames users;
  bool any_address = false;  // "all"
  IpRange range;             // unless local or any_address
  HbaMethod method = HbaMethod::reject;
  std::string map;  // of the ident file, for cert and peer; empty: the names must be equal
  int line = 0;
};

struct Hba {
  std::vector<HbaRule> rules;
  std::vector<std::string> problems;  // "… (FILE:LINE)"
};

// `include` reads the @file lists; a path without a leading '/' is taken from the directory of the file that names it.
Hba parse_hba(const std::string& path, std::string_view text, const FileReader& include);

struct HbaClient {
  IpAddress address;  // size 0: a unix socket
  bool tls = false;
  bool physical_replication = false;
  std::string_view database;
  std::string_view user;
};
// The first rule that fits; null: none, so the client is refused.
const HbaRule* match_hba(const Hba& hba, const HbaClient& client);

}  // namespace pgdba::conf
