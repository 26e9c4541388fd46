// The dynamic configuration as JSON text: typed, patched, compared.
//
// The text in etcd is the operator's: keys that we do not know, their order and the spelling of values are kept. The
// typed form is derived from it with Patroni's tolerance (patroni.md 7.3): a value that cannot be read keeps its
// default and gives a warning, so that one typing error does not switch synchronous mode off by accident.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json_writer.h"
#include "model/config.h"

namespace pgdba::wire {

inline constexpr size_t kMaxConfig = 1024 * 1024;

struct ConfigReading {
  model::DynamicConfig config;
  // "ttl: expected a number of seconds, got \"soon\"; 30 stays in force"; empty when all is well.
  std::vector<std::string> warnings;
};

// Values that cannot be read keep what `base` has (the defaults, or the configuration in force before).
// An error when the text is not a JSON object: then the caller keeps the configuration that it has.
Result<ConfigReading> parse_dynamic_config(std::string_view json, const model::DynamicConfig& base = {});

// Refuses a configuration that is certainly a mistake, before it is written: wrong types, numbers out of bounds,
// loop_wait + 2 * retry_timeout > ttl. One message per problem; unknown keys are not a problem.
std::vector<std::string> check_dynamic_config(std::string_view json);

struct PatchedConfig {
  std::string json;  // compact, as it goes to etcd
  bool changed = false;
};
// PATCH /config: null deletes a key, objects merge recursively, any other value replaces what is there if its text
// differs. Both must be JSON objects.
Result<PatchedConfig> patch_config(std::string_view config, std::string_view patch);

// Any JSON text again in one style, order of keys kept. Not an object or array: still accepted.
Result<std::string> restyle_json(std::string_view json, JsonStyle style);

// For people: what differs between two configurations, by path ("postgresql.parameters.work_mem"), in the order of
// the newer one; objects are descended into, lists compare as a whole. A value is JSON text; empty: not there.
struct ConfigChange {
  std::string path;
  std::string before;
  std::string after;
  bool operator==(const ConfigChange&) const = default;
};
Result<std::vector<ConfigChange>> diff_config(std::string_view before, std::string_view after);

// "postgresql.parameters.work_mem=64MB" as the patch {"postgresql":{"parameters":{"work_mem":"64MB"}}}. The value is
// read as JSON when it is a number, true, false, null, an object or a list, else as text. "on" stays text.
Result<std::string> config_patch_from_assignment(std::string_view assignment);

}  // namespace pgdba::wire
