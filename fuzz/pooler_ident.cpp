#include "conf/pooler_ident.h"

#include "target.h"

FUZZ_TARGET(pooler_ident) {
  using namespace pgdba::conf;
  Ident ident = parse_ident("i", data);
  for (const IdentLine& line : ident.lines) {
    CHECK(!line.map.empty() && !line.system_user.empty() && !line.database_user.empty());
    CHECK(ident_allows(ident, line.map, line.system_user, line.database_user));
  }
  CHECK(ident_allows(ident, "", "u", "u") && !ident_allows(ident, "", "u", "v"));
}
