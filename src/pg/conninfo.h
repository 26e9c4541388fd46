// Addresses and connection strings, as members publish them and as libpq reads them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/pq.h"
#include "pg/settings.h"

namespace pgdba::pg {

struct HostPort {
  std::string host;
  uint16_t port = 5432;
  bool operator==(const HostPort&) const = default;
};

// "postgres://host:port/database?…", host perhaps in brackets; also with a user. invalid: anything else.
Result<HostPort> parse_conn_url(std::string_view url);

// "host='x y' port='5432'": every value quoted as libpq wants it.
std::string format_conninfo(const std::vector<std::pair<std::string, std::string>>& pairs);

// Everything but the password: host, port, user, passfile, the login's options (with sslmode, gssencmode and
// channel_binding as Patroni defaults them), application_name, then `more`.
std::string conninfo_for(const HostPort& at, const Login& login, const std::string& passfile,
                         const std::string& application_name,
                         const std::vector<std::pair<std::string, std::string>>& more = {});

// One line of a password file, its special bytes escaped; empty when there is no password.
std::string passfile_line(const HostPort& at, const Login& login);

// May `path` (empty: none) become our password file? It must be absolute, and there either nothing or a file of ours: its
// content is replaced. Errors say why not. Blocking.
Result<void> usable_passfile(const std::string& path);

net::PgTarget target_for(const HostPort& at, const Login& login, std::string database, std::string application_name);

}  // namespace pgdba::pg
