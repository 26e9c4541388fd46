#include "target.h"
#include "wire/cluster_json.h"

FUZZ_TARGET(history) {
  using namespace pgdba::wire;
  auto value = parse_history(data);
  if (!value) return;
  auto again = parse_history(format_history(*value));
  CHECK(again && *again == *value);
}
