#include "net/loop.h"

#include <sys/signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdlib>
#include <deque>
#include <unordered_set>

#include "net/asio_util.h"
#include "net/helpers.h"
#include "net/log.h"
#include "net/names.h"

namespace pgdba::net {

// ---- Event

struct Event::Impl {
  struct Waiter {
    Waiter(Impl& event, BootTime deadline) : impl(event), timer(event.context, deadline) {
      impl.waiters.push_back(this);
    }
    ~Waiter() {
      std::erase(impl.waiters, this);
      if (notified) impl.pending = true;  // cancelled between notify() and waking: the next one gets it
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    Impl& impl;
    Timer timer;
    bool notified = false;
  };

  explicit Impl(asio::io_context& io) : context(io) {}

  asio::io_context& context;
  bool pending = false;
  std::vector<Waiter*> waiters;
};

Event::Event(Loop& loop) : impl_(std::make_shared<Impl>(loop.context())) {}
Event::~Event() = default;

void Event::notify() {
  if (impl_->waiters.empty()) impl_->pending = true;
  for (Impl::Waiter* waiter : impl_->waiters) {
    waiter->notified = true;
    waiter->timer.cancel();
  }
}

Task<bool> Event::wait_until(BootTime deadline) {
  std::shared_ptr<Impl> impl = impl_;
  if (std::exchange(impl->pending, false)) co_return true;
  Impl::Waiter waiter(*impl, deadline);
  co_await waiter.timer.async_wait(as_result);
  co_await checkpoint();
  co_return std::exchange(waiter.notified, false);
}

Task<bool> Event::wait_for(Duration d) { return wait_until(boot_now() + d); }

// ---- Job

struct Job::State {
  State(Loop& loop, std::string task_name) : name(std::move(task_name)), ended(loop) {}
  std::string name;
  asio::cancellation_signal signal;
  Event ended;
  bool done = false;
  bool cancelled = false;
  bool detached = false;

  void cancel() {
    if (done) return;
    cancelled = true;
    signal.emit(asio::cancellation_type::terminal);
  }
};

Job& Job::operator=(Job&& other) noexcept {
  if (this != &other) {
    if (state_ && !state_->detached) state_->cancel();
    state_ = std::move(other.state_);
  }
  return *this;
}

Job::~Job() {
  if (state_ && !state_->detached) state_->cancel();
}

void Job::cancel() {
  if (state_) state_->cancel();
}

bool Job::done() const { return !state_ || state_->done; }

Task<void> Job::join() {
  std::shared_ptr<State> state = state_;
  while (state && !state->done) co_await state->ended.wait_until(BootTime::max());
}

Task<void> Job::stop() {
  cancel();
  return join();
}

void Job::detach() {
  if (state_) state_->detached = true;
}

// ---- Loop

struct Loop::Impl {
  asio::io_context context{1};
  std::unordered_set<std::shared_ptr<Job::State>> jobs;
  std::shared_ptr<Helpers> helpers = std::make_shared<Helpers>(helper_threads);
  bool stopping = false;
  Names names;

  void ended(const std::shared_ptr<Job::State>& job, const std::exception_ptr& problem) {
    job->done = true;
    job->ended.notify();
    jobs.erase(job);
    if (problem) report(*job, problem);
    if (stopping && jobs.empty()) context.stop();
  }

  static void report(const Job::State& job, const std::exception_ptr& problem) {
    std::string text = "unknown exception";
    try {
      std::rethrow_exception(problem);
    } catch (const boost::system::system_error& error) {
      if (job.cancelled && error.code() == asio::error::operation_aborted) return;
      text = error.what();
    } catch (const std::exception& error) {
      text = error.what();
    } catch (...) {
    }
    log::error("loop", "a task failed, which is a bug; aborting task={} problem={}", job.name, log::quoted(text));
    log::flush();
    std::abort();
  }

