#include "pg/processes.h"

#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "base/text.h"
#include "pg/durable.h"

namespace pgdba::pg {

namespace {

// A DBA's shell may stand in the data directory as well: only these programs count.
bool is_postgres_or_job(pid_t pid) {
  char link[4096];
  ssize_t length = ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), link, sizeof link);
  if (length <= 0) return false;
  std::string_view name(link, static_cast<size_t>(length));
  if (name.ends_with(" (deleted)")) name.remove_suffix(10);
  name.remove_prefix(name.rfind('/') + 1);
  for (std::string_view known : {"postgres", "pg_basebackup", "pg_rewind", "initdb"}) {
    if (name == known) return true;
  }
  return false;
}

bool works_in(pid_t pid, const struct stat& folder) {
  struct stat cwd {};
  return ::stat(fmt::format("/proc/{}/cwd", pid).c_str(), &cwd) == 0 && cwd.st_dev == folder.st_dev &&
         cwd.st_ino == folder.st_ino;
}

}  // namespace

std::optional<PostmasterPid> read_postmaster_pid(const Layout& layout) {
  auto text = read_file(layout.postmaster_pid(), 65536);
  if (!text) return std::nullopt;
  std::vector<std::string> lines = split(*text, '\n');
  auto pid = lines.size() > 1 ? parse_int(trim(lines[0])) : std::nullopt;
  if (!pid || *pid <= 0) return std::nullopt;
  PostmasterPid out;
  out.pid = static_cast<pid_t>(*pid);
  if (lines.size() > 7) {
    std::string_view line = trim(lines[6]);
    if (auto blank = line.rfind(' '); blank != std::string_view::npos)
      out.shm_id = static_cast<int>(parse_int(line.substr(blank + 1)).value_or(-1));
    out.status = std::string(trim(lines[7]));
  }
  return out;
}

std::vector<pid_t> processes_in(const std::string& data_dir) {
  std::vector<pid_t> out;
  struct stat folder {};
  if (::stat(data_dir.c_str(), &folder) != 0) return out;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return out;
  while (const dirent* entry = ::readdir(proc)) {
    if (!std::isdigit(static_cast<unsigned char>(entry->d_name[0]))) continue;
    pid_t pid = static_cast<pid_t>(std::atol(entry->d_name));
    if (works_in(pid, folder) && is_postgres_or_job(pid)) out.push_back(pid);
  }
  ::closedir(proc);
  return out;
}

std::optional<pid_t> living_postmaster(const Layout& layout) {
  auto file = read_postmaster_pid(layout);
  struct stat folder {};
  if (!file || ::stat(layout.data_dir.c_str(), &folder) != 0 || !works_in(file->pid, folder) ||
      !is_postgres_or_job(file->pid))
    return std::nullopt;
  return file->pid;
}

bool shared_memory_in_use(int shm_id) {
  if (shm_id < 0) return false;
  shmid_ds segment{};
  return ::shmctl(shm_id, IPC_STAT, &segment) == 0 && segment.shm_nattch > 0;
}

void remove_own_socket_locks(const Layout& layout, const std::string& folders, uint16_t port) {
  for (const std::string& folder : split(folders, ',')) {
    std::string socket = fmt::format("{}/.s.PGSQL.{}", trim(folder), port);
    auto lock = read_file(socket + ".lock", 4096);
    if (!lock) continue;
    std::vector<std::string> lines = split(*lock, '\n');
    if (lines.size() < 2 || lines[1] != layout.data_dir) continue;
    ::unlink(socket.c_str());
    ::unlink((socket + ".lock").c_str());
  }
}

bool kill_unguarded(const Layout& layout) {
  auto file = read_postmaster_pid(layout);
  if (auto postmaster = living_postmaster(layout)) ::kill(*postmaster, SIGKILL);
  std::vector<pid_t> left = processes_in(layout.data_dir);
  for (pid_t pid : left) ::kill(pid, SIGKILL);
  if (!left.empty() || (file && shared_memory_in_use(file->shm_id))) return false;
  if (file) ::unlink(layout.postmaster_pid().c_str());
  return true;
}

}  // namespace pgdba::pg
