// A client between its first packet and the pool: negotiation, authentication, and only then what it asked for.
//
// Invariant: whatever is wrong with the user, the password or the database is said after the whole exchange, and an unknown
// user's exchange looks like that of a known one with a wrong password.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pool/directory.h"
#include "wire/pg_startup.h"
#include "wire/scram_server.h"

namespace pgdba::pool {

enum class LoginStage : uint8_t {
  first_packet,
  handshake,   // TLS, the shell's
  secret,      // waits for auth_query
  password,    // waits for the client
  sasl_first,
  deriving,    // waits for slow hashing
  sasl_last,
  cancelling,  // no login: a cancel request that is being carried out
};

struct ClientLogin {
  LoginStage stage = LoginStage::first_packet;
  bool tls_asked = false, gss_asked = false;
  std::string database;
  std::vector<wire::StartupParameter> parameters;
  std::string refused_parameter;  // to be refused with, after authentication
  Method method = Method::none;
  std::optional<Secret> secret;   // none: the user is not known
  bool proved = false;
  std::string salt;               // md5
  std::string password;           // clear text that is being hashed
  std::optional<wire::ScramVerifier> verifier;
  std::optional<wire::ScramServer> scram;
  std::string sasl_mechanism, sasl_first;
  std::string answer;             // the end of the authentication: it leaves with the welcome, if that is at hand
  uint64_t cancels = 0;           // the server's id; 0: a peer does it
  bool cancel_sent = false;       // not: it waits for another request to the same server to end
};

}  // namespace pgdba::pool
