#include "target.h"
#include "wire/cluster_json.h"

FUZZ_TARGET(sync) {
  using namespace pgdba::wire;
  auto value = parse_sync(data);
  if (!value) return;
  auto again = parse_sync(format_sync(*value));
  CHECK(again && *again == *value);
}
