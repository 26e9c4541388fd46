// How a command ends: an exit code that scripts can act on, and for people what went wrong and which command to run
// next.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "base/error.h"

namespace pgdba::cli {

enum class Exit {
  done = 0,
  failed = 1,
  usage = 2,
  refused = 3,      // unsafe, or not confirmed: nothing was changed
  timed_out = 4,    // it was begun, its effect was not seen in time
  unreachable = 5,  // nobody answered
  partly = 6,       // some of it was done; the output says what
};

struct Failure {
  Exit exit = Exit::failed;
  std::string text;
  std::string next;  // a command to run next; may be empty when `text` has it
};

template <class T>
using Outcome = tl::expected<T, Failure>;

inline tl::unexpected<Failure> give_up(Exit exit, std::string text, std::string next = {}) {
  return tl::unexpected(Failure{exit, std::move(text), std::move(next)});
}

// The exit code that fits what a lower folder reported.
Failure as_failure(const Error& error, std::string next = {});

}  // namespace pgdba::cli
