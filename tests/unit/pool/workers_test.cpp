// One pool over two workers: no client waits in one while a server lies idle in the other.
#include <gtest/gtest.h>

#include "unit/pool/notation.h"
#include "unit/pool/rig.h"

namespace pgdba::pool::testing {
namespace {

// Two cores, one ledger, and the messages between them in the order of the calls.
struct Pair {
  explicit Pair(int pool_size) {
    settings.pool_mode = PoolMode::transaction;
    settings.default_pool_size = pool_size;
    settings.server_check_query = std::nullopt;
    share.workers = 2;
    ledger.shared = &share;
    for (size_t i = 0; i < 2; ++i) {
      cores[i] = std::make_unique<Core>(hosts[i], directory, ledger, settings, number_of, i);
      cores[i]->set_now(1'000'000'000);
    }
  }
  ~Pair() {
    for (int round = 0; round < 5; ++round) {
      for (size_t i = 0; i < 2; ++i) {
        for (const auto& peer : hosts[i].peers) {
          if (peer->conn == nullptr) continue;
          Core& core = owner(*peer);
          if (peer->conn->is_client)
            core.client_gone(static_cast<Client&>(*peer->conn));
          else
            core.server_lost(static_cast<Server&>(*peer->conn), "gone");
        }
        deliver();
      }
    }
    for (const auto& core : cores) core->tidy();
    EXPECT_EQ(ledger.total, 0);
  }

  // A server's core is the one whose pool it is in.
  Core& owner(const Peer& peer) {
    const Pool* pool =
        peer.conn->is_client ? static_cast<Client*>(peer.conn)->pool : static_cast<Server*>(peer.conn)->pool;
    for (const auto& core : cores) {
      for (const auto& each : core->pools()) {
        if (each.get() == pool) return *core;
      }
    }
    return *cores[0];
  }
  Peer& client(size_t worker, const std::string& name) {
    Peer& peer = hosts[worker].add(name);
    peer.conn = &cores[worker]->accept(&peer);
    std::string packet;
    wire::append_startup(packet, 0, {{"user", "u"}, {"database", "db"}});
    cores[worker]->client_input(static_cast<Client&>(*peer.conn), packet);
    return peer;
  }
  void up(Peer& server) {
    owner(server).server_connected(static_cast<Server&>(*server.conn));
    server.out.clear();
    say(server, "R S(TimeZone,UTC) K Z(I)");
  }
  void say(Peer& peer, std::string_view messages) {
    Core& core = owner(peer);
    const std::string bytes = encode(messages, peer.conn->is_client);
    if (peer.conn->is_client)
      core.client_input(static_cast<Client&>(*peer.conn), bytes);
    else
      core.server_input(static_cast<Server&>(*peer.conn), bytes);
  }
  // What the workers have for each other.
  void deliver() {
    for (int round = 0; round < 4; ++round) {
      for (size_t i = 0; i < 2; ++i) {
        for (auto& [pool, worker] : std::exchange(hosts[i].asked, {})) {
          if (auto transfer = cores[worker]->give_away(pool->database->name, pool->user))
            cores[i]->adopt(std::move(*transfer), *pool);
          else
            cores[i]->refused(*pool);
        }
        for (auto& [worker, transfer] : std::exchange(hosts[i].given, {})) {
          cores[worker]->adopt(std::move(transfer), cores[worker]->pool_for(directory.databases["db"], "u", nullptr));
        }
      }
    }
  }
  static std::string heard(Peer& peer) { return decode(peer.out, peer.name[0] < 'a'); }

  Settings settings;
  FakeHost hosts[2];
  FakeDirectory directory;
  FakeLedger ledger;
  PoolShare share;
  std::unique_ptr<Core> cores[2];
};

TEST(PoolWorkers, an_idle_server_comes_when_it_is_asked_for) {
  Pair pair(1);
  Peer& a = pair.client(0, "a");
  Peer& server = *pair.hosts[0].find("1");
  pair.up(server);
  Peer& b = pair.client(1, "b");
  pair.deliver();  // b needs a server for its welcome already
  b.out.clear();
  pair.say(b, "Q(select b)");
  pair.deliver();
  EXPECT_EQ(Pair::heard(server), "Q(select b)");
  pair.say(server, "D(b1) C(SELECT 1) Z(I)");
  EXPECT_EQ(Pair::heard(b), "D(b1) C(SELECT 1) Z(I)");
  a.out.clear();
  pair.say(a, "Q(select a)");
  pair.deliver();
  EXPECT_EQ(Pair::heard(server), "Q(select a)");
  EXPECT_EQ(pair.hosts[0].servers + pair.hosts[1].servers, 1);
}

TEST(PoolWorkers, a_server_that_becomes_free_goes_where_somebody_has_waited_longer) {
  Pair pair(1);
  Peer& a = pair.client(0, "a");
  Peer& server = *pair.hosts[0].find("1");
  pair.up(server);
  Peer& b = pair.client(1, "b");
  pair.deliver();
  pair.say(a, "Q(begin)");
  pair.deliver();
  pair.say(server, "C(BEGIN) Z(T)");
  pair.say(b, "Q(select b)");
  pair.deliver();
  EXPECT_EQ(Pair::heard(server), "Q(begin)");
  pair.say(a, "Q(commit)");
  pair.say(server, "C(COMMIT) Z(I)");
  pair.deliver();
  EXPECT_EQ(Pair::heard(server), "Q(commit) Q(select b)");
}

TEST(PoolWorkers, statements_and_parameters_travel_with_the_server) {
  Pair pair(1);
  Peer& a = pair.client(0, "a");
  Peer& server = *pair.hosts[0].find("1");
  pair.up(server);
  pair.say(a, "P(s1,one) S");
  pair.say(server, "1 Z(I)");
  pair.say(a, "Q(set)");
  pair.say(server, "S(TimeZone,CET) C(SET) Z(I)");
  EXPECT_NE(Pair::heard(server), "");
  Peer& b = pair.client(1, "b");
  pair.deliver();
  pair.say(b, "P(mine,one) B(,mine) E S");
  pair.deliver();
  // The welcome of b was the one the pool in the other worker knew.
  EXPECT_EQ(Pair::heard(server), "Q(SET TimeZone=E'UTC';)");
  pair.say(server, "S(TimeZone,UTC) C(SET) Z(I)");
  EXPECT_NE(Pair::heard(server).find("B(,$1) E S"), std::string::npos);
  pair.say(server, "2 D(b1) C(SELECT 1) Z(I)");
}

TEST(PoolWorkers, one_that_was_asked_in_vain_says_so) {
  Pair pair(2);
  Peer& a = pair.client(0, "a");
  Peer& server = *pair.hosts[0].find("1");
  pair.up(server);
  Peer& b = pair.client(1, "b");
  pair.say(a, "Q(begin)");  // before the other's question arrives
  pair.deliver();
  ASSERT_EQ(pair.hosts[1].servers, 1);  // so it opens one of its own
  pair.up(*pair.hosts[1].find("1"));
  pair.say(b, "Q(select b)");
  EXPECT_EQ(Pair::heard(*pair.hosts[1].find("1")), "Q(select b)");
}

TEST(PoolWorkers, a_server_of_an_older_term_is_not_taken_over) {
  Pair pair(1);
  pair.directory.databases["db"].route = Route::primary;
  for (const auto& core : pair.cores)
    core->set_route(Route::primary, {.open = true, .term = 1, .fresh_until = 0, .why = {}});
  pair.hosts[0].term = pair.hosts[1].term = 1;
  pair.client(0, "a");
  Peer& server = *pair.hosts[0].find("1");
  pair.up(server);
  Peer& b = pair.client(1, "b");
  pair.deliver();
  pair.say(b, "Q(select b)");
  auto transfer = pair.cores[0]->give_away("db", "u");
  if (!transfer) transfer = pair.cores[1]->give_away("db", "u");
  pair.cores[1]->set_route(Route::primary, {.open = true, .term = 2, .fresh_until = 0, .why = {}});
  if (transfer) pair.cores[1]->adopt(std::move(*transfer), *pair.cores[1]->find_pool("db", "u"));
  EXPECT_EQ(server.conn, nullptr);
  pair.deliver();
}

}  // namespace
}  // namespace pgdba::pool::testing
