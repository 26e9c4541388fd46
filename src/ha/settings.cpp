#include "ha/settings.h"

#include <algorithm>

namespace pgdba::ha {

Budgets budgets_for(Duration ttl) {
  Budgets b;
  b.ttl = ttl;
  b.renew_every = ttl / 6;
  b.margin = std::clamp<Duration>(ttl / 15, 100ms, 1s);
  b.stop_budget = std::clamp<Duration>(ttl / 12, 150ms, 2s);
  b.suspect_gap = 200ms;
  b.suspect_window = 2s;
  b.rank_step = 150ms;
  b.freeze_proof = 400ms;
  b.switchover_grace = 2s;
  b.fast_stop = 3s;
  b.silence = ttl * 9 / 10;
  return b;
}

}  // namespace pgdba::ha
