#include "conf/patroni_yaml.h"

#include "target.h"

FUZZ_TARGET(patroni_yaml) {
  using namespace pgdba::conf;
  auto alone = read_agent_settings({{"f.yml", std::string(data)}}, {});
  CHECK(!alone.ok() || !alone.settings.etcd.endpoints.empty());
  CHECK(!alone.ok() ||
        (!alone.settings.scope.empty() && !alone.settings.name.empty() && alone.settings.postgresql.port != 0));
  (void)read_agent_settings({{"f.yml", "scope: a"}, {"g.yml", std::string(data)}}, {{"PATRONI_NAME", "n"}});
}
