// What a server answers to auth_query, whole and in two pieces: it is ready at the same place, and says the same.
#include "pooler/auth_answer.h"

#include "target.h"

FUZZ_TARGET(auth_answer) {
  using namespace pgdba::pooler;
  const AuthAnswer whole = read_auth_answer(data);
  CHECK(!whole.secret || whole.secret->reveal().size() <= kMaxAuthAnswer);
  if (!whole.ready) {
    CHECK(data.size() <= 2 * kMaxAuthAnswer);
    CHECK(!read_auth_answer(data.substr(0, data.size() / 2)).ready);
    return;
  }
  const AuthAnswer longer = read_auth_answer(std::string(data) + "Z");
  CHECK(longer.secret == whole.secret && longer.problem == whole.problem && longer.of_config == whole.of_config);
}
