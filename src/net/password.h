// Passwords as PostgreSQL stores them, made on our side, so that the server never sees the password itself.
#pragma once

#include <string>

#include "base/error.h"
#include "base/secret.h"

namespace pgdba::net {

// "SCRAM-SHA-256$4096:…" by libpq, with its normalisation. Takes some 3 ms: through Loop::offload on the agent's
// thread.
Result<std::string> scram_verifier(const Secret& password, const std::string& user);

}  // namespace pgdba::net
