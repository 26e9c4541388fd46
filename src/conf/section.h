// Private to conf/: reads one map of the settings, key by key, and collects everything that is wrong on the way.
//
// A key that nobody asked for is unknown, so the code that reads a section is also the list of what it may hold.
// Order of calls: the readers, known_but_idle() for what Patroni knows and we do not act on, finish() at the end.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"
#include "base/time.h"
#include "conf/yaml_tree.h"

namespace pgdba::conf {

struct Problems {
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
  std::vector<std::string> idle;  // paths of known keys that nothing acts on yet
};

class Section {
 public:
  // `node` null: the section is absent, and every reader gives its default.
  Section(const YamlNode* node, std::string path, Problems& problems);

  [[nodiscard]] bool present() const { return node_ != nullptr; }
  [[nodiscard]] bool has(std::string_view name) const { return peek(name) != nullptr; }
  // The value as it is; marks it as known. Null when absent or null.
  const YamlNode* get(std::string_view name);
  Section section(std::string_view name);

  std::optional<std::string> text(std::string_view name);          // numbers count as the text that was written
  std::optional<std::string> address_text(std::string_view name);  // "host:port", certainly a text
  std::string text_or(std::string_view name, std::string_view fallback);
  // One of `words`, in any case; gives the word as spelled here.
  std::string word(std::string_view name, std::initializer_list<std::string_view> words, std::string_view fallback);
  Secret secret(std::string_view name);
  std::optional<bool> boolean(std::string_view name);
  int64_t integer(std::string_view name, int64_t fallback, int64_t low, int64_t high);
  Duration seconds(std::string_view name, Duration fallback);
  std::optional<std::vector<std::string>> texts(std::string_view name, std::string_view wanted);
  std::map<std::string, std::string> text_map(std::string_view name);

  void known_but_idle(std::initializer_list<std::string_view> names);
  void finish();

  // "patroni.yml:12: postgresql.listen: expected …, got a list"
  void wrong(std::string_view name, std::string_view wanted);
  void missing(std::string_view name, std::string_view hint);
  void error(std::string_view name, std::string_view sentence);
  void warn(std::string_view name, std::string_view sentence);

 private:
  [[nodiscard]] const YamlNode* peek(std::string_view name) const;
  [[nodiscard]] std::string at(std::string_view name) const;

  const YamlNode* node_;
  std::string path_;
  Problems& problems_;
  std::vector<std::string> asked_;
};

}  // namespace pgdba::conf
