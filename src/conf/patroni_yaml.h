// patroni.yml and PATRONI_* to AgentSettings (patroni.md section 7).
//
// Every mistake is reported, not only the first one, each as one sentence with the key's path and, where it is known,
// file and line: `patroni.yml:12: postgresql.listen: expected "host:port", got a list`. No bytes throw; depth, size
// and the number of expanded aliases are limited. Nothing here reads a file, the environment or a name server.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "conf/agent_settings.h"

namespace pgdba::conf {

inline constexpr size_t kMaxYaml = 1024 * 1024;  // bytes of one file

struct YamlSource {
  std::string name;  // for messages
  std::string text;
};

struct SettingsReading {
  AgentSettings settings;             // usable only when `errors` is empty
  std::vector<std::string> errors;    // wrong types, missing keys, values out of bounds
  std::vector<std::string> warnings;  // known but not acted on yet, unknown ("did you mean"), doubtful
  [[nodiscard]] bool ok() const { return errors.empty(); }
};

// `sources`: one file, or those of a directory in the order of their names (maps merge, null deletes); empty: no file,
// then PATRONI_CONFIGURATION (YAML) if it is set, with all other variables ignored. `environment`: the variables whose
// names begin with PATRONI_, in any order; each one wins over the files.
SettingsReading read_agent_settings(const std::vector<YamlSource>& sources,
                                    const std::vector<std::pair<std::string, std::string>>& environment);

// One YAML document as compact JSON, scalars resolved as YAML 1.1 and PyYAML do ("on" is true, 010 is 8, "1:30" is 90,
// quoted is text). For `cluster config set --file` and bootstrap.dcs. An error names the line.
Result<std::string> yaml_to_json(const YamlSource& source);

}  // namespace pgdba::conf
