// A password or key: prints as ***, so that it cannot reach a log line by accident. Call reveal() only where the
// bytes leave for their one destination (a 0600 file, a SCRAM exchange).
#pragma once

#include <fmt/format.h>
#include <string>
#include <utility>

namespace pgdba {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}

  [[nodiscard]] const std::string& reveal() const { return value_; }
  [[nodiscard]] bool empty() const { return value_.empty(); }
  bool operator==(const Secret&) const = default;

 private:
  std::string value_;
};

}  // namespace pgdba

template <>
struct fmt::formatter<pgdba::Secret> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const pgdba::Secret&, Context& context) const {
    return fmt::formatter<std::string_view>::format("***", context);
  }
};
