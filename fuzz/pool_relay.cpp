// Two clients share up to two servers through the pooling core, in random order and pieces. Each must hear exactly what
// it would hear from a PostgreSQL of its own (a shadow that gets the same messages), in the same order.
//
// Bytes are small commands; the first ones choose the settings. The servers answer as PostgreSQL does
// (fake_postgres.h).
#include <algorithm>
#include <array>
#include <memory>

#include "pool/core.h"
#include "target.h"
#include "unit/pool/fake_postgres.h"
#include "unit/pool/fakes.h"
#include "wire/pg_build.h"

namespace {

using namespace pgdba;
using namespace pgdba::pool;
using namespace pgdba::pool::testing;

struct Side {
  Peer* peer = nullptr;
  FakePostgres shadow;  // what it would hear alone
  std::string unsent;
  bool over = false;  // lost, or told so: from now on it hears less than the shadow says
  int count = 0;
};

struct World {
  explicit World(uint8_t choice) {
    settings.pool_mode = PoolMode::transaction;
    settings.default_pool_size = 1 + (choice & 1);
    settings.max_prepared_statements = 1 + (choice >> 1 & 3);
    settings.server_check_query = std::nullopt;
    settings.server_login_retry = settings.query_wait_timeout = settings.query_wait_notify = Micros(0);
    honest = (choice & 8) != 0;
    core = std::make_unique<Core>(host, directory, ledger, settings, number_of);
    core->set_now(1'000'000);
    for (size_t i = 0; i < clients.size(); ++i) {
      Side& side = clients[i];
      side.peer = &host.add(i == 0 ? "a" : "b");
      side.peer->conn = &core->accept(side.peer);
      std::string packet;
      wire::append_startup(packet, 0, {{"user", "u"}, {"database", "db"}});
      core->client_input(static_cast<Client&>(*side.peer->conn), packet);
    }
    connect_all();
    for (Side& side : clients) side.peer->out.clear();
  }

  void connect_all() {
    for (size_t i = 0; i < host.peers.size(); ++i) {
      Peer& peer = *host.peers[i];
      if (!peer.fresh) continue;
      peer.fresh = false;
      servers[&peer] = std::make_unique<FakePostgres>();
      if (peer.conn == nullptr) continue;
      auto& server = static_cast<Server&>(*peer.conn);
      core->server_connected(server);
      peer.out.clear();
      std::string bytes;
      wire::append_authentication_ok(bytes);
      wire::append_parameter_status(bytes, "TimeZone", "UTC");
      wire::append_backend_key_data(bytes, {1, "abcd"});
      wire::append_ready_for_query(bytes, 'I');
      core->server_input(server, bytes);
    }
  }

