#include "wire/scram_client.h"

#include <fmt/format.h>

#include "base/base64.h"
#include "wire/scram_tools.h"

namespace pgdba::wire {
namespace {

tl::unexpected<Error> malformed(std::string_view what) {
  return fail(Errc::invalid, fmt::format("malformed SCRAM message of the server: {}", what));
}

tl::unexpected<Error> not_now() {
  return fail(Errc::bug, "this step of the SCRAM exchange is not due");
}

// Text of the other side, fit to be shown.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 100));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

}  // namespace

ScramClient::ScramClient(Input input)
    : input_(std::move(input)),
      flag_(input_.mechanism == kScramSha256Plus ? 'p'
            : input_.channel_binding.empty()     ? 'n'
                                                 : 'y') {}

bool ScramClient::step(State from, State to) {
  bool right = state_ == from;
  state_ = right ? to : State::failed;
  return right;
}

Result<std::string> ScramClient::first() {
  if (!step(State::start, State::failed)) return not_now();
  bool known = input_.mechanism == kScramSha256 || input_.mechanism == kScramSha256Plus;
  if (!known || !scram::valid_nonce(input_.nonce) || input_.nonce.size() > kMaxScramNonce) {
    return fail(Errc::bug, "a SCRAM login needs a known mechanism and a printable nonce");
  }
  if (input_.channel_binding.size() > kMaxChannelBinding || (flag_ == 'p' && input_.channel_binding.empty())) {
    return fail(Errc::bug, "SCRAM-SHA-256-PLUS needs the digest of the server's certificate");
  }
  state_ = State::sent_first;
  first_bare_ = "n=,r=" + input_.nonce;
  return scram::binding_header(flag_) + first_bare_;
}

Result<ScramChallenge> ScramClient::on_server_first(std::string_view message) {
  if (!step(State::sent_first, State::failed)) return not_now();
  if (message.size() > kMaxScramMessage) return malformed("too long");
  scram::AttributeReader reader(message);
  auto nonce = reader.value('r');
  if (!nonce || !scram::valid_nonce(*nonce)) return malformed("no nonce");
  if (nonce->size() <= input_.nonce.size() || !nonce->starts_with(input_.nonce)) {
    return fail(Errc::denied, "the server's SCRAM nonce does not continue ours");
  }
  auto salt = scram::decode_salt(reader.value('s').value_or(""));
  if (!salt) return malformed("no salt");
  auto iterations = scram::parse_iterations(reader.value('i').value_or(""));
  if (!iterations) return malformed("iterations are missing or beyond the limit");
  if (!reader.done()) return malformed("more than expected");
  nonce_ = *nonce;
  server_first_ = message;
  state_ = State::challenged;
  return ScramChallenge{std::move(*salt), *iterations};
}

Result<std::string> ScramClient::last(const ScramKeys& keys) {
  if (!step(State::challenged, State::failed)) return not_now();
  std::string binding = scram::binding_header(flag_);
  if (flag_ == 'p') binding += input_.channel_binding;
  std::string bare = fmt::format("c={},r={}", base64_encode(binding), nonce_);
  std::string authenticated = fmt::format("{},{},{}", first_bare_, server_first_, bare);
  ScramKey stored_key;
  ScramKey signature;
  if (!scram::sha256(scram::bytes(keys.client_key), stored_key) ||
      !scram::hmac(scram::bytes(stored_key), authenticated, signature) ||
      !scram::hmac(scram::bytes(keys.server_key), authenticated, server_signature_)) {
    return fail(Errc::bug, "OpenSSL cannot compute SHA-256");
  }
  state_ = State::sent_last;
  return fmt::format("{},p={}", bare, scram::encode(scram::exclusive_or(keys.client_key, signature)));
}

Result<void> ScramClient::on_server_last(std::string_view message) {
  if (!step(State::sent_last, State::failed)) return not_now();
  if (message.size() > kMaxScramMessage) return malformed("too long");
  scram::AttributeReader reader(message);
  auto attribute = reader.next();
  if (!attribute) return malformed("neither signature nor error");
  if (attribute->name == 'e') {
    return fail(Errc::denied, fmt::format("the server refuses the SCRAM login: {}", shown(attribute->value)));
  }
  auto signature = attribute->name == 'v' ? scram::decode_key(attribute->value) : std::nullopt;
  if (!signature || !reader.done()) return malformed("no signature");
  if (!same_key(*signature, server_signature_)) {
    return fail(Errc::denied, "the server's SCRAM signature is wrong: it does not know the password");
  }
  state_ = State::done;
  return {};
}

}  // namespace pgdba::wire
