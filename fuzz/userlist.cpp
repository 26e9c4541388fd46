#include "conf/userlist.h"

#include "target.h"

FUZZ_TARGET(userlist) {
  using namespace pgdba;
  using namespace pgdba::conf;
  Userlist list = parse_userlist("u", data);
  std::string written;
  auto quoted = [](std::string_view text) {
    std::string out = "\"";
    for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
  };
  for (const auto& [name, secret] : list.users) {
    CHECK(name.size() <= 127 && secret.reveal().size() <= kMaxSecret);
    CHECK(classify_secret(secret).index() != 0 || secret.empty());
    written += quoted(name) + " " + quoted(secret.reveal()) + "\n";
  }
  Userlist again = parse_userlist("u", written);
  CHECK(again.errors.empty() && again.users == list.users);
  if (auto stored = classify_secret(Secret(std::string(data))); const auto* scram = std::get_if<ScramVerifier>(&stored))
    CHECK(scram->iterations > 0 && scram->stored_key.reveal().size() == 32 && scram->server_key.reveal().size() == 32);
}
