// Which client gets which server when, and what happens to a server between two clients.
#include "unit/pool/rig.h"

namespace pgdba::pool::testing {
namespace {

TEST(PoolAssign, first_come_first_served) {
  const ScriptRow rows[] = {
      {"first come, first served", R"(
       c! in
       a: Q(select 1)
       > 1: Q(select 1)
       c: Q(select 3)
       b: Q(select 2)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(select 3)
       > a: D(a1) C(SELECT 1) Z(I)
       1: D(c1) C(SELECT 1) Z(I)
       > 1: Q(select 2)
       > c: D(c1) C(SELECT 1) Z(I)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )"},
      {"as many servers as clients wait, up to the pool's size", R"(
       c! in
       a: Q(select 1)
       > 1: Q(select 1)
       b: Q(select 2)
       > 2! connect
       c: Q(select 3)
       2! up
       > 2: Q(select 2)
       2: D(b1) C(SELECT 1) Z(I)
       > 2: Q(select 3)
       > b: D(b1) C(SELECT 1) Z(I)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       2: D(c1) C(SELECT 1) Z(I)
       > c: D(c1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 2: Q(select 1)
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"the server used last is used next", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       b: Q(select 2)
       > 2! connect
       2! up
       > 2: Q(select 2)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       2: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 2: Q(select 1)
       2: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 2: Q(select 1)
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; }},
      {"round robin", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       b: Q(select 2)
       > 2! connect
       2! up
       > 2: Q(select 2)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       2: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 2: Q(select 1)
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; rig.settings.server_round_robin = true; }},
      {"a few connections at once", R"(
       a! in
       > a: R
       > 1! connect
       b! in
       > b: R
       > 2! connect
       c! in
       > c: R
       > 3! connect
       d! in
       > d: R
       > 4! connect
       e! in
       > e: R
       f! in
       > f: R
       2! up
       > a: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       > b: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       > c: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       > d: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       > e: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       > f: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 20; }, false},
      {"a server that lay idle is asked first", R"(
       wait 31
       a: Q(select 1)
       > 1: Q(check)
       b: Q(select 2)
       1: I Z(I)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(select 2)
       > a: D(a1) C(SELECT 1) Z(I)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.settings.server_check_query = "check"; }},
      {"a server that fails its check is no more, and nobody notices", R"(
       wait 31
       a: Q(select 1)
       > 1: Q(check)
       1: E(57P01,no) Z(I)
       > 1: X
       > 1! closed
       > 2! connect
       2! up
       > 2: Q(select 1)
      )",
       [](Rig& rig) { rig.settings.server_check_query = "check"; }},
      {"a server that does not answer its check", R"(
       wait 31
       a: Q(select 1)
       > 1: Q(check)
       tick 10
       > a: N(No server connection available in postgres backend, client being queued)
       tick 6
       > 1: X
       > 1! closed
       > 2! connect
       2! up
       > 2: Q(select 1)
      )",
       [](Rig& rig) { rig.settings.server_check_query = "check"; }},
      {"lifetime", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       tick 101
       a: Q(commit)
       > 1: Q(commit)
       1: C(COMMIT) Z(I)
       > a: C(COMMIT) Z(I)
       tick 1
       > 1: X
       > 1! closed
       a: Q(select 1)
       > 2! connect
      )",
       [](Rig& rig) { rig.settings.server_lifetime = 100s; }},
      {"idle too long", R"(
       tick 500
       tick 101
       > 1: X
       > 1! closed
      )"},
      {"some are kept", R"(
       tick 1
       > 2! connect
       2! up
       tick 601
      )",
       [](Rig& rig) { rig.settings.default_pool_size = 2; rig.settings.min_pool_size = 2; }},
      {"the reserve, for those who have waited", R"(
       a: Q(begin)
       > 1: Q(begin)
       b: Q(select 2)
       tick 4
       tick 2
       > b: N(No server connection available in postgres backend, client being queued)
       > 2! connect
       2! up
       > 2: Q(select 2)
      )",
       [](Rig& rig) { rig.settings.reserve_pool_size = 1; }},
      {"waiting: a notice, and the end", R"(
       a: Q(begin)
       > 1: Q(begin)
       b: Q(select 2)
       tick 6
       > b: N(No server connection available in postgres backend, client being queued)
       tick 6
       tick 109
       > b: F(08P01,query_wait_timeout)
       > b! closed
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
      )"},
      {"idle in its transaction counts from the last answer", R"(
       a: Q(begin)
       > 1: Q(begin)
       wait 9
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       tick 9
       a: Q(select 1)
       > 1: Q(select 1)
       tick 11
       1: D(a1) C(SELECT 1) Z(T)
       > a: D(a1) C(SELECT 1) Z(T)
       tick 11
       > 1: X
       > a: F(08P01,idle transaction timeout)
       > a! closed
       > 1! closed
      )",
       [](Rig& rig) { rig.settings.idle_transaction_timeout = 10s; }},
      {"a query that takes too long", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       tick 9
       1: D(a1)
       > a: D(a1)
       tick 2
       > 1: X
       > a: F(08P01,query timeout)
       > a! closed
       > 1! closed
      )",
       [](Rig& rig) { rig.settings.query_timeout = 10s; }},
      {"a transaction that takes too long", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       tick 6
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(T)
       > a: D(a1) C(SELECT 1) Z(T)
       tick 5
       > 1: X
       > a: F(08P01,transaction timeout)
       > a! closed
       > 1! closed
      )",
       [](Rig& rig) { rig.settings.transaction_timeout = 10s; }},
      {"a client that says nothing", R"(
       wait 5
       a: Q(select 1)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       tick 6
       > b: F(08P01,client_idle_timeout)
       > b! closed
       tick 5
       > a: F(08P01,client_idle_timeout)
       > a! closed
      )",
       [](Rig& rig) { rig.settings.client_idle_timeout = 10s; }},
      {"PostgreSQL refuses: everybody who waits is told, and those who come soon", R"(
       a! in
       > a: R
       > 1! connect
       b! in
       > b: R
       1! connected
       1: F(28P01,wrong password)
       > a: F(28P01,wrong password)
       > b: F(28P01,wrong password)
       > 1! closed
       > a! closed
       > b! closed
       c! in
       > c: R F(08P01,server login has been failing, cached error: wrong password (server_login_retry))
       > c! closed
       wait 16
       d! in
       > d: R
       > 2! connect
      )", [](Rig&) {}, false},
      {"PostgreSQL is starting: nobody is turned away", R"(
       a! in
       > a: R
       > 1! connect
       1! connected
       1: F(57P03,starting up)
       > 1! closed
       tick 1
       tick 15
       > 2! connect
       2! up
       > a: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
      )", [](Rig&) {}, false},
      {"the server is lost at login", R"(
       a! in
       > a: R
       > 1! connect
       1! connected
       1! lost
       > 1! closed
       tick 16
       > 2! connect
       2! up
       > a: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
      )", [](Rig&) {}, false},
      {"parameters follow the client", R"(
       a: Q(set)
       > 1: Q(set)
       1: S(TimeZone,CET) S(application_name,it's) C(SET) Z(I)
       > a: S(TimeZone,CET) S(application_name,it's) C(SET) Z(I)
       b: Q(select 2)
       > 1: Q(SET TimeZone=E'UTC';SET application_name=E'';)
       1: S(TimeZone,UTC) S(application_name,) C(SET) C(SET) Z(I)
       > 1: Q(select 2)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 1: Q(SET TimeZone=E'CET';SET application_name=E'it''s';)
       1: S(TimeZone,CET) S(application_name,it's) C(SET) C(SET) Z(I)
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
       a: Q(select 1)
       > 1: Q(select 1)
      )"},
      {"a wish that the server spells in its own way", R"(
       c! in TimeZone=utc datestyle=iso
       c: Q(select 1)
       > 1: Q(SET DateStyle=E'iso';SET TimeZone=E'utc';)
       1: S(DateStyle,ISO) S(TimeZone,UTC) C(SET) C(SET) Z(I)
       > 1: Q(select 1)
       1: D(c1) C(SELECT 1) Z(I)
       > c: D(c1) C(SELECT 1) Z(I)
       c: Q(select 1)
       > 1: Q(select 1)
      )"},
      {"a wish that the server refuses", R"(
       c! in TimeZone=nowhere
       c: Q(select 1)
       > 1: Q(SET TimeZone=E'nowhere';)
       1: E(22023,invalid) Z(I)
       > 1: X
       > c: F(08P01,invalid server parameter)
       > c! closed
       > 1! closed
       b: Q(select 2)
       > 2! connect
      )"},
      {"what no server reports is not set", R"(
       c! in client_encoding=LATIN1 unknown=x
       > c: F(08P01,unsupported startup parameter: unknown)
       > c! closed
      )"},
      {"the connect query", R"(
       a! in
       > a: R
       > 1! connect
       a: Q(select 1)
       1! up
       > 1: Q(hello)
       > a: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       1: C(X) Z(I)
       > 1: Q(select 1)
      )",
       [](Rig& rig) { rig.directory.databases["db"].connect_query = "hello"; }, false},
      {"each new server is verified", R"(
       a! in
       > a: R
       > 1! connect
       a: Q(select 1)
       1! up
       > 1: Q(verify)
       1: D(wrong) C(SELECT 1) Z(I)
       > 1: X
       > 1! closed
       tick 16
       > 2! connect
       2! up
       > 2: Q(verify)
       2: D(right) C(SELECT 1) Z(I)
       > 2: Q(select 1)
       > a: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       2: D(a1) C(SELECT 1) Z(I)
       > a: D(a1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.directory.verify = "verify"; }, false},
      {"a server that does not answer when it is verified", R"(
       a! in
       > a: R
       > 1! connect
       1! up
       > 1: Q(verify)
       tick 16
       > 1: X
       > 1! closed
      )",
       [](Rig& rig) { rig.directory.verify = "verify"; }, false},
      {"another pool's idle server makes room", R"(
       c! in database=db2
       > 1: X
       > c: R
       > 1! closed
       > 2! connect
       2! up
       > c: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       c: Q(select 3)
       > 2: Q(select 3)
       a: Q(select 1)
       2: D(c1) C(SELECT 1) Z(I)
       > c: D(c1) C(SELECT 1) Z(I)
       tick 1
       > 2: X
       > 2! closed
       > 3! connect
      )",
       [](Rig& rig) { rig.ledger.most = 1; rig.directory.databases["db2"].name = "db2"; }},
      {"too many clients", R"(
       a! in
       > a: R
       > 1! connect
       1! up
       > a: S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) S(application_name,) S(server_version,15) K Z(I)
       b! in
       > b: F(08P01,no more connections allowed (max_client_conn))
       > b! closed
       a! gone
       > a! closed
       b! in
      )",
       [](Rig& rig) { rig.directory.most = 1; }, false},
      {"reset in transaction mode", R"(
       a: Q(select 1)
       > 1: Q(select 1)
       b: Q(select 2)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(DISCARD ALL)
       > a: D(a1) C(SELECT 1) Z(I)
       1: C(DISCARD ALL) Z(I)
       > 1: Q(select 2)
      )",
       [](Rig& rig) { rig.settings.server_reset_query_always = true; }},
      {"no leader: clients wait", R"(
       route closed
       a: Q(select 1)
       b: Q(select 2)
       route open 1
       > 1: Q(select 1)
       1: D(a1) C(SELECT 1) Z(I)
       > 1: Q(select 2)
       > a: D(a1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.directory.databases["db"].route = Route::primary; rig.core().set_route(Route::primary, {.open = true, .term = rig.host.term = 1, .fresh_until = 0, .why = {}}); }},
      {"the view is too old when the server has its client's parameters: nothing of the client's leaves", R"(
       c! in TimeZone=CET
       c: Q(select 3)
       > 1: Q(SET TimeZone=E'CET';)
       b: Q(select 2)
       route closed
       1: S(TimeZone,CET) C(SET) Z(I)
       route open 1
       > 1: Q(select 3)
       1: D(c1) C(SELECT 1) Z(I)
       > 1: Q(SET TimeZone=E'UTC';)
       > c: D(c1) C(SELECT 1) Z(I)
       1: S(TimeZone,UTC) C(SET) Z(I)
       > 1: Q(select 2)
       1: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.directory.databases["db"].route = Route::primary; rig.core().set_route(Route::primary, {.open = true, .term = rig.host.term = 1, .fresh_until = 0, .why = {}}); }},
      {"a new leader: what belongs to the old one is closed", R"(
       a: Q(begin)
       > 1: Q(begin)
       1: C(BEGIN) Z(T)
       > a: C(BEGIN) Z(T)
       b: Q(select 2)
       > 2! connect
       2! up
       > 2: Q(select 2)
       2: D(b1) C(SELECT 1) Z(I)
       > b: D(b1) C(SELECT 1) Z(I)
       c! in
       route closed
       c: Q(select 3)
       route open 2
       > 1: X
       > 2: X
       > a: F(08006,server connection lost: the transaction was rolled back)
       > 2! closed
       > 3! connect
       > 1! closed
       > a! closed
       3! up
       > 3: Q(select 3)
       3: D(c1) C(SELECT 1) Z(I)
       > c: D(c1) C(SELECT 1) Z(I)
      )",
       [](Rig& rig) { rig.directory.databases["db"].route = Route::primary; rig.core().set_route(Route::primary, {.open = true, .term = rig.host.term = 1, .fresh_until = 0, .why = {}}); rig.settings.default_pool_size = 2; }},
      {"a new leader while somebody commits", R"(
       a: Q(insert)
       > 1: Q(insert)
       route open 2
       > 1: X
       > a: F(08007,server connection lost: whether the transaction was committed is not known)
       > 1! closed
       > a! closed
      )",
       [](Rig& rig) { rig.directory.databases["db"].route = Route::primary; rig.core().set_route(Route::primary, {.open = true, .term = rig.host.term = 1, .fresh_until = 0, .why = {}}); }},
      {"a primary that turns out to be read-only", R"(
       a: Q(insert)
       > 1: Q(insert)
       b: Q(select 2)
       1: E(25006,read-only) Z(I)
       > 1: X
       > a: E(25006,read-only) Z(I)
       > 1! closed
       > 2! connect
       2! up
       > 2: Q(select 2)
      )",
       [](Rig& rig) { rig.directory.databases["db"].route = Route::primary; rig.core().set_route(Route::primary, {.open = true, .term = rig.host.term = 1, .fresh_until = 0, .why = {}}); }},
  };
  for (const ScriptRow& row : rows) expect_script(row);
}

}  // namespace
}  // namespace pgdba::pool::testing
