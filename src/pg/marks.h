// The small files by which a member remembers: the freeze record, "unusable", "novote", the nonces of its timelines.
//
// Writing and clearing: actions.h. Each file is written whole and fsynced; one that cannot be read means the worst.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/lsn.h"
#include "model/local.h"
#include "pg/layout.h"

namespace pgdba::pg {

Result<void> mark_unusable(const Layout& layout, const std::string& why);
Result<void> clear_unusable(const Layout& layout);
Result<std::optional<std::string>> unusable_why(const Layout& layout);  // nullopt: no mark; an error: cannot be read

bool has_novote(const Layout& layout);
// What init_db() made, until it is first started as a primary (LocalPg::pristine). While pg_control still says the same,
// nothing was ever written in this data directory, by whomever it was started.
struct InitdbMark {
  uint64_t system_id = 0;
  Lsn checkpoint;
  bool operator==(const InitdbMark&) const = default;
};
Result<void> mark_initdb(const Layout& layout, const InitdbMark& mark);
Result<void> clear_initdb(const Layout& layout);
std::optional<InitdbMark> initdb_mark(const Layout& layout);  // nullopt, too: it cannot be read, so the data is somebody's
bool is_pristine(const std::optional<InitdbMark>& mark, const model::ControlFile& control);

Result<std::map<uint32_t, std::string>> read_timeline_nonces(const Layout& layout);

}  // namespace pgdba::pg
