#include "target.h"
#include "wire/cluster_json.h"

FUZZ_TARGET(member) {
  using namespace pgdba::wire;
  auto value = parse_member(data);
  // The very old form is not checked by a JSON parser and may have bytes that JSON cannot say.
  if (!value || data.starts_with("postgres")) return;
  auto again = parse_member(format_member(*value));
  CHECK(again && *again == *value);
}
