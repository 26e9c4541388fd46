#include "guardian/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "guardian/guard.h"
#include "guardian/process.h"

namespace pgdba::guardian {

namespace {

constexpr uint64_t kLargestProgramPart = 1 << 20;

bool contains(uint64_t from, uint64_t to, const void* address) {
  auto at = reinterpret_cast<uint64_t>(address);
  return at >= from && at < to;
}

// The program's own code is megabytes of agent and CLI; of it only what lies around the guardian's functions.
unsigned lock_around(uint64_t from, uint64_t to, const void* address) {
  if (!contains(from, to, address)) return 0;
  constexpr uint64_t half = 64 * 1024;
  uint64_t at = reinterpret_cast<uint64_t>(address) & ~uint64_t{4095};
  uint64_t low = at - from > half ? at - half : from;
  uint64_t high = to - at > half ? at + half : to;
  return mlock(reinterpret_cast<void*>(low), high - low) == 0 ? static_cast<unsigned>((high - low) / 1024) : 0;
}

}  // namespace

unsigned lock_pages(const void* page, unsigned long page_size) {
  unsigned locked = mlock(page, page_size) == 0 ? static_cast<unsigned>(page_size / 1024) : 0;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return locked;
  char line[1024];
  const char* program = nullptr;
  char program_name[512] = {};
  ssize_t length = readlink("/proc/self/exe", program_name, sizeof program_name - 1);
  if (length > 0) program = program_name;
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    uint64_t from = 0;
    uint64_t to = 0;
    char rights[5] = {};
    int name_at = 0;
    if (std::sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &from, &to, rights, &name_at) < 3) continue;
    const char* name = line + name_at;
    bool writable = rights[1] == 'w';
    bool code = rights[2] == 'x';
    bool own = program != nullptr && std::strncmp(name, program, std::strlen(program)) == 0;
    bool base = std::strstr(name, "/libc.so") != nullptr || std::strstr(name, "/libc-") != nullptr ||
                std::strstr(name, "/ld-") != nullptr;
    bool stack = std::strncmp(name, "[stack]", 7) == 0;
    if (own && code) {
      locked += lock_around(from, to, reinterpret_cast<const void*>(&watch));
      locked += lock_around(from, to, reinterpret_cast<const void*>(&boot_now_ns));
      continue;
    }
    bool wanted = stack || (base && code) || ((own || base) && writable && to - from <= kLargestProgramPart);
    if (!wanted) continue;
    if (mlock(reinterpret_cast<void*>(from), to - from) == 0) locked += static_cast<unsigned>((to - from) / 1024);
  }
  std::fclose(maps);
  return locked;
}

bool lower_oom_score() {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  bool done = write(file, "-1000", 5) == 5;
  close(file);
  return done;
}

}  // namespace pgdba::guardian
