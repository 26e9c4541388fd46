// Private to conf/: the words of one line of an hba or ident file.
//
// Words end at blanks, ',', '#' and '"'; "…" is one word with "" for a quote, never a keyword; '#' begins a comment.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgdba::conf {

struct AclToken {
  enum class Kind { word, quoted, comma } kind = Kind::word;
  std::string text;
  bool glued = false;  // nothing stands between it and the token before
  [[nodiscard]] bool is(std::string_view keyword) const { return kind == Kind::word && text == keyword; }
};

// nullopt: a quote without its end, or a zero byte.
std::optional<std::vector<AclToken>> parse_acl_tokens(std::string_view line);

}  // namespace pgdba::conf
