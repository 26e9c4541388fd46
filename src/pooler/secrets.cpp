#include "pooler/secrets.h"

namespace pgdba::pooler {

namespace {

bool is_verifier(const Secret& secret) { return secret.reveal().starts_with("SCRAM-SHA-256$"); }

}  // namespace

std::optional<Secret> SecretCache::secret(std::string_view user) const {
  std::lock_guard lock(mutex_);
  auto found = secrets_.find(user);
  if (found == secrets_.end()) return std::nullopt;
  return found->second;
}

std::optional<pool::KnownKeys> SecretCache::keys(std::string_view user) const {
  std::lock_guard lock(mutex_);
  auto found = keys_.find(user);
  if (found == keys_.end()) return std::nullopt;
  return found->second;
}

void SecretCache::remember(std::string_view user, const Secret& secret) {
  std::lock_guard lock(mutex_);
  auto [at, added] = secrets_.try_emplace(std::string(user));
  if (!added && is_verifier(at->second)) --verifiers_;
  if (is_verifier(secret)) ++verifiers_;
  at->second = secret;
}

void SecretCache::remember(std::string_view user, const pool::KnownKeys& keys) {
  std::lock_guard lock(mutex_);
  keys_.insert_or_assign(std::string(user), keys);
}

std::optional<Secret> SecretCache::password(std::string_view user) const {
  std::lock_guard lock(mutex_);
  auto found = passwords_.find(user);
  if (found == passwords_.end()) return std::nullopt;
  return found->second;
}

void SecretCache::remember_password(std::string_view user, const Secret& password) {
  std::lock_guard lock(mutex_);
  passwords_.insert_or_assign(std::string(user), password);
}

std::optional<wire::ScramKeys> SecretCache::derived(std::string_view user, const Secret& password,
                                                    const wire::ScramChallenge& challenge) const {
  std::lock_guard lock(mutex_);
  auto found = derived_.find(user);
  if (found == derived_.end() || found->second.password != password || found->second.keys.challenge != challenge) return std::nullopt;
  return found->second.keys.keys;
}

void SecretCache::keep_derived(std::string_view user, const Secret& password, const pool::KnownKeys& keys) {
  std::lock_guard lock(mutex_);
  derived_.insert_or_assign(std::string(user), Derived{password, keys});
}

void SecretCache::forget(std::string_view user) {
  std::lock_guard lock(mutex_);
  if (auto found = secrets_.find(user); found != secrets_.end()) {
    if (is_verifier(found->second)) --verifiers_;
    secrets_.erase(found);
  }
  if (auto found = keys_.find(user); found != keys_.end()) keys_.erase(found);
  if (auto found = passwords_.find(user); found != passwords_.end()) passwords_.erase(found);
}

std::optional<bool> SecretCache::mostly_scram() const {
  std::lock_guard lock(mutex_);
  if (secrets_.empty()) return std::nullopt;
  return 2 * verifiers_ >= secrets_.size();
}

}  // namespace pgdba::pooler
