#include "wire/scram_server.h"

#include <fmt/format.h>

#include "base/base64.h"
#include "wire/scram_tools.h"

namespace pgdba::wire {
namespace {

tl::unexpected<Error> malformed(std::string_view what) {
  return fail(Errc::invalid, fmt::format("malformed SCRAM message: {}", what));
}

tl::unexpected<Error> not_now() {
  return fail(Errc::bug, "this step of the SCRAM exchange is not due");
}

struct Header {
  char flag = 0;
  std::string_view bare;  // the message after the header
};

// The part before the client's first attribute: "n,,", "y,,", "p=type,,".
Result<Header> read_header(std::string_view message) {
  size_t first = message.find(',');
  size_t second = first == std::string_view::npos ? first : message.find(',', first + 1);
  if (second == std::string_view::npos) return malformed("no channel binding flag");
  std::string_view flag = message.substr(0, first);
  if (second != first + 1) return malformed("another identity to act as is not supported");
  Header header{flag.empty() ? '\0' : flag[0], message.substr(second + 1)};
  if (flag == "n" || flag == "y") return header;
  if (!flag.starts_with("p=")) return malformed("unknown channel binding flag");
  if (flag.substr(2) != scram::kBindingType) return malformed("unsupported channel binding type");
  return header;
}

}  // namespace

ScramServer::ScramServer(Input input) : input_(std::move(input)) {}

std::vector<std::string_view> ScramServer::mechanisms(bool binding) {
  if (binding) return {kScramSha256Plus, kScramSha256};
  return {kScramSha256};
}

Result<std::string> ScramServer::on_first(std::string_view mechanism, std::string_view message) {
  bool right = state_ == State::start;
  state_ = State::over;
  if (!right) return not_now();
  bool offers = !input_.channel_binding.empty();
  bool plus = mechanism == kScramSha256Plus;
  if (input_.channel_binding.size() > kMaxChannelBinding || input_.nonce.size() > kMaxScramNonce ||
      !scram::valid_nonce(input_.nonce) || !scram::valid_challenge(input_.verifier.challenge)) {
    return fail(Errc::bug, "a SCRAM login needs a printable nonce and a verifier within the limits");
  }
  if (mechanism != kScramSha256 && !(plus && offers)) {
    return fail(Errc::invalid, "the client chose a SASL mechanism that was not offered");
  }
  if (message.size() > kMaxScramMessage || message.find('\0') != std::string_view::npos) return malformed("bad length");
  auto header = read_header(message);
  if (!header) return tl::unexpected(std::move(header.error()));
  if (header->flag == 'p' && !plus) return malformed("channel binding without SCRAM-SHA-256-PLUS");
  if (header->flag != 'p' && plus) return malformed("SCRAM-SHA-256-PLUS without channel binding");
  if (header->flag == 'y' && offers) {
    return fail(Errc::invalid,
                "SCRAM channel binding negotiation error: the client believes that it is not offered, but it is");
  }
  scram::AttributeReader reader(header->bare);
  if (!reader.value('n')) return malformed("no user name");  // also for extensions ("m=") that we do not know
  auto nonce = reader.value('r');
  if (!nonce || nonce->size() > kMaxScramNonce || !scram::valid_nonce(*nonce)) return malformed("no usable nonce");
  while (reader.next()) {
  }  // optional extensions
  if (!reader.done()) return malformed("something that is no attribute");
  flag_ = header->flag;
  first_bare_ = header->bare;
  nonce_ = std::string(*nonce) + input_.nonce;
  const ScramChallenge& challenge = input_.verifier.challenge;
  server_first_ = fmt::format("r={},s={},i={}", nonce_, base64_encode(challenge.salt), challenge.iterations);
  state_ = State::challenged;
  return server_first_;
}

Result<std::string> ScramServer::on_last(std::string_view message) {
  bool right = state_ == State::challenged;
  state_ = State::over;
  if (!right) return not_now();
  if (message.size() > kMaxScramMessage) return malformed("too long");
  scram::AttributeReader reader(message);
  std::string expected = scram::binding_header(flag_);
  if (flag_ == 'p') expected += input_.channel_binding;
  auto binding = reader.value('c');
  if (!binding) return malformed("no channel binding");
  if (*binding != base64_encode(expected)) return fail(Errc::invalid, "SCRAM channel binding check failed");
  auto nonce = reader.value('r');
  if (!nonce || *nonce != nonce_) return malformed("the nonce is another one");
  auto attribute = reader.next();
  while (attribute && attribute->name != 'p') attribute = reader.next();  // optional extensions
  auto proof = attribute ? scram::decode_key(attribute->value) : std::nullopt;
  if (!proof || !reader.done()) return malformed("no proof at the end");

  // The proof is ClientKey XOR a signature that StoredKey makes; StoredKey is the hash of ClientKey.
  std::string_view bare = message.substr(0, attribute->offset - 1);
  std::string authenticated = fmt::format("{},{},{}", first_bare_, server_first_, bare);
  ScramKey signature;
  ScramKey server_signature;
  ScramKey stored_key;
  if (!scram::hmac(scram::bytes(input_.verifier.stored_key), authenticated, signature) ||
      !scram::hmac(scram::bytes(input_.verifier.server_key), authenticated, server_signature)) {
    return fail(Errc::bug, "OpenSSL cannot compute SHA-256");
  }
  ScramKey client_key = scram::exclusive_or(*proof, signature);
  if (!scram::sha256(scram::bytes(client_key), stored_key)) return fail(Errc::bug, "OpenSSL cannot compute SHA-256");
  bool proved = same_key(stored_key, input_.verifier.stored_key);
  if (!proved || !input_.may_succeed) return fail(Errc::denied, "password authentication failed");
  keys_ = ScramKeys{client_key, input_.verifier.server_key};
  return "v=" + scram::encode(server_signature);
}

}  // namespace pgdba::wire
