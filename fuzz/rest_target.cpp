#include "target.h"
#include "wire/rest_health.h"

FUZZ_TARGET(rest_target) {
  using namespace pgdba::wire;
  RestTarget target = parse_target(data);
  CHECK(!target.path.empty());
  NodeStatus status;
  status.role = pgdba::model::Role::replica;
  status.state = pgdba::model::PgState::running;
  status.replica = ReplicaXlog{};
  status.replication_state = "streaming";
  pgdba::model::Tags tags;
  tags.other = {{"zone", "\"a\""}, {"rack", "7"}};
  int code = health_code({&status, true, false, false, false, pgdba::Lsn{5000}, &tags}, target);
  CHECK(code == 200 || code == 503);
  code = readiness_code({&status, false, true, false, pgdba::Lsn{5000}, UINT64_MAX}, target);
  CHECK(code == 200 || code == 503);
  for (const char* method : {"GET", "HEAD", "POST", "PATCH", "DELETE"}) (void)route(method, target.path);
}
