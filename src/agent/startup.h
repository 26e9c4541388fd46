// What happens before the loop runs: settings from file and environment, the user to run as, the lock on the data
// directory. Blocking, one thread.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "conf/agent_settings.h"
#include "conf/patroni_yaml.h"

namespace pgdba::agent {

// Takes PATRONI_* out of the environment. Once, before any thread; later readings (SIGHUP) use what it returned.
std::vector<std::pair<std::string, std::string>> take_environment();

// FILE, or every *.yml and *.yaml of a folder in the order of their names; empty: only the environment.
Result<conf::SettingsReading> read_settings(const std::string& file, const std::vector<std::pair<std::string, std::string>>& environment);

// As root: becomes the owner of the data directory (or of the nearest folder above it that is not root's), else
// `postgres`. Returns the user's name; empty when nothing had to be done. Errors say what the operator should do.
Result<std::string> leave_root(const std::string& data_dir);

// One agent per data directory: an flock on a file beside it, held until the process ends. conflict names the other pid.
class DataDirLock {
 public:
  static Result<DataDirLock> take(const std::string& state_dir);
  ~DataDirLock();
  DataDirLock(DataDirLock&& other) noexcept;
  DataDirLock& operator=(DataDirLock&&) = delete;

 private:
  explicit DataDirLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace pgdba::agent
