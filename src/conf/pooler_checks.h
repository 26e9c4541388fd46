// What is wrong between settings that are fine each by itself.
//
// Called by read_pooler_ini(), which adds where the setting stands.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/pooler_ini.h"

namespace pgdba::conf {

struct Contradiction {
  std::string_view setting;  // of [pgbouncer], which the sentence is about; empty: an entry that the sentence names
  std::string sentence;
  bool fatal = true;         // false: a warning
};
std::vector<Contradiction> check_pooler(const PoolerConfig& config);

// A reload may change much, but not this. Empty: it may.
std::string refuse_reload(const PoolerConfig& running, const PoolerConfig& fresh);

}  // namespace pgdba::conf
