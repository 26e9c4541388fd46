// Private to conf/: YAML as a tree of plain values that know where they stand. The only file that sees yaml-cpp is
// yaml_tree.cpp; settings are read from this tree, whether a value came from a file or from a PATRONI_ variable.
//
// Plain scalars are resolved as PyYAML does (YAML 1.1): "on" is true, 010 is 8, "1:30" is 90, 1e5 is a text. Quoted
// ones are texts. Anchors, aliases and "<<" are expanded; the number of nodes and the depth are limited, so that
// neither nesting nor aliases of aliases can blow up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json_writer.h"
#include "conf/patroni_yaml.h"

namespace pgdba::conf {

inline constexpr int kMaxYamlDepth = 32;
inline constexpr int kMaxYamlNodes = 50'000;  // keys count as well

struct YamlItem;

struct YamlNode {
  enum class Kind { null, boolean, integer, number, text, list, map };
  using Item = YamlItem;

  Kind kind = Kind::null;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string text;  // of every scalar, as it was written
  std::vector<YamlNode> list;
  std::vector<Item> map;                      // in the order of the file, each key once
  std::shared_ptr<const std::string> source;  // file name; null: not known
  int line = 0;                               // from 1 on; 0: not known

  [[nodiscard]] bool is_scalar() const { return kind != Kind::list && kind != Kind::map; }
  [[nodiscard]] bool is_null() const { return kind == Kind::null; }
  [[nodiscard]] const YamlNode* find(std::string_view name) const;  // null when absent, or when this is no map
  YamlNode& at(std::string_view name);                              // made when absent; makes this a map
  [[nodiscard]] std::string where() const;                          // "patroni.yml:12: " or ""
};

struct YamlItem {
  std::string first;
  YamlNode second;
};

// "a list", "the number 5", "the boolean on"; a text is only called so, since it may be a secret.
std::string describe(const YamlNode& node);

// `warnings` gets keys that are given twice. Empty text is null.
Result<YamlNode> parse_yaml(const YamlSource& source, std::vector<std::string>& warnings);

// A plain scalar resolved by YAML 1.1.
YamlNode resolve_scalar(std::string text);

void write_json(JsonWriter& writer, const YamlNode& node);
std::string to_json(const YamlNode& node);

// `over` wins; maps merge, null deletes.
void merge(YamlNode& base, YamlNode over);

}  // namespace pgdba::conf
