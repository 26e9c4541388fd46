#include "target.h"
#include "wire/cluster_json.h"

FUZZ_TARGET(status) {
  using namespace pgdba::wire;
  auto value = parse_status(data);
  if (!value) return;
  auto again = parse_status(format_status(*value));
  CHECK(again && *again == *value);
}
