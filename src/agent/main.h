// `pgdba agent FILE`: one HA agent for one PostgreSQL node, until it is told to stop.
//
// FILE is patroni.yml (or a folder of such files); PATRONI_* variables count on top and are removed from the environment.
// Exit codes: 0 stopped on request, 1 could not start or had to give up (the reason is the last line on stderr or in the
// log), 2 usage.
// SIGTERM, SIGINT: hand over, stop PostgreSQL, exit; again: without waiting for clients. SIGHUP: read FILE again.
// As root it continues as the owner of the data directory, or as `postgres` where there is none yet: PostgreSQL does not
// run as root.
#pragma once

#include <string>
#include <vector>

namespace pgdba::agent {

// `arguments`: what follows "agent" on the command line.
int agent_main(const std::vector<std::string>& arguments);

}  // namespace pgdba::agent
