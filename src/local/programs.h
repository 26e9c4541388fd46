// Finds PostgreSQL's and etcd's programs on this machine. Runs nothing but `--version`.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace pgdba::local {

inline constexpr int kOldestMajor = 13;
inline constexpr int kNewestMajor = 18;

// Continuous integration runs 15; 17 and 18 are run from the Debian trees.
inline bool is_tested_major(int major) {
  return major == 15 || major == 17 || major == 18;
}

struct PostgresPrograms {
  std::string bin_dir;
  int major = 0;
  std::string version;  // "15.13"
  [[nodiscard]] bool tested() const { return is_tested_major(major); }
};

// `bin_dir` empty: the newest tested major, else the newest supported one, in Debian's, PGDG's, Homebrew's and the
// customary folders and in PATH. An error names where it looked and what to install or pass.
Result<PostgresPrograms> find_postgres(const std::string& bin_dir);
Result<std::string> find_etcd();  // its path

// Output of a short-lived program (at most 64 KiB), or Errc::invalid with what it said.
Result<std::string> run_for_output(const std::vector<std::string>& argv);

}  // namespace pgdba::local