  void say(Side& side, uint8_t what, uint8_t how) {
    if (side.over || side.peer->conn == nullptr || side.shadow.closed()) return;
    const std::string tag = side.peer->name + std::to_string(++side.count);
    const std::string name = (how & 3) == 0 ? "" : "s" + std::to_string(how & 3);
    static constexpr std::string_view texts[] = {"one",      "two", "three", "begin",   "commit",
                                                 "rollback", "bad", "copy",  "set CET", "unparsable"};
    const std::string text(texts[(how >> 2) % std::size(texts)]);
    std::string bytes;
    switch (what % 18) {
      case 0: wire::append_query(bytes, tag); break;
      case 1: wire::append_query(bytes, "bad" + tag); break;
      case 2: wire::append_query(bytes, text == "unparsable" ? "begin" : text); break;
      case 3: wire::append_query(bytes, "set " + tag); break;
      case 4: wire::append_query(bytes, "deallocate all"); break;
      case 5:
      case 6: wire::append_parse(bytes, name, text, {}); break;
      case 7: wire::append_parse(bytes, "", tag, {}); break;
      case 8:
      case 9: {
        const std::string value(how, 'v');
        const wire::Value values[] = {value};
        wire::append_bind(bytes, (how & 128) != 0 ? "p" : "", name, values);
        break;
      }
      case 10: wire::append_describe(bytes, (how & 64) != 0 ? 'P' : 'S', name); break;
      case 11: wire::append_close(bytes, (how & 64) != 0 ? 'P' : 'S', name); break;
      case 12: wire::append_execute(bytes, (how & 128) != 0 ? "p" : ""); break;
      case 13:
      case 14: wire::append_sync(bytes); break;
      case 15: wire::append_flush(bytes); break;
      case 16: bytes = std::string("d\0\0\0\7", 5) + ((how & 1) != 0 ? "bad" : "row"); break;
      default:
        if ((how & 1) != 0)
          bytes = std::string("c\0\0\0\4", 5);
        else
          wire::append_copy_fail(bytes, "why");
    }
    // Other messages end the connection in PostgreSQL; the pooler, which may have kept them for itself, lets it wait.
    if (side.shadow.in_copy() && std::string_view("dcfSH").find(bytes[0]) == std::string_view::npos) return;
    // Whether a Sync in place of the end of a COPY is answered depends on when the COPY fails; the pooler may close the server
    // instead of guessing.
    if (bytes[0] == 'S' && side.shadow.copy_failed()) return;
    side.shadow.input(bytes);
    CHECK(side.shadow.broken().empty());
    side.unsent += bytes;
  }

  void send(Side& side, size_t most) {
    if (side.peer->conn == nullptr || (honest && !side.peer->wanted)) return;
    const std::string piece = side.unsent.substr(0, most);
    side.unsent.erase(0, piece.size());
    moved_bytes += piece.size();
    if (!piece.empty()) core->client_input(static_cast<Client&>(*side.peer->conn), piece);
  }

  void serve(Peer& peer, size_t most) {
    FakePostgres& postgres = *servers[&peer];
    postgres.input(std::exchange(peer.out, {}));
    CHECK(postgres.broken().empty());
    if (peer.conn == nullptr || (honest && !peer.wanted)) return;
    const std::string piece = postgres.out().substr(0, most);
    postgres.out().erase(0, piece.size());
    moved_bytes += piece.size();
    auto& server = static_cast<Server&>(*peer.conn);
    if (!piece.empty()) core->server_input(server, piece);
    if (peer.conn != nullptr && postgres.closed() && postgres.out().empty()) core->server_lost(server, "closed");
  }

  // In the order in which they came: an input means the same at each run.
  Peer* server_at(size_t index) {
    for (const auto& peer : host.peers) {
      if (peer->conn != nullptr && servers.contains(peer.get()) && index-- == 0) return peer.get();
    }
    return nullptr;
  }

  static void explain(Side& side) {
    for (const std::string* text : {&side.peer->out, &side.shadow.out()}) {
      std::string shown = text == &side.peer->out ? "heard: " : "due:   ";
      for (const char c : *text) shown += c >= ' ' && c <= '~' ? c : '.';
      std::fprintf(stderr, "%s %s\n", side.peer->name.c_str(), shown.c_str());
    }
  }

  // Nobody hears anything but the beginning of what it would hear alone; a connection that is over may end in other
  // words.
  void compare() {
    for (Side& side : clients) {
      std::string& heard = side.peer->out;
      const std::string& due = side.shadow.out();
      if (side.over) continue;
      if (side.peer->conn == nullptr) {
        side.over = true;
        const size_t same = static_cast<size_t>(
            std::mismatch(heard.begin(), heard.end(), due.begin(), due.end()).first - heard.begin());
        // What differs is one FATAL of ours at the end, which may come in the middle of a message that was cut.
        if (same < heard.size())
          CHECK(heard.find("08006", same > 60 ? same - 60 : 0) != std::string::npos ||
                heard.find("08007") != std::string::npos);
        continue;
      }
      if (!due.starts_with(heard)) explain(side);
      CHECK(due.starts_with(heard));
    }
  }

