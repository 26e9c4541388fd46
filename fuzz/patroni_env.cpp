// Lines of NAME=value, PATRONI_ is put in front.
#include "base/text.h"
#include "conf/patroni_yaml.h"
#include "target.h"

FUZZ_TARGET(patroni_env) {
  std::vector<std::pair<std::string, std::string>> environment;
  for (const std::string& line : pgdba::split(data.substr(0, 10000), '\n')) {
    auto equals = line.find('=');
    if (equals != std::string::npos)
      environment.emplace_back("PATRONI_" + line.substr(0, equals), line.substr(equals + 1));
  }
  (void)pgdba::conf::read_agent_settings({}, environment);
  (void)pgdba::conf::read_agent_settings({{"f.yml", "scope: a\n"}}, environment);
}
