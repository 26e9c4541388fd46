// A server's first and last message, one line each. Whoever does not know the keys must not be believed.
#include "wire/scram_client.h"

#include "base/text.h"
#include "target.h"
#include "wire/scram_tools.h"

FUZZ_TARGET(scram_client) {
  using namespace pgdba::wire;
  size_t newline = data.find('\n');
  if (newline == std::string_view::npos) return;
  for (std::string_view mechanism : {kScramSha256, kScramSha256Plus}) {
    ScramClient client({"fixed-nonce", std::string(32, 'd'), mechanism});
    CHECK(client.first());
    auto challenge = client.on_server_first(data.substr(0, newline));
    ScramKeys keys;
    keys.client_key.fill(1);
    keys.server_key.fill(2);
    auto last = client.last(keys);
    CHECK(last.has_value() == challenge.has_value());
    if (challenge) {
      CHECK(scram::valid_challenge(*challenge) && last->size() <= kMaxScramMessage);
    }
    CHECK(!client.on_server_last(data.substr(newline + 1)) && !client.done());
  }
}
