// COPY in both protocols, and what a client sends before it knows whether the server wants it.
#include "unit/pool/rig.h"

namespace pgdba::pool::testing {
namespace {

TEST(PoolCopy, ends_where_the_server_ends_it) {
  const ScriptRow rows[] = {
      {"COPY from the client", R"(
       a: Q(copy t from stdin)
       > 1: Q(copy t from stdin)
       1: G
       > a: G
       a: d(one) d(two) c
       > 1: d(one) d(two) c
       b: Q(select 2)
       1: C(COPY 2) Z(I)
       > 1: Q(select 2)
       > a: C(COPY 2) Z(I)
      )"},
      {"COPY fails, and the rest of the data is for nobody", R"(
       a: Q(copy t from stdin)
       > 1: Q(copy t from stdin)
       1: G
       > a: G
       a: d(one)
       > 1: d(one)
       1: E(22P02,bad row) Z(I)
       > a: E(22P02,bad row) Z(I)
       a: d(two) d(three) c
       b: Q(select 2)
       > 1: Q(select 2)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
      )"},
      // The server was lent to b while the answer to a's last Query was on its way.
      {"a Sync behind a COPY that has failed and a Bind is answered", R"(
       a: Q(copy t from stdin)
       > 1: Q(copy t from stdin)
       1: G
       > a: G
       a: d(one) B(,s) S Q(select 1)
       > 1: d(one) B(,s) S Q(select 1)
       1: E(22P02,bad row) Z(I) E(26000,no such statement) Z(I)
       > a: E(22P02,bad row) Z(I) E(26000,no such statement) Z(I)
       b: Q(select 2)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(select 2)
       > a: D(a1) C(SELECT 1) Z(I)
      )"},
      {"also when all is sent at once", R"(
       a: Q(copy t from stdin) d(one) Q(copy t from stdin) d(two) B(,s) f(why) S Q(select 1)
       > 1: Q(copy t from stdin) d(one) Q(copy t from stdin) d(two) B(,s) f(why) S Q(select 1)
       1: G E(22P02,bad row) Z(I) G E(22P02,bad row) Z(I) E(26000,no such statement) Z(I)
       > a: G E(22P02,bad row) Z(I) G E(22P02,bad row) Z(I) E(26000,no such statement) Z(I)
       b: Q(select 2)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(select 2)
       > a: D(a1) C(SELECT 1) Z(I)
      )"},
      {"COPY fails within a message of the client", R"(
       a: Q(copy t from stdin)
       > 1: Q(copy t from stdin)
       1: G
       > a: G
       a: d(one) first(12,fill(20000,d(two)))
       > 1: d(one)
       1: E(22P02,bad row) Z(I)
       > a: E(22P02,bad row) Z(I)
       > 1! closed
       b: Q(select 2)
       > 2! connect
       a: after(12,fill(20000,d(two))) c Q(select 1)
       > 3! connect
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"COPY in the extended protocol skips a Sync that came too early", R"(
       a: P(,copy) B(,) E S
       > 1: P(,copy) B(,) E S
       1: 1 2 G
       > a: 1 2 G
       a: d(one) c S
       > 1: d(one) c S
       b: Q(select 2)
       1: C(COPY 1) Z(I)
       > 1: Q(select 2)
       > a: C(COPY 1) Z(I)
      )"},
      {"COPY whose data did not wait for the server", R"(
       a: P(,copy) B(,) E d(one) c S
       > 1: P(,copy) B(,) E d(one) c S
       b: Q(select 2)
       1: 1 2 G C(COPY 1) Z(I)
       > 1: Q(select 2)
       > a: 1 2 G C(COPY 1) Z(I)
      )"},
      {"COPY with a Sync before the data and one behind, all at once", R"(
       a: P(,copy) B(,) E S d(one) c S Q(select 1)
       > 1: P(,copy) B(,) E S d(one) c S Q(select 1)
       b: Q(select 2)
       1: 1 2 G C(COPY 1) Z(I)
       > a: 1 2 G C(COPY 1) Z(I)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(select 2)
       > a: D(a1) C(SELECT 1) Z(I)
      )"},
      {"COPY in one query after another", R"(
       a: Q(copy t from stdin; copy t from stdin) d(one) c d(two) c
       > 1: Q(copy t from stdin; copy t from stdin) d(one) c d(two) c
       1: G C(COPY 1) G C(COPY 1) Z(I)
       > a: G C(COPY 1) G C(COPY 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"an end of COPY that nobody waits for", R"(
       a: Q(select 1) c f(why)
       > 1: Q(select 1) c f(why)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"COPY fails in the extended protocol, and a Sync may be answered or not", R"(
       a: P(,copy) B(,) E S
       > 1: P(,copy) B(,) E S
       1: 1 2 G E(P0001,trigger)
       > a: 1 2 G E(P0001,trigger)
       a: c S
       > 1: c S
       1: Z(I)
       > 1: X
       > a: Z(I)
       > 1! closed
       1: Z(I)
       b: Q(select 2)
       > 2! connect
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"the same within a block: what was skipped is told from the answers", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       a: P(,copy) B(,) E S
       > 1: P(,copy) B(,) E S
       1: 1 2 G E(P0001,trigger)
       > a: 1 2 G E(P0001,trigger)
       a: c S
       > 1: c S
       1: Z(E)
       > a: Z(E)
       a: Q(rollback)
       > 1: Q(rollback)
       1: Z(E)
       > a: Z(E)
       1: C(ROLLBACK) Z(I)
       > a: C(ROLLBACK) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"COPY to the client", R"(
       a: Q(copy t to stdout)
       > 1: Q(copy t to stdout)
       1: H d(a1) d(a2) c C(COPY 2) Z(I)
       > a: H d(a1) d(a2) c C(COPY 2) Z(I)
       b: Q(select 2)
       > 1: Q(select 2)
      )"},
      {"half a COPY to the client, which leaves", R"(
       a: Q(copy t to stdout)
       > 1: Q(copy t to stdout)
       1: H d(a1) first(3,d(a2))
       > a: H d(a1)
       a! gone
       > 1: X
       > a! closed
       > 1! closed
       b: Q(select 2)
       > 2! connect
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"session mode passes one answer too many", R"(
       a: P(,copy) B(,) E S
       > 1: P(,copy) B(,) E S
       1: 1 2 G E(P0001,trigger)
       > a: 1 2 G E(P0001,trigger)
       a: c S
       > 1: c S
       1: Z(I) Z(I)
       > a: Z(I) Z(I)
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.pool_mode = PoolMode::session; }},
      {"COPY after COPY fails in one pipeline, and the end belongs to none of them", R"(
       a: Q(copy) d(bad) Q(copy) d(bad) P(,select) f(why) S Q(select 1)
       > 1: Q(copy) d(bad) Q(copy) d(bad) P(,select) f(why) S Q(select 1)
       1: G E(22P02,bad) Z(I) G E(22P02,bad) Z(I) 1 Z(I)
       > a: G E(22P02,bad) Z(I) G E(22P02,bad) Z(I) 1 Z(I)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
      )"},
  };
  for (const ScriptRow& row : rows) expect_script(row);
}

}  // namespace
}  // namespace pgdba::pool::testing
