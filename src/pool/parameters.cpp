#include "pool/parameters.h"

#include <algorithm>

#include "base/text.h"

namespace pgdba::pool {

namespace {

constexpr size_t kFew = 64;

}  // namespace

ParameterSpace::ParameterSpace(const std::vector<std::string>& more)
    : names_{"client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name"} {
  for (const std::string& name : more) {
    if (!index_of(name)) names_.push_back(name);
  }
  empty_ = intern({std::vector<std::optional<std::string>>(names_.size())});
}

std::optional<size_t> ParameterSpace::index_of(std::string_view name) const {
  for (size_t i = 0; i < names_.size(); ++i) {
    if (iequals(names_[i], name)) return i;
  }
  return std::nullopt;
}

Parameters ParameterSpace::intern(ParameterSet set) {
  // Before the table grows: a stranger's startup packets may say anything, and what they leave must not pile up until the next tick.
  if (sets_.size() >= sets_.bucket_count()) {
    sweep();
    sets_.reserve(std::max(kFew, 2 * sets_.size()));
  }
  // The key spells out each value with its length, so that no two sets share one.
  std::string key;
  for (const auto& value : set.values) key += value ? std::to_string(value->size()) + ':' + *value : std::string("-");
  auto [found, added] = sets_.try_emplace(std::move(key));
  if (added) found->second = std::make_shared<const ParameterSet>(std::move(set));
  return found->second;
}

Parameters ParameterSpace::with(const Parameters& base, size_t index, std::string_view value) {
  if (base->values[index] == value) return base;
  ParameterSet changed = *base;
  changed.values[index] = std::string(value);
  return intern(std::move(changed));
}

Parameters ParameterSpace::overlay(const Parameters& base, const Parameters& over) {
  if (base == over || over == empty_) return base;
  ParameterSet changed = *base;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (over->values[i]) changed.values[i] = over->values[i];
  }
  return intern(std::move(changed));
}

Parameters ParameterSpace::overlay_known(const Parameters& base, const Parameters& over) {
  if (base == over || over == empty_) return base;
  ParameterSet changed = *base;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (base->values[i] && over->values[i]) changed.values[i] = over->values[i];
  }
  return intern(std::move(changed));
}

std::string ParameterSpace::set_query(const Parameters& from, const Parameters& to) const {
  std::string sql;
  for (size_t i = 0; i < names_.size(); ++i) {
    // A parameter that this server never reported is one that it does not have.
    if (!to->values[i] || !from->values[i] || to->values[i] == from->values[i]) continue;
    // The name is one of the configured ones. A literal that is right whatever standard_conforming_strings says.
    sql += "SET " + names_[i] + "=E'";
    for (const char c : *to->values[i]) {
      if (c == '\'' || c == '\\') sql += c;
      // As PostgreSQL does with application_name. In some encodings the second byte of a character may be a backslash.
      sql += c >= ' ' && c <= '~' ? c : '?';
    }
    sql += "';";
  }
  return sql;
}

void ParameterSpace::sweep() {
  std::erase_if(sets_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

}  // namespace pgdba::pool
