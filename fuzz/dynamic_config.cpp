#include "target.h"
#include "wire/config_json.h"

FUZZ_TARGET(dynamic_config) {
  using namespace pgdba;
  auto reading = wire::parse_dynamic_config(data);
  auto problems = wire::check_dynamic_config(data);
  auto styled = wire::restyle_json(data, JsonStyle::indented);
  (void)wire::config_patch_from_assignment(data);
  if (!reading) return;
  CHECK(styled.has_value());
  CHECK(problems.size() >= reading->warnings.size());
  auto again = wire::parse_dynamic_config(*styled);
  CHECK(again && again->config == reading->config);
  auto adjusted = model::adjust(reading->config.timings, true);
  CHECK(adjusted.ttl >= 20s && adjusted.loop_wait >= 1s);
}
