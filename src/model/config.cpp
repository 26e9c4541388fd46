#include "model/config.h"

#include <algorithm>
#include <tuple>

namespace pgdba::model {

bool DynamicConfig::operator==(const DynamicConfig& o) const {
  auto key = [](const DynamicConfig& c) {
    return std::tie(c.timings.ttl, c.timings.loop_wait, c.timings.retry_timeout, c.maximum_lag_on_failover,
                    c.maximum_lag_on_syncnode, c.max_timelines_history, c.primary_start_timeout, c.primary_stop_timeout,
                    c.synchronous_mode, c.synchronous_mode_strict, c.synchronous_node_count, c.failsafe_mode, c.pause,
                    c.check_timeline, c.member_slots_ttl, c.postgresql);
  };
  return key(*this) == key(o);
}

Timings adjust(Timings wanted, bool patroni_members) {
  constexpr Duration patroni_ttl = 20s;
  Timings t = wanted;
  t.ttl = std::max<Duration>(t.ttl, patroni_members ? patroni_ttl : Duration(2s));
  if (t.ttl < patroni_ttl) {
    t.loop_wait = std::min<Duration>(t.loop_wait, t.ttl / 3);
    t.retry_timeout = std::min<Duration>(t.retry_timeout, t.ttl / 3);
    return t;
  }
  t.loop_wait = std::max<Duration>(t.loop_wait, 1s);
  t.retry_timeout = std::max<Duration>(t.retry_timeout, 3s);
  if (t.loop_wait + 2 * t.retry_timeout <= t.ttl) return t;
  t.loop_wait = t.ttl - 2 * t.retry_timeout;
  if (t.loop_wait < 1s) {
    t.loop_wait = 1s;
    t.retry_timeout = (std::chrono::duration_cast<std::chrono::seconds>(t.ttl) - 1s) / 2;
  }
  return t;
}

}  // namespace pgdba::model
