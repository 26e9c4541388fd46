// Small files with the care that they need: whole or not at all, private from the first byte, and locked.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace pgdba::local {

// A file descriptor with one owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(); }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool open() const { return fd_ >= 0; }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

std::string errno_text(std::string_view what);  // "what: Permission denied"
Error errno_error(std::string_view what);       // with the code that fits errno

bool exists(const std::string& path);     // follows no link
bool is_folder(const std::string& path);  // follows links
Result<std::string> read_file(const std::string& path, size_t limit = 8 * 1024 * 1024);
// The old content or the new one, whatever happens: a temporary file beside it, fsync, rename, fsync of the folder.
// Not `lasting`: whole for every reader, but a power failure may leave it empty; for what is worthless after a reboot.
Result<void> write_atomic(const std::string& path, std::string_view content, mode_t mode = 0600, bool lasting = true);
// Makes the folder and those above it. One that is there must be a folder of this user that nobody else may write to.
Result<void> make_private_folder(const std::string& path);
// Removes everything below and the folder itself; follows no link. Nothing there is no error.
Result<void> remove_tree(const std::string& path);
std::vector<std::string> list_folder(const std::string& path);  // names, sorted; none when there is no such folder
std::string absolute(const std::string& path);                  // lexically; neither need exist
std::string real_path(const std::string& path);                 // absolute, links of what exists resolved

// An exclusive lock that its process holds until it is destroyed, or dies. The file stays.
class FileLock {
 public:
  // Waits at most `patience`; `on_wait` is called once with the pid of the holder (0: unknown) if it has to wait.
  static Result<FileLock> take(const std::string& path, Duration patience,
                               const std::function<void(pid_t)>& on_wait = {});

 private:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace pgdba::local
