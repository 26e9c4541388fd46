// Prepared statements in transaction mode: names are the client's, texts are known to servers by their digests.
#include <algorithm>

#include "unit/pool/rig.h"
#include "wire/pg_build.h"

namespace pgdba::pool::testing {
namespace {

TEST(PoolStatements, follow_their_client) {
  const ScriptRow rows[] = {
      {"one text, one statement on the server", R"(
       a: P(s1,one) B(,s1) E S
       > 1: P($1,one) B(,$1) E S
       1: 1 2 D(a1) C(SELECT 1) Z(I)
       > a: 1 2 D(a1) C(SELECT 1) Z(I)
       b: P(other,one) DS(other) B(,other) E S
       > 1: DS($1) B(,$1) E S
       > b: 1
       1: t T 2 D(b1) C(SELECT 1) Z(I)
       > b: t T 2 D(b1) C(SELECT 1) Z(I)
       a: B(,s1) E S
       > 1: B(,$1) E S
       1: 2 D(a2) C(SELECT 1) Z(I)
       > a: 2 D(a2) C(SELECT 1) Z(I)
      )"},
      {"a server that lacks it is given it, and says nothing of it", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: Q(begin)
       > 1: Q(begin)
       a: B(,s1) E S
       > 2! connect
       2! up
       > 2: P($1,one) B(,$1) E S
       2: 1 2 D(a1) C(SELECT 1) Z(I)
       > a: 2 D(a1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"a made-up answer comes in its place", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: Q(select 2) P(x,one) B(,x) E S
       > 1: Q(select 2) B(,$1) E S
       1: D(b1) C(SELECT 1) Z(I) 2 D(b2) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I) 1 2 D(b2) C(SELECT 1) Z(I)
      )"},
      {"a made-up answer does not wait for the rest of the next message", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: P(x,one) B(,x) E first(9,P(y,two))
       > 1: B(,$1) E
       > b: 1
       1: 2 D(b1) C(SELECT 1)
       > b: 2 D(b1) C(SELECT 1)
       b: after(9,P(y,two)) S
       > 1: P($2,two) S
       1: 1 Z(I)
       > b: 1 Z(I)
      )"},
      {"only made-up answers", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: P(x,one) CS(x) CS(never) H
       > 1: H
       > b: 1 3 3
       b: S
       > 1: S
       1: Z(I)
       > b: Z(I)
      )"},
      {"the same name twice", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: P(s1,two) S
       > 1: P($1,one) S
       1: E(42P05,prepared statement "PGDBA_00" already exists) Z(I)
       > a: E(42P05,prepared statement "s1" already exists) Z(I)
       a: B(,s1) E S
       > 1: B(,$1) E S
       1: 2 D(a1) C(SELECT 1) Z(I)
       > a: 2 D(a1) C(SELECT 1) Z(I)
      )"},
      {"the same name twice in a failed transaction", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: Q(begin) Q(bad)
       > 1: Q(begin) Q(bad)
       1: C(BEGIN) Z(T) E(42601,syntax error) Z(E)
       > a: C(BEGIN) Z(T) E(42601,syntax error) Z(E)
       a: P(s1,two) S
       > 1: P($1,one) S
       1: E(25P02,current transaction is aborted) Z(E)
       > a: E(25P02,current transaction is aborted) Z(E)
       a: Q(rollback)
       > 1: Q(rollback)
       1: C(ROLLBACK) Z(I)
       > a: C(ROLLBACK) Z(I)
      )"},
      {"the same name twice at once", R"(
       a: P(s1,one) P(s1,two) S
       > 1: P($1,one) P($1,one) S
       1: 1 E(42P05,prepared statement "PGDBA_00" already exists) Z(I)
       > a: 1 E(42P05,prepared statement "s1" already exists) Z(I)
       a: B(,s1) S
       > 1: B(,$1) S
       1: 2 Z(I)
       > a: 2 Z(I)
      )"},
      {"closed and prepared anew", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: CS(s1) P(s1,two) B(,s1) E S
       > 1: P($2,two) B(,$2) E S
       > a: 3
       1: 1 2 D(a1) C(SELECT 1) Z(I)
       > a: 1 2 D(a1) C(SELECT 1) Z(I)
      )"},
      {"a Close that is skipped has not happened", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: P(,bad) CS(s1) P(s1,two) S
       > 1: P(,bad) P($2,two) S
       1: E(42601,syntax error) Z(I)
       > a: E(42601,syntax error) Z(I)
       a: B(,s1) E S
       > 1: B(,$1) E S
       1: 2 D(a1) C(SELECT 1) Z(I)
       > a: 2 D(a1) C(SELECT 1) Z(I)
      )"},
      {"a Parse that is skipped has not happened", R"(
       a: P(,bad) P(s1,one) P(s2,one) S
       > 1: P(,bad) P($1,one) S
       1: E(42601,syntax error) Z(I)
       > a: E(42601,syntax error) Z(I)
       a: B(,s1) S
       > 1: B(,s1) S
       1: E(26000,prepared statement "s1" does not exist) Z(I)
       > a: E(26000,prepared statement "s1" does not exist) Z(I)
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
      )"},
      {"a Parse that fails", R"(
       a: P(s1,bad) B(,s1) E S
       > 1: P($1,bad) B(,$1) E S
       1: E(42601,syntax error) Z(I)
       > a: E(42601,syntax error) Z(I)
       a: P(s1,good) B(,s1) S
       > 1: P($2,good) B(,$2) S
       1: 1 2 Z(I)
       > a: 1 2 Z(I)
      )"},
      {"unknown names are PostgreSQL's matter", R"(
       a: B(,none) S DS(none) S
       > 1: B(,none) S DS(none) S
       1: E(26000,prepared statement "none" does not exist) Z(I) E(26000,prepared statement "none" does not exist) Z(I)
       > a: E(26000,prepared statement "none" does not exist) Z(I) E(26000,prepared statement "none" does not exist) Z(I)
      )"},
      {"nobody closes somebody else's", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: CS($1) S
       > 1: S
       > b: 3
       1: Z(I)
       > b: Z(I)
       a: B(,s1) S
       > 1: B(,$1) S
      )"},
      {"the oldest makes room", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: P(s2,two) S
       > 1: CS($1) P($2,two) S
       1: 3 1 Z(I)
       > a: 1 Z(I)
       a: B(,s1) E S
       > 1: CS($2) P($1,one) B(,$1) E S
       1: 3 1 2 D(a1) C(SELECT 1) Z(I)
       > a: 2 D(a1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"a Close of ours that is skipped", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: P(,bad) P(s2,two) S
       > 1: P(,bad) CS($1) P($2,two) S
       1: E(42601,syntax error) Z(I)
       > a: E(42601,syntax error) Z(I)
       a: B(,s1) S
       > 1: B(,$1) S
       1: 2 Z(I)
       > a: 2 Z(I)
       a: P(s2,two) S
       > 1: CS($1) P($2,two) S
       1: 3 1 Z(I)
       > a: 1 Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"a Parse of ours that fails", R"(
       a: P(s1,one) P(s2,two) S
       > 1: P($1,one) CS($1) P($2,two) S
       1: 1 3 1 Z(I)
       > a: 1 1 Z(I)
       a: B(,s1) E S
       > 1: CS($2) P($1,one) B(,$1) E S
       1: 3 E(42P01,no such table) Z(I)
       > a: E(42P01,no such table) Z(I)
       a: B(,s2) E S
       > 1: P($2,two) B(,$2) E S
       1: 1 2 C(SELECT 0) Z(I)
       > a: 2 C(SELECT 0) Z(I)
       a: B(,s1) E S
       > 1: CS($2) P($1,one) B(,$1) E S
       1: 3 1 2 C(SELECT 0) Z(I)
       > a: 2 C(SELECT 0) Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"back and forth in one pipeline", R"(
       a: P(s1,one) B(,s1) E P(s2,two) B(,s2) E B(,s1) E S
       > 1: P($1,one) B(,$1) E CS($1) P($2,two) B(,$2) E CS($2) P($1,one) B(,$1) E S
       1: 1 2 C(a) 3 1 2 C(b) 3 1 2 C(a) Z(I)
       > a: 1 2 C(a) 1 2 C(b) 2 C(a) Z(I)
       a: B(,s1) E S
       > 1: B(,$1) E S
       1: 2 C(a) Z(I)
       > a: 2 C(a) Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"a Describe takes the room of the statement that is parsed behind it", R"(
       a: P(s1,one) P(s2,two) S
       > 1: P($1,one) CS($1) P($2,two) S
       1: 1 3 1 Z(I)
       > a: 1 1 Z(I)
       a: DS(s1) P(s3,two) B(,s3) E S
       > 1: CS($2) P($1,one) DS($1) CS($1) P($2,two) B(,$2) E S
       1: 3 1 t T 3 1 2 D(a1) C(SELECT 1) Z(I)
       > a: t T 1 2 D(a1) C(SELECT 1) Z(I)
       a: P(s4,two) DS(s1) B(,s4) E S
       > 1: CS($2) P($1,one) DS($1) CS($1) P($2,two) B(,$2) E S
       > a: 1
       1: 3 1 t T 3 1 2 D(a2) C(SELECT 1) Z(I)
       > a: t T 2 D(a2) C(SELECT 1) Z(I)
       a: DS(s1) S P(s5,two) B(,s5) E S
       > 1: CS($2) P($1,one) DS($1) S
       1: 3 1 t T Z(I)
       > 1: CS($1) P($2,two) B(,$2) E S
       > a: t T Z(I)
       1: 3 1 2 D(a3) C(SELECT 1) Z(I)
       > a: 1 2 D(a3) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"a Describe that fails, with a Parse behind it", R"(
       a: P(s1,one) P(s2,two) S
       > 1: P($1,one) CS($1) P($2,two) S
       1: 1 3 1 Z(I)
       > a: 1 1 Z(I)
       a: DS(s1) P(s3,two) S
       > 1: CS($2) P($1,one) DS($1) CS($1) P($2,two) S
       1: 3 E(42P01,no such table) Z(I)
       > a: E(42P01,no such table) Z(I)
       a: DS(s2) P(s3,one) S
       > 1: P($2,two) DS($2) CS($2) P($1,one) S
       1: 1 t T 3 1 Z(I)
       > a: t T 1 Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"DEALLOCATE ALL: names of later requests wait for it", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: Q(DEALLOCATE ALL) P(s1,one) B(,s1) E S Q(select 1)
       > 1: Q(DEALLOCATE ALL)
       1: C(DEALLOCATE ALL) Z(I)
       > 1: P($1,one) B(,$1) E S Q(select 1)
       > a: C(DEALLOCATE ALL) Z(I)
       1: 1 2 D(a1) C(SELECT 1) Z(I) D(a2) C(SELECT 1) Z(I)
       > a: 1 2 D(a1) C(SELECT 1) Z(I) D(a2) C(SELECT 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"DISCARD ALL in a block fails, and names stay", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(  discard all) B(,s1) E S
       > 1: Q(  discard all)
       1: E(25001,cannot run inside a transaction block) Z(E)
       > 1: B(,$1) E S
       > a: E(25001,cannot run inside a transaction block) Z(E)
       1: E(25P02,current transaction is aborted) Z(E)
       > a: E(25P02,current transaction is aborted) Z(E)
       a: Q(rollback)
       > 1: Q(rollback)
       1: C(ROLLBACK) Z(I)
       > a: C(ROLLBACK) Z(I)
      )"},
      {"DISCARD ALL by Execute: what follows it holds", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: P(,DISCARD ALL) B(,) E P(s2,two) S
       > 1: P(,DISCARD ALL) B(,) E P($2,two) S
       1: 1 2 C(DISCARD ALL) 1 Z(I)
       > a: 1 2 C(DISCARD ALL) 1 Z(I)
       a: B(,s2) S
       > 1: B(,$2) S
       1: 2 Z(I)
       > a: 2 Z(I)
       a: B(,s1) S
       > 1: B(,s1) S
       1: E(26000,prepared statement "s1" does not exist) Z(I)
       > a: E(26000,prepared statement "s1" does not exist) Z(I)
       b: P(s1,one) S
       > 1: P($1,one) S
      )"},
      {"a name of ours that SQL has taken away: not this server again", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: B(,s1) E S
       > 1: B(,$1) E S
       1: E(26000,prepared statement "PGDBA_00000000000000000000000000000001" does not exist) Z(I)
       > 1: X
       > a: E(26000,prepared statement "PGDBA_00000000000000000000000000000001" does not exist) Z(I)
       > 1! closed
       a: B(,s1) E S
       > 2! connect
       2! up
       > 2: P($1,one) B(,$1) E S
       2: 1 2 C(SELECT 0) Z(I)
       > a: 2 C(SELECT 0) Z(I)
      )"},
      {"session mode leaves names alone", R"(
       a: P(s1,one) B(,s1) DS(s1) CS(s1) S
       > 1: P(s1,one) B(,s1) DS(s1) CS(s1) S
       1: 1 2 t n 3 Z(I)
       > a: 1 2 t n 3 Z(I)
      )",
       [](Rig& rig) { rig.settings.pool_mode = PoolMode::session; }},
      {"the first Query after the name has been cut", R"(
       a: first(9,Q(deallocate all))
       a: after(9,Q(deallocate all)) P(s1,one) S
       > 1: Q(deallocate all)
       1: C(DEALLOCATE ALL) Z(I)
       > 1: P($1,one) S
       > a: C(DEALLOCATE ALL) Z(I)
      )"},
      {"DISCARD that is skipped with the rest", R"(
       a: B(,none) E Q(discard all) B(,none) E S Q(select 1)
       > 1: B(,none) E Q(discard all)
       1: E(26000,prepared statement "none" does not exist)
       > 1: B(,none) E S Q(select 1)
       > a: E(26000,prepared statement "none" does not exist)
       1: Z(I) D(a1) C(SELECT 1) Z(I)
       > a: Z(I) D(a1) C(SELECT 1) Z(I)
      )"},
      {"a Parse of ours that may be skipped, and is needed behind the Sync", R"(
       a: P(s1,one) P(s2,two) S
       > 1: P($1,one) CS($1) P($2,two) S
       1: 1 3 1 Z(I)
       > a: 1 1 Z(I)
       a: P(,bad) B(,s1) E S B(,s1) E S
       > 1: P(,bad) CS($2) P($1,one) B(,$1) E S
       1: E(42601,syntax error) Z(I)
       > 1: CS($2) P($1,one) B(,$1) E S
       > a: E(42601,syntax error) Z(I)
       1: 3 1 2 D(a1) C(SELECT 1) Z(I)
       > a: 2 D(a1) C(SELECT 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"a Parse that may be skipped, and its name behind the Sync", R"(
       a: P(,bad) P(s1,one) S B(,s1) E S Q(select 1)
       > 1: P(,bad) P($1,one) S
       1: E(42601,syntax error) Z(I)
       > 1: B(,s1) E S Q(select 1)
       > a: E(42601,syntax error) Z(I)
       1: E(26000,prepared statement "s1" does not exist) Z(I) D(a1) C(SELECT 1) Z(I)
       > a: E(26000,prepared statement "s1" does not exist) Z(I) D(a1) C(SELECT 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"made-up answers hold nobody up", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: P(x,one) S B(,x) E S P(,other) B(,) E S
       > 1: S B(,$1) E S P(,other) B(,) E S
       > b: 1
       1: Z(I) 2 D(b1) C(SELECT 1) Z(I) 1 2 D(b2) C(SELECT 1) Z(I)
       > b: Z(I) 2 D(b1) C(SELECT 1) Z(I) 1 2 D(b2) C(SELECT 1) Z(I)
      )"},
  };
  for (const ScriptRow& row : rows) expect_script(row);
}

// Each was kept for as long as the server took for what was before it, and nothing slowed down the client.
TEST(PoolStatements, made_up_answers_wait_in_a_bounded_number) {
  Rig rig;
  rig.run("z! in\n1! up\na! in\na: Q(select pg_sleep(60))\n");
  Peer& peer = *rig.host.find("a");
  peer.out.clear();
  std::string closes;
  constexpr size_t kEach = 4000;
  for (size_t i = 0; i < kEach; ++i) wire::append_close(closes, 'S', "unknown");
  size_t sent = 0;
  for (; peer.wanted && sent < 100'000; sent += kEach) rig.input(peer, closes);
  EXPECT_LT(sent, 30'000U);
  EXPECT_LT(rig.server("1")->requests.pending().size(), 17'000U);
  rig.step("1: C(SELECT 1) Z(I)");
  EXPECT_TRUE(peer.wanted);
  EXPECT_EQ(peer.out.substr(peer.out.size() - 5), std::string("3\0\0\0\4", 5));
  EXPECT_EQ(std::count(peer.out.begin(), peer.out.end(), '3'), static_cast<std::ptrdiff_t>(sent));
  rig.run("a: S\n1: Z(I)\n");
  EXPECT_EQ(rig.client("a")->server, nullptr);
  rig.end();
}

}  // namespace
}  // namespace pgdba::pool::testing
