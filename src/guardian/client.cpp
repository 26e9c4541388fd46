#include "guardian/client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>
#include <random>

#include "guardian/process.h"

extern char** environ;

namespace pgdba::guardian {

namespace {

tl::unexpected<Error> system_error(std::string_view what) {
  int error = errno;
  return fail(error == EACCES || error == EPERM ? Errc::denied : Errc::unavailable,
              fmt::format("{}: {}", what, std::strerror(error)));
}

void read_boot_id(char (&out)[40]) {
  char text[64] = {};  // what is compared later is longer than what the kernel writes
  if (read_small("/proc/sys/kernel/random/boot_id", text, sizeof text) > 0) std::memcpy(out, text, sizeof out - 1);
}

BootTime at_ns(int64_t ns) {
  return BootTime(Duration(ns));
}

// PostgreSQL's environment: ours without what may carry passwords or redirect a server.
std::vector<char*> environment_of_postgres() {
  std::vector<char*> out;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text(*variable);
    bool drop = false;
    for (std::string_view prefix :
         {"PATRONI_", "PGDBA_", "PGPASS", "PGUSER", "PGHOST", "PGPORT", "PGSERVICE", "PGOPTIONS", "ETCD"}) {
      drop = drop || text.starts_with(prefix);
    }
    if (!drop) out.push_back(*variable);
  }
  out.push_back(nullptr);
  return out;
}

// Two forks, so that the guardian is nobody's child but init's (or the nearest subreaper's): it ends like any daemon,
// whoever started it. Between fork and exec only system calls: the agent has threads.
Result<void> run_detached(const std::string& program, std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> environment = environment_of_postgres();
  pid_t middle = fork();
  if (middle == 0) {
    setsid();
    pid_t guardian = fork();
    if (guardian != 0) _exit(guardian < 0 ? 1 : 0);
    execve(program.c_str(), argv.data(), environment.data());
    _exit(127);
  }
  if (middle < 0) return system_error("fork");
  int status = 0;
  while (waitpid(middle, &status, 0) < 0) {
    if (errno == EINTR) continue;
    if (errno == ECHILD) return {};  // SIGCHLD is ignored here, so nobody may ask: the page will tell
    return system_error("waitpid");
  }
  if (status != 0) return fail(Errc::unavailable, "could not fork the guardian");
  return {};
}

}  // namespace

Client::Client(Settings settings) : settings_(std::move(settings)) {}

Client::~Client() {
  unmap();
  close_pidfd();
}

void Client::unmap() {
  if (page_ != nullptr) munmap(page_, sizeof(Page));
  page_ = nullptr;
}

void Client::close_pidfd() {
  if (pidfd_ >= 0) close(pidfd_);
  pidfd_ = -1;
}

// The guardian writes its pid a moment after its start, so this is tried again until it is found.
bool Client::find_guardian() const {
  if (page_ == nullptr) return false;
  if (pidfd_ < 0) pidfd_ = open_pidfd(page_->guardian_pid.load(), page_->guardian_start.load());
  if (pidfd_ < 0) return false;
  pollfd ended{.fd = pidfd_, .events = POLLIN, .revents = 0};
  return poll(&ended, 1, 0) == 0;
}

void Client::wake() const {
  if (find_guardian()) signal_pidfd(pidfd_, SIGUSR1);
}

