// auth_ident_file: which database users a name from outside (a certificate's, the operating system's) may become.
//
// Each line is a map's name, the outside name, and a database user or `all`. Invariant: any bytes give maps; what no
// line allows is refused, lines that cannot be read are left out and named.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/pooler_hba.h"

namespace pgdba::conf {

struct IdentLine {
  std::string map;
  std::string system_user;
  std::string database_user;
  bool any_database_user = false;
};

struct Ident {
  std::vector<IdentLine> lines;
  std::vector<std::string> problems;  // "… (FILE:LINE)"
};
Ident parse_ident(const std::string& path, std::string_view text);

// Without a map the two names must be equal.
bool ident_allows(const Ident& ident, std::string_view map, std::string_view system_user,
                  std::string_view database_user);

// Rules whose map no line mentions: nobody gets in by them.
std::vector<std::string> missing_maps(const Hba& hba, const Ident& ident);

}  // namespace pgdba::conf
