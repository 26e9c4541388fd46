// Where the valid WAL on disk ends: the end of the last record that recovery would accept, and its timeline (W4, H1).
//
// Reads the segment files as PostgreSQL's startup process does: page headers (magic of the first page, timeline,
// address), record header, back link, CRC-32C; a record may cross pages and segments. Begins at the redo point of the
// latest checkpoint. pg_waldump prints every record as text, which takes minutes per GB; this reads about a GB per
// second. The format of pages and record headers is the same in versions 13 to 18.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/lsn.h"
#include "pg/control.h"
#include "pg/history.h"

namespace pgdba::pg {

struct WalEnd {
  uint32_t timeline = 0;
  Lsn lsn;               // as pg_current_wal_insert_lsn() of a server that ended there, before the next page's header
  uint64_t records = 0;  // seen from the redo point on
};

// Follows a child timeline when our own WAL reaches exactly to where the child begins; stays on a timeline that goes
// further than that (R3: past the fork). cancelled: `stop` became true. invalid: not even the checkpoint is readable.
// Blocking: through net::Loop::offload.
Result<WalEnd> find_wal_end(const Layout& layout, const ControlData& control, const std::vector<History>& histories,
                            const std::atomic<bool>& stop);

}  // namespace pgdba::pg
