#include "target.h"
#include "wire/rest_requests.h"

FUZZ_TARGET(rest_request) {
  using namespace pgdba::wire;
  const pgdba::WallTime now = *pgdba::parse_utc("2026-11-23T12:00:00Z");
  if (auto r = parse_switchover_request(true, data, false, now))
    CHECK(parse_switchover_request(true, format_switchover_request(*r), false, now) == *r);
  if (auto r = parse_restart_request(data, false, now);
      r && (!r->timeout || *r->timeout % std::chrono::seconds(1) == pgdba::Duration(0))) {
    CHECK(parse_restart_request(format_restart_request(*r), false, now) == *r);
  }
  (void)parse_reinitialize_request(data);
  (void)parse_config_request(data);
  (void)parse_failsafe_request(data);
  (void)parse_schedule(data, now);
  (void)parse_postgres_version(data);
  (void)is_json_content_type(data);
  CHECK(!render_answer({400, std::string(data), true}, false).body.empty());
}