Result<bool> Client::adopt() {
  unmap();
  close_pidfd();
  int file = open(settings_.page.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    if (errno == ENOENT) return false;
    return system_error("cannot open " + settings_.page);
  }
  struct stat info {};
  void* memory = MAP_FAILED;
  if (fstat(file, &info) == 0 && info.st_size >= static_cast<off_t>(sizeof(Page))) {
    memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  close(file);
  if (memory == MAP_FAILED) return fail(Errc::invalid, settings_.page + " is not a guardian's page");
  page_ = static_cast<Page*>(memory);
  char boot_id[40] = {};
  read_boot_id(boot_id);
  if (page_->magic != Page::kMagic || page_->version != Page::kVersion) {
    unmap();
    return fail(Errc::invalid, settings_.page + " was made by another version of pgdba");
  }
  if (std::memcmp(page_->boot_id, boot_id, sizeof boot_id) != 0) {
    unmap();
    return false;
  }
  Status found = status();
  owner_ = found.owner;
  deadline_ = found.guardian_alive ? found.deadline : std::nullopt;
  return found.guardian_alive;
}

Result<void> Client::launch(const Launch& launch) {
  if (find_guardian()) return fail(Errc::conflict, fmt::format("guardian {} lives", page_->guardian_pid.load()));
  if (!launch.data_dir.starts_with('/') || !launch.log_file.starts_with('/') || launch.command.empty()) {
    return fail(Errc::bug, "guardian: paths must be absolute and the command not empty");
  }
  if (deadline_ && *deadline_ <= at_ns(boot_now_ns())) {
    if (launch.primary) return fail(Errc::conflict, "the deadline of the leader lock is over");
    deadline_.reset();
  }
  unmap();
  close_pidfd();
  std::string draft = fmt::format("{}.{}", settings_.page, getpid());
  ::unlink(draft.c_str());
  int file = open(draft.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return system_error("cannot create " + draft);
  // Blocks are allocated now: a full disk must not show up as a bus error later.
  int full = posix_fallocate(file, 0, 4096);
  void* memory = full == 0 ? mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  if (full != 0) errno = full;
  if (memory == MAP_FAILED) return system_error("cannot map " + draft);
  page_ = new (memory) Page;
  std::random_device random;
  do {
    page_->incarnation = (uint64_t{random()} << 32) | random();
  } while (page_->incarnation == 0);
  page_->agent_pid = getpid();
  page_->agent_start = start_time_of(getpid());
  read_boot_id(page_->boot_id);
  store_owner(*page_);
  page_->deadline_ns.store(deadline_ ? deadline_->time_since_epoch().count() : 0);
  if (rename(draft.c_str(), settings_.page.c_str()) != 0) return system_error("cannot rename " + draft);

  std::vector<std::string> arguments{"pgdba",
                                     "guardian",
                                     "--page",
                                     settings_.page,
                                     "--data-dir",
                                     launch.data_dir,
                                     "--log",
                                     launch.log_file,
                                     "--incarnation",
                                     std::to_string(page_->incarnation),
                                     "--"};
  arguments.insert(arguments.end(), launch.command.begin(), launch.command.end());
  return run_detached(settings_.program, std::move(arguments));
}

Result<void> Client::go() {
  if (!find_guardian()) return fail(Errc::unavailable, "no guardian lives");
  if (page_->state.load() != State::ready) return fail(Errc::conflict, "the guardian is not waiting for a start");
  page_->command.store(Command::go);
  wake();
  return {};
}

void Client::store_owner(Page& page) const {
  uint32_t seq = page.owner_seq.load();
  page.owner_seq.store(seq | 1);
  page.lease.store(owner_.lease);
  page.leader_mod.store(owner_.leader_mod);
  page.term.store(owner_.term);
  page.owner_seq.store((seq | 1) + 1);
}

void Client::set_deadline(std::optional<BootTime> deadline, const Owner& owner) {
  deadline_ = deadline;
  bool same_owner = owner == owner_;
  owner_ = owner;
  if (page_ == nullptr) return;
  if (!same_owner) store_owner(*page_);
  page_->deadline_ns.store(deadline ? deadline->time_since_epoch().count() : 0);
}

void Client::stop_fast(BootTime until) {
  if (page_ == nullptr || page_->command.load() == Command::kill) return;
  page_->fast_until_ns.store(until.time_since_epoch().count());
  page_->command.store(Command::stop_fast);
  wake();
}

void Client::kill() {
  if (page_ == nullptr) return;
  page_->command.store(Command::kill);
  wake();
}

void Client::end_guardian() {
  if (find_guardian()) signal_pidfd(pidfd_, SIGKILL);
}

Status Client::status() const {
  Status out;
  if (page_ == nullptr) return out;
  const Page& page = *page_;
  out.page_found = true;
  // Asked before the state is read: a guardian seen dead has written all that it ever will.
  out.guardian_alive = find_guardian();
  out.state = page.state.load();
  out.incarnation = page.incarnation;
  out.guardian_pid = page.guardian_pid.load();
  out.postmaster_pid = page.postmaster_pid.load();
  out.postmaster_alive = is_alive(out.postmaster_pid, page.postmaster_start.load());
  out.shm_id = page.shm_id.load();
  if (int64_t deadline = page.deadline_ns.load(); deadline != 0) out.deadline = at_ns(deadline);
  uint32_t seq = page.owner_seq.load();
  Owner owner{.lease = page.lease.load(), .leader_mod = page.leader_mod.load(), .term = page.term.load()};
  if (seq % 2 == 0) out.owner = owner;
  if (int status = page.exit_status.load(); status >= 0) out.exit_status = status;
  out.told_to_stop = page.told_to_stop.load() != 0;
  out.killed_by_deadline = page.killed_by_deadline.load() != 0;
  if (out.state == State::all_dead && page.killing_since_ns.load() != 0)
    out.dying = Duration(page.all_dead_ns.load() - page.killing_since_ns.load());
  out.locked_kib = page.locked_kib.load();
  if (out.state == State::refused) {
    out.problem = std::string(page.refusal, strnlen(page.refusal, sizeof page.refusal));
  } else if (int error = page.exec_errno.load(); error != 0) {
    out.problem = fmt::format("cannot run the postgres program: {}", std::strerror(error));
  } else if (int signal_error = page.signal_file_errno.load(); signal_error != 0) {
    out.problem = fmt::format("cannot write standby.signal: {}", std::strerror(signal_error));
  }
  return out;
}

}  // namespace pgdba::guardian
