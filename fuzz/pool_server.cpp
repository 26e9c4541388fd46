// What a server says, from its first byte on or after an honest login, while a client uses it: the pooling core takes any
// bytes. The first byte chooses settings; then pieces, each after its length and what the client says before it.
#include <memory>

#include "pool/core.h"
#include "target.h"
#include "unit/pool/fakes.h"
#include "wire/pg_build.h"

namespace {

using namespace pgdba;
using namespace pgdba::pool;
using namespace pgdba::pool::testing;

// Hashing takes a millisecond, and these bytes cannot know its result.
struct Host : FakeHost {
  void derive_scram_keys(Conn& whom, std::string_view, const wire::ScramChallenge&) override { derivations.emplace_back(&whom, wire::ScramKeys{}); }
};

struct World {
  explicit World(uint8_t choice) {
    settings.pool_mode = (choice & 1) != 0 ? PoolMode::session : PoolMode::transaction;
    settings.default_pool_size = 1;
    settings.server_login_retry = Micros(0);
    if ((choice & 2) != 0) settings.server_check_query = std::nullopt;
    if ((choice & 4) != 0) directory.verify = "select 1";
    if ((choice & 8) != 0) directory.databases["db"].route = Route::primary;
    if ((choice & 16) != 0) directory.databases["db"].connect_query = "select 2";
    directory.server_secret = Secret("password");
    core = std::make_unique<Core>(host, directory, ledger, settings, number_of);
    core->set_now(1'000'000);
    client = &host.add("a");
    client->conn = &core->accept(client);
    std::string packet;
    wire::append_startup(packet, 0, {{"user", "u"}, {"database", "db"}, {"TimeZone", "CET"}});
    say(packet);
    connect();
    if ((choice & 32) == 0 || server == nullptr || server->conn == nullptr) return;
    std::string bytes;
    wire::append_authentication_ok(bytes);
    wire::append_parameter_status(bytes, "TimeZone", "UTC");
    wire::append_parameter_status(bytes, "in_hot_standby", "off");
    wire::append_backend_key_data(bytes, {1, "abcd"});
    wire::append_ready_for_query(bytes, 'I');
    hear(bytes);
  }

  void say(std::string_view bytes) {
    if (client->conn != nullptr) core->client_input(static_cast<Client&>(*client->conn), bytes);
  }
  void hear(std::string_view bytes) {
    if (server != nullptr && server->conn != nullptr) core->server_input(static_cast<Server&>(*server->conn), bytes);
  }
  void connect() {
    for (size_t i = 0; i < host.peers.size(); ++i) {
      Peer& peer = *host.peers[i];
      if (!peer.fresh) continue;
      peer.fresh = false;
      server = &peer;
      if (peer.conn != nullptr) core->server_connected(static_cast<Server&>(*peer.conn));
    }
  }
  void request(uint8_t what) {
    std::string bytes;
    const wire::Value value = "v";
    switch (what & 7) {
      case 0: return;
      case 1: wire::append_query(bytes, "select 1"); break;
      case 2: wire::append_query(bytes, "commit"); break;
      case 3:
        wire::append_parse(bytes, "s", "select $1", {});
        wire::append_bind(bytes, "", "s", {&value, 1});
        wire::append_execute(bytes, "");
        wire::append_sync(bytes);
        break;
      case 4:
        wire::append_describe(bytes, 'S', "s");
        wire::append_flush(bytes);
        break;
      case 5: wire::append_sync(bytes); break;
      case 6: bytes = std::string("d\0\0\0\7row", 8); break;
      default: bytes = std::string("c\0\0\0\4", 5);
    }
    say(bytes);
  }
  void settle() {
    auto derived = std::exchange(host.derivations, {});
    for (auto& [conn, keys] : derived) core->derived(*conn, keys);
    core->set_now(core->now() + 1000);
    core->tick();
    core->tidy();
    connect();
    CHECK(host.closed_twice == 0 && host.sent_to_closed == 0);
  }

  Settings settings;
  Host host;
  FakeDirectory directory;
  FakeLedger ledger;
  std::unique_ptr<Core> core;
  Peer* client = nullptr;
  Peer* server = nullptr;  // the newest
};

}  // namespace

FUZZ_TARGET(pool_server) {
  if (data.empty()) return;
  digests().clear();
  World world(static_cast<uint8_t>(data[0]));
  data = data.substr(1, 4000);
  world.settle();
  while (data.size() > 2) {
    world.request(static_cast<uint8_t>(data[1]));
    const std::string_view piece = data.substr(2, static_cast<uint8_t>(data[0]));
    data.remove_prefix(2 + piece.size());
    world.hear(piece);
    world.settle();
  }
  for (const auto& pool : world.core->pools()) {
    for (const Server& server : pool->idle) CHECK(server.requests.clean() && server.status == 'I' && server.client == nullptr);
    for (const Server& server : pool->lent) CHECK(server.client != nullptr && server.client->server == &server);
  }
}
