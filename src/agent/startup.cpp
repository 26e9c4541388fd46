#include "agent/startup.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

extern char** environ;

namespace pgdba::agent {

namespace fs = std::filesystem;

std::vector<std::pair<std::string, std::string>> take_environment() {
  std::vector<std::pair<std::string, std::string>> taken;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (!text.starts_with("PATRONI_") || equals == std::string_view::npos) continue;
    taken.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& [name, value] : taken) unsetenv(name.c_str());
  return taken;
}

Result<conf::SettingsReading> read_settings(const std::string& file, const std::vector<std::pair<std::string, std::string>>& environment) {
  std::vector<std::string> names;
  std::error_code error;
  if (fs::is_directory(file, error)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(file, error)) {
      const std::string extension = entry.path().extension();
      if (extension == ".yml" || extension == ".yaml") names.push_back(entry.path());
    }
    std::sort(names.begin(), names.end());
    if (names.empty()) return fail(Errc::not_found, fmt::format("{}: no *.yml or *.yaml in this folder", file));
  } else if (!file.empty()) {
    names.push_back(file);
  }
  std::vector<conf::YamlSource> sources;
  for (const std::string& name : names) {
    std::ifstream in(name, std::ios::binary);
    if (!in) return fail(Errc::not_found, fmt::format("{}: {}", name, std::strerror(errno)));
    std::string text(std::min<size_t>(conf::kMaxYaml + 1, 1 << 24), '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    sources.push_back({name, std::move(text)});
  }
  return conf::read_agent_settings(sources, environment);
}

namespace {

struct User {
  std::string name;
  std::string home;
  uid_t uid = 0;
  gid_t gid = 0;
};

std::optional<User> user_of(const passwd* entry) {
  if (entry == nullptr || entry->pw_uid == 0) return std::nullopt;
  return User{entry->pw_name, entry->pw_dir, entry->pw_uid, entry->pw_gid};
}

}  // namespace

Result<std::string> leave_root(const std::string& data_dir) {
  if (geteuid() != 0) return std::string();
  std::optional<User> user;
  for (fs::path at = data_dir; !user && at.has_relative_path(); at = at.parent_path()) {
    struct stat info {};
    if (stat(at.c_str(), &info) == 0 && info.st_uid != 0) {
      user = user_of(getpwuid(info.st_uid));
      break;
    }
  }
  if (!user) user = user_of(getpwnam("postgres"));
  if (!user) {
    return fail(Errc::denied, "PostgreSQL does not run as root, and there is no user postgres to run as: start `pgdba agent` as the user who owns the data directory");
  }
  if (initgroups(user->name.c_str(), user->gid) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0) {
    return fail(Errc::denied, fmt::format("PostgreSQL does not run as root, and this process may not become {}: {}", user->name, std::strerror(errno)));
  }
  setenv("HOME", user->home.c_str(), 1);
  setenv("USER", user->name.c_str(), 1);
  setenv("LOGNAME", user->name.c_str(), 1);
  return user->name;
}

Result<DataDirLock> DataDirLock::take(const std::string& state_dir) {
  const std::string path = state_dir + "/agent.lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return fail(Errc::denied, fmt::format("{}: {}", path, std::strerror(errno)));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    const ssize_t got = read(fd, pid, sizeof pid - 1);
    close(fd);
    const std::string holder(pid, got > 0 ? static_cast<size_t>(got) : 0);
    return fail(Errc::conflict, fmt::format("another pgdba agent{}{} runs this data directory", holder.empty() ? "" : ", pid ", holder));
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    // The lock counts, the pid is for people.
  }
  return DataDirLock(fd);
}

DataDirLock::~DataDirLock() {
  if (fd_ >= 0) close(fd_);
}

DataDirLock::DataDirLock(DataDirLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

}  // namespace pgdba::agent
