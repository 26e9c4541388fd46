#include "conf/patroni_yaml.h"
#include "target.h"
#include "wire/config_json.h"

FUZZ_TARGET(yaml_json) {
  auto json = pgdba::conf::yaml_to_json({"f.yml", std::string(data)});
  if (!json) return;
  // What comes out is JSON, also for the reader of bootstrap.dcs; only its levels may be too many for that one.
  auto read = pgdba::wire::restyle_json(*json, pgdba::JsonStyle::compact);
  CHECK(read || read.error().text.find("deep") != std::string::npos);
}
