// Private to conf/: the section postgresql of patroni.yml.
#pragma once

#include "conf/agent_settings.h"
#include "conf/section.h"

namespace pgdba::conf {

void read_postgresql(Section& top, AgentSettings& settings);

}  // namespace pgdba::conf
