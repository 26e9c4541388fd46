#include "base/units.h"

#include "base/json_writer.h"
#include "target.h"

FUZZ_TARGET(units) {
  (void)pgdba::parse_bool(data);
  (void)pgdba::parse_bytes(data, 8192);
  (void)pgdba::parse_duration(data);
  std::string quoted = pgdba::json_quote(data);
  for (char c : quoted) CHECK(c >= ' ' && c <= '~');
}
