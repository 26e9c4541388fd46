// What a server has said to auth_query, as bytes: at most one row, of a name and a secret.
//
// Pure: any bytes give an answer. Nothing of the secret reaches `problem`.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/secret.h"

namespace pgdba::pooler {

inline constexpr size_t kMaxAuthAnswer = 65536;  // a secret has a hundred bytes, notices come with it

struct AuthAnswer {
  bool ready = false;            // this was all
  std::optional<Secret> secret;  // none: there is no such user; empty: it exists and cannot log in with a password
  std::string problem;           // why there is no answer; empty: there is one
  bool of_config = false;        // the query is wrong, not the server
};
AuthAnswer read_auth_answer(std::string_view bytes);

}  // namespace pgdba::pooler
