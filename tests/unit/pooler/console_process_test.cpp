// What the console asks of the process, through two real workers and a socket.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "pooler/console/console.h"
#include "pooler/directory.h"
#include "pooler/limits.h"
#include "pooler/resolver.h"
#include "pooler/process_control.h"
#include "pooler/secrets.h"
#include "pooler/worker.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pooler {
namespace {

struct FakeProcess : ProcessControl {
  std::atomic<bool> reload_works = true;
  std::atomic<bool> ending = false;

  // The workers' threads call, the test reads.
  std::string calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }

  Result<void> reload() override {
    note("reload ");
    if (!reload_works) return fail(Errc::invalid, "pgbouncer.ini:3: no");
    return {};
  }
  void shutdown(ShutdownMode mode) override {
    note("shutdown" + std::to_string(static_cast<int>(mode)) + " ");
    ending = true;
  }
  Result<bool> set(std::string_view key, std::string_view value) override {
    note("set:" + std::string(key) + "=" + std::string(value) + " ");
    if (key == "bad") return fail(Errc::invalid, "unknown parameter");
    return true;
  }
  bool shutting_down() const override { return ending; }

 private:
  void note(const std::string& call) {
    std::lock_guard lock(mutex_);
    calls_ += call;
  }
  mutable std::mutex mutex_;
  std::string calls_;
};

class ConsoleProcess : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("pgdba-console-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "users") << "\"boss\" \"\"\n";
    std::ofstream(folder_ / "ini")
        << "[databases]\na = host=127.0.0.1\n[pgbouncer]\nauth_type = trust\nadmin_users = boss\nauth_file = "
        << (folder_ / "users").string() << "\n";
    auto loaded = load_config(folder_ / "ini");
    ASSERT_TRUE(loaded) << loaded.error().errors.front();
    auto config = std::make_shared<const Loaded>(std::move(*loaded));
    limits_.configure(core_settings(config->config.settings));
    limits_.set_workers(2);
    for (size_t i = 0; i < 2; ++i) {
      directories_.push_back(std::make_unique<ClientDirectory>(config, "seed", secrets_));
      workers_.push_back(std::make_unique<Worker>(*directories_.back(), limits_, resolver_, workers_, i));
      directories_.back()->attach(*workers_.back());
      workers_.back()->use_process(&process_);
    }
    console_ = std::make_unique<Console>(workers_);
    for (auto& worker : workers_) worker->use_console(console_.get());
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener, 8), 0);
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    workers_[1]->listen(listener, true, false);
    for (auto& worker : workers_) threads_.emplace_back([&worker] { worker->run(); });
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    std::string startup(4, '\0');
    startup += std::string("\0\3\0\0", 4) + std::string("user\0boss\0database\0pgbouncer\0\0", 30);
    wire::store_u32(startup.data(), static_cast<uint32_t>(startup.size()));
    ASSERT_EQ(::write(fd_, startup.data(), startup.size()), static_cast<ssize_t>(startup.size()));
    until_ready();
  }

  void TearDown() override {
    ::close(fd_);
    for (auto& worker : workers_) worker->stop("the test is over");
    for (auto& thread : threads_) thread.join();
    std::filesystem::remove_all(folder_);
  }

  // The tag, or "SQLSTATE text".
  std::string ask(std::string_view sql) {
    std::string bytes;
    wire::append_query(bytes, sql);
    EXPECT_EQ(::write(fd_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    return until_ready();
  }

  std::string until_ready() {
    std::string got, found;
    for (;;) {
      wire::Message message;
      while (wire::read_message(got, message) == wire::Scan::complete) {
        if (message.type == 'C') found = std::string(*wire::parse_command_complete(message.body));
        if (message.type == 'E') {
          auto fields = wire::parse_error_response(message.body);
          found = std::string(fields->sqlstate) + " " + std::string(fields->message);
        }
        if (message.type == 'Z') return found;
        got.erase(0, message.size());
      }
      char buffer[4096];
      const ssize_t size = ::read(fd_, buffer, sizeof buffer);
      if (size <= 0) return "closed";
      got.append(buffer, static_cast<size_t>(size));
    }
  }

  std::filesystem::path folder_;
  FakeProcess process_;
  Limits limits_;
  Resolver resolver_{Resolver::system_lookup, [] { return int64_t{0}; }};
  SecretCache secrets_;
  std::vector<std::unique_ptr<ClientDirectory>> directories_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Console> console_;
  std::vector<std::thread> threads_;
  int fd_ = -1;
};

TEST_F(ConsoleProcess, ReloadSetAndShutdownGoToTheProcess) {
  EXPECT_EQ(ask("RELOAD"), "RELOAD");
  process_.reload_works = false;
  EXPECT_EQ(ask("RELOAD"), "F0000 RELOAD failed, see logs for additional details");
  EXPECT_EQ(ask("SET stats_period = 30"), "SET stats_period=30");
  EXPECT_EQ(ask("SET bad = 1"), "08P01 SET failed: unknown parameter");
  EXPECT_EQ(ask("SHUTDOWN WAIT_FOR_CLIENTS"), "SHUTDOWN");
  EXPECT_EQ(ask("PAUSE"), "08P01 pooler is shutting down");
  EXPECT_EQ(ask("RESUME"), "08P01 pooler is shutting down");
  EXPECT_EQ(ask("SHUTDOWN"), "SHUTDOWN");
  EXPECT_EQ(ask("SHOW STATE"), "SHOW");
  EXPECT_EQ(process_.calls(), "reload reload set:stats_period=30 set:bad=1 shutdown2 shutdown0 ");
}

TEST_F(ConsoleProcess, OrdersReachEveryWorkerBeforeTheyAreAnswered) {
  EXPECT_EQ(ask("PAUSE a"), "PAUSE");
  EXPECT_EQ(ask("PAUSE"), "PAUSE");
  EXPECT_EQ(ask("PAUSE"), "08P01 already suspended/paused");
  EXPECT_EQ(ask("RESUME"), "RESUME");
  EXPECT_EQ(ask("RESUME a"), "RESUME");
  EXPECT_EQ(ask("RESUME a"), "08P01 database a is not paused");
  EXPECT_EQ(ask("DISABLE a"), "DISABLE");
  EXPECT_EQ(ask("KILL_CLIENT 77"), "08P01 client not found");
  EXPECT_EQ(ask("WAIT_CLOSE"), "WAIT_CLOSE");
}

TEST_F(ConsoleProcess, SnapshotsCountWhatAllWorkersHave) {
  std::atomic<bool> ready = false;
  Snapshot snapshot;
  console_->gather({.clients = true, .servers = true}, [&](Snapshot all) {
    snapshot = std::move(all);
    ready = true;
  });
  while (!ready) std::this_thread::yield();
  EXPECT_EQ(snapshot.admin.console, 1);
  ASSERT_EQ(snapshot.clients.size(), 1u);
  EXPECT_EQ(snapshot.clients[0].database, "pgbouncer");
  EXPECT_EQ(snapshot.clients[0].address, "127.0.0.1");
  EXPECT_TRUE(snapshot.databases.contains("a"));
}

}  // namespace
}  // namespace pgdba::pooler
