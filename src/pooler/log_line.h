// A line of the log about one connection, as PgBouncer writes it: "C-0x1a: db/user@host:port text".
//
// What the core says about a connection is told apart by how it begins, so that log_connections, log_disconnections and
// log_pooler_errors each silence their own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>

#include "conf/ip_range.h"
#include "conf/pooler_settings.h"
#include "pool/conn.h"
#include "pooler/loop/socket.h"

namespace pgdba::pooler {

// An IPv4 address in IPv6's clothes counts as what it is. A unix socket: size 0.
conf::IpAddress ip_of(const sockaddr_storage& address);
uint16_t port_of(const sockaddr_storage& address);
std::string text_of(const sockaddr_storage& address);  // "10.0.0.1", "::1"; a unix socket: ""

// `about` and `socket` may be null.
void log_line(pool::LogLevel level, const pool::Conn* about, const Socket* socket, std::string_view text,
              const conf::PoolerSettings& settings, int64_t now);

}  // namespace pgdba::pooler
