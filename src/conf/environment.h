// Private to conf/: PATRONI_* variables as values of the settings' tree (patroni.md 7.4).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "conf/section.h"

namespace pgdba::conf {

using Environment = std::vector<std::pair<std::string, std::string>>;

// Each variable wins over what `tree` has. Empty ones do not count. Unknown ones give a warning.
void apply_environment(const Environment& environment, YamlNode& tree, Problems& problems);

}  // namespace pgdba::conf
