#include "net/loop.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace pgdba::net {
namespace {

// Sets a flag when the frame it lives in goes away.
struct Flag {
  bool& set;
  ~Flag() { set = true; }
};

bool run(Loop& loop, Task<void> task, Duration limit = 10s) {
  return loop.run_blocking(std::move(task), boot_now() + limit);
}

TEST(Loop, sleeps_as_long_as_told) {
  Loop loop;
  BootTime before = boot_now();
  ASSERT_TRUE(run(loop, loop.sleep_for(30ms)));
  EXPECT_GE(boot_now() - before, 30ms);
  EXPECT_LT(boot_now() - before, 1s);
}

TEST(Loop, run_blocking_cancels_at_the_deadline_and_the_frame_unwinds) {
  Loop loop;
  bool unwound = false, went_on = false;
  auto body = [&]() -> Task<void> {
    Flag flag{unwound};
    co_await loop.sleep_for(1h);
    went_on = true;
  };
  EXPECT_FALSE(run(loop, body(), 20ms));
  EXPECT_TRUE(unwound);
  EXPECT_FALSE(went_on);
}

TEST(Loop, stop_cancels_every_job_and_run_returns) {
  Loop loop;
  int unwound = 0;
  struct Count {
    int& n;
    ~Count() { ++n; }
  };
  auto body = [&]() -> Task<void> {
    Count count{unwound};
    while (true) co_await loop.sleep_for(1ms);
  };
  for (int i = 0; i < 20; ++i) loop.spawn(body(), "worker");
  auto stopper = [&]() -> Task<void> {
    co_await loop.sleep_for(20ms);
    loop.stop();
    co_await loop.sleep_for(1h);
  };
  loop.spawn(stopper(), "stopper");
  loop.run();
  EXPECT_EQ(unwound, 20);
}

TEST(Loop, stop_before_run_and_from_another_thread) {
  Loop loop;
  loop.stop();
  loop.run();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    loop.stop();
  });
  loop.run();
  other.join();
}

TEST(Job, cancel_before_its_first_step_means_no_step) {
  Loop loop;
  bool stepped = false;
  auto body = [&]() -> Task<void> {
    co_await loop.sleep_for(0s);
    stepped = true;
  };
  auto main = [&]() -> Task<void> {
    Job job = loop.start(body(), "job");
    job.cancel();
    co_await job.join();
    EXPECT_TRUE(job.done());
  };
  ASSERT_TRUE(run(loop, main()));
  EXPECT_FALSE(stepped);
}

TEST(Job, stop_returns_only_after_the_frame_has_unwound) {
  Loop loop;
  bool unwound = false;
  auto body = [&]() -> Task<void> {
    Flag flag{unwound};
    co_await loop.sleep_for(1h);
  };
  auto main = [&]() -> Task<void> {
    Job job = loop.start(body(), "job");
    co_await loop.sleep_for(5ms);
    EXPECT_FALSE(job.done());
    co_await job.stop();
    EXPECT_TRUE(unwound);
  };
  ASSERT_TRUE(run(loop, main()));
}

TEST(Job, dropping_it_cancels_detaching_does_not) {
  Loop loop;
  bool dropped = false, detached = false;
  auto body = [&](bool& flag, Duration d) -> Task<void> {
    Flag set{flag};
    co_await loop.sleep_for(d);
  };
  auto main = [&]() -> Task<void> {
    {
      Job a = loop.start(body(dropped, 1h), "a");
      loop.start(body(detached, 30ms), "b").detach();
      co_await loop.sleep_for(1ms);
    }
    co_await loop.sleep_for(5ms);
    EXPECT_TRUE(dropped);
    EXPECT_FALSE(detached);
    co_await loop.sleep_for(60ms);
    EXPECT_TRUE(detached);
  };
  ASSERT_TRUE(run(loop, main()));
}

TEST(WithDeadline, gives_the_result_or_times_out_after_unwinding) {
  Loop loop;
  bool unwound = false;
  auto quick = [&]() -> Task<Result<int>> {
    co_await loop.sleep_for(1ms);
    co_return 7;
  };
  auto slow = [&]() -> Task<Result<int>> {
    Flag flag{unwound};
    co_await loop.sleep_for(1h);
    co_return 8;
  };
  auto main = [&]() -> Task<void> {
    auto a = co_await with_deadline(loop, quick(), loop.after(1s));
    EXPECT_EQ(a.value(), 7);
    auto b = co_await with_deadline(loop, slow(), loop.after(10ms));
    EXPECT_TRUE(!b && b.error().code == Errc::timeout);
    EXPECT_TRUE(unwound);
  };
  ASSERT_TRUE(run(loop, main()));
}

// A parent that is cancelled takes the child along, and unwinds only after it: the child refers to the parent's frame.
TEST(WithDeadline, cancelling_the_parent_unwinds_the_child_first) {
  Loop loop;
  std::string order;
  struct Note {
    std::string& out;
    char c;
    ~Note() { out += c; }
  };
  auto child = [&]() -> Task<Result<int>> {
    Note note{order, 'c'};
    co_await loop.sleep_for(1h);
    co_return 1;
  };
  auto parent = [&]() -> Task<void> {
    Note note{order, 'p'};
    (void)co_await with_deadline(loop, child(), loop.after(1h));
    order += '!';
  };
  auto main = [&]() -> Task<void> {
    Job job = loop.start(parent(), "parent");
    co_await loop.sleep_for(2ms);
    co_await job.stop();
  };
  ASSERT_TRUE(run(loop, main()));
  EXPECT_EQ(order, "cp");
}

