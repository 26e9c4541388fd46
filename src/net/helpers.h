// The helper threads of a Loop: at most `limit`, started when needed, for functions that can only be done blocking.
//
// Owned by shared_ptr, because a function that hangs (a name server that is silent) outlives the loop: its thread is
// left alone then, and its completion is dropped.
#pragma once

#include <functional>
#include <memory>

namespace pgdba::net {

class Helpers {
 public:
  explicit Helpers(int limit);
  ~Helpers();

  // Runs `work`, then `finish` on the same thread, unless close() came before: then both are destroyed unused.
  void submit(std::function<void()> work, std::function<void()> finish);

  // No finish() runs after this returned. Waits up to 1 s for functions under way.
  void close();

  struct Shared;

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace pgdba::net
