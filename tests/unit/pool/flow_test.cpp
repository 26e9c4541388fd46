// Backpressure, long queues and long pipelines: nobody who is slow makes us hold more, and nothing is lost on the way.
#include <gtest/gtest.h>

#include "unit/pool/notation.h"
#include "unit/pool/rig.h"

namespace pgdba::pool::testing {
namespace {

struct Begun : Rig {
  Begun() { run("a! in\n1! up\nb! in\n"); }
  Peer& peer(std::string_view name) { return *host.find(name); }
};

TEST(PoolFlow, a_slow_client_stops_its_server) {
  Begun rig;
  rig.run("a: Q(select 1)\na! slow\n1: T D(a1)\n");
  EXPECT_FALSE(rig.peer("1").wanted);
  rig.run("a! fast\n");
  EXPECT_TRUE(rig.peer("1").wanted);
  rig.run("a! slow\n1: D(a2) C(SELECT 1) Z(I)\n");
  EXPECT_TRUE(rig.peer("1").wanted);  // it is free
  EXPECT_TRUE(rig.peer("a").wanted);
  rig.run("b: Q(select 2)\n1: D(b1)\n");
  EXPECT_TRUE(rig.peer("1").wanted);
  rig.end();
}

TEST(PoolFlow, a_slow_server_stops_its_client) {
  Begun rig;
  rig.run("1! slow\na: Q(copy t from stdin)\n");
  EXPECT_FALSE(rig.peer("a").wanted);
  rig.run("1! fast\n");
  EXPECT_TRUE(rig.peer("a").wanted);
  rig.end();
}

TEST(PoolFlow, a_client_that_does_not_read_what_we_make_up_is_not_read) {
  Begun rig;
  rig.run("a: P(s1,one) S\n1: 1 Z(I)\na! slow\na: P(s2,one) H\n");
  EXPECT_FALSE(rig.peer("a").wanted);
  rig.run("a! fast\n");
  EXPECT_TRUE(rig.peer("a").wanted);
  rig.end();
}

TEST(PoolFlow, who_waits_is_not_read) {
  Begun rig;
  rig.run("a: Q(begin)\nb: Q(select 2)\n");
  EXPECT_FALSE(rig.peer("b").wanted);
  rig.run("1: C(BEGIN) Z(T)\na: Q(commit)\n1: C(COMMIT) Z(I)\n");
  EXPECT_TRUE(rig.peer("b").wanted);
  rig.end();
}

// A thousand requests at once: more pieces than one send takes.
TEST(PoolFlow, long_pipelines_keep_their_order) {
  for (const bool bytewise : {false, true}) {
    Begun rig;
    rig.run("a: P(s0,t0) P(s1,t1) P(s2,t2) S\n1: 1 1 1 Z(I)\n");
    rig.bytewise = bytewise;
    std::string requests, sent, answers, heard;
    for (int i = 0; i < 1000; ++i) {
      const std::string name = std::to_string(i % 3);
      requests += "B(p" + std::to_string(i) + ",s" + name + ") P(x" + std::to_string(i) + ",t" + name + ") E CS(x" +
                  std::to_string(i) + ") ";
      sent += "B(p" + std::to_string(i) + ",$" + std::to_string(i % 3 + 1) + ") E ";
      answers += "2 D(a" + std::to_string(i) + ") C(x) ";
      heard += "2 1 D(a" + std::to_string(i) + ") C(x) 3 ";
    }
    EXPECT_EQ(rig.run("a: " + requests + "S\n"), "a: " + requests + "S\n> 1: " + sent + "S\n");
    EXPECT_EQ(rig.run("1: " + answers + "Z(I)\n"), "1: " + answers + "Z(I)\n> a: " + heard + "Z(I)\n");
    rig.end();
  }
}

// Each of them leaves as soon as it has a server; that must not be a call within a call for each.
TEST(PoolFlow, ten_thousand_who_leave_at_once) {
  Begun rig;
  rig.directory.most = 100'000;
  rig.run("a: Q(begin)\n1: C(BEGIN) Z(T)\n");
  const std::string bye = encode("H X", true);
  for (int i = 0; i < 10'000; ++i) {
    Peer& peer = rig.host.add("c");
    rig.core().set_now(rig.now);
    Client& client = rig.core().open_own(*rig.core().pools()[0]);
    client.socket = &peer;
    peer.conn = &client;
    rig.core().client_input(client, bye);
  }
  EXPECT_EQ(rig.core().pools()[0]->waiting.size(), 10'000U);
  rig.step("1: Z(I)");  // nothing was asked: the server is closed, and the next one serves them all
  rig.core().tidy();
  rig.step("2! up");
  rig.core().tidy();
  EXPECT_EQ(rig.core().pools()[0]->waiting.size(), 0U);
  rig.end();
}

TEST(PoolFlow, a_server_that_is_being_checked_needs_no_other_beside_it) {
  Rig rig;
  rig.settings.default_pool_size = 2;
  rig.settings.server_check_query = "check";
  rig.run("a! in\n1! up\nwait 31\na: Q(select 1)\n");
  EXPECT_EQ(rig.host.servers, 1);
  rig.end();
}

TEST(PoolFlow, a_message_in_many_pieces_is_not_copied_with_each) {
  Begun rig;
  const std::string message = encode("fill(4000000,P(s1,x))", true);
  Client& client = *rig.client("a");
  for (size_t at = 0; at < message.size(); at += 4096)
    rig.core().client_input(client, std::string_view(message).substr(at, 4096));
  std::string out = rig.peer("1").out;
  EXPECT_EQ(out.size(), message.size() + 36);
  EXPECT_TRUE(client.held.empty());
  rig.end();
}

}  // namespace
}  // namespace pgdba::pool::testing
