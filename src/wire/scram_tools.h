// What both sides of SCRAM share: hashes (OpenSSL stays in the .cpp) and the reading of "a=value,b=value".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wire/scram.h"

namespace pgdba::wire::scram {

// False when OpenSSL fails (no memory, no such digest).
[[nodiscard]] bool hmac(std::string_view key, std::string_view data, ScramKey& out);
[[nodiscard]] bool sha256(std::string_view data, ScramKey& out);
ScramKey exclusive_or(const ScramKey& a, const ScramKey& b);
void wipe(ScramKey& key);

inline std::string_view bytes(const ScramKey& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}
std::string encode(const ScramKey& key);                          // base64
std::optional<ScramKey> decode_key(std::string_view base64);      // none unless it is 32 bytes
std::optional<std::string> decode_salt(std::string_view base64);  // none unless 1 … kMaxScramSalt bytes
std::optional<uint32_t> parse_iterations(std::string_view text);  // 1 … kMaxScramIterations, in decimal
bool valid_challenge(const ScramChallenge& challenge);
bool valid_nonce(std::string_view nonce);  // printable ASCII without comma, 1 … 2 * kMaxScramNonce characters

// "c=" of the last client message stands for this.
std::string binding_header(char flag);  // "n,,", "y,," or "p=tls-server-end-point,,"
inline constexpr std::string_view kBindingType = "tls-server-end-point";

struct Attribute {
  char name = 0;
  std::string_view value;
  size_t offset = 0;  // of the name within the message
};

class AttributeReader {
 public:
  explicit AttributeReader(std::string_view message) : message_(message), more_(!message.empty()) {}

  std::optional<Attribute> next();  // none at the end, or for what is no letter and '='
  // The value of the next one if that is its name; else none, and the reader is of no more use.
  std::optional<std::string_view> value(char name);
  [[nodiscard]] bool done() const { return !more_; }  // a comma at the end is not the end

 private:
  std::string_view message_;
  size_t at_ = 0;
  bool more_;
};

}  // namespace pgdba::wire::scram
