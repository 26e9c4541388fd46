// What can go wrong, in terms of what the caller can do about it.
//
// Every fallible function returns Result<T>. Expected outcomes (the lock was lost, a compare failed) are values of
// T, not errors. An error is logged or returned, never both. Exceptions stay inside the function that calls the
// library which throws them.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace pgdba {

enum class Errc {
  unavailable,  // the other side could not be reached; another endpoint or a later try may do
  timeout,      // no answer in time: whether it took effect is unknown
  conflict,     // somebody else changed it first; read again
  not_found,
  denied,       // credentials or permissions
  invalid,      // the input is wrong; trying again does not help
  cancelled,    // we gave up ourselves
  bug,          // cannot happen
};

std::string_view to_string(Errc code);

struct Error {
  Errc code = Errc::bug;
  std::string text;

  // "while cloning pg-replica-1: connection refused": the newest context comes first.
  [[nodiscard]] Error context(std::string_view what) && {
    text = std::string(what) + ": " + text;
    return std::move(*this);
  }
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Errc code, std::string text) { return tl::unexpected(Error{code, std::move(text)}); }

}  // namespace pgdba
