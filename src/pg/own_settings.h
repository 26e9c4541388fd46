// Which settings are pgdba's own.
#pragma once

#include <string_view>

namespace pgdba::pg {

bool is_own_setting(std::string_view name);   // nobody else's value for it is taken
bool wins_over_files(std::string_view name);  // must not stand in postgresql.auto.conf, which is read after our files
bool is_our_conf(std::string_view text);      // a postgresql.conf made by render()

}  // namespace pgdba::pg
