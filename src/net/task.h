// The type of everything that waits. The only Asio header that code outside net/ ever includes.
//
//   Task<Result<Rows>> current_lsn(net::PgConnection& db, BootTime deadline) {
//     co_return co_await db.query("SELECT pg_current_wal_lsn()", {}, deadline);
//   }
//
// Rules for every function that returns a Task:
// - It starts when it is awaited (or given to net::Loop::spawn), not when it is called.
// - Reference parameters must outlive it. That holds when the caller awaits directly; what is spawned takes values.
// - No co_await inside a catch.
// - g++ 12 destroys some temporaries inside a co_await expression twice: capturing lambdas, and aggregates made with
//   braces (`co_await f(Spec{.x = 1})`, or `co_await f({})` where the parameter is an aggregate). Name them first and
//   move them in. `Spec()` and classes with a constructor are safe. tests/coroutine_traps_test.py looks for them.
// - Cancelling (net::Job::cancel, a lost race of net::with_deadline) ends the task at the wait in which it stands, or
//   at its next one, by unwinding: destructors run, the code after the wait does not. The unwinding is an exception of
//   Asio's that Loop catches. Do not catch it: never write catch (...) around a co_await.
#pragma once

#include <boost/asio/awaitable.hpp>

namespace pgdba {

template <class T>
using Task = boost::asio::awaitable<T>;

}  // namespace pgdba
