// pg_hba.conf: the agent's own lines, the gate (G4), then the configured lines.
//
// PostgreSQL takes the first line that matches. The keyword "all" for the database does not match physical replication,
// so the gate's reject lines let standbys through to the configured lines. pg_rewind's login is let in by copies of
// those configured lines that would let it in, narrowed to that user: never by a weaker method than the operator's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pg/settings.h"

namespace pgdba::pg {

struct Hba {
  std::string text;
  std::vector<std::string> warnings;  // lines left out because PostgreSQL would refuse the whole file
};

// `os_user`: who we are, for "peer". `major` of the server.
Hba render_hba(const Settings& settings, const std::vector<std::string>& lines, bool gate_closed,
               const std::string& os_user, int major);

// What a file made by render_hba says of its gate. A file that is not ours has an open one.
bool hba_gate_closed(std::string_view text);
bool is_our_hba(std::string_view text);

}  // namespace pgdba::pg
