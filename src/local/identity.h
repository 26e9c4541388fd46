// Who a cluster on this machine belongs to. An ordinary user is simply that user. PostgreSQL refuses to run as root, so
// root acts as `postgres`, or as the owner of a cluster folder that is there already.
//
// Root keeps its real user id and switches the effective one: files get the right owner, no link planted by that user
// can trick root into writing elsewhere, signals and /proc need no capability. Programs are started with the rights
// dropped for good.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/error.h"

namespace pgdba::local {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string user;
  std::string home;
  bool dropped = false;  // true: the caller is root and acts as somebody else
};

// `folder`: of the cluster; its owner counts if it exists and is not root.
Result<Identity> choose_identity(const std::string& folder);
Identity current_identity();

// While it lives, a root caller's effective ids are those of `identity`; nothing happens for anybody else.
class ActAs {
 public:
  explicit ActAs(const Identity& identity);
  ~ActAs();
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;

 private:
  bool switched_ = false;
};

// The opposite, inside an ActAs: as the caller again, for the caller's own registry.
class ActAsCaller {
 public:
  ActAsCaller();
  ~ActAsCaller();
  ActAsCaller(const ActAsCaller&) = delete;
  ActAsCaller& operator=(const ActAsCaller&) = delete;

 private:
  uid_t uid_;
  gid_t gid_;
};

// In a forked child, before exec. False: the rights could not be dropped; the child must end.
bool become_for_good(const Identity& identity);

}  // namespace pgdba::local
