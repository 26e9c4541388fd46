#include "pooler/process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/rand.h>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <utility>

#include "conf/pooler_rules.h"
#include "net/log.h"
#include "net/memory.h"

namespace pgdba::pooler {

namespace {

constexpr std::string_view kShutdown = "server shutting down";
constexpr std::chrono::seconds kLook = std::chrono::seconds(1);                // at auth_file
constexpr std::chrono::seconds kSettled = std::chrono::seconds(15);            // after the start
constexpr std::chrono::milliseconds kDrain = std::chrono::milliseconds(100);  // between looks at who is left
constexpr int64_t kLeastLogins = 100;                                          // connections that are not in yet
constexpr int64_t kSpareDescriptors = 10;                                      // beside clients and servers

int64_t clock_us(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

std::vector<std::string> urls_of(const conf::Endpoints& endpoints) {
  std::vector<std::string> urls;
  for (const conf::Address& address : endpoints.addresses) {
    urls.push_back((endpoints.tls ? "https://" : "http://") + conf::format_address(address));
  }
  return urls;
}

}  // namespace

Process::Process(Arguments arguments, Loaded loaded)
    : arguments_(std::move(arguments)),
      loaded_(std::make_shared<const Loaded>(std::move(loaded))),
      seed_(32, '\0'),
      resolver_(Resolver::system_lookup, [] { return clock_us(CLOCK_BOOTTIME); }) {}

Process::~Process() {
  end_watch();
  http_.reset();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  resolver_.close();
  for (int fd : {wakeup_, signals_}) {
    if (fd >= 0) ::close(fd);
  }
}

std::shared_ptr<const Loaded> Process::loaded() const {
  std::lock_guard lock(mutex_);
  return loaded_;
}

int Process::die(const std::string& why) {
  if (logging_) log::fatal("pooler", why);
  if (!logging_ || arguments_.quiet || arguments_.daemon) fmt::print(stderr, "pgdba pooler: {}\n", why);
  return 1;
}

int Process::run() {
  if (auto started = start(); !started) {
    for (auto& worker : workers_) worker->stop(std::string(kShutdown));
    return die(started.error().text);
  }
  auto next_look = Clock::now() + kLook;
  stats_at_ = Clock::now();
  std::optional<Clock::time_point> settled = Clock::now() + kSettled;
  while (!ended_) {
    const auto now = Clock::now();
    if (settled && now >= *settled) {
      settled.reset();
      net::forget_startup_pages();
    }
    if (now >= next_look) {
      next_look = now + kLook;
      check_auth_file();
    }
    if (now - stats_at_ >= loaded()->config.settings.stats_period && !asking_) {
      asking_ = true;
      const double seconds = std::chrono::duration<double>(now - stats_at_).count();
      stats_at_ = now;
      ask_totals([this, seconds](const Totals& totals) { say_stats(totals, seconds); });
    }
    if (shutting_down_) check_shutdown();
    std::array<pollfd, 2> ready = {pollfd{signals_, POLLIN, 0}, pollfd{wakeup_, POLLIN, 0}};
    const auto until = shutting_down_ ? now + kDrain : next_look;
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(until - now).count() + 1;
    if (::poll(ready.data(), ready.size(), static_cast<int>(std::max<int64_t>(0, wait))) < 0 && errno != EINTR) break;
    uint64_t count = 0;
    if ((ready[1].revents & POLLIN) != 0) [[maybe_unused]] const ssize_t got = ::read(wakeup_, &count, sizeof count);
    signalfd_siginfo signal{};
    while (!ended_ && ::read(signals_, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) on_signal(static_cast<int>(signal.ssi_signo));
    std::vector<std::function<void()>> work;
    {
      std::lock_guard lock(mutex_);
      work.swap(posted_);
    }
    for (const auto& each : work) {
      if (!ended_) each();
    }
  }
  return 0;
}

// Everything up to "process up". What cannot be had is the error; what was made goes with this object.
Result<void> Process::start() {
  const std::shared_ptr<const Loaded> loaded = this->loaded();
  const conf::PoolerSettings& settings = loaded->config.settings;
  const std::string& user = arguments_.user.empty() ? settings.user : arguments_.user;
  if (::geteuid() == 0 && user.empty()) {
    return fail(Errc::invalid, "PgBouncer should not run as root: name another user with -u USER, or `user = ` in " + arguments_.file);
  }
  if (arguments_.daemon) {
    if (settings.pidfile.empty()) return fail(Errc::invalid, "daemon needs pidfile configured");
    if (settings.logfile.empty() && !settings.syslog) return fail(Errc::invalid, "daemon needs logfile configured");
  }
  if (!settings.pidfile.empty()) {
    if (auto free = PidFile::check(settings.pidfile); !free) return free;
  }
  if (arguments_.daemon) {
    if (auto entered = background_.enter(); !entered) return entered;
  }
  // Before the first thread, which would get them else.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_ = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  wakeup_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  file_limit_ = raise_file_limit();

  std::vector<std::string> warnings = loaded->warnings;
  if (auto opened = listeners_.open(settings, warnings); !opened) {
    for (const std::string& warning : warnings) fmt::print(stderr, "pgdba pooler: {}\n", warning);
    return opened;
  }
  if (!user.empty()) {
    if (auto changed = become(user, ::geteuid() == 0 ? listeners_.unix_path() : ""); !changed) return changed;
  }
  if (::getuid() == 0 || ::geteuid() == 0) return fail(Errc::invalid, "PgBouncer should not run as root: user \"" + user + "\" is root, too");
  if (auto opened = open_log(); !opened) return opened;
  logging_ = true;
  if (!settings.pidfile.empty()) {
    if (auto claimed = pid_file_.claim(settings.pidfile); !claimed) return claimed;
  }
  for (const std::string& warning : warnings) log::warning("pooler", "{}", warning);
  say_limits();

  if (settings.auth_seed_file.empty()) {
    RAND_bytes(reinterpret_cast<unsigned char*>(seed_.data()), static_cast<int>(seed_.size()));
  } else {
    auto seed = load_seed(settings.auth_seed_file);
    if (!seed) return fail(seed.error().code, "auth_seed_file: " + seed.error().text);
    seed_ = std::move(*seed);
  }
  const auto count = static_cast<size_t>(std::max(1, settings.workers));
  limits_.configure(core_settings(settings));
  limit_logins();
  limits_.set_workers(count);
  resolver_.set_ttl(settings.dns_max_ttl, settings.dns_nxdomain_ttl);
  resolver_.on_change([this](const std::string& name, const std::vector<std::string>& addresses) {
    for (auto& worker : workers_) {
      worker->post([worker = worker.get(), name, addresses] { worker->retire_vanished(name, addresses); });
    }
  });
  for (size_t i = 0; i < count; ++i) {
    directories_.push_back(std::make_unique<ClientDirectory>(loaded, seed_, secrets_));
    workers_.push_back(std::make_unique<Worker>(*directories_.back(), limits_, resolver_, workers_, i));
    directories_.back()->attach(*workers_.back());
  }
  for (const Listeners::Socket& socket : listeners_.sockets()) {
    workers_[socket.worker]->listen(socket.fd, socket.tcp, socket.shared);
    if (socket.worker == 0) log::info("pooler", "listening on {}", socket.text);
  }
  console_ = std::make_unique<Console>(workers_);
  for (auto& worker : workers_) {
    worker->use_console(console_.get());
    worker->use_process(this);
  }
  if (settings.http_listen) {
    http_ = std::make_unique<HttpEndpoint>(*console_);
    if (auto listening = http_->start(*settings.http_listen); !listening) {
      return fail(listening.error().code, "http_listen: " + listening.error().text);
    }
    log::info("pooler", "http on {}", conf::format_address(*settings.http_listen));
  }
  if (auto watched = watch_cluster(); !watched) return watched;
  running_ = count;
  for (auto& worker : workers_) {
    threads_.emplace_back([this, worker = worker.get()] {
      worker->run();
      --running_;
      wake();
    });
  }
  say_up();
  return {};
}

Result<void> Process::open_log() {
  const conf::PoolerSettings settings = loaded()->config.settings;
  log::Options options;
  const int verbose = settings.verbose + arguments_.verbose;
  options.level = verbose <= 0 ? log::Level::info : verbose == 1 ? log::Level::debug : log::Level::trace;
  options.pgbouncer = true;
  options.most_waiting = 65536;  // a line or two for each client
  options.to_stderr = !arguments_.quiet && !arguments_.daemon;
  options.path = settings.logfile;
  if (settings.syslog) {
    options.syslog_ident = settings.syslog_ident;
    options.syslog_facility = settings.syslog_facility;
  }
  options.background = true;
  return log::init(options);
}

// As PgBouncer counts: each pool of each user, full, and each client.
int64_t Process::most_descriptors() const {
  const std::shared_ptr<const Loaded> loaded = this->loaded();
  const conf::PoolerSettings& settings = loaded->config.settings;
  const int64_t users = std::max<int64_t>(1, static_cast<int64_t>(loaded->userlist.users.size()));
  int64_t most = int64_t{settings.max_client_conn} + kSpareDescriptors;
  for (const conf::DatabaseEntry& entry : loaded->config.databases) {
    const int64_t size = entry.pool_size.value_or(settings.default_pool_size);
    const int64_t limit = entry.max_db_connections.value_or(settings.max_db_connections);
    const int64_t full = entry.user ? size : size * users;
    most += limit > 0 ? std::min(full, limit) : full;
  }
  return most;
}

// Of connections that are not in: as many as may be, and at least a hundred, where descriptors are left for them.
void Process::limit_logins() {
  const int64_t left = static_cast<int64_t>(std::min<uint64_t>(file_limit_.soft, 1U << 30)) - most_descriptors();
  const int64_t most = loaded()->config.settings.max_client_conn;
  const int64_t wanted = most == 0 ? left : std::max(kLeastLogins, most);
  limits_.set_most_logins(static_cast<int>(left < kSpareDescriptors ? wanted : std::min(left, wanted)));
}

void Process::say_limits() const {
  const std::shared_ptr<const Loaded> loaded = this->loaded();
  const conf::PoolerSettings& settings = loaded->config.settings;
  const int64_t most = most_descriptors();
  log::info("pooler", "kernel file descriptor limit: {} (hard: {}); max_client_conn: {}, max expected fd use: {}", file_limit_.soft,
            file_limit_.hard, settings.max_client_conn, most);
  if (static_cast<uint64_t>(most) > file_limit_.soft) {
    log::warning("pooler", "more descriptors may be needed than there can be: raise the limit (systemd: LimitNOFILE) or lower max_client_conn");
  }
}

void Process::say_up() {
  std::string version = version_text();
  version.resize(version.find('\n'));
  log::info("pooler", "process up: {}, workers: {}", version, workers_.size());
  background_.ready();
  notify_systemd("READY=1");
}

Result<void> Process::watch_cluster() {
  const conf::PoolerSettings settings = loaded()->config.settings;
  const auto news = [this](const ClusterNews& now) {
    on_every_worker([now](Worker&, ClientDirectory& directory) { directory.apply(now); });
  };
  if (settings.cluster_dcs.addresses.empty()) {
    if (settings.cluster_api.addresses.empty()) return {};
    api_watch_ = std::make_unique<ApiWatch>(ApiWatch::Options{.endpoints = urls_of(settings.cluster_api), .ca_file = settings.cluster_dcs_ca_file}, news);
    if (auto started = api_watch_->start(); !started) return fail(started.error().code, "cluster_api: " + started.error().text);
  } else {
    LeaderWatch::Options options;
    options.endpoints = urls_of(settings.cluster_dcs);
    if (!settings.cluster_dcs_credentials.empty()) {
      auto login = load_dcs_login(settings.cluster_dcs_credentials);
      if (!login) return fail(login.error().code, "cluster_dcs_credentials: " + login.error().text);
      options.user = login->user;
      options.password = login->password;
    }
    options.ca_file = settings.cluster_dcs_ca_file;
    options.scope = settings.cluster_scope;
    options.name_space = settings.cluster_namespace;
    options.port = settings.so_reuseport || settings.listen_addr.names.empty() ? 0 : settings.listen_port;
    options.hold = settings.failover_hold_timeout;
    watch_ = std::make_unique<LeaderWatch>(std::move(options), news,
                                           [this](std::function<void(LeaderWatch::Load)> answer) { ask_load(std::move(answer)); });
    if (auto started = watch_->start(); !started) return fail(started.error().code, "cluster_dcs: " + started.error().text);
  }
  for (const auto& worker : workers_) {
    worker->on_suspicion([this] {
      std::lock_guard lock(watching_);
      if (watch_ != nullptr) watch_->look();
      if (api_watch_ != nullptr) api_watch_->look();
    });
  }
  return {};
}

// A worker may be suspicious while the watch ends.
void Process::end_watch() {
  std::unique_ptr<LeaderWatch> watch;
  std::unique_ptr<ApiWatch> api_watch;
  std::lock_guard lock(watching_);
  watch.swap(watch_);
  api_watch.swap(api_watch_);
}

// Adds up what all workers have in flight and in their queues.
void Process::ask_load(std::function<void(LeaderWatch::Load)> answer) {
  struct Sum {
    std::mutex mutex;
    LeaderWatch::Load load;
    size_t missing = 0;
  };
  auto sum = std::make_shared<Sum>();
  sum->missing = workers_.size();
  on_every_worker([sum, answer = std::move(answer)](Worker& worker, ClientDirectory&) {
    const pool::Core::Load load = worker.core().load(pool::Route::primary);
    std::unique_lock lock(sum->mutex);
    sum->load.in_flight += load.lent;
    sum->load.held += load.waiting;
    if (--sum->missing == 0) answer(sum->load);
  });
}

void Process::on_every_worker(const std::function<void(Worker&, ClientDirectory&)>& work) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->post([work, worker = workers_[i].get(), directory = directories_[i].get()] { work(*worker, *directory); });
  }
}

void Process::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wakeup_, &one, sizeof one);
}

void Process::post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  wake();
}

}  // namespace pgdba::pooler
