#include "guardian/process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace pgdba::guardian {

namespace {

struct Stat {
  char state = 0;
  pid_t parent = 0;
  uint64_t start = 0;
};

// /proc/<pid>/stat: the command in parentheses may hold anything, so fields are counted from the last ')'.
bool read_stat(pid_t pid, Stat& out) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  char text[1024];
  if (read_small(path, text, sizeof text) <= 0) return false;
  char* at = std::strrchr(text, ')');
  if (at == nullptr || at[1] != ' ') return false;
  at += 2;
  out.state = *at;
  for (int field = 3; field < 22; ++field) {
    if (field == 4) out.parent = static_cast<pid_t>(std::strtol(at, nullptr, 10));
    at = std::strchr(at, ' ');
    if (at == nullptr) return false;
    ++at;
  }
  out.start = std::strtoull(at, nullptr, 10);
  return true;
}

// The slow way, for kernels without /proc/<pid>/task/<tid>/children.
int children_by_scan(pid_t parent, pid_t* pids, int capacity) {
  struct Entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];
  };
  int directory = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return 0;
  int count = 0;
  alignas(Entry) static char buffer[16384];
  for (;;) {
    long length = syscall(SYS_getdents64, directory, buffer, sizeof buffer);
    if (length <= 0) break;
    for (long at = 0; at < length;) {
      auto* entry = reinterpret_cast<Entry*>(buffer + at);
      at += entry->length;
      if (!std::isdigit(static_cast<unsigned char>(entry->name[0]))) continue;
      pid_t pid = static_cast<pid_t>(std::strtol(entry->name, nullptr, 10));
      Stat stat;
      if (!read_stat(pid, stat) || stat.parent != parent) continue;
      if (count < capacity) pids[count] = pid;
      ++count;
    }
  }
  close(directory);
  return count;
}

}  // namespace

int64_t boot_now_ns() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

int read_small(const char* path, char* buffer, int capacity) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  int length = 0;
  while (length < capacity - 1) {
    ssize_t got = read(file, buffer + length, static_cast<size_t>(capacity - 1 - length));
    if (got <= 0) {
      if (got < 0 && length == 0) length = -1;
      break;
    }
    length += static_cast<int>(got);
  }
  close(file);
  if (length >= 0) buffer[length] = '\0';
  return length;
}

uint64_t start_time_of(pid_t pid) {
  Stat stat;
  if (pid <= 0 || !read_stat(pid, stat) || stat.state == 'Z' || stat.state == 'X') return 0;
  return stat.start;
}

int open_pidfd(pid_t pid, uint64_t start) {
  if (pid <= 0) return -1;
  int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  // Looked at after opening: if the start time is right now, then the descriptor cannot mean a later process.
  if (fd >= 0 && !is_alive(pid, start)) {
    close(fd);
    return -1;
  }
  return fd;
}

bool signal_pidfd(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

int children_of(pid_t parent, pid_t* pids, int capacity) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/task/%d/children", static_cast<int>(parent), static_cast<int>(parent));
  static char text[65536];
  if (read_small(path, text, sizeof text) < 0) {
    return access("/proc/thread-self/children", F_OK) == 0 ? 0 : children_by_scan(parent, pids, capacity);
  }
  int count = 0;
  for (char* at = text; *at != '\0';) {
    char* end = nullptr;
    pid_t pid = static_cast<pid_t>(std::strtol(at, &end, 10));
    if (end == at) break;
    if (count < capacity) pids[count] = pid;
    ++count;
    at = end;
    while (*at == ' ') ++at;
  }
  return count;
}

}  // namespace pgdba::guardian
