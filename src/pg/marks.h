// The small files by which a member remembers: the freeze record, "unusable", "novote", the nonces of its timelines.
//
// Writing and clearing: actions.h. Each file is written whole and fsynced; one that cannot be read means the worst.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "model/local.h"
#include "pg/layout.h"

namespace pgdba::pg {

Result<void> mark_unusable(const Layout& layout, const std::string& why);
Result<void> clear_unusable(const Layout& layout);
Result<std::optional<std::string>> unusable_why(const Layout& layout);  // nullopt: no mark; an error: cannot be read

bool has_novote(const Layout& layout);
Result<std::map<uint32_t, std::string>> read_timeline_nonces(const Layout& layout);

}  // namespace pgdba::pg
