// Timeline history files: pg_wal/<8 hex digits>.history.
//
// Each lists the timelines before it: "<timeline>\t<switch LSN>\t<reason>". Our stubs (R1: a number that another node
// has taken must not be used here) hold one comment line, list nothing, and are no history: they are skipped when
// reading and removed before this node follows anybody, since they would hide the real file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/lsn.h"
#include "pg/layout.h"

namespace pgdba::pg {

// timeline -> where the history leaves it. Anything that is no entry is skipped.
std::map<uint32_t, Lsn> parse_history(std::string_view text);

struct History {
  uint32_t timeline = 0;
  std::map<uint32_t, Lsn> ends;  // its ancestors
};
// Every history file of the data directory, by rising timeline, stubs left out. An error: one of them cannot be read.
Result<std::vector<History>> read_histories(const Layout& layout);

// The same, read again only when pg_wal has changed. For one reader at a time.
class KnownHistories {
 public:
  Result<std::vector<History>> read(const Layout& layout);

 private:
  std::vector<History> known_;
  int64_t changed_ns_ = -1;  // of the folder when they were read; -1: not known, or too fresh to be believed
  uint64_t inode_ = 0;
};

// timeline -> where it begins: 1 -> 0, and for each file the end of its parent.
std::map<uint32_t, Lsn> timeline_starts(const std::vector<History>& histories);

std::string history_file_name(uint32_t timeline);
Result<void> write_history_stubs(const Layout& layout, const std::vector<uint32_t>& taken);
Result<void> remove_history_stubs(const Layout& layout);

}  // namespace pgdba::pg
