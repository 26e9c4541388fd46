#include "local/programs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glob.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

namespace {

constexpr const char* kNeeded[] = {"postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_controldata"};

std::vector<std::string> expand(const char* pattern) {
  std::vector<std::string> out;
  glob_t found{};
  if (::glob(pattern, 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) out.emplace_back(found.gl_pathv[i]);
  }
  ::globfree(&found);
  return out;
}

std::vector<std::string> path_folders() {
  const char* path = std::getenv("PATH");
  return split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':');
}

std::vector<std::string> missing_programs(const std::string& folder) {
  std::vector<std::string> out;
  for (const char* program : kNeeded) {
    if (::eaccess((folder + "/" + program).c_str(), X_OK) != 0) out.emplace_back(program);
  }
  return out;
}

Result<PostgresPrograms> look_at(const std::string& folder) {
  auto missing = missing_programs(folder);
  if (!missing.empty()) return fail(Errc::not_found, fmt::format("{} has no {}", folder, join(missing, ", ")));
  auto output = run_for_output({folder + "/postgres", "--version"});  // "postgres (PostgreSQL) 15.13 (Debian …)"
  if (!output) return tl::unexpected(output.error());
  auto words = split(trim(*output), ' ');
  if (words.size() < 3)
    return fail(Errc::invalid, fmt::format("{}/postgres --version says \"{}\"", folder, trim(*output)));
  PostgresPrograms out{folder, 0, words[2]};
  size_t digits = std::min(out.version.find_first_not_of("0123456789"), out.version.size());
  out.major = static_cast<int>(parse_int(out.version.substr(0, digits)).value_or(0));
  return out;
}

bool supported(const PostgresPrograms& found) {
  return found.major >= kOldestMajor && found.major <= kNewestMajor;
}

}  // namespace

Result<std::string> run_for_output(const std::vector<std::string>& argv) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(errno_error("pipe"));
  Fd read_end(ends[0]), write_end(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return tl::unexpected(errno_error("fork"));
  if (pid == 0) {
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::dup2(write_end.get(), STDERR_FILENO);
    // As root this is another user by now, who may not enter the caller's folder: PostgreSQL's programs complain about that.
    if (argv.front().starts_with('/') || argv.front().find('/') == std::string::npos) (void)!::chdir("/");
    std::vector<std::string> copy = argv;
    std::vector<char*> arguments;
    for (std::string& argument : copy) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  write_end.reset();
  std::string out;
  char buffer[4096];
  for (;;) {
    ssize_t n = ::read(read_end.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (out.size() < 65536) out.append(buffer, static_cast<size_t>(n));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return out;
  return fail(Errc::invalid, fmt::format("{} failed: {}", argv.front(), out.empty() ? "no output" : trim(out)));
}

Result<PostgresPrograms> find_postgres(const std::string& bin_dir) {
  if (!bin_dir.empty()) {
    auto found = look_at(absolute(bin_dir));
    if (!found) return tl::unexpected(std::move(found.error()).context("--pg-bin-dir"));
    if (!supported(*found)) {
      return fail(Errc::invalid, fmt::format("{} is PostgreSQL {}; pgdba runs {} to {}", found->bin_dir, found->version,
                                             kOldestMajor, kNewestMajor));
    }
    return found;
  }
  std::vector<std::string> folders;
  for (const char* pattern :
       {"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/usr/local/pgsql-*/bin",
        "/usr/lib64/pgsql*/bin", "/opt/homebrew/opt/postgresql*/bin", "/opt/pgsql*/bin"}) {
    for (std::string& folder : expand(pattern)) folders.push_back(std::move(folder));
  }
  for (const std::string& folder : path_folders()) {
    if (!folder.empty() && folder.front() == '/') folders.push_back(folder);
  }
  std::optional<PostgresPrograms> best;
  std::set<std::string> seen;
  std::vector<std::string> unsuitable;
  for (const std::string& folder : folders) {
    if (!seen.insert(folder).second || ::eaccess((folder + "/postgres").c_str(), X_OK) != 0) continue;
    auto found = look_at(folder);
    if (!found || !supported(*found)) {
      unsuitable.push_back(found ? fmt::format("{} (PostgreSQL {})", folder, found->version) : found.error().text);
      continue;
    }
    if (!best || std::pair(found->tested(), found->major) > std::pair(best->tested(), best->major)) best = *found;
  }
  if (best) return *best;
  std::string also = unsuitable.empty() ? "" : fmt::format(" Found, but not suitable: {}.", join(unsuitable, "; "));
  return fail(
      Errc::not_found,
      fmt::format("no PostgreSQL {} to {} found in /usr/lib/postgresql, /usr/pgsql-*, /usr/local/pgsql or PATH.{} "
                  "Install it (sudo apt-get install postgresql) or say where it is: pgdba up --pg-bin-dir DIR",
                  kOldestMajor, kNewestMajor, also));
}

Result<std::string> find_etcd() {
  std::vector<std::string> folders = path_folders();
  for (const char* folder : {"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/etcd"})
    folders.emplace_back(folder);
  for (const std::string& folder : folders) {
    std::string program = folder + "/etcd";
    if (!folder.empty() && folder.front() == '/' && ::eaccess(program.c_str(), X_OK) == 0) return program;
  }
  return fail(Errc::not_found, "no etcd found in PATH. Install it: sudo apt-get install etcd-server");
}

}  // namespace pgdba::local
