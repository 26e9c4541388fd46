// A statement's text: what its first word says is never more than what the whole text is taken for.
#include "pool/commits.h"
#include "target.h"

FUZZ_TARGET(transaction_ending) {
  using namespace pgdba::pool;
  CHECK(ending_of_statement(data) == ending_of_first_word(data));
  CHECK(ending_of_statement(data) <= ending_of(data));
}
