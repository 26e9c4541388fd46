// Reads the two clocks of base/time.h. The shells read them here and pass `now` on.
#pragma once

#include "base/time.h"

namespace pgdba::net {

BootTime boot_now();  // CLOCK_BOOTTIME: monotonic, counts suspend
WallTime wall_now();  // CLOCK_REALTIME: for people and history only

}  // namespace pgdba::net
