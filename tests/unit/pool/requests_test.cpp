// The order-exact accounting: which answer is whose, and when a server is free for the next client.
#include "unit/pool/rig.h"

namespace pgdba::pool::testing {
namespace {

TEST(PoolRequests, each_answer_goes_to_who_asked) {
  const ScriptRow rows[] = {
      {"a query and its answer", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       1: T D(a1) C(SELECT 1) Z(I)
       > a: T D(a1) C(SELECT 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
       1: T D(b1) C(SELECT 1) Z(I)
       > b: T D(b1) C(SELECT 1) Z(I)
      )"},
      {"a transaction keeps its server", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       b: Q(select 2)
       a: Q(commit)
       > 1: Q(commit)
       1: C(COMMIT) Z(I)
       > 1: Q(select 2)
       > a: C(COMMIT) Z(I)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"as many answers as queries", R"(
       a: Q(select 1) Q(select 2) F
       > 1: Q(select 1) Q(select 2) F
       b: Q(select 3)
       1: D(a1) C(SELECT 1) Z(I) D(a2) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I) D(a2) C(SELECT 1) Z(I)
       1: V Z(I)
       > 1: Q(select 3)
       > a: V Z(I)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"an error is the last answer until Sync", R"(
       a: P(,bad) B(,) E S Q(select 1)
       > 1: P(,bad) B(,) E S Q(select 1)
       1: E(42601,syntax error) Z(I)
       > a: E(42601,syntax error) Z(I)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"a query before Sync is skipped", R"(
       a: P(,bad) Q(select 1) F S
       > 1: P(,bad) Q(select 1) F S
       1: E(42601,syntax error) Z(I)
       > a: E(42601,syntax error) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"what is sent while the server skips has no answer", R"(
       a: P(,bad) H
       > 1: P(,bad) H
       1: E(42601,syntax error)
       > a: E(42601,syntax error)
       a: P(,more) B(,) E Q(select 1) P(s1,named) CS(s1)
       > 1: P(,more) B(,) E Q(select 1) CS(s1)
       a: S
       > 1: S
       1: Z(I)
       > a: Z(I)
       b: P(s1,named) B(,s1) E S
       > 1: P($1,named) B(,$1) E S
      )"},
      {"a commit that fails at Sync", R"(
       a: P(,insert) B(,) E S
       > 1: P(,insert) B(,) E S
       1: 1 2 C(INSERT 0 1) E(23503,foreign key) Z(I)
       > a: 1 2 C(INSERT 0 1) E(23503,foreign key) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"who leaves a server that skips takes it along", R"(
       a: P(,bad) H
       > 1: P(,bad) H
       1: E(42601,syntax error)
       > a: E(42601,syntax error)
       b: Q(select 2)
       > 2! connect
       a! gone
       > 1: X
       > a! closed
       > 1! closed
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"who leaves without Sync has nothing committed", R"(
       a: P(,insert) B(,) E H
       > 1: P(,insert) B(,) E H
       1: 1 2 C(INSERT 0 1)
       > a: 1 2 C(INSERT 0 1)
       a! gone
       > 1: X
       > a! closed
       > 1! closed
       b: Q(select 2)
       > 2! connect
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"who leaves after Sync leaves a good server", R"(
       a: P(,insert) B(,) E S
       > 1: P(,insert) B(,) E S
       1: 1 2 C(INSERT 0 1) Z(I)
       > a: 1 2 C(INSERT 0 1) Z(I)
       a: X
       > a! closed
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"portals and suspended ones", R"(
       a: P(,select) B(p,) DP(p) E(p) E(p) CP(p) S
       > 1: P(,select) B(p,) DP(p) E(p) E(p) CP(p) S
       1: 1 2 T D(a1) s D(a2) C(SELECT 2) 3 Z(I)
       > a: 1 2 T D(a1) s D(a2) C(SELECT 2) 3 Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"an empty query, notices, notifications, parameters", R"(
       a: Q()
       > 1: Q()
       1: N(hint) A S(TimeZone,CET) I Z(I) A
       > a: N(hint) A S(TimeZone,CET) I Z(I)
       b: Q(select 2)
       > 1: Q(SET TimeZone=E'UTC';)
       1: C(SET) Z(I)
       > 1: Q(select 2)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"who leaves in the middle of its message", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(commit)
       > 1: Q(commit)
       1: C(COMMIT) first(3,Z(I))
       > a: C(COMMIT)
       a! gone
       > 1: X
       > a! closed
       > 1! closed
      )"},
      {"a server that is ready without having been asked", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       1: C(SELECT 1) Z(I) Z(I)
       > 1: X
       > a: C(SELECT 1) Z(I)
       > 1! closed
       b: Q(select 2)
       > 2! connect
      )"},
      {"a server that answers twice within a block", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T) Z(T)
       > 1: X
       > a: C(BEGIN) Z(T) F(08006,server connection lost: the transaction was rolled back)
       > 1! closed
       > a! closed
      )"},
      {"no message at all, behind a hidden answer", R"(
       a: P(s1,one) P(s2,two) S
       > 1: P($1,one) CS($1) P($2,two) S
       1: 1 3 1 Z(I)
       > a: 1 1 Z(I)
       a: B(,s1) E S
       > 1: CS($2) P($1,one) B(,$1) E S
       1: 3 1 2 raw(!,4)
       > 1: X
       > a: 2 F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
       b: Q(select 2)
       > 2! connect
       2! up
       > 2: Q(select 2)
       2: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.max_prepared_statements = 1; }},
      {"a client's message of no known type", R"(
       a: P(s1,one) S
       > 1: P($1,one) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: P(s2,one) raw(!,4)
       > a: 1 F(08P01,unknown pkt)
       > a! closed
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"streamed: long messages in pieces", R"(
       a: P(,select) first(30,fill(70000,B(,,v)))
       > 1: P(,select)
       a: after(30,fill(70000,B(,,v))) E S
       > 1: B(,) E S
       1: 1 2 first(9,fill(90000,D(a)))
       > a: 1 2
       1: after(9,fill(90000,D(a))) C(SELECT 1) Z(I)
       > a: D(axxxxxxx...90001) C(SELECT 1) Z(I)
       a: first(9,fill(90000,P(,x)))
       a: after(9,fill(90000,P(,x))) S
       > 1: P(,xxxxxxxx...90001) S
       1: 1 Z(I)
       > a: 1 Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"a long named Parse is collected", R"(
       a: first(20000,fill(70000,P(s1,x)))
       a: after(20000,fill(70000,P(s1,x))) B(,s1) S
       > 1: P($1,xxxxxxxx...70001) B(,$1) S
       1: 1 2 Z(I)
       > a: 1 2 Z(I)
      )"},
      {"no Query at all", R"(
       a: P(,select) S
       > 1: P(,select) S
       1: 1 Z(I)
       > a: 1 Z(I)
       a: Q(select 1)
       > a: F(08P01,PQexec disallowed)
       > a! closed
      )",
       [](Rig& rig) { rig.settings.disable_pqexec = true; }},
      {"a block in statement mode", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > 1: X
       > a: C(BEGIN) F(08P01,transaction blocks not allowed in statement pooling mode)
       > a! closed
       > 1! closed
      )",
       [](Rig& rig) { rig.settings.pool_mode = PoolMode::statement; }},
      {"session mode keeps the server, and resets it behind the client", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(commit)
       > 1: Q(commit)
       1: C(COMMIT) Z(I)
       > a: C(COMMIT) Z(I)
       b: Q(select 2)
       a: X
       > 1: Q(DISCARD ALL)
       > a! closed
       1: S(TimeZone,UTC) C(DISCARD ALL) Z(I)
       > 1: Q(select 2)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.pool_mode = PoolMode::session; }},
      {"a client that only sends Flush keeps nothing when it goes", R"(
       a: H
       > 1: H
       b: Q(select 2)
       a: X
       > 1: Q(select 2)
       > a! closed
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"those who leave at once give the server to the next", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       b: H X
       c! in
       c: H X
       d! in
       d: Q(select 4)
       a: Q(rollback)
       > 1: Q(rollback)
       1: C(ROLLBACK) Z(I)
       > 1: H H Q(select 4)
       > a: C(ROLLBACK) Z(I)
       > b! closed
       > c! closed
      )"},
  };
  for (const ScriptRow& row : rows) expect_script(row);
}

}  // namespace
}  // namespace pgdba::pool::testing
