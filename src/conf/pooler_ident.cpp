#include "conf/pooler_ident.h"

#include <fmt/format.h>

#include <algorithm>

#include "conf/acl_tokens.h"
#include "conf/pooler_values.h"

namespace pgdba::conf {

namespace {

constexpr size_t kMaxProblems = 100;

// What is wrong with the line, or "".
std::string_view parse_line(std::string_view text, Ident& out) {
  auto tokens = parse_acl_tokens(text);
  if (!tokens) return "a quote without its end";
  if (tokens->empty()) return "";
  if (tokens->size() != 3) return "expected a map, an outside name and a database user";
  for (const AclToken& token : *tokens) {
    if (token.kind == AclToken::Kind::comma) return "lists are not supported";
    if (token.kind == AclToken::Kind::word && token.text.front() == '/') return "regular expressions are not supported";
    if (token.text.empty()) return "a name is empty";
  }
  const AclToken& user = (*tokens)[2];
  if (user.kind == AclToken::Kind::word && user.text.front() == '+') return "groups are not supported";
  out.lines.push_back({(*tokens)[0].text, (*tokens)[1].text, user.text, user.is("all")});
  return "";
}

}  // namespace

Ident parse_ident(const std::string& path, std::string_view text) {
  Ident out;
  for (int number = 1; !text.empty(); ++number) {
    auto end = text.find('\n');
    std::string_view problem = parse_line(text.substr(0, end), out);
    if (!problem.empty() && out.problems.size() < kMaxProblems)
      out.problems.push_back(fmt::format("ident: {} ({}:{})", problem, path, number));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

bool ident_allows(const Ident& ident, std::string_view map, std::string_view system_user,
                  std::string_view database_user) {
  if (system_user.empty() || database_user.empty()) return false;
  if (map.empty()) return system_user == database_user;
  return std::ranges::any_of(ident.lines, [&](const IdentLine& line) {
    return line.map == map && line.system_user == system_user &&
           (line.any_database_user || line.database_user == database_user);
  });
}

std::vector<std::string> missing_maps(const Hba& hba, const Ident& ident) {
  std::vector<std::string> out;
  for (const HbaRule& rule : hba.rules) {
    if (rule.map.empty() || std::ranges::find(ident.lines, rule.map, &IdentLine::map) != ident.lines.end()) continue;
    out.push_back(
        fmt::format("hba line {}: there is no ident map \"{}\", so nobody gets in by it", rule.line, shown(rule.map)));
  }
  return out;
}

}  // namespace pgdba::conf
