#include "target.h"
#include "wire/cluster_json.h"

FUZZ_TARGET(failover) {
  using namespace pgdba::wire;
  auto value = parse_failover(data);
  if (!value || data.find_first_of("{[") == std::string_view::npos) return;  // the old text form may be no UTF-8
  auto again = parse_failover(format_failover(*value));
  CHECK(again && *again == *value);
}
