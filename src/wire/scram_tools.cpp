#include "wire/scram_tools.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "base/base64.h"
#include "base/text.h"

namespace pgdba::wire::scram {
namespace {

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.empty() ? "" : text.data());
}

}  // namespace

bool hmac(std::string_view key, std::string_view data, ScramKey& out) {
  unsigned length = 0;
  return HMAC(EVP_sha256(), raw(key), static_cast<int>(key.size()), raw(data), data.size(), out.data(), &length) !=
             nullptr &&
         length == out.size();
}

bool sha256(std::string_view data, ScramKey& out) {
  unsigned length = 0;
  return EVP_Digest(raw(data), data.size(), out.data(), &length, EVP_sha256(), nullptr) == 1 && length == out.size();
}

ScramKey exclusive_or(const ScramKey& a, const ScramKey& b) {
  ScramKey out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<unsigned char>(a[i] ^ b[i]);
  return out;
}

void wipe(ScramKey& key) {
  OPENSSL_cleanse(key.data(), key.size());
}

std::string encode(const ScramKey& key) {
  return base64_encode(bytes(key));
}

std::optional<ScramKey> decode_key(std::string_view base64) {
  ScramKey key;
  if (base64.size() > 64) return std::nullopt;
  auto decoded = base64_decode(base64);
  if (!decoded || decoded->size() != key.size()) return std::nullopt;
  std::copy(decoded->begin(), decoded->end(), key.begin());
  OPENSSL_cleanse(decoded->data(), decoded->size());
  return key;
}

std::optional<std::string> decode_salt(std::string_view base64) {
  if (base64.size() > kMaxScramSalt * 2) return std::nullopt;
  auto decoded = base64_decode(base64);
  if (!decoded || decoded->empty() || decoded->size() > kMaxScramSalt) return std::nullopt;
  return decoded;
}

std::optional<uint32_t> parse_iterations(std::string_view text) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string_view::npos) return {};
  auto number = parse_int(text);
  if (!number || *number < 1 || *number > kMaxScramIterations) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

bool valid_challenge(const ScramChallenge& challenge) {
  return !challenge.salt.empty() && challenge.salt.size() <= kMaxScramSalt && challenge.iterations >= 1 &&
         challenge.iterations <= kMaxScramIterations;
}

bool valid_nonce(std::string_view nonce) {
  return !nonce.empty() && nonce.size() <= 2 * kMaxScramNonce &&
         std::all_of(nonce.begin(), nonce.end(), [](char c) { return c > ' ' && c < '\x7f' && c != ','; });
}

std::string binding_header(char flag) {
  return flag == 'p' ? "p=" + std::string(kBindingType) + ",," : std::string(1, flag) + ",,";
}

std::optional<Attribute> AttributeReader::next() {
  std::string_view rest = message_.substr(at_);
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!more_ || rest.size() < 2 || !letter(rest[0]) || rest[1] != '=') return std::nullopt;
  size_t comma = std::min(rest.find(','), rest.size());
  Attribute found{rest[0], rest.substr(2, comma - 2), at_};
  more_ = comma < rest.size();
  at_ += comma + (more_ ? 1 : 0);
  return found;
}

std::optional<std::string_view> AttributeReader::value(char name) {
  auto found = next();
  if (!found || found->name != name) {
    more_ = true;
    at_ = message_.size();
    return std::nullopt;
  }
  return found->value;
}

}  // namespace pgdba::wire::scram
