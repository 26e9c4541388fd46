// What the console may do to the whole process. Implemented by Process; callable from any worker's thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace pgdba::pooler {

enum class ShutdownMode : uint8_t {
  now,
  wait_for_servers,  // no new clients; until no server is lent
  wait_for_clients,  // no new clients; until the last one has left
};

class ProcessControl {
 public:
  virtual ~ProcessControl() = default;
  // Reads all files again. A mistake changes nothing, and is in the log.
  virtual Result<void> reload() = 0;
  // Returns at once. A second call while one waits is "now", as a second signal is.
  virtual void shutdown(ShutdownMode mode) = 0;
  // SET key = value. True: changed; false: the setting is fixed at start, and stays in silence.
  virtual Result<bool> set(std::string_view key, std::string_view value) = 0;
  [[nodiscard]] virtual bool shutting_down() const = 0;
};

}  // namespace pgdba::pooler
