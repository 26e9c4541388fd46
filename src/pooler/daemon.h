// What a process owes its system: the pid file, life in the background, another user, enough descriptors, and a word to
// systemd. Each function does one of these and says why it cannot.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::pooler {

// Held from claim() on; the file goes with the object, if it still is ours. A file with the pid of a process that lives
// refuses; one that is empty or names a dead process is replaced.
class PidFile {
 public:
  PidFile() = default;
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

  static Result<void> check(const std::string& path);  // could it be claimed?
  Result<void> claim(const std::string& path);

 private:
  std::string path_;
};

// The parent waits until the child says that it is up, or has ended, and exits with 0 or 1: so `-d` tells the truth.
// Before any thread is started. In the child stderr still is the terminal until ready().
class Background {
 public:
  ~Background();
  Result<void> enter();
  void ready();  // stdin, stdout and stderr become /dev/null, and the parent ends with 0

 private:
  int parent_ = -1;
};

// root becomes `user`; `owned` (may be empty) is given to it. Somebody else may only be `user` already.
Result<void> become(const std::string& user, const std::string& owned);

struct FileLimit {
  uint64_t soft = 0, hard = 0;
};
FileLimit raise_file_limit();  // the soft one to the hard one

// A datagram to NOTIFY_SOCKET: "READY=1". Nothing happens where there is none.
void notify_systemd(std::string_view text);

}  // namespace pgdba::pooler
