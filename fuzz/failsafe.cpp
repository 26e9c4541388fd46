#include "target.h"
#include "wire/cluster_json.h"

FUZZ_TARGET(failsafe) {
  using namespace pgdba::wire;
  auto value = parse_failsafe(data);
  if (!value) return;
  auto again = parse_failsafe(format_failsafe(*value));
  CHECK(again && *again == *value);
}
