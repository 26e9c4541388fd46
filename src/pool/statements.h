// Prepared statements in transaction and statement mode: a client's names stay its own while its servers change.
//
// A statement is known by a digest of its text and parameter types; every server knows it as "PGDBA_<32 hex digits>".
// The name follows from the content alone, so servers can pass from one worker to another, and nothing has to be agreed
// between workers. Invariant: a name of ours on a server always stands for the text that its digest was made from (the
// digest is SHA-256, cut to 128 bits: nobody can make two texts meet).
//
// StatementTable owns the texts, once each; a client's names hold references. ServerStatements is what one server has
// prepared, least recently used first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pool/commits.h"

namespace pgdba::pool {

struct StatementId {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const StatementId&) const = default;
};
struct StatementIdHash {
  size_t operator()(const StatementId& id) const {
    size_t hash;
    std::memcpy(&hash, id.bytes.data(), sizeof hash);
    return hash;
  }
};

// The name on servers, without its NUL: always kServerNameSize long.
inline constexpr size_t kServerNameSize = 6 + 32;

struct Statement {
  StatementId id;
  std::array<char, kServerNameSize + 1> server_name{};  // with its NUL
  std::string body;  // of a Parse, after the name: text, NUL, number of types, types
  Ending ending = Ending::commit;  // what it does to a transaction block

  [[nodiscard]] std::string_view name() const { return {server_name.data(), kServerNameSize}; }
};
using StatementRef = std::shared_ptr<const Statement>;

std::array<char, kServerNameSize + 1> server_name_of(const StatementId& id);

class StatementTable {
 public:
  using Digest = std::array<uint8_t, 16> (*)(std::string_view bytes);
  explicit StatementTable(Digest digest) : digest_(digest) {}

  // The one Statement for this Parse body (what follows the name).
  StatementRef intern(std::string_view body);
  [[nodiscard]] size_t size() const { return by_body_.size(); }
  // Forgets what no client holds any more. Called now and then: a statement that comes and goes is not rebuilt each time.
  void sweep();

 private:
  Digest digest_;
  std::unordered_map<std::string_view, StatementRef> by_body_;  // the key is a view of the value's body
};

// A client's names. Made only when the client prepares its first statement.
class ClientStatements {
 public:
  [[nodiscard]] const StatementRef* find(std::string_view name) const {
    auto found = names_.find(name);
    return found == names_.end() ? nullptr : &found->second;
  }
  void set(std::string_view name, StatementRef statement) { names_.insert_or_assign(std::string(name), std::move(statement)); }
  bool remove(std::string_view name);
  void clear() { names_.clear(); }
  [[nodiscard]] size_t size() const { return names_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, StatementRef, Hash, std::equal_to<>> names_;
};

class ServerStatements {
 public:
  // True when the server has it; it counts as used now.
  bool use(const StatementId& id) {
    auto found = index_.find(id);
    if (found == index_.end()) return false;
    if (found->second != order_.begin()) order_.splice(order_.begin(), order_, found->second);
    return true;
  }
  void add(const StatementId& id);
  // The least recently used one, when there are more than `capacity`: it has been removed here and is to be closed.
  std::optional<StatementId> overflow(size_t capacity);
  void remove(const StatementId& id);
  // Back in, as the next to go: a Close that the server skipped.
  void restore(const StatementId& id);
  void clear();
  [[nodiscard]] size_t size() const { return index_.size(); }

 private:
  std::list<StatementId> order_;  // most recently used first
  std::unordered_map<StatementId, std::list<StatementId>::iterator, StatementIdHash> index_;
};

}  // namespace pgdba::pool
