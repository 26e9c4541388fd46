#include "conf/pooler_hba.h"

#include "conf/pooler_ident.h"
#include "target.h"

FUZZ_TARGET(pooler_hba) {
  using namespace pgdba;
  using namespace pgdba::conf;
  std::string text(data);
  Hba hba = parse_hba("/etc/hba", data, [&](const std::string&) -> Result<std::string> { return text; });
  for (const HbaRule& rule : hba.rules) {
    bool address = rule.type == HbaRule::Type::local || rule.any_address || rule.range.base.size == 4 ||
                   rule.range.base.size == 16;
    CHECK(address && rule.range.base.size == rule.range.mask.size && rule.line > 0);
    CHECK(rule.map.empty() || rule.method == HbaMethod::cert || rule.method == HbaMethod::peer);
  }
  for (const char* from : {"", "127.0.0.1", "::1"}) {
    HbaClient client;
    if (auto ip = parse_ip(from)) client.address = *ip;
    client.database = "d";
    client.user = "u";
    const HbaRule* rule = match_hba(hba, client);
    CHECK(rule == nullptr || (rule->type == HbaRule::Type::local) == (client.address.size == 0));
    CHECK(rule == nullptr || rule->type != HbaRule::Type::hostssl);
  }
  (void)missing_maps(hba, parse_ident("i", data));
}
