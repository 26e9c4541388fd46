// What a client says from its first byte on, in pieces: the first byte chooses the method and what is stored. Twice, once
// as a known user and once as one that does not exist: both must hear the same bytes, cost the same hashing, and stay out.
#include <memory>

#include "pool/client_login.h"
#include "pool/core.h"
#include "target.h"
#include "unit/pool/fakes.h"
#include "wire/pg_build.h"
#include "wire/pg_md5.h"
#include "wire/scram.h"

namespace {

using namespace pgdba;
using namespace pgdba::pool;
using namespace pgdba::pool::testing;

// Hashing takes a millisecond, and these bytes cannot know its result.
struct Host : FakeHost {
  void derive_scram_keys(Conn& whom, std::string_view, const wire::ScramChallenge&) override {
    wire::ScramKeys keys;
    keys.client_key.fill(1);
    derivations.emplace_back(&whom, keys);
    ++hashed;
  }
  int hashed = 0;
};

struct World {
  World(uint8_t choice, bool known) {
    static constexpr Method methods[] = {Method::password, Method::md5, Method::scram, Method::scram};
    const std::string password = "a password that no input can hold: \1\2\3\4\5\6\7";
    directory.method = methods[choice & 3];
    directory.pending = (choice & 32) != 0;
    std::string stored = password;
    if ((choice >> 2 & 3) == 1) stored = *wire::md5_secret(password, "u");
    if ((choice >> 2 & 3) == 2) {
      wire::ScramVerifier verifier = directory.mock("u");
      verifier.stored_key.fill(7);
      stored = wire::format_scram_verifier(verifier);
      directory.mostly = true;  // all are stored alike: what an unknown user is taken for
    }
    if (known) secret = Secret(stored);
    if (known && (choice & 16) != 0) secret = Secret("");  // exists, and has no password
    directory.secrets.clear();
    if (secret) directory.secrets["u"] = *secret;
    wire::ScramKeys keys;
    keys.client_key.fill(2);
    directory.derived[password] = keys;
    settings.application_name_add_host = (choice & 64) != 0;
    if ((choice & 128) != 0) settings.ignored_startup_parameters = {"options", "extra_float_digits"};
    core = std::make_unique<Core>(host, directory, ledger, settings, number_of);
    core->set_now(1'000'000);
    client = &host.add("a");
    client->conn = &core->accept(client);
  }

  Client* conn() { return static_cast<Client*>(client->conn); }

  void input(std::string_view bytes) {
    if (client->conn == nullptr || !client->wanted) return;
    core->client_input(*conn(), bytes);
    if (directory.pending && client->conn != nullptr && conn()->login->stage == LoginStage::secret)
      core->secret_found(*conn(), conn()->user_name == "u" ? secret : std::nullopt);
    auto derived = std::exchange(host.derivations, {});
    for (auto& [whom, keys] : derived) core->derived(*whom, keys);
    core->tidy();
    if (client->conn == nullptr) return;
    CHECK(conn()->state == ClientState::login);
    CHECK(conn()->held.size() <= wire::kMaxAuthMessage + 300);
  }

  Settings settings;
  Host host;
  FakeDirectory directory;
  FakeLedger ledger;
  std::unique_ptr<Core> core;
  Peer* client = nullptr;
  std::optional<Secret> secret;
};

}  // namespace

FUZZ_TARGET(pool_login) {
  if (data.size() < 2) return;
  const auto choice = static_cast<uint8_t>(data[0]);
  World known(choice, true), unknown(choice, false);
  const size_t piece = static_cast<uint8_t>(data[1]) + 1U;
  data.remove_prefix(2);
  while (!data.empty()) {
    const std::string_view bytes = data.substr(0, piece);
    data.remove_prefix(bytes.size());
    known.input(bytes);
    unknown.input(bytes);
    CHECK(known.client->all == unknown.client->all && known.client->wanted == unknown.client->wanted);
    CHECK((known.client->conn == nullptr) == (unknown.client->conn == nullptr));
    CHECK(known.host.hashed == unknown.host.hashed);
  }
  CHECK(known.host.closed_twice == 0 && known.host.sent_to_closed == 0);
}
