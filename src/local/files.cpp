#include "local/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/text.h"

namespace pgdba::local {

namespace {

Result<void> write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tl::unexpected(errno_error("cannot write " + path));
    content.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

std::string folder_of(const std::string& path) {
  auto parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void sync_folder(const std::string& folder) {
  Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.open()) ::fsync(fd.get());
}

}  // namespace

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

std::string errno_text(std::string_view what) {
  return fmt::format("{}: {}", what, std::strerror(errno));
}

Error errno_error(std::string_view what) {
  Errc code = errno == ENOENT || errno == ESRCH                     ? Errc::not_found
              : errno == EACCES || errno == EPERM || errno == EROFS ? Errc::denied
                                                                    : Errc::invalid;  // nobody else is to blame
  return Error{code, errno_text(what)};
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.open()) return tl::unexpected(errno_error("cannot read " + path));
  std::string out;
  char buffer[16384];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tl::unexpected(errno_error("cannot read " + path));
    if (n == 0) return out;
    out.append(buffer, static_cast<size_t>(n));
    if (out.size() > limit) return fail(Errc::invalid, fmt::format("{} is longer than {} bytes", path, limit));
  }
}

Result<void> write_atomic(const std::string& path, std::string_view content, mode_t mode, bool lasting) {
  std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  ::unlink(temporary.c_str());
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd.open()) return tl::unexpected(errno_error("cannot create " + temporary));
  ::fchmod(fd.get(), mode);  // whatever the umask is
  auto done = write_all(fd.get(), content, temporary);
  if (done && lasting && ::fsync(fd.get()) != 0) done = tl::unexpected(errno_error("cannot flush " + temporary));
  if (done && ::rename(temporary.c_str(), path.c_str()) != 0)
    done = tl::unexpected(errno_error("cannot replace " + path));
  if (!done) {
    ::unlink(temporary.c_str());
    return done;
  }
  if (lasting) sync_folder(folder_of(path));
  return {};
}

Result<void> make_private_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(folder_of(path), error);
  if (error) return fail(Errc::denied, fmt::format("cannot create {}: {}", folder_of(path), error.message()));
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) return tl::unexpected(errno_error("cannot create " + path));
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return tl::unexpected(errno_error("cannot look at " + path));
  if (!S_ISDIR(info.st_mode)) return fail(Errc::denied, path + " is not a folder");
  if (info.st_uid != ::geteuid()) {
    return fail(Errc::denied, fmt::format("{} belongs to another user (uid {})", path, info.st_uid));
  }
  if ((info.st_mode & 022) != 0 && ::chmod(path.c_str(), 0700) != 0)
    return tl::unexpected(errno_error("cannot protect " + path));
  return {};
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail(Errc::denied, fmt::format("cannot remove {}: {}", path, error.message()));
  return {};
}

std::vector<std::string> list_folder(const std::string& path) {
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error))
    out.push_back(entry.path().filename().string());
  std::ranges::sort(out);
  return out;
}

std::string absolute(const std::string& path) {
  auto text = std::filesystem::absolute(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string real_path(const std::string& path) {
  std::error_code error;
  auto real = std::filesystem::weakly_canonical(absolute(path), error);
  return error ? absolute(path) : absolute(real.string());
}

bool is_folder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

Result<FileLock> FileLock::take(const std::string& path, Duration patience, const std::function<void(pid_t)>& on_wait) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.open()) return tl::unexpected(errno_error("cannot open the lock file " + path));
  auto give_up = std::chrono::steady_clock::now() + patience;
  bool told = false;
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return tl::unexpected(errno_error("cannot lock " + path));
    char text[32] = {};
    ssize_t n = ::pread(fd.get(), text, sizeof text - 1, 0);
    auto pid = n > 0 ? parse_int(trim(std::string_view(text, static_cast<size_t>(n)))).value_or(0) : 0;
    if (std::chrono::steady_clock::now() >= give_up) {
      return fail(Errc::conflict, pid > 0 ? fmt::format("{} is locked by process {}", path, pid) : path + " is locked");
    }
    if (!told && on_wait) on_wait(static_cast<pid_t>(pid));
    told = true;
    std::this_thread::sleep_for(20ms);
  }
  // Only for the message above; the lock itself needs no content.
  std::string self = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) == 0 && ::pwrite(fd.get(), self.data(), self.size(), 0) < 0) errno = 0;
  return FileLock(std::move(fd));
}

}  // namespace pgdba::local
