#include "wire/pg_md5.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>

namespace pgdba::wire {
namespace {

constexpr std::string_view kPrefix = "md5";
constexpr size_t kSize = 35;

Result<std::string> md5_text(std::string_view first, std::string_view second) {
  std::string joined = std::string(first) + std::string(second);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  bool computed = EVP_Digest(joined.data(), joined.size(), digest.data(), &length, EVP_md5(), nullptr) == 1;
  OPENSSL_cleanse(joined.data(), joined.size());
  if (!computed || length != 16) return fail(Errc::unavailable, "OpenSSL has no MD5 here");
  std::string text(kPrefix);
  for (unsigned i = 0; i < length; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

}  // namespace

Result<std::string> md5_secret(std::string_view password, std::string_view user) {
  return md5_text(password, user);
}

bool is_md5_secret(std::string_view text) {
  return text.size() == kSize && text.starts_with(kPrefix) &&
         text.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

Result<std::string> md5_answer(std::string_view secret, std::string_view salt) {
  if (!is_md5_secret(secret)) return fail(Errc::invalid, "this is no MD5 secret");
  return md5_text(secret.substr(kPrefix.size()), salt);
}

bool md5_answer_matches(std::string_view secret, std::string_view salt, std::string_view answer) {
  auto expected = md5_answer(secret, salt);
  return expected && answer.size() == expected->size() &&
         CRYPTO_memcmp(answer.data(), expected->data(), expected->size()) == 0;
}

}  // namespace pgdba::wire
