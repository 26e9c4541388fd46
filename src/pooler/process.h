// The process around the workers: start, signals, reload, statistics, end.
//
// run() is the life of the process, on the main thread: it binds, gives up root, goes into the background, starts workers
// and the leader watch, then waits for signals and for what falls due. Other threads reach it through ProcessControl.
// Invariants: the configuration in force is whole: a reload with a mistake changes nothing; directories see it on their own
// worker's thread only. Once a shutdown has begun no client comes in and it is not taken back.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "pooler/api_watch.h"
#include "pooler/arguments.h"
#include "pooler/config.h"
#include "pooler/console/console.h"
#include "pooler/console/http.h"
#include "pooler/daemon.h"
#include "pooler/directory.h"
#include "pooler/leader_watch.h"
#include "pooler/limits.h"
#include "pooler/listeners.h"
#include "pooler/process_control.h"
#include "pooler/resolver.h"
#include "pooler/secrets.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

class Process : public ProcessControl {
 public:
  Process(Arguments arguments, Loaded loaded);
  ~Process() override;

  int run();  // the exit code

  // ProcessControl, from any thread
  Result<void> reload() override;
  void shutdown(ShutdownMode mode) override;
  Result<bool> set(std::string_view key, std::string_view value) override;
  [[nodiscard]] bool shutting_down() const override { return shutting_down_; }

  // For the console: what is in force now.
  [[nodiscard]] std::shared_ptr<const Loaded> loaded() const;

 private:
  using Clock = std::chrono::steady_clock;
  // Over all workers.
  struct Totals {
    pool::Stats stats;
    int lent = 0;
  };

  Result<void> start();
  Result<void> open_log();
  Result<void> watch_cluster();
  void end_watch();
  void ask_load(std::function<void(LeaderWatch::Load)> answer);
  [[nodiscard]] int64_t most_descriptors() const;
  void limit_logins();
  void say_limits() const;
  void say_up();
  void apply(Loaded fresh);
  void on_signal(int number);
  void pause(bool paused);
  void begin_shutdown(ShutdownMode mode);
  void check_shutdown();
  void end(const std::string& why);
  void check_auth_file();
  void say_stats(const Totals& now, double seconds);
  void ask_totals(std::function<void(Totals)> answer);
  void on_every_worker(const std::function<void(Worker&, ClientDirectory&)>& work);
  void post(std::function<void()> work);  // to the main thread
  void wake();
  int die(const std::string& why);

  const Arguments arguments_;
  mutable std::mutex mutex_;  // of loaded_ and posted_
  std::mutex reloading_;      // one change of the configuration at a time
  std::shared_ptr<const Loaded> loaded_;
  std::vector<std::function<void()>> posted_;
  std::atomic<bool> shutting_down_ = false;
  ShutdownMode mode_ = ShutdownMode::now;
  bool paused_ = false;
  bool ended_ = false;
  bool logging_ = false;   // the log is open: errors go there
  bool asking_ = false;    // totals are on their way
  std::string seed_;
  int wakeup_ = -1;
  int signals_ = -1;
  Background background_;
  PidFile pid_file_;
  Listeners listeners_;
  FileLimit file_limit_;
  FileMark auth_failed_;   // the auth_file that could not be read
  Limits limits_;
  SecretCache secrets_;
  Resolver resolver_;
  std::vector<std::unique_ptr<ClientDirectory>> directories_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<HttpEndpoint> http_;
  std::mutex watching_;  // of the two
  std::unique_ptr<LeaderWatch> watch_;
  std::unique_ptr<ApiWatch> api_watch_;
  std::vector<std::thread> threads_;
  std::atomic<size_t> running_ = 0;
  pool::Stats before_;
  Clock::time_point stats_at_;
};

}  // namespace pgdba::pooler
