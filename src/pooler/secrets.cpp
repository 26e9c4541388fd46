#include "pooler/secrets.h"

namespace pgdba::pooler {

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
  secrets_.insert_or_assign(std::string(user), secret);
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

void SecretCache::forget(std::string_view user) {
  std::lock_guard lock(mutex_);
  if (auto found = secrets_.find(user); found != secrets_.end()) secrets_.erase(found);
  if (auto found = keys_.find(user); found != keys_.end()) keys_.erase(found);
  if (auto found = passwords_.find(user); found != passwords_.end()) passwords_.erase(found);
}

std::optional<bool> SecretCache::mostly_scram() const {
  std::lock_guard lock(mutex_);
  if (secrets_.empty()) return std::nullopt;
  return secrets_.begin()->second.reveal().starts_with("SCRAM-SHA-256$");
}

}  // namespace pgdba::pooler
