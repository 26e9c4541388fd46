#include "pooler/main.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/rand.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "net/log.h"
#include "pooler/config.h"
#include "pooler/directory.h"
#include "pooler/leader_watch.h"
#include "pooler/limits.h"
#include "pooler/worker.h"

namespace pgdba::pooler {

namespace {

struct Listener {
  int fd = -1;
  std::string text;
};

Result<Listener> listen_on(const sockaddr* address, socklen_t size, const std::string& text, int backlog, bool reuse_port) {
  const int fd = ::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(Errc::unavailable, text + ": " + std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (reuse_port) ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (address->sa_family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(fd, address, size) != 0 || ::listen(fd, backlog) != 0) {
    const std::string why = std::strerror(errno);
    ::close(fd);
    return fail(Errc::unavailable, "cannot listen on " + text + ": " + why);
  }
  return Listener{fd, text};
}

std::vector<Listener> listen_tcp(const conf::PoolerSettings& settings, std::vector<std::string>& problems) {
  std::vector<Listener> made;
  for (const std::string& name : settings.listen_addr.names) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    addrinfo* list = nullptr;
    const std::string port = std::to_string(settings.listen_port);
    if (int code = ::getaddrinfo(name == "*" ? nullptr : name.c_str(), port.c_str(), &hints, &list); code != 0) {
      problems.push_back(fmt::format("listen_addr: {}: {}", name, ::gai_strerror(code)));
      continue;
    }
    for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
      auto listener = listen_on(each->ai_addr, each->ai_addrlen, name + ":" + port, settings.listen_backlog,
                                settings.so_reuseport || settings.workers > 1);
      if (listener) made.push_back(*listener);
      else problems.push_back(listener.error().text);
    }
    ::freeaddrinfo(list);
  }
  return made;
}

// The unix socket, whose file is removed at the end. A file that nobody answers behind is a dead process'.
Result<Listener> listen_unix(const conf::PoolerSettings& settings) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string path = settings.unix_socket_dir + "/.s.PGSQL." + std::to_string(settings.listen_port);
  if (path.size() >= sizeof name.sun_path) return fail(Errc::invalid, "unix_socket_dir is too long: " + path);
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const bool abstract = path[0] == '@';
  if (abstract) name.sun_path[0] = 0;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  if (!abstract) {
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool answered = ::connect(probe, reinterpret_cast<sockaddr*>(&name), size) == 0;
    ::close(probe);
    if (answered) return fail(Errc::conflict, "unix socket is in use, cannot continue: " + path);
    ::unlink(path.c_str());
  }
  auto listener = listen_on(reinterpret_cast<sockaddr*>(&name), size, path, settings.listen_backlog, false);
  if (listener && !abstract) ::chmod(path.c_str(), static_cast<mode_t>(settings.unix_socket_mode));
  return listener;
}

// Thousands of clients need as many descriptors; the soft limit is raised as far as it goes.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  log::info("pooler", "kernel file descriptor limit: {} (was {})", limit.rlim_cur, before);
}

// Adds up what all workers have in flight and in their queues.
void ask_load(const std::vector<std::unique_ptr<Worker>>& workers, std::function<void(LeaderWatch::Load)> answer) {
  struct Sum {
    std::mutex mutex;
    LeaderWatch::Load load;
    size_t missing = 0;
    std::function<void(LeaderWatch::Load)> answer;
  };
  auto sum = std::make_shared<Sum>();
  sum->missing = workers.size();
  sum->answer = std::move(answer);
  for (const auto& worker : workers) {
    worker->post([sum, core = &worker->core()] {
      const pool::Core::Load load = core->load(pool::Route::primary);
      std::lock_guard lock(sum->mutex);
      sum->load.in_flight += load.lent;
      sum->load.held += load.waiting;
      if (--sum->missing == 0) sum->answer(sum->load);
    });
  }
}

}  // namespace

