// fork and exec as one step, for process.cpp: everything is prepared by the caller, the child only makes system calls.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace pgdba::net {

// A descriptor with one owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

struct SpawnPlan {
  std::string path;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value", all of it
  std::string cwd;
  Fd in, out;  // become 0, and 1 and 2; without `out` the child keeps ours
  bool switch_user = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  bool own_group = false;
  bool own_session = false;
  int parent_death_signal = 0;
  std::optional<mode_t> umask;
};

struct Spawned {
  pid_t pid = 0;
  Fd pidfd;
};

// Returns once the child runs the program, or says which step failed: not_found (no such program or directory),
// denied, unavailable (no memory, too many processes).
Result<Spawned> spawn(SpawnPlan plan);

}  // namespace pgdba::net
