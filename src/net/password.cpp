#include "net/password.h"

#include <libpq-fe.h>

namespace pgdba::net {

Result<std::string> scram_verifier(const Secret& password, const std::string& user) {
  // libpq wants a connection object for its error texts only: this one was never connected.
  PGconn* connection = PQconnectStart("port=none");
  if (connection == nullptr) return fail(Errc::unavailable, "no memory for a password");
  char* verifier = PQencryptPasswordConn(connection, password.reveal().c_str(), user.c_str(), "scram-sha-256");
  std::string text = verifier != nullptr ? verifier : "";
  PQfreemem(verifier);
  PQfinish(connection);
  if (text.empty()) return fail(Errc::invalid, "libpq cannot encrypt this password");
  return text;
}

}  // namespace pgdba::net
