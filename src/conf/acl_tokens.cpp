#include "conf/acl_tokens.h"

namespace pgdba::conf {

namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// The text of the quoted word that begins at `at`, which moves behind it.
std::optional<std::string> take_quoted(std::string_view line, size_t& at) {
  std::string out;
  for (++at; at < line.size(); ++at) {
    if (line[at] == '"') {
      ++at;
      if (at == line.size() || line[at] != '"') return out;
    }
    out += line[at];
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<AclToken>> parse_acl_tokens(std::string_view line) {
  std::vector<AclToken> out;
  if (line.find('\0') != std::string_view::npos) return std::nullopt;
  bool glued = false;
  for (size_t at = 0; at < line.size();) {
    char c = line[at];
    if (is_space(c)) {
      glued = false;
      ++at;
      continue;
    }
    if (c == '#') break;
    if (c == ',') {
      out.push_back({AclToken::Kind::comma, ",", glued});
      ++at;
    } else if (c == '"') {
      auto text = take_quoted(line, at);
      if (!text) return std::nullopt;
      out.push_back({AclToken::Kind::quoted, std::move(*text), glued});
    } else {
      size_t begin = at;
      while (at < line.size() && !is_space(line[at]) && line[at] != ',' && line[at] != '#' && line[at] != '"') ++at;
      out.push_back({AclToken::Kind::word, std::string(line.substr(begin, at - begin)), glued});
    }
    glued = true;
  }
  return out;
}

}  // namespace pgdba::conf
