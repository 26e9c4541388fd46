// What is known of users beyond the files: answers of auth_query, and SCRAM keys that clients have shown. One for all
// workers, so that a login on one lets the others open servers for that user.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/secret.h"
#include "pool/conn.h"

namespace pgdba::pooler {

class SecretCache {
 public:
  [[nodiscard]] std::optional<Secret> secret(std::string_view user) const;
  [[nodiscard]] std::optional<pool::KnownKeys> keys(std::string_view user) const;
  void remember(std::string_view user, const Secret& secret);
  void remember(std::string_view user, const pool::KnownKeys& keys);
  // What the user has typed in clear text and was right.
  [[nodiscard]] std::optional<Secret> password(std::string_view user) const;
  void remember_password(std::string_view user, const Secret& password);
  // SCRAM keys of a password that is stored in clear text, and what they were derived from.
  [[nodiscard]] std::optional<wire::ScramKeys> derived(std::string_view user, const Secret& password, const wire::ScramChallenge& challenge) const;
  void keep_derived(std::string_view user, const Secret& password, const pool::KnownKeys& keys);
  void forget(std::string_view user);  // it does not exist any more
  // Whether most of what auth_query has answered so far are SCRAM verifiers; nothing: it has answered nothing.
  [[nodiscard]] std::optional<bool> mostly_scram() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Secret, std::less<>> secrets_;
  std::map<std::string, pool::KnownKeys, std::less<>> keys_;
  std::map<std::string, Secret, std::less<>> passwords_;
  struct Derived {
    Secret password;
    pool::KnownKeys keys;
  };
  std::map<std::string, Derived, std::less<>> derived_;
  size_t verifiers_ = 0;  // among secrets_
};

}  // namespace pgdba::pooler
