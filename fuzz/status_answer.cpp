#include "target.h"
#include "wire/rest_metrics.h"
#include "wire/rest_status.h"

FUZZ_TARGET(status_answer) {
  using namespace pgdba::wire;
  auto value = parse_status_answer(data);
  if (!value) return;
  auto again = parse_status_answer(format_status_answer(*value));
  CHECK(again && *again == *value);
  CHECK(format_metrics({&*value, false, false, 1, {}}).ends_with('\n'));
}
