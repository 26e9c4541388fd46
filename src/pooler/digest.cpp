#include "pooler/digest.h"

#include <algorithm>
#include <openssl/sha.h>

namespace pgdba::pooler {

std::array<uint8_t, 16> statement_digest(std::string_view body) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> whole{};
  SHA256(reinterpret_cast<const unsigned char*>(body.data()), body.size(), whole.data());
  std::array<uint8_t, 16> cut{};
  std::copy_n(whole.begin(), cut.size(), cut.begin());
  return cut;
}

}  // namespace pgdba::pooler