TEST(All, keeps_the_order_and_runs_at_once) {
  Loop loop;
  auto body = [&](int i) -> Task<int> {
    co_await loop.sleep_for(std::chrono::milliseconds(40 - 10 * i));
    co_return i;
  };
  auto main = [&]() -> Task<void> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 4; ++i) tasks.push_back(body(i));
    BootTime before = loop.now();
    auto values = co_await all(loop, std::move(tasks));
    EXPECT_EQ(values, (std::vector<int>{0, 1, 2, 3}));
    EXPECT_LT(loop.now() - before, 90ms);
    auto none = co_await all(loop, std::vector<Task<int>>());
    EXPECT_TRUE(none.empty());
  };
  ASSERT_TRUE(run(loop, main()));
}

TEST(Event, wakes_everybody_who_waits_and_keeps_one_for_later) {
  Loop loop;
  Event event(loop);
  int woken = 0;
  auto waiter = [&]() -> Task<void> {
    if (co_await event.wait_for(1s)) ++woken;
  };
  auto main = [&]() -> Task<void> {
    Job a = loop.start(waiter(), "a"), b = loop.start(waiter(), "b");
    co_await loop.sleep_for(2ms);
    event.notify();
    co_await a.join();
    co_await b.join();
    EXPECT_EQ(woken, 2);
    EXPECT_FALSE(co_await event.wait_for(2ms));
    event.notify();
    event.notify();
    EXPECT_TRUE(co_await event.wait_for(0s));
    EXPECT_FALSE(co_await event.wait_for(2ms));
  };
  ASSERT_TRUE(run(loop, main()));
}

// A waiter that is cancelled in the moment between notify() and its waking must not swallow the news.
TEST(Event, a_cancelled_waiter_hands_its_notification_on) {
  Loop loop;
  Event event(loop);
  auto waiter = [&]() -> Task<void> { co_await event.wait_for(1h); };
  auto main = [&]() -> Task<void> {
    Job job = loop.start(waiter(), "waiter");
    co_await loop.sleep_for(2ms);
    job.cancel();
    event.notify();
    co_await job.join();
    EXPECT_TRUE(co_await event.wait_for(0s));
  };
  ASSERT_TRUE(run(loop, main()));
}

TEST(Offload, runs_elsewhere_and_never_more_than_the_limit) {
  Loop loop;
  std::atomic<int> now{0}, most{0};
  std::function<int()> work = [&] {
    int n = ++now;
    int seen = most;
    while (n > seen && !most.compare_exchange_weak(seen, n)) {
    }
    usleep(10'000);
    --now;
    return n;
  };
  auto main = [&]() -> Task<void> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 12; ++i) tasks.push_back(loop.offload(work));
    (void)co_await all(loop, std::move(tasks));
  };
  ASSERT_TRUE(run(loop, main()));
  EXPECT_LE(most, Loop::helper_threads);
  EXPECT_GE(most, 2);
}

TEST(Offload, a_function_that_hangs_blocks_neither_the_waiter_nor_the_end) {
  auto release = std::make_shared<std::atomic<bool>>(false);
  BootTime before = boot_now();
  {
    Loop loop;
    std::function<Result<int>()> hang = [release]() -> Result<int> {
      while (!*release) usleep(1000);
      return 1;
    };
    auto result = run_blocking(loop, loop.offload(hang), boot_now() + 20ms);
    EXPECT_TRUE(!result && result.error().code == Errc::timeout);
  }
  EXPECT_LT(boot_now() - before, 1500ms);
  *release = true;
}

TEST(Signals, arrive_as_values_in_order) {
  Loop loop;
  Signals signals(loop, {SIGUSR1, SIGHUP});
  auto main = [&]() -> Task<void> {
    EXPECT_EQ(co_await signals.next(loop.after(2ms)), std::nullopt);
    kill(getpid(), SIGHUP);
    EXPECT_EQ(co_await signals.next(loop.after(1s)), SIGHUP);
    kill(getpid(), SIGUSR1);
    EXPECT_EQ(co_await signals.next(loop.after(1s)), SIGUSR1);
  };
  ASSERT_TRUE(run(loop, main()));
}

TEST(Loop, an_idle_loop_with_a_far_timer_costs_next_to_nothing) {
  Loop loop;
  auto cpu = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec * 1'000'000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1'000'000 +
           usage.ru_stime.tv_usec;
  };
  auto before = cpu();
  EXPECT_FALSE(run(loop, loop.sleep_for(1h), 300ms));
  EXPECT_LT(cpu() - before, 30'000);
}


TEST(LoopDeath, a_task_that_throws_ends_the_program_with_its_name) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Loop loop;
        auto body = [&]() -> Task<void> {
          co_await loop.sleep_for(1ms);
          throw std::runtime_error("boom");
        };
        loop.spawn(body(), "fragile");
        loop.run();
      },
      "task=fragile problem=boom");
}

}  // namespace
}  // namespace pgdba::net
