#include "local/docker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

namespace {

constexpr size_t kMostOutput = 8 * 1024 * 1024;
constexpr size_t kMostComplaint = 16 * 1024;
constexpr int kNoProgram = 127;

// One pipe's reading end, and what of its last line is still missing.
struct Stream {
  Fd fd;
  std::string rest;
};

[[noreturn]] void become_docker(const DockerCall& call, int out, int err) {
  // Whoever ends this command ends what it began, too; the next one goes on from there.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  if (!call.folder.empty() && ::chdir(call.folder.c_str()) != 0) {
    std::string text = errno_text(call.folder) + "\n";
    (void)!::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(1);
  }
  for (const std::string& name : call.without) ::unsetenv(name.c_str());
  for (std::string variable : call.variables) {
    auto equals = variable.find('=');
    ::setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
  }
  std::vector<std::string> arguments = call.arguments;
  std::vector<char*> argv = {const_cast<char*>("docker")};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execvp("docker", argv.data());
  ::_exit(errno == ENOENT ? kNoProgram : 126);
}

std::vector<std::string> take_lines(std::string& rest, bool all) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1)
    out.push_back(rest.substr(begin, end - begin));
  rest.erase(0, begin);
  if (all && !rest.empty()) out.push_back(std::exchange(rest, {}));
  return out;
}

std::string command_of(const DockerCall& call) {
  return "docker " + join(call.arguments, " ");
}

// Waits for a child that has closed its outputs, or was killed: it ends at once.
int reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result<DockerAnswer> run_docker(const DockerCall& call) {
  int out_ends[2], err_ends[2];
  if (::pipe2(out_ends, O_CLOEXEC) != 0) return tl::unexpected(errno_error("pipe"));
  Stream streams[2] = {{Fd(out_ends[0]), {}}, {}};
  Fd out(out_ends[1]);
  if (::pipe2(err_ends, O_CLOEXEC) != 0) return tl::unexpected(errno_error("pipe"));
  streams[1].fd = Fd(err_ends[0]);
  Fd err(err_ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return tl::unexpected(errno_error("fork"));
  if (pid == 0) become_docker(call, out.get(), err.get());
  out.reset();
  err.reset();
  DockerAnswer answer;
  auto give_up = std::chrono::steady_clock::now() + call.patience.value_or(Duration{});
  char buffer[16384];
  while (streams[0].fd.open() || streams[1].fd.open()) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(give_up - std::chrono::steady_clock::now());
    pollfd wait[2] = {{streams[0].fd.get(), POLLIN, 0}, {streams[1].fd.get(), POLLIN, 0}};
    int ready = ::poll(wait, 2, call.patience ? static_cast<int>(std::max<int64_t>(0, left.count())) : -1);
    if (ready == 0) {
      ::kill(pid, SIGKILL);
      reap(pid);
      return fail(Errc::timeout, command_of(call) + " did not end; it was killed");
    }
    for (int i = 0; i < 2; ++i) {
      if (ready < 0 || (wait[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      Stream& stream = streams[i];
      ssize_t n = ::read(stream.fd.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      std::string_view text(buffer, n > 0 ? static_cast<size_t>(n) : 0);
      if (n <= 0) stream.fd.reset();
      if (i == 1) answer.complaint += text;
      if (answer.complaint.size() > 2 * kMostComplaint) answer.complaint.erase(0, answer.complaint.size() - kMostComplaint);
      if (call.on_lines) {
        stream.rest += text;
        if (auto lines = take_lines(stream.rest, n <= 0); !lines.empty()) call.on_lines(lines);
      } else if (i == 0 && answer.output.size() < kMostOutput) {
        answer.output += text;
      }
    }
  }
  answer.code = reap(pid);
  if (answer.code == kNoProgram && answer.complaint.empty())
    return fail(Errc::not_found, "there is no program `docker` in PATH");
  return answer;
}

Error docker_error(const DockerCall& call, const DockerAnswer& answer) {
  // What Compose tells of its progress begins with a blank; what went wrong does not.
  std::vector<std::string> said, progress;
  for (const std::string& line : split(answer.complaint, '\n')) {
    if (trim(line).empty()) continue;
    (line.front() == ' ' ? progress : said).emplace_back(trim(line));
  }
  if (said.empty()) said = progress;
  constexpr size_t enough = 4;
  if (said.size() > enough) said.erase(said.begin(), said.end() - enough);
  std::string text = said.empty() ? fmt::format("{} ended with {}", command_of(call), answer.code) : join(said, "\n    ");
  std::string words = lower(text);
  Errc code = Errc::invalid;
  if (words.find("permission denied") != std::string::npos && words.find("sock") != std::string::npos) {
    code = Errc::denied;
  } else if (words.find("cannot connect to the docker daemon") != std::string::npos ||
             words.find("failed to connect to the docker") != std::string::npos ||
             words.find("error during connect") != std::string::npos) {
    code = Errc::unavailable;
  }
  return {code, text};
}

Result<std::string> ask_docker(const DockerCall& call) {
  auto answer = run_docker(call);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->code != 0) return tl::unexpected(docker_error(call, *answer));
  return std::move(answer->output);
}

Result<void> check_docker() {
  auto answer = run_docker({.arguments = {"compose", "version", "--short"}});
  if (!answer) return tl::unexpected(answer.error());
  if (answer->code != 0) return fail(Errc::not_found, "there is a program `docker`, but not its plugin Compose v2 (docker compose version)");
  auto version = ask_docker({.arguments = {"version", "--format", "{{.Server.Version}}"}});
  if (!version) return tl::unexpected(version.error());
  return {};
}

}  // namespace pgdba::local
