// What the tests on real PostgreSQL share: a folder of their own, free ports, programs to run, and being an ordinary
// user (PostgreSQL refuses root). Everything that a test started is ended with it.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "base/time.h"

namespace pgdba::test {

// Debian 12 brings PostgreSQL 15, Debian 13 brings 17; a machine may have another one already.
inline std::string find_bin() {
  for (const char* major : {"15", "17", "18", "16", "14", "13"}) {
    std::string folder = std::string("/usr/lib/postgresql/") + major + "/bin";
    if (std::filesystem::exists(folder + "/postgres")) return folder;
  }
  return "/usr/lib/postgresql/15/bin";  // its absence will be named by whoever runs it
}
inline const std::string kBin = find_bin();

inline BootTime now() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return BootTime(std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec));
}

// As root: become `postgres` for good.
inline void become_ordinary_user() {
  if (geteuid() != 0) return;
  const passwd* user = getpwnam("postgres");
  if (user == nullptr || setgid(user->pw_gid) != 0 || initgroups("postgres", user->pw_gid) != 0 ||
      setuid(user->pw_uid) != 0)
    std::abort();
  if (chdir("/") != 0) std::abort();  // the build folder may be closed to that user, and psql says so in each answer
  prctl(PR_SET_DUMPABLE, 1);
  setenv("HOME", user->pw_dir, 1);
  umask(077);
}

inline void nap(Duration d) {
  timespec t{.tv_sec = d / 1s, .tv_nsec = (d % 1s).count()};
  nanosleep(&t, nullptr);
}

// Looks every millisecond until it holds; false when `limit` is over.
inline bool wait_until(Duration limit, const std::function<bool()>& holds) {
  BootTime end = now() + limit;
  while (!holds()) {
    if (now() >= end) return false;
    nap(1ms);
  }
  return true;
}

struct Output {
  int status = -1;  // exit code; 128 + signal
  std::string text;
};

// A program in the background; its output is collected when it is waited for.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      for (std::string& variable : environment) putenv(variable.data());
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      execvp(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = ends[0];
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
  }
  Output wait() {
    Output result;
    char buffer[4096];
    for (ssize_t got; (got = read(out_, buffer, sizeof buffer)) > 0;)
      result.text.append(buffer, static_cast<size_t>(got));
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

inline Output run(std::vector<std::string> arguments) {
  return Program(std::move(arguments)).wait();
}

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline int free_port() {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    std::abort();
  close(fd);
  return ntohs(address.sin_port);
}

// Every process whose working folder is below `folder`: PostgreSQL changes into its data directory.
inline std::vector<pid_t> processes_below(const std::string& folder) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code ignored;
    std::string at = std::filesystem::read_symlink(entry.path() / "cwd", ignored);
    if (at.starts_with(folder)) found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

// A folder with a short name below /tmp. Its end: every process that works in it, then the folder itself.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/pgdba-t-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path = name;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    for (int i = 0; i < 200; ++i) {
      std::vector<pid_t> left = processes_below(path);
      if (left.empty()) break;
      for (pid_t pid : left) ::kill(pid, SIGKILL);
      nap(10ms);
    }
    if (std::getenv("PGDBA_KEEP") == nullptr) {
      // Guardians of what was just killed may still be putting standby.signal back.
      std::error_code ignored;
      for (int i = 0; i < 200 && std::filesystem::exists(path, ignored); ++i) {
        std::filesystem::remove_all(path, ignored);
        nap(10ms);
      }
    }
  }
  std::string path;
};

}  // namespace pgdba::test
