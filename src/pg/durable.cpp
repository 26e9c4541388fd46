#include "pg/durable.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace pgdba::pg {

namespace {

tl::unexpected<Error> system_error(std::string_view doing, const std::string& path) {
  int error = errno;
  Errc code = error == ENOENT ? Errc::not_found : error == EACCES || error == EPERM ? Errc::denied : Errc::unavailable;
  return fail(code, fmt::format("cannot {} {}: {}", doing, path, std::strerror(error)));
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::string folder_of(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

Result<void> fsync_folder(const std::string& path) {
  File folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) return system_error("sync", path);
  return {};
}

Result<void> write_durably(const std::string& path, std::string_view text) {
  std::string draft = path + ".pgdba-tmp";
  ::unlink(draft.c_str());
  {
    File file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return system_error("create", draft);
    while (!text.empty()) {
      ssize_t written = ::write(file.get(), text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        auto error = system_error("write", draft);
        ::unlink(draft.c_str());
        return error;
      }
      text.remove_prefix(static_cast<size_t>(written));
    }
    if (::fsync(file.get()) != 0) return system_error("sync", draft);
  }
  if (::rename(draft.c_str(), path.c_str()) != 0) return system_error("rename", draft);
  return fsync_folder(folder_of(path));
}

Result<bool> write_if_different(const std::string& path, std::string_view text) {
  if (auto there = read_file(path); there && *there == text) return false;
  if (auto written = write_durably(path, text); !written) return tl::unexpected(written.error());
  return true;
}

Result<void> remove_durably(const std::string& path) {
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return system_error("remove", path);
  }
  return fsync_folder(folder_of(path));
}

Result<void> rename_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return system_error("rename", from);
  return fsync_folder(folder_of(to));
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error("open", path);
  std::string text;
  char buffer[16384];
  for (;;) {
    ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path);
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > limit) return fail(Errc::invalid, fmt::format("{} is larger than {} bytes", path, limit));
  }
}

}  // namespace pgdba::pg
