#include "base/error.h"

namespace pgdba {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::unavailable: return "unavailable";
    case Errc::timeout: return "timeout";
    case Errc::conflict: return "conflict";
    case Errc::not_found: return "not_found";
    case Errc::denied: return "denied";
    case Errc::invalid: return "invalid";
    case Errc::cancelled: return "cancelled";
    case Errc::bug: return "bug";
  }
  return "bug";
}

}  // namespace pgdba
