// A verifier; or a mechanism, a client's first and its last message, one line each. Whoever does not know the keys
// must not get in.
#include "wire/scram_server.h"

#include "base/text.h"
#include "target.h"

FUZZ_TARGET(scram_server) {
  using namespace pgdba::wire;
  if (auto verifier = parse_scram_verifier(data)) {
    // Zeros may stand before the iterations, as in PostgreSQL.
    const std::string written = format_scram_verifier(*verifier);
    auto again = parse_scram_verifier(written);
    CHECK(again && again->challenge == verifier->challenge && written.size() <= data.size());
    CHECK(same_key(again->stored_key, verifier->stored_key) && same_key(again->server_key, verifier->server_key));
  }
  auto lines = pgdba::split(data, '\n');
  if (lines.size() < 3) return;
  for (const char* digest : {"", "0123456789abcdef0123456789abcdef"}) {
    ScramVerifier verifier = mock_verifier("user", "seed", 4096);
    ScramServer server({verifier, true, "fixed-nonce", digest});
    auto first = server.on_first(lines[0], lines[1]);
    auto last = server.on_last(lines[2]);
    CHECK(!last && !server.done() && !server.keys());
    CHECK(!first || first->size() <= 2 * kMaxScramNonce + 100);
    // A client's real first message must not be answered twice.
    CHECK(!server.on_first(lines[0], lines[1]));
  }
}
