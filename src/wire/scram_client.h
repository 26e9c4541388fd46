// The client's side of a SCRAM login: the pooler towards a server.
//
//   first()  ->  on_server_first() gives the challenge  ->  [scram_keys() on another thread, or keys that are known]
//   ->  last(keys)  ->  on_server_last(): only now is the server proved to know the password.
//
// Each step may be called once and in this order; any failure is final. Messages are the mechanism's own: SASL's frames
// are around them. The user's name is not sent: PostgreSQL takes it from the startup packet.
#pragma once

#include <string>
#include <string_view>

#include "wire/scram.h"

namespace pgdba::wire {

class ScramClient {
 public:
  struct Input {
    std::string nonce;            // new and random for each login, printable: base64 of 18 bytes
    std::string channel_binding;  // digest of the server's certificate (tls-server-end-point); empty: none at hand
    // What choose_scram() gave: kScramSha256Plus binds the channel; kScramSha256 with a digest at hand tells the server
    // that it offered no binding, so that it can see when somebody in between took it out of the list.
    std::string_view mechanism = kScramSha256;
  };
  explicit ScramClient(Input input);

  Result<std::string> first();
  Result<ScramChallenge> on_server_first(std::string_view message);
  Result<std::string> last(const ScramKeys& keys);
  // Denied: the server refuses, or does not know the password.
  Result<void> on_server_last(std::string_view message);

  [[nodiscard]] bool done() const { return state_ == State::done; }

 private:
  enum class State { start, sent_first, challenged, sent_last, done, failed };
  bool step(State from, State to);  // false: not now

  Input input_;
  State state_ = State::start;
  char flag_;
  std::string first_bare_;
  std::string server_first_;
  std::string nonce_;  // of both
  ScramKey server_signature_{};
};

}  // namespace pgdba::wire
