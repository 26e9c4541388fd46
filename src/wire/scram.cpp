#include "wire/scram.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/base64.h"
#include "wire/scram_tools.h"

namespace pgdba::wire {
namespace {

tl::unexpected<Error> bad_verifier() {
  return fail(Errc::invalid, "this is no SCRAM-SHA-256 verifier");
}

tl::unexpected<Error> openssl_failed() {
  return fail(Errc::bug, "OpenSSL cannot compute SHA-256");
}

// The part of `text` before `separator`, which is taken off with it; all of it when there is none.
std::string_view cut(std::string_view& text, char separator) {
  std::string_view part = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(text.size(), part.size() + 1));
  return part;
}

bool has(std::span<const std::string_view> list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

bool same_key(const ScramKey& a, const ScramKey& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<ScramVerifier> parse_scram_verifier(std::string_view text) {
  if (text.size() > kMaxScramMessage || std::count(text.begin(), text.end(), '$') != 2 ||
      std::count(text.begin(), text.end(), ':') != 2 || cut(text, '$') != kScramSha256) {
    return bad_verifier();
  }
  std::string_view first = cut(text, '$');
  auto iterations = scram::parse_iterations(cut(first, ':'));
  auto salt = scram::decode_salt(first);
  auto stored_key = scram::decode_key(cut(text, ':'));
  auto server_key = scram::decode_key(text);
  if (!iterations || !salt || !stored_key || !server_key) return bad_verifier();
  return ScramVerifier{{std::move(*salt), *iterations}, *stored_key, *server_key};
}

std::string format_scram_verifier(const ScramVerifier& verifier) {
  return fmt::format("{}${}:{}${}:{}", kScramSha256, verifier.challenge.iterations,
                     base64_encode(verifier.challenge.salt), scram::encode(verifier.stored_key),
                     scram::encode(verifier.server_key));
}

std::string_view normalize_password(std::string_view password) {
  return password;
}

Result<ScramKeys> scram_keys(std::string_view password, const ScramChallenge& challenge) {
  if (!scram::valid_challenge(challenge))
    return fail(Errc::invalid, "SCRAM's salt or iterations are beyond the limits");
  if (password.size() > kMaxScramPassword) return fail(Errc::invalid, "the password is too long");
  std::string_view normal = normalize_password(password);
  ScramKey salted;
  ScramKeys keys;
  const std::string& salt = challenge.salt;
  bool computed = PKCS5_PBKDF2_HMAC(normal.empty() ? "" : normal.data(), static_cast<int>(normal.size()),
                                    reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                                    static_cast<int>(challenge.iterations), EVP_sha256(),
                                    static_cast<int>(salted.size()), salted.data()) == 1 &&
                  scram::hmac(scram::bytes(salted), "Client Key", keys.client_key) &&
                  scram::hmac(scram::bytes(salted), "Server Key", keys.server_key);
  scram::wipe(salted);
  if (!computed) return openssl_failed();
  return keys;
}

Result<ScramVerifier> make_verifier(const ScramKeys& keys, ScramChallenge challenge) {
  if (!scram::valid_challenge(challenge))
    return fail(Errc::invalid, "SCRAM's salt or iterations are beyond the limits");
  ScramVerifier verifier{std::move(challenge), {}, keys.server_key};
  if (!scram::sha256(scram::bytes(keys.client_key), verifier.stored_key)) return openssl_failed();
  return verifier;
}

bool scram_keys_match(const ScramKeys& keys, const ScramVerifier& verifier) {
  ScramKey stored_key;
  if (!scram::sha256(scram::bytes(keys.client_key), stored_key)) return false;
  bool stored = same_key(stored_key, verifier.stored_key);
  bool server = same_key(keys.server_key, verifier.server_key);
  return stored && server;
}

ScramVerifier mock_verifier(std::string_view user, std::string_view seed, uint32_t iterations) {
  ScramVerifier verifier;
  ScramKey salt{};  // whatever OpenSSL does: such a login fails anyway
  for (auto [label, key] : {std::pair<std::string_view, ScramKey*>{"salt", &salt},
                            {"stored key", &verifier.stored_key},
                            {"server key", &verifier.server_key}}) {
    (void)scram::hmac(seed, fmt::format("{}:{}", label, user), *key);
  }
  verifier.challenge = {std::string(scram::bytes(salt).substr(0, kScramSaltSize)), iterations};
  return verifier;
}

std::string_view choose_scram(std::span<const std::string_view> offered, bool binding, bool require_binding) {
  if (binding && has(offered, kScramSha256Plus)) return kScramSha256Plus;
  if (!require_binding && has(offered, kScramSha256)) return kScramSha256;
  return {};
}

}  // namespace pgdba::wire
