// auth_file: "name" "secret" on each line, and what kind of secret it is.
//
// Invariant: any bytes give a list; lines that cannot be read are left out and named, without what is in them. As in
// PgBouncer: "" inside quotes is one quote, what follows the secret is ignored, a line that begins with ';' is a
// comment, the last line for a name counts. Unlike there, one broken line does not hide those after it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/secret.h"

namespace pgdba::conf {

constexpr size_t kMaxSecret = 2047;

// The kinds of a stored secret. What each can do towards a server: plain all, md5 only md5, a verifier only with the
// keys that a client's own SCRAM login left behind.
struct EmptySecret {};  // never authenticates
struct PlainSecret {
  Secret password;
};
struct Md5Secret {
  Secret hash;  // "md5" and 32 hexadecimal digits: md5(password || name)
};
struct ScramVerifier {
  uint32_t iterations = 0;
  std::string salt;   // bytes
  Secret stored_key;  // 32 bytes
  Secret server_key;  // 32 bytes
};
using StoredSecret = std::variant<EmptySecret, PlainSecret, Md5Secret, ScramVerifier>;

// Also for what auth_query answers. What is not an md5 hash or a SCRAM verifier to the last character is plain.
StoredSecret classify_secret(const Secret& secret);

struct Userlist {
  std::map<std::string, Secret, std::less<>> users;  // the secrets as written; see classify_secret()
  std::vector<std::string> errors;                   // "broken auth file (FILE:LINE): …"
  [[nodiscard]] const Secret* find(std::string_view name) const;
};
Userlist parse_userlist(const std::string& path, std::string_view text);

}  // namespace pgdba::conf
