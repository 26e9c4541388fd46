// What the supervisor and the commands tell each other, as files below <cluster>/supervised/, one set per process:
//
//   NAME.spec   how to start it                  written by `up`
//   NAME.want   "down stop|kill", or absent: up  written by the commands; survives a reboot
//   NAME.run    pid, start time, boot            written by the process itself between fork and exec, so that it is
//                                                there even if the supervisor dies in that moment
//   NAME.exits  how often it was restarted, why, when the next try is due    written by the supervisor; removed: try
//   now
//
// Each file has one writer at a time and is replaced as a whole, so nobody needs a lock to read. Plain "key=value"
// lines: the supervisor stays free of parsers. A record of an earlier boot says nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "local/process.h"

namespace pgdba::local {

using KeyValues = std::vector<std::pair<std::string, std::string>>;
Result<KeyValues> read_key_values(const std::string& path);
Result<void> write_key_values(const std::string& path, const KeyValues& values, bool lasting);
std::string value_of(const KeyValues& values, std::string_view key);  // the first of that key; empty: none

struct Spec {
  std::string name;                    // "etcd1", "pg-primary"
  std::vector<std::string> argv;       // argv[0] "self" means this very program
  std::vector<std::string> variables;  // NAME=value; beside PATH, HOME, LANG and the node's marker nothing is inherited
  std::string folder;                  // working folder, and the value of the marker
  std::string log;                     // takes stdout and stderr, appended
  bool operator==(const Spec&) const = default;
};

enum class Want { up, stopped, killed };

struct Exits {
  int64_t restarts = 0;  // since `up` or `start` was last asked for
  std::string last;      // "exited with 1", "killed by signal 9"; empty: never
  std::optional<WallTime> at;
  std::optional<WallTime> next;  // when it will be tried again; none: now running, or not to be restarted
  int64_t backoff_ms = 0;
};

class Supervised {
 public:
  explicit Supervised(std::string folder) : folder_(std::move(folder)) {}

  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] std::string file(const std::string& name, const char* kind) const {
    return folder_ + "/" + name + "." + kind;
  }
  [[nodiscard]] std::string lock_file() const { return folder_ + "/supervisor.lock"; }
  static constexpr const char* supervisor = "supervisor";  // its own .run and .log

  Result<void> write_spec(const Spec& spec) const;
  [[nodiscard]] Result<Spec> read_spec(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> names() const;  // of all specs, sorted

  Result<void> write_want(const std::string& name, Want want) const;
  [[nodiscard]] Want read_want(const std::string& name) const;

  // Writes the record of the calling process.
  Result<void> write_own_run(const std::string& name) const;
  // The process, if it is alive now.
  [[nodiscard]] std::optional<ProcessId> running(const std::string& name) const;

  // Forgets what happened before: a supervisor that waits before the next try then tries at once.
  void forget_exits(const std::string& name) const;
  Result<void> write_exits(const std::string& name, const Exits& exits) const;
  [[nodiscard]] Exits read_exits(const std::string& name) const;

 private:
  std::string folder_;
};

// The environment variable by which all processes of a node can be found (NodeMark).
inline std::string node_marker(const std::string& folder) {
  return "PGDBA_NODE=" + folder;
}

}  // namespace pgdba::local
