// SCRAM-SHA-256 (RFC 5802, 7677): keys, and the verifiers that PostgreSQL stores. The exchanges are in scram_client.h
// and scram_server.h.
//
// Nonces, salts and seeds are inputs; nothing here draws random numbers. Only scram_keys() is slow (milliseconds, it
// grows with the iterations): call it on another thread. Invariant: parse(format(x)) == x for verifiers. Keys are as
// good as passwords; never log them, compare them with same_key().
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::wire {

inline constexpr std::string_view kScramSha256 = "SCRAM-SHA-256";
inline constexpr std::string_view kScramSha256Plus = "SCRAM-SHA-256-PLUS";

inline constexpr uint32_t kDefaultScramIterations = 4096;
inline constexpr uint32_t kMaxScramIterations = 5'000'000;  // about 3 s of one core: no server may ask for more
inline constexpr size_t kScramSaltSize = 16;                // of those that we make
inline constexpr size_t kMaxScramSalt = 256;
inline constexpr size_t kMaxScramNonce = 256;  // of either side, in characters
inline constexpr size_t kMaxScramMessage = 4096;
inline constexpr size_t kMaxScramPassword = 65535;
inline constexpr size_t kMaxChannelBinding = 64;  // a digest of the certificate

using ScramKey = std::array<unsigned char, 32>;

// In constant time.
bool same_key(const ScramKey& a, const ScramKey& b);

// What logs in without the password, for one salt and number of iterations.
struct ScramKeys {
  ScramKey client_key{};
  ScramKey server_key{};
};

// What a password was hashed with. Keys of one challenge are of no use for another.
struct ScramChallenge {
  std::string salt;  // bytes
  uint32_t iterations = kDefaultScramIterations;
  bool operator==(const ScramChallenge&) const = default;
};

// What a server keeps: it recognises the keys and cannot log in with it.
struct ScramVerifier {
  ScramChallenge challenge;
  ScramKey stored_key{};
  ScramKey server_key{};
};

// "SCRAM-SHA-256$4096:<salt>$<StoredKey>:<ServerKey>" with base64 for the bytes; the error repeats nothing of the text.
Result<ScramVerifier> parse_scram_verifier(std::string_view text);
std::string format_scram_verifier(const ScramVerifier& verifier);

// The password as it is hashed. PostgreSQL applies SASLprep (RFC 4013) and takes the bytes as they are where that
// fails, which includes every password that is not UTF-8. ASCII is the same either way. For other passwords we always
// take the bytes: right for what SASLprep leaves alone (composed letters of most languages), wrong for the rest, such
// as a no-break space or a decomposed accent.
std::string_view normalize_password(std::string_view password);

// Slow: the PBKDF2. Normalizes the password. Fails for a challenge or a password beyond the limits.
Result<ScramKeys> scram_keys(std::string_view password, const ScramChallenge& challenge);

// Quick. A verifier from a password is make_verifier(scram_keys(password, challenge), challenge).
Result<ScramVerifier> make_verifier(const ScramKeys& keys, ScramChallenge challenge);

// Whether the keys, of a password sent in clear text, are those of the verifier.
bool scram_keys_match(const ScramKeys& keys, const ScramVerifier& verifier);

// For a user who does not exist or has no usable secret: the same salt at each try, which the seed (a secret random
// text that lives as long as the process) keeps from being guessed. `iterations`: what most users here have. Hand it to
// ScramServer with `may_succeed` false.
ScramVerifier mock_verifier(std::string_view user, std::string_view seed, uint32_t iterations);

// The mechanism to choose from a server's list. `binding`: this is TLS and the certificate's digest is at hand.
// Empty: none that we can use; with `require_binding` also when only the plain one is offered.
std::string_view choose_scram(std::span<const std::string_view> offered, bool binding, bool require_binding);

}  // namespace pgdba::wire
