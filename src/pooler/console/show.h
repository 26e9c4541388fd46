// The rows of each SHOW. Pure: a Snapshot in, a Table out.
#pragma once

#include <string>
#include <string_view>

#include "pooler/console/session.h"
#include "pooler/console/snapshot.h"

namespace pgdba::pooler {

// The PgBouncer whose console this is. Tools compare it, so it stays as they know it.
inline constexpr std::string_view kBouncerVersion = "1.25.2";

Need need_of(Show show);
Table table_of(Show show, const Snapshot& snapshot);
// Including the ones without rows (HELP), and the refusal of what is not supported.
Outcome outcome_of(Show show, const Snapshot& snapshot);

// "2026-11-27 23:16:57 UTC", in local time; `at` in microseconds since 1970.
std::string shown_time(int64_t at);

}  // namespace pgdba::pooler
