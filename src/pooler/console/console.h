// The console "pgbouncer": carries out what administrators order, over all workers.
//
// One object per process, called on the workers' threads. A client's session is touched on its own worker's thread
// only; everything else goes there by Worker::post. Invariants: a command is answered once, after it is done on every
// worker; a client that has gone meanwhile is found missing by its id, and nothing else is affected.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pooler/console/session.h"
#include "pooler/console/snapshot.h"

namespace pgdba::pool {
struct Client;
}

namespace pgdba::pooler {

class Worker;

class Console {
 public:
  // `workers` is complete, and none of them runs yet.
  explicit Console(const std::vector<std::unique_ptr<Worker>>& workers);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // On the worker's thread.
  void begins(Worker& worker, pool::Client& client);
  size_t input(Worker& worker, pool::Client& client, std::string_view bytes);
  void closed(Worker& worker, const pool::Client& client);
  void tick(Worker& worker);  // a few times a second

  // From any thread; `done` runs on a worker's.
  void gather(Need need, std::function<void(Snapshot)> done);

 private:
  struct Entry;
  struct Part;  // what belongs to one worker
  struct Wait;  // a PAUSE or WAIT_CLOSE that is not over

  void run(Worker& home, Entry& entry, const Command& command);
  void finish(Worker& home, uint64_t client, Outcome outcome);
  void answer(Worker& home, uint64_t client, std::function<void(Outcome&)> fill = {});
  // Runs `work` on every worker, then `done` on the last one that was ready.
  void on_all(std::function<void(Worker&)> work, std::function<void()> done);
  void order(Worker& home, uint64_t client, const Command& command);
  void wait(Worker& home, uint64_t client, const Command& command);
  void check(Worker& home, uint64_t wait);
  void server_gone(Worker& worker);
  void cancel_waits(Worker& home, const std::string& database);
  void reload(Worker& home, uint64_t client);
  std::string objection(Worker& home, const Command& command) const;
  Snapshot take(Worker& worker, Need need);
  void rotate(Worker& worker, Part& part);
  void send(Worker& worker, pool::Client& client, std::string_view bytes);

  const std::vector<std::unique_ptr<Worker>>& workers_;
  std::vector<std::unique_ptr<Part>> parts_;
  std::atomic<int> waiting_ = 0;  // Waits, over all workers
  const int64_t started_at_;
};

}  // namespace pgdba::pooler
