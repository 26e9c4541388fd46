#include "guardian/guardian.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "guardian/guard.h"
#include "guardian/memory.h"
#include "guardian/process.h"

namespace pgdba::guardian {

namespace {

struct Arguments {
  const char* page = nullptr;
  const char* data_dir = nullptr;
  const char* log = nullptr;
  uint64_t incarnation = 0;
  char** postmaster = nullptr;
};

bool parse(int argc, char** argv, Arguments& out) {
  for (int i = 2; i + 1 < argc; i += 2) {
    const char* value = argv[i + 1];
    if (std::strcmp(argv[i], "--page") == 0) {
      out.page = value;
    } else if (std::strcmp(argv[i], "--data-dir") == 0) {
      out.data_dir = value;
    } else if (std::strcmp(argv[i], "--log") == 0) {
      out.log = value;
    } else if (std::strcmp(argv[i], "--incarnation") == 0) {
      out.incarnation = std::strtoull(value, nullptr, 10);
    } else if (std::strcmp(argv[i], "--") == 0) {
      out.postmaster = argv + i + 1;
      break;
    } else {
      return false;
    }
  }
  return out.page != nullptr && out.data_dir != nullptr && out.log != nullptr && out.incarnation != 0 &&
         out.postmaster != nullptr;
}

Page* map_page(const Arguments& arguments) {
  int file = open(arguments.page, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return nullptr;
  struct stat info {};
  void* memory = MAP_FAILED;
  if (fstat(file, &info) == 0 && info.st_size >= static_cast<off_t>(sizeof(Page))) {
    memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  close(file);
  if (memory == MAP_FAILED) return nullptr;
  Page* page = static_cast<Page*>(memory);
  if (page->magic != Page::kMagic || page->version != Page::kVersion || page->incarnation != arguments.incarnation)
    return nullptr;
  return page;
}

int refuse(Page& page, const char* why, const char* what, int error) {
  std::snprintf(page.refusal, sizeof page.refusal, "%s %s%s%s", why, what, error != 0 ? ": " : "",
                error != 0 ? std::strerror(error) : "");
  page.state.store(State::refused);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    std::fprintf(stderr, "pgdba guardian is started by pgdba agent and by nobody else\n");
    return 2;
  }
  // Whatever the launcher had open is not ours to keep: a socket or lock held by the guardian would outlive the agent.
  syscall(SYS_close_range, 3U, ~0U, 0U);
  prctl(PR_SET_NAME, "pgdba-guardian");
  Page* page = map_page(arguments);
  if (page == nullptr) return 1;
  prepare_signals();
  page->guardian_start.store(start_time_of(getpid()));
  page->guardian_pid.store(getpid());

  static char pid_file[4096];
  if (std::snprintf(pid_file, sizeof pid_file, "%s/postmaster.pid", arguments.data_dir) >=
      static_cast<int>(sizeof pid_file)) {
    return refuse(*page, "the path is too long:", arguments.data_dir, 0);
  }
  Guarded it;
  it.page = page;
  it.guardian = getpid();
  it.postmaster = arguments.postmaster;
  it.postmaster_pid_file = pid_file;
  it.data_dir = open(arguments.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (it.data_dir < 0) return refuse(*page, "cannot open", arguments.data_dir, errno);
  // The lock is on the directory itself, so it holds whatever path or run folder a second guardian was given.
  if (flock(it.data_dir, LOCK_EX | LOCK_NB) != 0) {
    return refuse(*page, "another guardian has the lock of", arguments.data_dir, errno == EWOULDBLOCK ? 0 : errno);
  }
  it.log = open(arguments.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (it.log < 0) return refuse(*page, "cannot open", arguments.log, errno);
  dup2(it.log, 1);
  dup2(it.log, 2);
  if (chdir("/") != 0) return refuse(*page, "cannot change to", "/", errno);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return refuse(*page, "cannot become", "a child subreaper", errno);
  if (lower_oom_score()) {
    // The postmaster keeps our score (it must live as long as we do), its children go back to the usual one.
    setenv("PG_OOM_ADJUST_FILE", "/proc/self/oom_score_adj", 1);
    setenv("PG_OOM_ADJUST_VALUE", "0", 1);
  }
  page->locked_kib.store(lock_pages(page, sizeof(Page)));
  page->state.store(State::ready);

  if (wait_for_go(it) && start_postmaster(it)) {
    watch(it);
    kill_everything(it);
  }
  finish(it);
  return 0;
}

}  // namespace pgdba::guardian
