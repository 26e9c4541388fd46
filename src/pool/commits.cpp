#include "pool/commits.h"

#include "base/text.h"

namespace pgdba::pool {

namespace {

constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
constexpr bool is_word(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '$' || static_cast<unsigned char>(c) >= 0x80;
}
constexpr bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Without blanks, comments and empty statements in front.
std::string_view skip(std::string_view sql) {
  while (!sql.empty()) {
    if (is_space(sql[0]) || sql[0] == ';') {
      sql.remove_prefix(1);
    } else if (sql.starts_with("--")) {
      const size_t end = sql.find_first_of("\n\r");
      if (end == std::string_view::npos) return {};
      sql.remove_prefix(end + 1);
    } else if (sql.starts_with("/*")) {
      size_t at = 2;
      for (int depth = 1; depth > 0; ++at) {
        if (at + 1 >= sql.size()) return {};
        if (sql.substr(at, 2) == "/*")
          ++depth, ++at;
        else if (sql.substr(at, 2) == "*/")
          --depth, ++at;
      }
      sql.remove_prefix(at);
    } else {
      return sql;
    }
  }
  return sql;
}

std::string_view first_word(std::string_view sql) {
  size_t size = 0;
  while (size < sql.size() && is_word(sql[size])) ++size;
  return sql.substr(0, size);
}

// Of a single statement.
Ending ending_of_word(std::string_view word, std::string_view rest) {
  switch (word.empty() ? '\0' : static_cast<char>(word[0] | 0x20)) {
    case 'c': return iequals(word, "commit") ? Ending::commit : Ending::none;
    // EXECUTE runs whatever was prepared under that name, by a Parse also a COMMIT.
    case 'e': return iequals(word, "end") || iequals(word, "execute") ? Ending::commit : Ending::none;
    case 'p':
      return iequals(word, "prepare") && iequals(first_word(skip(rest)), "transaction") ? Ending::commit : Ending::none;
    case 'r': return iequals(word, "rollback") ? Ending::rollback : Ending::none;
    case 'a': return iequals(word, "abort") ? Ending::rollback : Ending::none;
    default: return Ending::none;
  }
}

}  // namespace

Ending ending_of_first_word(std::string_view sql) {
  sql = skip(sql);
  const std::string_view word = first_word(sql);
  return ending_of_word(word, sql.substr(word.size()));
}

Ending ending_of(std::string_view sql) {
  sql = skip(sql);
  const std::string_view word = first_word(sql);
  const Ending first = ending_of_word(word, sql.substr(word.size()));
  const size_t semicolon = sql.find(';');
  if (semicolon == std::string_view::npos || skip(sql.substr(semicolon)).empty()) return first;
  // Several statements, or a text with a semicolon in it: any word that ends a block will do, wherever it stands. What
  // comes behind a ROLLBACK commits by itself.
  for (size_t at = 0; at < sql.size();) {
    if (!is_word(sql[at])) {
      ++at;
      continue;
    }
    const std::string_view next = first_word(sql.substr(at));
    at += next.size();
    if (ending_of_word(next, sql.substr(at)) != Ending::none) return Ending::commit;
  }
  return Ending::none;
}

}  // namespace pgdba::pool
