// Who may change something (patroni.md 2.6): the checks in Patroni's order, with its codes and texts.
#pragma once

#include <optional>

#include "conf/agent_settings.h"
#include "model/cluster.h"
#include "net/http.h"
#include "net/http_server.h"

namespace pgdba::agent::rest {

// nullopt: allowed. `members`: allowlist_include_members admits their API addresses; may be nullptr.
std::optional<net::Response> refuse(const net::Request& request, const net::PeerAddress& peer, const conf::RestapiSettings& settings,
                                    const model::ClusterView* members);

// "10.0.0.0/8", "::1", "127.0.0.1"; a host name admits nobody here (names would have to be resolved while a client
// waits) and is named in a warning at start.
bool address_matches(std::string_view rule, std::string_view ip);
bool is_address_rule(std::string_view rule);

}  // namespace pgdba::agent::rest
