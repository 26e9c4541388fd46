// What the console may ask of the process as a whole: its files, its settings, its end.
//
// Implemented beside main(); the console calls it and knows nothing else of the process. Safe to call from any thread.
// reload() reads files and may block: the console calls it on a helper thread. The others return at once.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace pgdba::pooler {

enum class ShutdownMode : uint8_t {
  now,
  wait_for_servers,  // no server is lent any more; ends when all have been released
  wait_for_clients,  // no new clients; ends when the last one has left
};

class ProcessControl {
 public:
  virtual ~ProcessControl() = default;

  // Reads the files again and gives what they say to all workers. On an error everything stays as it was.
  virtual Result<void> reload() = 0;
  // The answer of the console has been sent by then.
  virtual void shutdown(ShutdownMode mode) = 0;
  // Until the next reload. True: changed; false: the setting is fixed at start, and left as it is.
  virtual Result<bool> set(std::string_view key, std::string_view value) = 0;
  [[nodiscard]] virtual bool shutting_down() const = 0;
};

}  // namespace pgdba::pooler
