#include "local/identity.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace pgdba::local {

namespace {

std::optional<Identity> from_passwd(const passwd* entry) {
  if (!entry) return std::nullopt;
  return Identity{entry->pw_uid, entry->pw_gid, entry->pw_name, entry->pw_dir, false};
}

}  // namespace

Identity current_identity() {
  uid_t uid = ::getuid();
  Identity out = from_passwd(::getpwuid(uid)).value_or(Identity{uid, ::getgid(), std::to_string(uid), "/", false});
  const char* home = std::getenv("HOME");
  struct stat info {};
  // sudo may leave root with the caller's HOME; files of root there would lock that user out.
  bool foreign = uid == 0 && home && ::stat(home, &info) == 0 && info.st_uid != 0;
  if (home && home[0] == '/' && !foreign) out.home = home;
  return out;
}

Result<Identity> choose_identity(const std::string& folder) {
  if (::getuid() != 0) return current_identity();
  std::optional<Identity> chosen;
  struct stat info {};
  if (::stat(folder.c_str(), &info) == 0 && info.st_uid != 0) {
    chosen = from_passwd(::getpwuid(info.st_uid));
    if (!chosen)
      return fail(Errc::denied, fmt::format("{} belongs to uid {}, which has no account here", folder, info.st_uid));
  } else {
    chosen = from_passwd(::getpwnam("postgres"));
    if (!chosen) {
      return fail(Errc::denied,
                  "PostgreSQL does not run as root, and there is no user `postgres` to run it as. "
                  "Install PostgreSQL's Debian package, or call pgdba as an ordinary user.");
    }
  }
  chosen->dropped = true;
  return *chosen;
}

ActAs::ActAs(const Identity& identity) {
  if (!identity.dropped || ::geteuid() != 0) return;
  switched_ = ::setegid(identity.gid) == 0 && ::seteuid(identity.uid) == 0;
}

ActAs::~ActAs() {
  if (switched_ && (::seteuid(0) != 0 || ::setegid(::getgid()) != 0)) std::abort();
}

ActAsCaller::ActAsCaller() : uid_(::geteuid()), gid_(::getegid()) {
  if (uid_ != ::getuid() && (::seteuid(::getuid()) != 0 || ::setegid(::getgid()) != 0)) std::abort();
}

ActAsCaller::~ActAsCaller() {
  if (uid_ != ::geteuid() && (::setegid(gid_) != 0 || ::seteuid(uid_) != 0)) std::abort();
}

bool become_for_good(const Identity& identity) {
  if (!identity.dropped) return true;
  if (::geteuid() != 0 && ::seteuid(0) != 0) return false;
  return ::initgroups(identity.user.c_str(), identity.gid) == 0 &&
         ::setresgid(identity.gid, identity.gid, identity.gid) == 0 &&
         ::setresuid(identity.uid, identity.uid, identity.uid) == 0 && ::setuid(0) != 0;
}

}  // namespace pgdba::local