  void step(uint8_t command, uint8_t argument) {
    Side& side = clients[command & 1];
    switch (command >> 1 & 15) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: say(side, static_cast<uint8_t>(command >> 5 | (argument & 3) << 3), argument); break;
      case 5: say(side, static_cast<uint8_t>(argument & 31), static_cast<uint8_t>(argument >> 3 | command)); break;
      case 6: send(side, 1U + argument); break;
      case 7: send(side, 100'000); break;
      case 8:
      case 9:
        if (Peer* peer = server_at(command & 1)) serve(*peer, (command >> 5) == 0 ? 1U + argument : 100'000);
        break;
      case 10: connect_all(); break;
      case 11:
        core->set_now(core->now() + argument * 1000);
        core->tick();
        break;
      case 12: {
        Peer* peer = argument < 128 ? side.peer : server_at(command & 1);
        if (peer == nullptr || peer->conn == nullptr) break;
        peer->slow = !peer->slow;
        if (!peer->slow) core->drained(*peer->conn);
        break;
      }
      case 13:
        if (argument < 16 && side.peer->conn != nullptr) {
          core->client_gone(static_cast<Client&>(*side.peer->conn));
          side.over = true;
        }
        break;
      case 14:
        if (Peer* peer = server_at(command & 1); peer != nullptr && argument < 16)
          core->server_lost(static_cast<Server&>(*peer->conn), "gone");
        break;
      default: break;
    }
    core->tidy();
    compare();
  }

  void settle() {
    for (const auto& peer : host.peers) {
      peer->slow = false;
      if (peer->conn != nullptr) core->drained(*peer->conn);
    }
    for (int quiet = 0; quiet < 3; ++quiet) {
      connect_all();
      const size_t moved = moved_bytes;
      for (Side& side : clients) send(side, 100'000);
      for (size_t i = 0; i < host.peers.size(); ++i) {
        if (host.peers[i]->name[0] < 'a' && servers.contains(host.peers[i].get())) serve(*host.peers[i], 100'000);
      }
      core->set_now(core->now() + 1000);
      core->tick();
      core->tidy();
      compare();
      if (moved != moved_bytes) quiet = 0;
    }
  }

  void end() {
    for (Side& side : clients) {  // whatever is open is ended
      say(side, 17, 0);
      say(side, 13, 0);
      say(side, 2, 5 << 2);
    }
    settle();
    for (Side& side : clients) {
      if (!side.over && side.peer->out != side.shadow.out()) explain(side);
      CHECK(side.over || side.peer->out == side.shadow.out());
    }
    for (const auto& pool : core->pools()) {
      CHECK(pool->waiting.empty() && pool->lent.empty() && pool->busy.empty());
      for (Server& server : pool->idle) {
        const FakePostgres& postgres = *servers[&FakeHost::of(server)];
        CHECK(server.requests.clean() && server.status == 'I' && postgres.at_rest());
        CHECK(server.parameters->values[2] == postgres.zone());
      }
    }
    CHECK(host.closed_twice == 0 && host.sent_to_closed == 0);
  }

  Settings settings;
  FakeHost host;
  FakeDirectory directory;
  FakeLedger ledger;
  std::unique_ptr<Core> core;
  std::array<Side, 2> clients;
  std::map<Peer*, std::unique_ptr<FakePostgres>> servers;
  size_t moved_bytes = 0;
  bool honest = false;  // nobody is read who is not to be read
};

}  // namespace

FUZZ_TARGET(pool_relay) {
  if (data.empty()) return;
  digests().clear();
  World world(static_cast<uint8_t>(data[0]));
  data = data.substr(1, 4000);
  for (size_t i = 0; i + 1 < data.size(); i += 2)
    world.step(static_cast<uint8_t>(data[i]), static_cast<uint8_t>(data[i + 1]));
  world.end();
}
