#include "pg/install.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <set>
#include <vector>

#include "base/text.h"
#include "pg/durable.h"

extern char** environ;

namespace pgdba::pg {

namespace {

constexpr int kOldest = 13;
constexpr int kNewest = 18;

// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" -> 150018; "18beta1" -> 180000.
std::optional<int> parse_version(std::string_view text) {
  auto at = text.find("PostgreSQL) ");
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + 12);
  int number[2] = {0, 0};
  int which = 0;
  bool any = false;
  for (char c : text) {
    if (c >= '0' && c <= '9') {
      number[which] = number[which] * 10 + (c - '0');
      any = true;
    } else if (c == '.' && which == 0) {
      which = 1;
    } else {
      break;
    }
  }
  if (!any) return std::nullopt;
  return number[0] * 10000 + number[1];
}

std::optional<int> version_of(const std::string& bin_dir) {
  std::string program = bin_dir + "/postgres";
  if (::access(program.c_str(), X_OK) != 0) return std::nullopt;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::string option = "--version";
  char* argv[] = {program.data(), option.data(), nullptr};
  pid_t pid = 0;
  int failed = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t got; failed == 0 && (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  ::close(ends[0]);
  if (failed != 0) return std::nullopt;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return parse_version(text);
}

std::vector<std::string> places(int major) {
  std::vector<std::string> out;
  for (int version = kNewest; version >= kOldest; --version) {
    if (major != 0 && version != major) continue;
    out.push_back(fmt::format("/usr/lib/postgresql/{}/bin", version));
    out.push_back(fmt::format("/usr/pgsql-{}/bin", version));
  }
  if (const char* path = std::getenv("PATH")) {
    for (std::string& folder : split(path, ':')) {
      if (folder.starts_with('/')) out.push_back(std::move(folder));
    }
  }
  return out;
}

}  // namespace

int data_dir_major(const std::string& data_dir) {
  auto text = read_file(data_dir + "/PG_VERSION", 64);
  if (!text) return 0;
  return static_cast<int>(parse_int(trim(*text)).value_or(0));
}

Result<Install> find_install(const std::string& bin_dir, int major) {
  auto usable = [&](int version) { return version / 10000 >= kOldest && (major == 0 || version / 10000 == major); };
  if (!bin_dir.empty()) {
    auto version = version_of(bin_dir);
    if (!version) return fail(Errc::not_found, fmt::format("there is no PostgreSQL server in {}", bin_dir));
    if (!usable(*version)) {
      return fail(Errc::invalid, major != 0
                                     ? fmt::format("{} has PostgreSQL {}, but the data directory is of version {}",
                                                   bin_dir, *version / 10000, major)
                                     : fmt::format("{} has PostgreSQL {}; version {} or later is needed", bin_dir,
                                                   *version / 10000, kOldest));
    }
    return Install{bin_dir, *version};
  }
  std::vector<std::string> looked = places(major);
  for (const std::string& place : looked) {
    if (auto version = version_of(place); version && usable(*version)) return Install{place, *version};
  }
  return fail(Errc::not_found, fmt::format("no PostgreSQL {} found in {}",
                                           major != 0 ? std::to_string(major) : "13 to 18", join(looked, ", ")));
}

}  // namespace pgdba::pg
