// Who may come in, how they prove it, and where they are led: what the core's login asks. The shell answers from
// pgbouncer.ini, userlist.txt, the HBA file and auth_query.
//
// Invariant: nothing here reaches the client before its authentication is over, so that no answer tells whether a user or a
// database exists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"
#include "pool/conn.h"
#include "wire/scram.h"

namespace pgdba::pool {

enum class Method : uint8_t {
  any,       // no proof, the name is not looked at
  trust,     // no proof, but the user has to be known
  password,  // clear text
  md5,       // or SCRAM where that is what is stored
  scram,
  external,  // a certificate or the socket's peer: the directory has checked it
  reject,    // the rules say no
  none,      // no rule fits
};

enum class Tls : uint8_t { accept, refuse };

// What the pooler shows a server.
struct Credentials {
  Secret secret;  // plain, or "md5…"; empty: none
  std::optional<KnownKeys> keys;
};

class Directory {
 public:
  virtual ~Directory() = default;

  virtual Tls tls_policy(const Client& client) = 0;
  // A text to refuse with, before authentication ("SSL required"); empty: go on.
  virtual std::string may_begin(const Client& client) = 0;

  // The entry, or one that "*" makes; null: there is none.
  virtual Database* database(std::string_view name) = 0;
  // Its entry in [users]; null: none.
  virtual const User* settings_of(std::string_view user) = 0;
  virtual Method method_for(const Client& client, std::string_view database, std::string_view user) = 0;

  // What is stored for this user. `pending`: Core::secret_found() follows, also when nothing is found.
  struct Lookup {
    bool pending = false;
    std::optional<Secret> secret;  // none: unknown to us
  };
  virtual Lookup secret_of(Client& client, std::string_view database, std::string_view user) = 0;

  // Salt and iterations for users without a verifier of their own, known or not; secret, and the same at each try.
  virtual wire::ScramVerifier mock(std::string_view user) = 0;
  virtual bool mostly_scram() = 0;  // what a user of whom nothing is known is asked for
  virtual std::string certificate_digest(const Client& client) = 0;  // for channel binding; empty without TLS

  // The keys of a password that is stored in clear text, where they have been derived already; and what has been derived.
  virtual std::optional<wire::ScramKeys> derived_keys(std::string_view user, const Secret& password, const wire::ScramChallenge& challenge) {
    static_cast<void>(user), static_cast<void>(password), static_cast<void>(challenge);
    return std::nullopt;
  }
  virtual void keep_derived(std::string_view user, const Secret& password, const KnownKeys& keys) {
    static_cast<void>(user), static_cast<void>(password), static_cast<void>(keys);
  }

  // A client has shown these keys; they log in to servers that have the same verifier.
  virtual void remember(std::string_view user, const KnownKeys& keys) = 0;
  // The password that a client has typed in clear text, when it is right: it logs in to servers, too.
  virtual void remember_password(std::string_view user, const Secret& password) {
    static_cast<void>(user), static_cast<void>(password);
  }
  // Entries whose pool is to be filled (min_pool_size) even while it has no client: those with a forced user.
  virtual std::vector<Database*> filled() { return {}; }
  virtual Credentials credentials(const Pool& pool) = 0;
  // Asked of each new server before it is lent, for this pool: is it the right one? Empty: no question.
  virtual std::string verify_query(const Pool& pool) = 0;
  // Its answer, one row. Empty: it is; else why not.
  virtual std::string judge(const Server& server, const std::vector<std::optional<std::string>>& row) = 0;

  // The console "pgbouncer": empty text: it may; else why not.
  virtual std::string may_use_console(const Client& client, bool authenticated) = 0;
  // Too many clients (max_client_conn and its like): why; empty: one more is fine, and counted until forget_client().
  virtual std::string admit_client(const Client& client, const Database& database) = 0;
  virtual void forget_client(const Client& client, const Database& database) = 0;
};

}  // namespace pgdba::pool
