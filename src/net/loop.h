// The one thread on which the agent lives: it runs tasks, timers and sockets, and nothing on it may block.
//
// Owns the io_context and the helper threads for what can only be done blocking. Invariants: no wait without a
// deadline (a wait that has none ends by cancelling), and cancelling is safe at every wait.
//
//   net::Loop loop;
//   loop.spawn(agent.run(), "agent");     // before or during run()
//   loop.run();                           // until somebody calls loop.stop(); every task has unwound when it returns
//
// Everything here belongs to the thread that calls run(), except stop() and post(). Objects that tasks refer to must
// outlive run(), or join their jobs first.
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/clock.h"
#include "net/task.h"

namespace boost::asio {
class io_context;
}

namespace pgdba::net {

class Loop;
struct Names;

// A running task. Its owner may cancel it and wait for its end. Dropping a Job cancels the task but does not wait:
// the frame unwinds a moment later on the loop, so co_await stop() before what the task refers to goes away.
class Job {
 public:
  Job() = default;
  Job(Job&&) noexcept = default;
  Job& operator=(Job&& other) noexcept;
  ~Job();

  void cancel();             // asks; may be called again
  bool done() const;         // ended by itself or unwound; true for an empty Job
  Task<void> join();         // until it ended; cancelling the waiter leaves the job alone
  Task<void> stop();         // cancel, then join
  void detach();             // let it run on its own until Loop::stop

  struct State;

 private:
  friend class Loop;
  explicit Job(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Runs tasks until stop(). Then every job is cancelled and given 2 s to unwind. May be called again afterwards.
  void run();
  void stop();  // any thread
  bool stopping() const;

  // The name is what a crash report shows. An exception that leaves a task is a bug: it is logged and the program
  // aborts (the guardian and the supervisor exist for that); only the unwinding of a cancelled task is silent.
  [[nodiscard]] Job start(Task<void> task, std::string name);
  void spawn(Task<void> task, std::string name) { start(std::move(task), std::move(name)).detach(); }

  // Runs the function soon on the loop; any thread.
  void post(std::function<void()> function);

  BootTime now() const { return boot_now(); }
  WallTime wall_now() const { return net::wall_now(); }
  BootTime after(Duration d) const { return boot_now() + d; }

  Task<void> sleep_for(Duration d);
  Task<void> sleep_until(BootTime time);  // returns at or after `time`, after a suspend up to 1 s late

  // Runs a blocking function (fsync, hashing, getaddrinfo) on one of at most `helper_threads` helper threads and awaits
  // it; further ones queue. Cancelling or a timeout abandons the result, the function itself runs on: it must capture
  // by value. It must not throw.
  template <class T>
  Task<T> offload(std::function<T()> function) {
    auto result = std::make_shared<std::optional<T>>();
    std::function<void()> body = [result, function = std::move(function)] { result->emplace(function()); };
    co_await offload_void(std::move(body));
    co_return std::move(**result);
  }
  Task<void> offload_void(std::function<void()> function);
  static constexpr int helper_threads = 4;

  // Awaits `task`; at the deadline cancels it, waits until it has unwound, and returns false.
  Task<bool> run_until(Task<void> task, BootTime deadline);

  // Starts all, returns when all have ended. Cancelling the caller cancels all of them.
  Task<void> all(std::vector<Task<void>> tasks);

  // For blocking callers (CLI, tests): runs the loop on this thread until the task has ended; at the deadline cancels
  // it and returns false.
  bool run_blocking(Task<void> task, BootTime deadline);

  boost::asio::io_context& context();  // for net/ only
  Names& names();                              // the memory of resolve()

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// An async condition. notify() wakes everybody who waits; if nobody does, the next wait returns at once. The truth
// lives in the caller's own state: look at it again after waking.
class Event {
 public:
  explicit Event(Loop& loop);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void notify();
  Task<bool> wait_until(BootTime deadline);  // true: notified; false: the deadline passed
  Task<bool> wait_for(Duration d);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

// Signals as something to wait for. While one of these exists, the listed signals no longer have their default effect.
class Signals {
 public:
  Signals(Loop& loop, std::initializer_list<int> signals);
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  Task<std::optional<int>> next(BootTime deadline);  // none: the deadline passed

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

void ignore_sigpipe();  // for long-lived programs: a vanished reader of stderr must not kill the agent

namespace detail {
template <class T>
Task<void> store(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await std::move(task));
}
}  // namespace detail

// The task's own result, or Errc::timeout once the deadline has passed and the task has unwound.
template <class T>
Task<Result<T>> with_deadline(Loop& loop, Task<Result<T>> task, BootTime deadline) {
  std::optional<Result<T>> result;
  bool ended = co_await loop.run_until(detail::store(std::move(task), result), deadline);
  if (ended || result) co_return std::move(*result);
  co_return fail(Errc::timeout, "no answer within the deadline");
}

// All results, in the order of the tasks.
template <class T>
Task<std::vector<T>> all(Loop& loop, std::vector<Task<T>> tasks) {
  std::vector<std::optional<T>> results(tasks.size());
  std::vector<Task<void>> bodies;
  for (size_t i = 0; i < tasks.size(); ++i) bodies.push_back(detail::store(std::move(tasks[i]), results[i]));
  co_await loop.all(std::move(bodies));
  std::vector<T> values;
  for (auto& result : results) values.push_back(std::move(*result));
  co_return values;
}

// From blocking code: one task to completion on this thread. Errc::timeout when the deadline came first.
template <class T>
Result<T> run_blocking(Loop& loop, Task<Result<T>> task, BootTime deadline) {
  std::optional<Result<T>> result;
  bool ended = loop.run_blocking(detail::store(std::move(task), result), deadline);
  if (ended || result) return std::move(*result);
  return fail(Errc::timeout, "no answer within the deadline");
}

}  // namespace pgdba::net
