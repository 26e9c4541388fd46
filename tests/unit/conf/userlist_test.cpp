#include "conf/userlist.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "base/text.h"

namespace pgdba::conf {
namespace {

std::string users(const Userlist& list) {
  std::string out;
  for (const auto& [name, secret] : list.users) out += name + "=" + secret.reveal() + ";";
  return out;
}

TEST(Userlist, lines) {
  using namespace std::string_literals;
  struct Row {
    std::string name, text, users, errors;
  };
  for (const Row& row : std::vector<Row>{
           {"empty", "", "", ""},
           {"usual", "\"a\" \"b\"\n\"c\" \"d\"\n", "a=b;c=d;", ""},
           {"no blank", "\"a\"\"b\"", "", "broken auth file (u:1): no secret in double quotes follows the name"},
           {"other line ends", "\"a\" \"b\"\r\n\r\n", "a=b;", ""},
           {"blanks in front", "  \t\"a\"   \"b\"", "a=b;", ""},
           {"comment", ";\"a\" \"b\"\n \"c\" \"d\"", "c=d;", ""},
           {"something behind", "\"a\" \"b\" \"c\" ; d", "a=b;", ""},
           {"something between", "\"a\" x \"b\"", "a=b;", ""},
           {"quotes", "\"a\"\"b\" \"\"\"\"", "a\"b=\";", ""},
           {"empty secret", "\"a\" \"\"", "a=;", ""},
           {"backslash", "\"a\" \"b\\\"", "a=b\\;", ""},
           {"the last one counts", "\"a\" \"b\"\n\"a\" \"c\"", "a=c;", ""},
           {"no quotes", "a b", "", "broken auth file (u:1): a line must begin with a name in double quotes"},
           {"hash is no comment", "# a\n\"a\" \"b\"", "a=b;",
            "broken auth file (u:1): a line must begin with a name in double quotes"},
           {"name without an end", "\"a", "", "broken auth file (u:1): the name has no closing quote"},
           {"no secret", "\"a\"", "", "broken auth file (u:1): no secret in double quotes follows the name"},
           {"secret without an end", "\"a\" \"hunter2\n\"c\" \"d\"", "c=d;",
            "broken auth file (u:1): the secret has no closing quote"},
           {"zero byte", "\"a\" \"b\0c\""s, "", "broken auth file (u:1): a zero byte"},
           {"longest name", "\"" + std::string(127, 'x') + "\" \"b\"", std::string(127, 'x') + "=b;", ""},
           {"name too long", "\"" + std::string(128, 'x') + "\" \"b\"", "",
            "broken auth file (u:1): the name is too long"},
           {"secret too long", "\"a\" \"" + std::string(2048, 'x') + "\"", "",
            "broken auth file (u:1): the secret is too long"},
       }) {
    auto list = parse_userlist("u", row.text);
    EXPECT_EQ(users(list), row.users) << row.name;
    EXPECT_EQ(join(list.errors, "\n"), row.errors) << row.name;
  }
}

TEST(Userlist, find) {
  auto list = parse_userlist("u", "\"a\" \"b\"");
  ASSERT_NE(list.find("a"), nullptr);
  EXPECT_EQ(list.find("a")->reveal(), "b");
  EXPECT_EQ(list.find("A"), nullptr);
}

TEST(Userlist, a_flood_of_mistakes_ends) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "x\n";
  EXPECT_EQ(parse_userlist("u", text).errors.size(), 100u);
}

std::string kind(const std::string& secret) {
  auto stored = classify_secret(Secret(secret));
  if (std::holds_alternative<EmptySecret>(stored)) return "empty";
  if (std::holds_alternative<PlainSecret>(stored)) return "plain";
  if (std::holds_alternative<Md5Secret>(stored)) return "md5";
  return "scram";
}

TEST(Userlist, kinds_of_secrets) {
  const std::string key = base64_encode(std::string(32, 'k'));
  const std::string salt = base64_encode("0123456789abcdef");
  const std::string hex = "0123456789abcdef0123456789abcdef";
  auto scram = [](const std::string& rest) { return "SCRAM-SHA-256$" + rest; };
  struct Row {
    std::string name, secret, kind;
  };
  for (const Row& row : std::vector<Row>{
           {"nothing", "", "empty"},
           {"a word", "secret", "plain"},
           {"md5", "md5" + hex, "md5"},
           {"md5 in capitals", "md50123456789ABCDEF0123456789abcdef", "plain"},
           {"md5 too short", "md5" + hex.substr(1), "plain"},
           {"md5 too long", "md5" + hex + "0", "plain"},
           {"md5 with another letter", "md5" + hex.substr(1) + "g", "plain"},
           {"verifier", scram("4096:" + salt + "$" + key + ":" + key), "scram"},
           {"no salt", scram("4096:$" + key + ":" + key), "plain"},
           {"no iterations", scram("0:" + salt + "$" + key + ":" + key), "plain"},
           {"negative iterations", scram("-1:" + salt + "$" + key + ":" + key), "plain"},
           {"too many iterations", scram("4294967296:" + salt + "$" + key + ":" + key), "plain"},
           {"short key", scram("4096:" + salt + "$" + key + ":" + salt), "plain"},
           {"no keys", scram("4096:" + salt), "plain"},
           {"one key", scram("4096:" + salt + "$" + key), "plain"},
           {"broken base64", scram("4096:" + salt + "$" + key + ":" + key.substr(1)), "plain"},
           {"something behind", scram("4096:" + salt + "$" + key + ":" + key + ":"), "plain"},
           {"another hash", "SCRAM-SHA-1$4096:" + salt + "$" + key + ":" + key, "plain"},
       }) {
    EXPECT_EQ(kind(row.secret), row.kind) << row.name;
  }
  auto stored = classify_secret(Secret(scram("1000:" + salt + "$" + key + ":" + base64_encode(std::string(32, 's')))));
  const auto& verifier = std::get<ScramVerifier>(stored);
  EXPECT_EQ(verifier.iterations, 1000u);
  EXPECT_EQ(verifier.salt, "0123456789abcdef");
  EXPECT_EQ(verifier.stored_key.reveal(), std::string(32, 'k'));
  EXPECT_EQ(verifier.server_key.reveal(), std::string(32, 's'));
}

}  // namespace
}  // namespace pgdba::conf
