// Our own keys have one reader each over the same strict helper; the same bytes go to all of them.
#include "target.h"
#include "wire/cluster_json.h"

namespace {

template <class Parse, class Format>
void round_trip(std::string_view data, Parse parse, Format format) {
  auto value = parse(data);
  if (!value) return;
  auto again = parse(format(*value));
  CHECK(again && *again == *value);
}

}  // namespace

FUZZ_TARGET(pgdba_keys) {
  using namespace pgdba::wire;
  round_trip(data, parse_term, format_term);
  round_trip(data, parse_beat, format_beat);
  round_trip(data, parse_released, format_released);
  round_trip(data, parse_timeline, format_timeline);
  round_trip(data, parse_promise, format_promise);
  round_trip(data, parse_suspicion, format_suspicion);
  round_trip(data, parse_intent, format_intent);
  round_trip(data, parse_switchover, format_switchover);
  round_trip(data, parse_pooler, format_pooler);
}
