// The server's side of a SCRAM login: the pooler towards a client.
//
//   on_first() gives the server's first message  ->  on_last() gives its last one, and the login is right.
//
// A failure is final: Errc::denied for a wrong password (or a user who must not log in), Errc::invalid for a message
// that breaks the protocol. Invariant: with the same messages an unknown user (mock_verifier, may_succeed false) gets
// the same answers and errors as one whose password is wrong. After success keys() are those with which the pooler can
// log in to a server that has the same verifier (pass-through).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/scram.h"

namespace pgdba::wire {

class ScramServer {
 public:
  struct Input {
    ScramVerifier verifier;
    bool may_succeed = true;      // false: the whole exchange, then denied
    std::string nonce;            // new and random for each login, printable: base64 of 18 bytes
    std::string channel_binding;  // digest of our certificate; empty: no TLS, so no binding is offered
  };
  explicit ScramServer(Input input);

  // What AuthenticationSASL offers.
  static std::vector<std::string_view> mechanisms(bool binding);

  // Of a SASLInitialResponse. Channel binding as PostgreSQL has it: the flag must fit the mechanism, and a client that
  // believes we offer no binding (flag y) although we do is refused: somebody took it out of the list.
  Result<std::string> on_first(std::string_view mechanism, std::string_view message);
  Result<std::string> on_last(std::string_view message);

  [[nodiscard]] bool done() const { return keys_.has_value(); }
  [[nodiscard]] const std::optional<ScramKeys>& keys() const { return keys_; }  // after success only

 private:
  enum class State { start, challenged, over };

  Input input_;
  State state_ = State::start;
  char flag_ = 0;
  std::string first_bare_;
  std::string server_first_;
  std::string nonce_;  // of both
  std::optional<ScramKeys> keys_;
};

}  // namespace pgdba::wire
