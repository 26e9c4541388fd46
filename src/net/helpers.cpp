#include "net/helpers.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace pgdba::net {
namespace {

struct Work {
  std::function<void()> work, finish;
};

}  // namespace

struct Helpers::Shared {
  std::mutex mutex;
  std::condition_variable wake, ended;
  std::deque<Work> queue;
  int limit = 1;
  int threads = 0;
  int idle = 0;
  bool closed = false;

  static void run(const std::shared_ptr<Shared>& self) {
    std::unique_lock lock(self->mutex);
    while (true) {
      ++self->idle;
      // An idle helper leaves after a while: the agent needs one now and then, not always.
      self->wake.wait_for(lock, std::chrono::seconds(10), [&] { return self->closed || !self->queue.empty(); });
      --self->idle;
      if (self->closed || self->queue.empty()) break;
      Work item = std::move(self->queue.front());
      self->queue.pop_front();
      lock.unlock();
      item.work();
      item.work = nullptr;
      lock.lock();
      if (!self->closed) item.finish();  // under the lock: close() must not pass meanwhile
      item.finish = nullptr;
    }
    --self->threads;
    self->ended.notify_all();
  }
};

Helpers::Helpers(int limit) : shared_(std::make_shared<Shared>()) { shared_->limit = limit; }
Helpers::~Helpers() { close(); }

void Helpers::submit(std::function<void()> work, std::function<void()> finish) {
  std::lock_guard lock(shared_->mutex);
  if (shared_->closed) return;
  shared_->queue.push_back({std::move(work), std::move(finish)});
  if (shared_->idle >= static_cast<int>(shared_->queue.size())) {
    shared_->wake.notify_one();
  } else if (shared_->threads < shared_->limit) {
    ++shared_->threads;
    // Signals belong to the loop's thread: a helper starts with all of them blocked.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread([shared = shared_] { Shared::run(shared); }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
}

void Helpers::close() {
  std::unique_lock lock(shared_->mutex);
  if (std::exchange(shared_->closed, true)) return;
  shared_->queue.clear();
  shared_->wake.notify_all();
  shared_->ended.wait_for(lock, std::chrono::seconds(1), [&] { return shared_->threads == 0; });
}

}  // namespace pgdba::net