  void begin_stop() {
    if (std::exchange(stopping, true)) return;
    std::vector<std::shared_ptr<Job::State>> all(jobs.begin(), jobs.end());
    for (const auto& job : all) job->cancel();
    if (jobs.empty()) context.stop();
  }
};

Loop::Loop() : impl_(std::make_unique<Impl>()) {}

Loop::~Loop() { impl_->helpers->close(); }

asio::io_context& Loop::context() { return impl_->context; }
Names& Loop::names() { return impl_->names; }
bool Loop::stopping() const { return impl_->stopping; }

void Loop::run() {
  Impl& impl = *impl_;
  impl.context.restart();
  auto work = asio::make_work_guard(impl.context);
  if (!impl.stopping || !impl.jobs.empty()) {
    while (!impl.stopping && impl.context.run_one() != 0) {
    }
    Timer patience(impl.context, boot_now() + 2s);
    patience.async_wait([&](const error_code& ec) {
      if (ec) return;
      for (const auto& job : impl.jobs) log::error("loop", "a task does not end after cancelling task={}", job->name);
      impl.context.stop();
    });
    if (!impl.jobs.empty()) impl.context.run();
    patience.cancel();
    impl.context.restart();
    impl.context.poll();
  }
  impl.stopping = false;
}

void Loop::stop() {
  asio::post(impl_->context, [impl = impl_.get()] { impl->begin_stop(); });
}

Job Loop::start(Task<void> task, std::string name) {
  auto state = std::make_shared<Job::State>(*this, std::move(name));
  impl_->jobs.insert(state);
  auto on_end = [state, impl = impl_.get()](const std::exception_ptr& problem) { impl->ended(state, problem); };
  asio::co_spawn(impl_->context, std::move(task), asio::bind_cancellation_slot(state->signal.slot(), on_end));
  if (impl_->stopping) state->cancel();
  return Job(state);
}

void Loop::post(std::function<void()> function) { asio::post(impl_->context, std::move(function)); }

Task<void> Loop::sleep_until(BootTime time) {
  Timer timer(impl_->context, time);
  co_await timer.async_wait(as_result);
  co_await checkpoint();
}

Task<void> Loop::sleep_for(Duration d) { return sleep_until(boot_now() + d); }

Task<void> Loop::offload_void(std::function<void()> function) {
  struct Call {
    explicit Call(Loop& loop) : event(loop) {}
    Event event;
    bool done = false;
  };
  auto call = std::make_shared<Call>(*this);
  auto finish = [call, io = &impl_->context]() mutable {
    asio::post(*io, [call = std::move(call)] {
      call->done = true;
      call->event.notify();
    });
  };
  impl_->helpers->submit(std::move(function), std::move(finish));
  while (!call->done) co_await call->event.wait_until(BootTime::max());
}

Task<bool> Loop::run_until(Task<void> task, BootTime deadline) {
  Timer timer(impl_->context, deadline);
  auto child = asio::co_spawn(impl_->context, std::move(task), asio::deferred);
  auto alarm = timer.async_wait(asio::deferred);
  auto [order, problem, ec] =
      co_await asio::experimental::make_parallel_group(std::move(child), std::move(alarm))
          .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  co_await checkpoint();
  if (!problem) co_return true;
  if (order[0] == 0) std::rethrow_exception(problem);  // it ended by itself, with a bug
  try {
    std::rethrow_exception(problem);
  } catch (const boost::system::system_error& error) {
    if (error.code() != asio::error::operation_aborted) throw;
  }
  co_return false;
}

Task<void> Loop::all(std::vector<Task<void>> tasks) {
  if (tasks.empty()) co_return;
  using Child = decltype(asio::co_spawn(std::declval<asio::io_context&>(), std::declval<Task<void>>(), asio::deferred));
  std::vector<Child> children;
  children.reserve(tasks.size());
  for (Task<void>& task : tasks) {
    children.push_back(asio::co_spawn(impl_->context, std::move(task), asio::deferred));
  }
  auto [order, problems] = co_await asio::experimental::make_parallel_group(std::move(children))
                               .async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
  co_await checkpoint();
  for (const std::exception_ptr& problem : problems) {
    if (problem) std::rethrow_exception(problem);
  }
}

bool Loop::run_blocking(Task<void> task, BootTime deadline) {
  bool done = false;
  bool late = false;
  auto body = [](Task<void> inner, bool& finished) -> Task<void> {
    co_await std::move(inner);
    finished = true;
  };
  Job job = start(body(std::move(task), done), "run_blocking");
  Timer timer(impl_->context, deadline);
  timer.async_wait([&](const error_code& ec) {
    if (ec) return;
    late = true;
    job.cancel();
  });
  impl_->context.restart();
  while (!job.done() && impl_->context.run_one() != 0) {
  }
  timer.cancel();
  impl_->context.poll();  // lets the timer's handler, which refers to this frame, end
  return done && !late;
}

// ---- Signals

struct Signals::Impl {
  struct Shared {
    Shared(Loop& loop) : set(loop.context()), event(loop) {}
    asio::signal_set set;
    Event event;
    std::deque<int> got;
  };
  std::shared_ptr<Shared> shared;

  static void arm(const std::shared_ptr<Shared>& shared) {
    shared->set.async_wait([weak = std::weak_ptr(shared)](const error_code& ec, int signal) {
      auto self = weak.lock();
      if (ec || !self) return;
      self->got.push_back(signal);
      self->event.notify();
      arm(self);
    });
  }
};

Signals::Signals(Loop& loop, std::initializer_list<int> signals) : impl_(std::make_unique<Impl>()) {
  impl_->shared = std::make_shared<Impl::Shared>(loop);
  for (int signal : signals) {
    error_code ec;
    impl_->shared->set.add(signal, ec);
    if (ec) log::error("loop", "cannot watch a signal signal={} problem={}", signal, log::quoted(ec.message()));
  }
  Impl::arm(impl_->shared);
}

Signals::~Signals() = default;

Task<std::optional<int>> Signals::next(BootTime deadline) {
  std::shared_ptr<Impl::Shared> shared = impl_->shared;
  while (shared->got.empty()) {
    if (!co_await shared->event.wait_until(deadline)) co_return std::nullopt;
  }
  int signal = shared->got.front();
  shared->got.pop_front();
  co_return signal;
}

void ignore_sigpipe() { ::signal(SIGPIPE, SIG_IGN); }

}  // namespace pgdba::net
