// PostgreSQL's MD5 passwords: weak, but PgBouncer's default auth_type, so there are many.
//
// The secret is stored and is as good as the password: whoever has it can answer. Invariant: an answer depends on the
// salt, so a recorded one is of no use. MD5 may be missing in OpenSSL (FIPS): then there is no secret and no answer.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::wire {

// "md5" and 32 hexadecimal digits of md5(password || user).
Result<std::string> md5_secret(std::string_view password, std::string_view user);

// Whether a stored secret has that form; PostgreSQL takes anything else for another kind.
bool is_md5_secret(std::string_view text);

// What a PasswordMessage brings: "md5" and the digits of md5(digits of the secret || salt).
Result<std::string> md5_answer(std::string_view secret, std::string_view salt);

// In constant time. False also for a secret of another form.
bool md5_answer_matches(std::string_view secret, std::string_view salt, std::string_view answer);

}  // namespace pgdba::wire
