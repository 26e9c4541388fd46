#include "wire/scram.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "wire/scram_server.h"
#include "wire/scram_tools.h"

namespace pgdba::wire {
namespace {

const std::string kSalt = *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");

// The example of RFC 7677, section 3. Its client sends a name, which PostgreSQL's do not.
TEST(Scram, example_of_the_rfc) {
  ScramChallenge challenge{kSalt, 4096};
  auto keys = *scram_keys("pencil", challenge);
  ScramServer server({*make_verifier(keys, challenge), true, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""});
  EXPECT_EQ(*server.on_first("SCRAM-SHA-256", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  EXPECT_EQ(*server.on_last("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  ASSERT_TRUE(server.done());
  EXPECT_TRUE(same_key(server.keys()->client_key, keys.client_key));
  EXPECT_TRUE(same_key(server.keys()->server_key, keys.server_key));
}

// Made by PostgreSQL's own rule from the same example, with Python's hashlib and hmac.
TEST(Scram, verifiers_are_postgresqls) {
  const std::string text =
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
  ScramChallenge challenge{kSalt, 4096};
  auto keys = *scram_keys("pencil", challenge);
  EXPECT_EQ(format_scram_verifier(*make_verifier(keys, challenge)), text);
  auto verifier = parse_scram_verifier(text);
  ASSERT_TRUE(verifier);
  EXPECT_EQ(verifier->challenge, challenge);
  EXPECT_EQ(format_scram_verifier(*verifier), text);
  EXPECT_TRUE(scram_keys_match(keys, *verifier));
  EXPECT_FALSE(scram_keys_match(*scram_keys("pencil ", challenge), *verifier));
  EXPECT_FALSE(scram_keys_match({keys.client_key, keys.client_key}, *verifier));

  for (size_t length = 0; length < text.size(); ++length) EXPECT_FALSE(parse_scram_verifier(text.substr(0, length)));
  for (size_t i = 0; i < text.size(); ++i) {
    for (char c : {'$', ':', ',', '\0', '~'}) {
      std::string broken = text;
      broken[i] = c;
      EXPECT_TRUE(broken == text || !parse_scram_verifier(broken)) << broken;
    }
  }
}

TEST(Scram, verifiers_that_are_none) {
  const std::string key = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=";
  const std::string salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
  auto text = [&](const std::string& iterations, const std::string& s) {
    return "SCRAM-SHA-256$" + iterations + ":" + s + "$" + key + ":" + key;
  };
  ASSERT_TRUE(parse_scram_verifier(text("1", salt)));
  ASSERT_TRUE(parse_scram_verifier(text("5000000", base64_encode(std::string(256, 's')))));
  for (const std::string& bad :
       {text("0", salt), text("-1", salt), text("+1", salt), text(" 1", salt), text("5000001", salt), text("", salt),
        text("99999999999999999999", salt), text("0x10", salt), text("1", ""), text("1", "W22"),
        text("1", base64_encode(std::string(257, 's'))), text("1", salt) + "x", text("1", salt) + ":" + key,
        std::string("md54a0a68b43b6cd5cf266fa02f196e2371"), std::string("password"),
        "scram-sha-256$1:" + salt + "$" + key + ":" + key, "SCRAM-SHA-256$1:" + salt + "$" + key + ":AAAA"}) {
    EXPECT_FALSE(parse_scram_verifier(bad)) << bad;
  }
}

TEST(Scram, limits_of_the_slow_part) {
  EXPECT_TRUE(scram_keys("", {"s", 1}));
  EXPECT_FALSE(scram_keys("pw", {"s", 0}));
  EXPECT_FALSE(scram_keys("pw", {"s", kMaxScramIterations + 1}));
  EXPECT_FALSE(scram_keys("pw", {"", 1}));
  EXPECT_FALSE(scram_keys("pw", {std::string(257, 's'), 1}));
  EXPECT_FALSE(scram_keys(std::string(kMaxScramPassword + 1, 'x'), {"s", 1}));
  EXPECT_FALSE(make_verifier({}, {"", 1}));
  EXPECT_EQ(normalize_password("p\xc3\xa4ss"), "p\xc3\xa4ss");
}

TEST(Scram, mock_verifiers_look_like_real_ones_and_stay) {
  auto a = mock_verifier("a", "seed", 4096);
  EXPECT_EQ(format_scram_verifier(a), format_scram_verifier(mock_verifier("a", "seed", 4096)));
  EXPECT_EQ(a.challenge.salt.size(), kScramSaltSize);
  EXPECT_EQ(a.challenge.iterations, 4096u);
  EXPECT_NE(a.challenge.salt, mock_verifier("b", "seed", 4096).challenge.salt);
  EXPECT_NE(a.challenge.salt, mock_verifier("a", "other", 4096).challenge.salt);
  EXPECT_TRUE(parse_scram_verifier(format_scram_verifier(a)));
}

TEST(Scram, choice_of_the_mechanism) {
  using Names = std::vector<std::string_view>;
  struct Row {
    Names offered;
    bool binding, require;
    std::string_view chosen;
  };
  const Row rows[] = {
      {{kScramSha256Plus, kScramSha256}, true, false, kScramSha256Plus},
      {{kScramSha256Plus, kScramSha256}, false, false, kScramSha256},
      {{kScramSha256}, true, false, kScramSha256},
      {{kScramSha256}, true, true, ""},
      {{kScramSha256Plus, kScramSha256}, false, true, ""},
      {{kScramSha256Plus}, false, false, ""},
      {{"OAUTHBEARER"}, true, false, ""},
      {{}, true, false, ""},
  };
  for (const Row& row : rows) EXPECT_EQ(choose_scram(row.offered, row.binding, row.require), row.chosen);
}

TEST(Scram, attributes) {
  scram::AttributeReader reader("a=,b=x=y,c=1");
  EXPECT_EQ(reader.next()->value, "");
  auto b = reader.next();
  EXPECT_EQ(b->value, "x=y");
  EXPECT_EQ(b->offset, 3u);
  EXPECT_FALSE(reader.done());
  EXPECT_FALSE(reader.value('d'));
  EXPECT_FALSE(reader.done());
  EXPECT_FALSE(reader.next());
  for (const char* text : {"a", "=", "a-b", "1=b", ",a=b"}) EXPECT_FALSE(scram::AttributeReader(text).next()) << text;
  scram::AttributeReader trailing("a=b,");
  EXPECT_TRUE(trailing.next());
  EXPECT_FALSE(trailing.done());
  EXPECT_TRUE(scram::AttributeReader("").done());
}

}  // namespace
}  // namespace pgdba::wire
