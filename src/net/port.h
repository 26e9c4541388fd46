// Is somebody there, is this port free, and who has it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/loop.h"
#include "net/task.h"

namespace pgdba::net {

// What a TCP connection attempt says. `refused` comes from a living host without a listener; `unreachable` from the
// network (no route, host down); `timeout` says nothing (a silent peer is not dead); a name that does not resolve
// counts as unreachable.
enum class Probe { accepted, refused, unreachable, timeout };
std::string_view to_string(Probe probe);

Task<Probe> probe_tcp(Loop& loop, std::string host, uint16_t port, BootTime deadline);

// Numeric addresses of a host name, without blocking the loop. A name that was resolved before and now takes longer
// than half the time is answered from memory.
Task<Result<std::vector<std::string>>> resolve(Loop& loop, std::string host, BootTime deadline);

// Could a server bind there now? ("" or "*": all addresses.) Binds for a moment without SO_REUSEPORT.
bool port_is_free(const std::string& address, uint16_t port);
// A free port on 127.0.0.1, for tests and for local clusters. Somebody else may take it meanwhile.
Result<uint16_t> pick_free_port();

struct PortHolder {
  std::optional<pid_t> pid;  // none: not visible to this user
  std::string program;       // "postgres"; empty when not visible
  uid_t uid = 0;             // of the socket's owner
  std::string address;       // where it listens: "127.0.0.1", "0.0.0.0", "::"
};
// The listener on that TCP port, from /proc/net/tcp and tcp6 and /proc/*/fd. None: nobody listens.
std::optional<PortHolder> port_holder(uint16_t port);

}  // namespace pgdba::net
