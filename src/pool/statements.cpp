#include "pool/statements.h"

#include <utility>

namespace pgdba::pool {

std::array<char, kServerNameSize + 1> server_name_of(const StatementId& id) {
  std::array<char, kServerNameSize + 1> name{'P', 'G', 'D', 'B', 'A', '_'};
  static constexpr char digits[] = "0123456789abcdef";
  size_t at = 6;
  for (const uint8_t byte : id.bytes) {
    name[at++] = digits[byte >> 4];
    name[at++] = digits[byte & 15];
  }
  return name;
}

StatementRef StatementTable::intern(std::string_view body) {
  if (auto found = by_body_.find(body); found != by_body_.end()) return found->second;
  auto made = std::make_shared<Statement>();
  made->id.bytes = digest_(body);
  made->server_name = server_name_of(made->id);
  made->body = body;
  made->ending = ending_of_statement(body.substr(0, body.find('\0')));
  by_body_.emplace(made->body, made);
  return made;
}

void StatementTable::sweep() {
  std::erase_if(by_body_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

bool ClientStatements::remove(std::string_view name) {
  auto found = names_.find(name);
  if (found == names_.end()) return false;
  names_.erase(found);
  return true;
}

void ServerStatements::add(const StatementId& id) {
  if (use(id)) return;
  order_.push_front(id);
  index_.emplace(id, order_.begin());
}

std::optional<StatementId> ServerStatements::overflow(size_t capacity) {
  if (order_.size() <= capacity) return std::nullopt;
  const StatementId oldest = order_.back();
  remove(oldest);
  return oldest;
}

void ServerStatements::remove(const StatementId& id) {
  auto found = index_.find(id);
  if (found == index_.end()) return;
  order_.erase(found->second);
  index_.erase(found);
}

void ServerStatements::restore(const StatementId& id) {
  if (index_.contains(id)) return;
  order_.push_back(id);
  index_.emplace(id, std::prev(order_.end()));
}

void ServerStatements::clear() {
  order_.clear();
  index_.clear();
}

}  // namespace pgdba::pool
