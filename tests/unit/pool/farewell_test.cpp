// What a client is told when its server is lost (nothing that is not certain), and cancel requests.
#include "unit/pool/rig.h"
#include "wire/pg_build.h"

namespace pgdba::pool::testing {
namespace {

TEST(PoolFarewell, says_what_is_certain) {
  const ScriptRow rows[] = {
      {"nothing was under way", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       1! lost
       > 1: X
       > a: F(08006,server conn crashed?)
       > 1! closed
       > a! closed
      )",
       [](Rig& rig) { rig.settings.pool_mode = PoolMode::session; rig.settings.server_reset_query = ""; }},
      {"in a block that had not been committed", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(insert)
       > 1: Q(insert)
       1! lost
       > 1: X
       > a: F(08006,server connection lost: the transaction was rolled back)
       > 1! closed
       > a! closed
      )"},
      {"COMMIT was sent", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(insert; commit)
       > 1: Q(insert; commit)
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"a query of its own", R"(
       a: Q(insert)
       > 1: Q(insert)
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"COMMIT was answered", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(commit)
       > 1: Q(commit)
       1: C(COMMIT) Z(I)
       > a: C(COMMIT) Z(I)
       1! lost
       > 1: X
       > 1! closed
       b: Q(select 2)
       > 2! connect
      )"},
      {"an insert behind a ROLLBACK, in one message", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(rollback; insert)
       > 1: Q(rollback; insert)
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"an insert behind a ROLLBACK, in the next message", R"(
       a: Q(begin) Q(bad)
       > 1: Q(begin) Q(bad)
       1: C(BEGIN) Z(T) E(42601,syntax error) Z(E)
       > a: C(BEGIN) Z(T) E(42601,syntax error) Z(E)
       a: Q(rollback) Q(insert)
       > 1: Q(rollback) Q(insert)
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"ROLLBACK alone", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(rollback)
       > 1: Q(rollback)
       1! lost
       > 1: X
       > a: F(08006,server connection lost: the transaction was rolled back)
       > 1! closed
       > a! closed
      )"},
      {"COMMIT by Execute, answered but for ReadyForQuery", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: P(,commit) B(,) E H
       > 1: P(,commit) B(,) E H
       1: 1 2 C(COMMIT)
       > a: 1 2 C(COMMIT)
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"Sync on its way", R"(
       a: P(,insert) B(,) E H
       > 1: P(,insert) B(,) E H
       1: 1 2 C(INSERT 0 1)
       > a: 1 2 C(INSERT 0 1)
       a: S
       > 1: S
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"the server said why itself", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       1: F(57P01,terminating connection)
       > a: F(57P01,terminating connection)
       1! lost
       > 1: X
       > 1! closed
       > a! closed
      )"},
      {"the rest of a complete answer unread, because the client is slow", R"(
       a: Q(insert)
       > 1: Q(insert)
       a! slow
       1: D(a1)
       > a: D(a1)
       1! lost
       a! fast
       1: C(INSERT 0 1) Z(I)
       > a: C(INSERT 0 1) Z(I)
       1! lost
       > 1: X
       > 1! closed
      )"},
      {"the rest of half an answer unread, because the client is slow", R"(
       a: Q(insert)
       > 1: Q(insert)
       a! slow
       1: D(a1)
       > a: D(a1)
       1! lost
       a! fast
       1: D(a2)
       > a: D(a2)
       1! lost
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )"},
      {"while others wait", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       b: Q(select 2)
       1! lost
       > 1: X
       > a: F(08006,server connection lost: the transaction was rolled back)
       > 1! closed
       > a! closed
       > 2! connect
       2! up
       > 2: Q(select 2)
       2: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"cancelled while it runs: not lent before the cancel is over", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       a! cancel
       > 1! cancel
       b: Q(select 2)
       1: E(57014,canceled) Z(I)
       > a: E(57014,canceled) Z(I)
       1! cancelled
       > 1: Q(select 2)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"cancelled twice: one at a time", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       a! cancel
       > 1! cancel
       a! cancel
       1! cancelled
       > 1! cancel
       1: E(57014,canceled) Z(I)
       > a: E(57014,canceled) Z(I)
       b: Q(select 2)
       1! cancelled
       > 1: Q(select 2)
      )"},
      {"cancelled too late: the next query of the same client is spared", R"(
       a: Q(begin)
       > 1: Q(begin)
       a! cancel
       > 1! cancel
       a! cancel
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: Q(select 1)
       > 1: Q(select 1)
       1! cancelled
       1: D(a1) C(SELECT 1) Z(T)
       > a: D(a1) C(SELECT 1) Z(T)
      )"},
      {"cancelled while it waits", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       b: Q(select 2)
       b! cancel
       > b: E(57014,canceling statement due to user request) Z(I)
       b: P(,x) B(,) E S Q(select 3)
       b! cancel
       > b: E(57014,canceling statement due to user request) Z(I)
       a: Q(commit)
       > 1: Q(commit)
       1: C(COMMIT) Z(I)
       > 1: Q(select 3)
       > a: C(COMMIT) Z(I)
       1: D(b3) C(SELECT 1) Z(I)
       > b: D(b3) C(SELECT 1) Z(I)
      )"},
      {"cancelled while nothing runs", R"(
       a! cancel
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a! cancel
      )"},
  };
  for (const ScriptRow& row : rows) expect_script(row);
}

// The goodbye to the server was taken for the rest of it, and PostgreSQL carried out "delete from things where number = 1X".
TEST(PoolFarewell, nothing_follows_half_a_message) {
  for (const size_t missing : {0U, 2U}) {
    Rig rig;
    rig.run("z! in\n1! up\na! in\na: Q(begin)\n1: C(BEGIN) Z(T)\n");
    std::string bytes;
    wire::append_query(bytes, "delete from things where number = 10");
    bytes.resize(bytes.size() - missing);
    const Peer& server = *rig.host.find("1");
    const size_t before = server.all.size();
    rig.input(*rig.host.find("a"), bytes);
    rig.step("a! gone");
    EXPECT_EQ(server.conn, nullptr);
    EXPECT_EQ(server.all.substr(before), missing == 0 ? bytes + std::string("X\0\0\0\4", 5) : bytes);
    rig.end();
  }
}

}  // namespace
}  // namespace pgdba::pool::testing
