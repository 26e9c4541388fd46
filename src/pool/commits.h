// What a statement's text does to the transaction block that it is sent in: whether it may end it, and how.
//
// Exists for one sentence to a client whose server has died: "rolled back" (08006) or "not known" (08007). Invariant:
// in doubt a text counts as one that commits. Called once for each text, and for simple queries only inside of a block.
#pragma once

#include <cstdint>
#include <string_view>

namespace pgdba::pool {

enum class Ending : uint8_t {
  none,      // the block goes on
  rollback,  // ends it, without success; what follows in the same pipeline is outside of it
  commit,    // ends it, perhaps with success
};

// A Query's text, which may hold several statements.
Ending ending_of(std::string_view sql);
// A Parse's, which holds one: only its first word is looked at.
Ending ending_of_first_word(std::string_view sql);
inline Ending ending_of_statement(std::string_view sql) {
  // Most are told by their first letter: only abort, commit, end, execute, prepare and rollback are of interest.
  const char first = sql.empty() ? '\0' : static_cast<char>(sql[0] | 0x20);
  if (first >= 'f' && first <= 'z' && first != 'p' && first != 'r') return Ending::none;
  return ending_of_first_word(sql);
}

}  // namespace pgdba::pool