int pooler_main(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) {
    fmt::print(stderr, "usage: pgdba pooler FILE\n");
    return 1;
  }
  auto loaded = load_config(arguments[0]);
  if (!loaded) {
    for (const std::string& error : loaded.error().errors) fmt::print(stderr, "pgdba pooler: {}\n", error);
    return 1;
  }
  auto config = std::make_shared<const Loaded>(std::move(*loaded));
  const conf::PoolerSettings& settings = config->config.settings;
  for (const std::string& warning : config->warnings) log::warning("pooler", "{}", warning);
  raise_file_limit();

  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  std::string seed(32, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(seed.data()), static_cast<int>(seed.size()));
  Limits limits;
  SecretCache secrets;
  limits.configure(core_settings(settings));
  limits.set_workers(static_cast<size_t>(std::max(1, settings.workers)));

  std::vector<std::string> problems;
  const int workers = std::max(1, settings.workers);
  std::vector<std::unique_ptr<ClientDirectory>> directories;
  std::vector<std::unique_ptr<Worker>> threads;
  for (int i = 0; i < workers; ++i) {
    directories.push_back(std::make_unique<ClientDirectory>(config, seed, secrets));
    threads.push_back(std::make_unique<Worker>(*directories.back(), limits, threads, static_cast<size_t>(i)));
    directories.back()->attach(*threads.back());
    bool any = settings.listen_addr.names.empty();
    for (const Listener& listener : listen_tcp(settings, problems)) {
      threads.back()->listen(listener.fd);
      if (i == 0) log::info("pooler", "listening on {}", listener.text);
      any = true;
    }
    for (const std::string& problem : problems) log::warning("pooler", "{}", problem);
    if (!any) {
      fmt::print(stderr, "pgdba pooler: none of listen_addr can be listened on\n");
      return 1;
    }
    problems.clear();
  }
  if (!settings.unix_socket_dir.empty()) {
    auto listener = listen_unix(settings);
    if (!listener) {
      fmt::print(stderr, "pgdba pooler: {}\n", listener.error().text);
      return 1;
    }
    threads.front()->listen(listener->fd);
    log::info("pooler", "listening on unix:{}", listener->text);
  }
  std::unique_ptr<LeaderWatch> watch;
  if (!settings.cluster_dcs.addresses.empty()) {
    LeaderWatch::Options options;
    for (const conf::Address& address : settings.cluster_dcs.addresses) {
      options.endpoints.push_back((settings.cluster_dcs.tls ? "https://" : "http://") + conf::format_address(address));
    }
    options.ca_file = settings.cluster_dcs_ca_file;
    options.scope = settings.cluster_scope;
    options.name_space = settings.cluster_namespace;
    options.port = settings.so_reuseport || settings.listen_addr.names.empty() ? 0 : settings.listen_port;
    options.hold = settings.failover_hold_timeout;
    watch = std::make_unique<LeaderWatch>(
        std::move(options),
        [&](const ClusterNews& news) {
          for (size_t i = 0; i < threads.size(); ++i) {
            threads[i]->post([directory = directories[i].get(), news] { directory->apply(news); });
          }
        },
        [&](std::function<void(LeaderWatch::Load)> answer) { ask_load(threads, std::move(answer)); });
    if (auto started = watch->start(); !started) {
      fmt::print(stderr, "pgdba pooler: cluster_dcs: {}\n", started.error().text);
      return 1;
    }
  }
  // A worker may be suspicious while the watch ends.
  struct Suspicion {
    std::mutex mutex;
    LeaderWatch* watch = nullptr;
  } suspicion;
  suspicion.watch = watch.get();
  for (auto& worker : threads) {
    worker->on_suspicion([&suspicion] {
      std::lock_guard lock(suspicion.mutex);
      if (suspicion.watch != nullptr) suspicion.watch->look();
    });
  }
  std::vector<std::thread> running;
  for (auto& worker : threads) running.emplace_back([&worker] { worker->run(); });
  log::info("pooler", "process up: pid {}", ::getpid());
  int number = 0;
  while (::sigwait(&signals, &number) == 0) {
    if (number == SIGHUP) continue;
    break;
  }
  {
    std::lock_guard lock(suspicion.mutex);
    suspicion.watch = nullptr;
  }
  watch.reset();
  for (auto& worker : threads) worker->stop();
  for (auto& thread : running) thread.join();
  return 0;
}

}  // namespace pgdba::pooler
