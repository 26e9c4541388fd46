// What pg/ needs of a guardian. pg/ may not include guardian/; the agent passes GuardOf<guardian::Client>.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace pgdba::pg {

struct GuardStatus {
  enum class State { none, launching, ready, running, killing, all_dead, refused };
  State state = State::none;  // none: there is no page of this boot
  bool alive = false;         // the guardian's process
  uint64_t incarnation = 0;
  int postmaster_pid = 0;
  bool postmaster_alive = false;
  int shm_id = -1;
  bool told_to_stop = false;
  std::optional<int> exit_status;  // of the postmaster, as wait() gives it
  std::string problem;
};

class Guard {
 public:
  virtual ~Guard() = default;
  virtual Result<void> launch(const std::string& data_dir, const std::string& log_file,
                              const std::vector<std::string>& command, bool primary) = 0;
  virtual Result<void> go() = 0;
  virtual void stop_fast(BootTime until) = 0;
  virtual void kill() = 0;
  virtual void end_guardian() = 0;  // SIGKILL to a guardian that does not react, once nothing is left below it
  [[nodiscard]] virtual GuardStatus status() const = 0;
};

// For guardian::Client, without including it: GuardOf<guardian::Client> guard(client);
template <class Client>
class GuardOf final : public Guard {
 public:
  explicit GuardOf(Client& client) : client_(client) {}

  Result<void> launch(const std::string& data_dir, const std::string& log_file, const std::vector<std::string>& command,
                      bool primary) override {
    return client_.launch({.data_dir = data_dir, .log_file = log_file, .command = command, .primary = primary});
  }
  Result<void> go() override { return client_.go(); }
  void stop_fast(BootTime until) override { client_.stop_fast(until); }
  void kill() override { client_.kill(); }
  void end_guardian() override { client_.end_guardian(); }
  [[nodiscard]] GuardStatus status() const override {
    auto from = client_.status();
    GuardStatus to;
    if (!from.page_found) return to;
    // The order of the states is that of guardian/page.h.
    to.state = static_cast<GuardStatus::State>(static_cast<int>(from.state) + 1);
    to.alive = from.guardian_alive;
    to.incarnation = from.incarnation;
    to.postmaster_pid = from.postmaster_pid;
    to.postmaster_alive = from.postmaster_alive;
    to.shm_id = from.shm_id;
    to.told_to_stop = from.told_to_stop;
    to.exit_status = from.exit_status;
    to.problem = from.problem;
    return to;
  }

 private:
  Client& client_;
};

}  // namespace pgdba::pg
