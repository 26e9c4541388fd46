#include "net/memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace pgdba::net {

namespace {

int forget(dl_phdr_info* library, size_t, void*) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = library->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (library->dlpi_addr + segment.p_vaddr + page - 1) & ~(page - 1);
    const uintptr_t end = (library->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
    // A private mapping of a file that nobody may write to: dropped pages are read from the file again.
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void forget_startup_pages() {
  ::dl_iterate_phdr(forget, nullptr);
  ::malloc_trim(0);
}

}  // namespace pgdba::net
