#include "local/leftovers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/text.h"
#include "local/files.h"

namespace pgdba::local {

namespace {

constexpr std::string_view kPrefix = "/dev/shm/PostgreSQL.";

std::string note_path(const ClusterFile& cluster, const std::string& node) {
  return cluster.node_folder(node) + "/shared_memory";
}

std::set<std::string> mapped_segments(pid_t pid) {
  std::set<std::string> out;
  auto maps = read_file(fmt::format("/proc/{}/maps", pid), 16 * 1024 * 1024);
  if (!maps) return out;
  for (const std::string& line : split(*maps, '\n')) {
    auto at = line.find(kPrefix);
    if (at != std::string::npos && !line.ends_with(" (deleted)")) out.insert(line.substr(at));
  }
  return out;
}

// The beginning of PostgreSQL's own segment (storage/pg_shmem.h), the same from 9.4 on.
struct SegmentHeader {
  int32_t magic;
  pid_t creator;
  size_t sizes[2];
  uint32_t dynamic;  // of the control segment in /dev/shm
  void* index;
  dev_t device;  // of the data directory
  ino_t inode;
};
constexpr int32_t kSegmentMagic = 679834894;

// The pid may be anybody's by now; only a PostgreSQL would be using the segment, and then it is left alone.
bool is_postgres(pid_t pid) {
  auto stat = read_stat(pid);
  return stat && !stat->gone() && stat->name.starts_with("postgres");
}

bool is_own_file(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid();
}

// The segment says whose it is. postmaster.pid names it as well, but the guardian removes that file after a kill.
void remove_segments(const std::string& data_dir) {
  struct stat folder {};
  shmid_ds info{};
  if (::stat(data_dir.c_str(), &folder) != 0) return;
  int last = ::shmctl(0, SHM_INFO, &info);
  for (int index = 0; index <= last; ++index) {
    int id = ::shmctl(index, SHM_STAT, &info);
    bool dead = id >= 0 && info.shm_nattch == 0 && info.shm_perm.uid == ::geteuid();
    if (!dead || info.shm_segsz < sizeof(SegmentHeader)) continue;
    void* at = ::shmat(id, nullptr, SHM_RDONLY);
    if (at == reinterpret_cast<void*>(-1)) continue;
    SegmentHeader header{};
    std::memcpy(&header, at, sizeof header);
    ::shmdt(at);
    bool ours = header.magic == kSegmentMagic && header.device == folder.st_dev && header.inode == folder.st_ino;
    if (!ours || is_postgres(header.creator)) continue;
    std::string control = fmt::format("{}{}", kPrefix, header.dynamic);
    if (header.dynamic != 0 && is_own_file(control)) ::unlink(control.c_str());
    ::shmctl(id, IPC_RMID, nullptr);
  }
}

Result<void> copy_program(const std::string& target) {
  auto open_as_caller = [] {
    ActAsCaller caller;
    return ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  };
  Fd from(open_as_caller());
  struct stat info {};
  if (!from.open() || ::fstat(from.get(), &info) != 0) return tl::unexpected(errno_error("cannot read this program"));
  std::string temporary = fmt::format("{}.{}.tmp", target, ::getpid());
  Fd to(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0755));
  if (!to.open()) return tl::unexpected(errno_error("cannot create " + temporary));
  for (::off_t done = 0; done < info.st_size;) {
    ssize_t n = ::sendfile(to.get(), from.get(), &done, static_cast<size_t>(info.st_size - done));
    if (n <= 0) return tl::unexpected(errno_error("cannot copy this program to " + temporary));
  }
  ::fchmod(to.get(), 0755);
  to.reset();
  if (::rename(temporary.c_str(), target.c_str()) != 0) return tl::unexpected(errno_error("cannot create " + target));
  return {};
}

}  // namespace

void remember_shared_memory(const ClusterFile& cluster, const std::string& node,
                            const std::vector<ProcessStat>& processes) {
  std::set<std::string> found;
  if (auto old = read_file(note_path(cluster, node))) {
    for (std::string& line : split(*old, '\n')) {
      if (!line.empty() && exists(line)) found.insert(std::move(line));
    }
  }
  for (const ProcessStat& process : processes) found.merge(mapped_segments(process.id.pid));
  if (found.empty()) return;
  // Only a convenience for a later purge: a failure to note it changes nothing for the cluster.
  (void)write_atomic(note_path(cluster, node), join({found.begin(), found.end()}, "\n") + "\n");
}

void remove_shared_memory(const ClusterFile& cluster, const std::string& node) {
  remove_segments(cluster.data_dir(node));
  auto noted = read_file(note_path(cluster, node));
  if (!noted) return;
  std::set<std::string> in_use;
  for (const ProcessStat& process : all_processes()) in_use.merge(mapped_segments(process.id.pid));
  for (const std::string& path : split(*noted, '\n')) {
    if (path.starts_with(kPrefix) && is_own_file(path) && !in_use.contains(path)) ::unlink(path.c_str());
  }
}

Result<std::string> program_for(const Identity& identity, const std::string& root) {
  if (!identity.dropped) return std::string();
  pid_t pid = ::fork();
  if (pid < 0) return tl::unexpected(errno_error("fork"));
  if (pid == 0) ::_exit(become_for_good(identity) && ::access("/proc/self/exe", R_OK | X_OK) == 0 ? 0 : 1);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::string();
  std::string target = root + "/pgdba";
  if (auto done = copy_program(target); !done) return tl::unexpected(done.error());
  return target;
}

}  // namespace pgdba::local
