#include "target.h"
#include "wire/rest_cluster.h"

FUZZ_TARGET(cluster_answer) {
  using namespace pgdba::wire;
  (void)parse_conn_url(data);
  auto value = parse_cluster_answer(data);
  if (!value) return;
  auto again = parse_cluster_answer(format_cluster_answer(*value));
  CHECK(again && again->members.size() == value->members.size() && again->pause == value->pause);
}
