// Session parameters that follow a client from server to server (client_encoding, DateStyle and so on).
//
// A set of values is interned: equal sets are one object, so that "does this server fit this client" is one comparison of
// pointers on the hot path. Invariant: a server is lent only when its set is the client's, or has been made so by SET.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pgdba::pool {

// One value per tracked parameter, in the order of ParameterSpace::names(); empty optional: not known.
struct ParameterSet {
  std::vector<std::optional<std::string>> values;
};
using Parameters = std::shared_ptr<const ParameterSet>;

class ParameterSpace {
 public:
  // PgBouncer's five and the additional ones.
  explicit ParameterSpace(const std::vector<std::string>& more);

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] std::optional<size_t> index_of(std::string_view name) const;  // without regard to case, as in PostgreSQL
  [[nodiscard]] const Parameters& empty() const { return empty_; }

  Parameters with(const Parameters& base, size_t index, std::string_view value);
  // `over` where it knows a value, else `base`.
  Parameters overlay(const Parameters& base, const Parameters& over);
  // The same, but what `base` does not know stays unknown.
  Parameters overlay_known(const Parameters& base, const Parameters& over);
  // The statements that turn `from` into `to`, one Query's text; empty when there is nothing to do.
  [[nodiscard]] std::string set_query(const Parameters& from, const Parameters& to) const;
  // Forgets the sets that nobody holds. Called now and then.
  void sweep();
  [[nodiscard]] size_t size() const { return sets_.size(); }

  Parameters intern(ParameterSet set);

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, Parameters> sets_;
  Parameters empty_;
};

}  // namespace pgdba::pool
