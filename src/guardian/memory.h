// Keeps the guardian runnable when the host is short of memory: its pages stay in RAM, and the OOM killer takes others.
#pragma once

namespace pgdba::guardian {

// Locks, mapping by mapping, what the loop touches: the page, the stack, the writable data, and the code of this
// program's guardian, libc and the loader. Not mlockall: the whole program exceeds the 8 MiB that an ordinary user may
// lock. What cannot be locked is left. Returns KiB locked.
unsigned lock_pages(const void* page, unsigned long page_size);

// True when this process now has the lowest OOM score. Needs CAP_SYS_RESOURCE; without it nothing changes.
bool lower_oom_score();

}  // namespace pgdba::guardian
