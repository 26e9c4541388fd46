// Both sides of SCRAM against each other, with every message damaged at every byte.
#include <gtest/gtest.h>

#include <functional>

#include "base/base64.h"
#include "unit/wire/exact_copy.h"
#include "wire/scram_client.h"
#include "wire/scram_server.h"

namespace pgdba::wire {
namespace {

const ScramChallenge kChallenge{"0123456789abcdef", 2};
const std::string kDigest(32, '\x9c');

ScramKeys keys_of(std::string_view password) {
  return *scram_keys(password, kChallenge);
}

struct Login {
  std::string_view mechanism = kScramSha256;
  std::string client_digest = {};
  std::string server_digest = {};
  ScramKeys keys = keys_of("secret");  // of the client
  bool may_succeed = true;
  ScramVerifier verifier = *make_verifier(keys_of("secret"), kChallenge);
};

struct Outcome {
  bool client_done = false;
  bool server_done = false;
  std::string failed;  // "client first: …"
  ScramKeys recovered;
  std::vector<std::string> messages;
};

// Runs one login; `damage` may change message number 0 … 3 on its way.
Outcome run(const Login& login, const std::function<void(int, std::string&)>& damage = {}) {
  Outcome outcome;
  ScramClient client({"client-nonce-0123456789", login.client_digest, login.mechanism});
  ScramServer server({login.verifier, login.may_succeed, "server-nonce-0123456789", login.server_digest});
  auto failed = [&](const char* where, const Error& error) {
    outcome.failed = std::string(where) + ": " + error.text;
    outcome.server_done = server.done();
    outcome.client_done = client.done();
    return outcome;
  };
  auto carry = [&](std::string message) {
    int number = static_cast<int>(outcome.messages.size());
    outcome.messages.push_back(message);
    if (damage) damage(number, message);
    return message;
  };
  auto first = client.first();
  if (!first) return failed("client first", first.error());
  auto server_first = server.on_first(login.mechanism, ExactCopy(carry(*first)).view());
  if (!server_first) return failed("server first", server_first.error());
  auto challenge = client.on_server_first(ExactCopy(carry(*server_first)).view());
  if (!challenge) return failed("client challenge", challenge.error());
  auto last = client.last(login.keys);
  if (!last) return failed("client last", last.error());
  auto server_last = server.on_last(ExactCopy(carry(*last)).view());
  if (!server_last) return failed("server last", server_last.error());
  auto end = client.on_server_last(ExactCopy(carry(*server_last)).view());
  if (!end) return failed("client end", end.error());
  outcome.client_done = client.done();
  outcome.server_done = server.done();
  outcome.recovered = *server.keys();
  return outcome;
}

Login plain() {
  return {};
}
Login plus() {
  return {.mechanism = kScramSha256Plus, .client_digest = kDigest, .server_digest = kDigest};
}

TEST(ScramExchange, the_right_password_gets_in) {
  for (const Login& login : {plain(), plus(), Login{.server_digest = kDigest}}) {
    Outcome outcome = run(login);
    EXPECT_EQ(outcome.failed, "");
    EXPECT_TRUE(outcome.client_done && outcome.server_done);
    EXPECT_TRUE(same_key(outcome.recovered.client_key, login.keys.client_key));
  }
  // On TLS with a server that offers no binding: "could, but you do not offer".
  Outcome outcome = run({.client_digest = kDigest});
  EXPECT_EQ(outcome.failed, "");
  EXPECT_TRUE(outcome.messages[0].starts_with("y,,n=,r="));
  EXPECT_TRUE(run(plus()).messages[0].starts_with("p=tls-server-end-point,,n=,r="));
  EXPECT_TRUE(run(plain()).messages[0].starts_with("n,,n=,r="));
}

// The pooler knows no password: the keys that a client's login left serve for its own login to the server.
TEST(ScramExchange, keys_are_passed_through) {
  Outcome known = run(plain());
  ASSERT_TRUE(known.server_done);
  Login server = plus();
  server.keys = known.recovered;
  EXPECT_TRUE(run(server).client_done);
}

TEST(ScramExchange, refusals) {
  struct Row {
    const char* name;
    Login login;
    std::string failed;
  };
  Login wrong = plain();
  wrong.keys = keys_of("Secret");
  Login wrong_plus = plus();
  wrong_plus.keys = wrong.keys;
  Login unknown = plain();
  unknown.may_succeed = false;
  unknown.verifier = mock_verifier("nobody", "seed", kChallenge.iterations);
  Login right_but_barred = plain();
  right_but_barred.may_succeed = false;
  Login other_certificate = plus();
  other_certificate.client_digest[31] ^= 1;
  Login not_offered = plus();
  not_offered.server_digest = "";
  Login no_digest = plus();
  no_digest.client_digest = "";
  Login long_digest = plus();
  long_digest.client_digest = std::string(65, 'x');
  Login downgraded{.client_digest = kDigest, .server_digest = kDigest};
  Login impostor = plain();  // knows the stored key, so it can judge proofs, but not the server key
  impostor.verifier.server_key[0] ^= 1;
  Login other_mechanism = plain();
  other_mechanism.mechanism = "SCRAM-SHA-1";
  const Row rows[] = {
      {"wrong password", wrong, "server last: password authentication failed"},
      {"wrong password, bound", wrong_plus, "server last: password authentication failed"},
      {"unknown user", unknown, "server last: password authentication failed"},
      {"right password, not allowed", right_but_barred, "server last: password authentication failed"},
      {"another certificate", other_certificate, "server last: SCRAM channel binding check failed"},
      {"PLUS not offered", not_offered, "server first: the client chose a SASL mechanism that was not offered"},
      {"no digest", no_digest, "client first: SCRAM-SHA-256-PLUS needs the digest of the server's certificate"},
      {"long digest", long_digest, "client first: SCRAM-SHA-256-PLUS needs the digest of the server's certificate"},
      {"downgrade", downgraded,
       "server first: SCRAM channel binding negotiation error: the client believes that it is not offered, but it is"},
      {"impostor", impostor, "client end: the server's SCRAM signature is wrong: it does not know the password"},
      {"another mechanism", other_mechanism,
       "client first: a SCRAM login needs a known mechanism and a printable nonce"},
  };
  for (const Row& row : rows) {
    Outcome outcome = run(row.login);
    EXPECT_EQ(outcome.failed, row.failed) << row.name;
    EXPECT_FALSE(outcome.client_done) << row.name;
    EXPECT_EQ(outcome.server_done, std::string_view(row.name) == "impostor") << row.name;
  }
}

// Whatever a stranger sends, an unknown user's answers have the same form and the same errors.
TEST(ScramExchange, no_answer_tells_whether_the_user_exists) {
  Login exists = plain();
  exists.keys = keys_of("guess");
  Login unknown = exists;
  unknown.may_succeed = false;
  unknown.verifier = mock_verifier("nobody", "seed", kChallenge.iterations);
  for (int number = -1; number < 4; ++number) {
    for (size_t at = 0; at < 120; ++at) {
      std::vector<std::string> sent;
      Outcome a = run(exists, [&](int n, std::string& message) {
        if (n == number && n % 2 == 0 && at < message.size()) message[at] ^= 1;
        sent.push_back(message);
      });
      Outcome b = run(unknown, [&](int n, std::string& message) {
        if (n % 2 == 0) message = sent[static_cast<size_t>(n)];
      });
      EXPECT_EQ(a.failed, b.failed);
      ASSERT_EQ(a.messages.size(), b.messages.size());
      if (a.messages.size() > 1) {
        EXPECT_EQ(a.messages[1].size(), b.messages[1].size());
      }
    }
  }
}

TEST(ScramExchange, every_damaged_byte_is_noticed) {
  for (const Login& login : {plain(), plus()}) {
    Outcome whole = run(login);
    ASSERT_EQ(whole.messages.size(), 4u);
    for (int number = 0; number < 4; ++number) {
      for (size_t at = 0; at < whole.messages[static_cast<size_t>(number)].size(); ++at) {
        for (int change : {1, 2, 0x10, 0x20, 0x80, 0xff, -1, -2}) {
          Outcome outcome = run(login, [&](int n, std::string& message) {
            if (n != number) return;
            if (change == -1) {
              message.erase(at, 1);
            } else if (change == -2) {
              message.resize(at);
            } else {
              message[at] = static_cast<char>(message[at] ^ change);
            }
          });
          EXPECT_FALSE(outcome.client_done) << number << " " << at << " " << change;
          EXPECT_NE(outcome.failed, "") << number << " " << at << " " << change;
          if (number < 3) {
            EXPECT_FALSE(outcome.server_done) << number << " " << at << " " << change;
          }
        }
      }
    }
  }
}

TEST(ScramExchange, first_messages) {
  struct Row {
    std::string message;
    bool plus, offers;
    std::string failed;  // empty: taken
  };
  const std::string no_flag = "malformed SCRAM message: no channel binding flag";
  const Row rows[] = {
      {"n,,n=,r=abc", false, false, ""},
      {"n,,n=alice,r=abc", false, true, ""},
      {"n,,n=,r=abc,x=extension,y=", false, false, ""},
      {"y,,n=,r=abc", false, false, ""},
      {"p=tls-server-end-point,,n=,r=abc", true, true, ""},
      {"", false, false, no_flag},
      {"n", false, false, no_flag},
      {"n,", false, false, no_flag},
      {",,n=,r=abc", false, false, "malformed SCRAM message: unknown channel binding flag"},
      {"x,,n=,r=abc", false, false, "malformed SCRAM message: unknown channel binding flag"},
      {"nn,,n=,r=abc", false, false, "malformed SCRAM message: unknown channel binding flag"},
      {"n,a=bob,n=,r=abc", false, false, "malformed SCRAM message: another identity to act as is not supported"},
      {"n,,m=x,n=,r=abc", false, false, "malformed SCRAM message: no user name"},
      {"n,,r=abc", false, false, "malformed SCRAM message: no user name"},
      {"n,,n=", false, false, "malformed SCRAM message: no usable nonce"},
      {"n,,n=,r=", false, false, "malformed SCRAM message: no usable nonce"},
      {"n,,n=,r=a c", false, false, "malformed SCRAM message: no usable nonce"},
      {"n,,n=,r=a\xc3\xa4", false, false, "malformed SCRAM message: no usable nonce"},
      {"n,,n=,r=" + std::string(257, 'r'), false, false, "malformed SCRAM message: no usable nonce"},
      {"n,,n=,r=abc,", false, false, "malformed SCRAM message: something that is no attribute"},
      {"n,,n=,r=abc,junk", false, false, "malformed SCRAM message: something that is no attribute"},
      {"n,,n=" + std::string(5000, 'u') + ",r=abc", false, false, "malformed SCRAM message: bad length"},
      {"p=tls-server-end-point,,n=,r=abc", false, true,
       "malformed SCRAM message: channel binding without SCRAM-SHA-256-PLUS"},
      {"n,,n=,r=abc", true, true, "malformed SCRAM message: SCRAM-SHA-256-PLUS without channel binding"},
      {"y,,n=,r=abc", true, true, "malformed SCRAM message: SCRAM-SHA-256-PLUS without channel binding"},
      {"p=tls-unique,,n=,r=abc", true, true, "malformed SCRAM message: unsupported channel binding type"},
  };
  for (const Row& row : rows) {
    ScramServer server({plain().verifier, true, "nonce", row.offers ? kDigest : ""});
    auto answer = server.on_first(row.plus ? kScramSha256Plus : kScramSha256, row.message);
    EXPECT_EQ(answer ? "" : answer.error().text, row.failed) << row.message;
    if (!answer) {
      EXPECT_EQ(answer.error().code, Errc::invalid) << row.message;
    }
  }
}

TEST(ScramExchange, answers_of_a_server) {
  struct Row {
    std::string message;
    bool taken;
  };
  const std::string salt = base64_encode("0123456789abcdef");
  const Row rows[] = {
      {"r=nonceX,s=" + salt + ",i=4096", true},
      {"r=nonce,s=" + salt + ",i=4096", false},  // adds nothing
      {"r=other,s=" + salt + ",i=4096", false},
      {"r=nonceX,s=,i=4096", false},
      {"r=nonceX,s=!,i=4096", false},
      {"r=nonceX,s=" + base64_encode(std::string(257, 's')) + ",i=4096", false},
      {"r=nonceX,s=" + salt + ",i=0", false},
      {"r=nonceX,s=" + salt + ",i=-1", false},
      {"r=nonceX,s=" + salt + ",i=5000001", false},
      {"r=nonceX,s=" + salt + ",i=4294967297", false},
      {"r=nonceX,s=" + salt + ",i=", false},
      {"r=nonceX,s=" + salt, false},
      {"r=nonceX,s=" + salt + ",i=4096,x=y", false},
      {"r=nonceX,s=" + salt + ",i=4096,", false},
      {"m=x,r=nonceX,s=" + salt + ",i=4096", false},
      {"s=" + salt + ",r=nonceX,i=4096", false},
      {"", false},
      {"e=other-error", false},
      {"r=nonce" + std::string(5000, 'X') + ",s=" + salt + ",i=4096", false},
  };
  for (const Row& row : rows) {
    ScramClient client({"nonce", "", kScramSha256});
    ASSERT_TRUE(client.first());
    EXPECT_EQ(client.on_server_first(row.message).has_value(), row.taken) << row.message;
  }
  for (const char* message : {"", "v=", "v=AAAA", "e=invalid-proof", "x=y", "v", "e=\x1b[31m"}) {
    ScramClient client({"nonce", "", kScramSha256});
    (void)client.first();
    (void)client.on_server_first(rows[0].message);
    (void)client.last(keys_of("secret"));
    auto end = client.on_server_last(message);
    ASSERT_FALSE(end) << message;
    EXPECT_EQ(end.error().code, message[0] == 'e' ? Errc::denied : Errc::invalid) << message;
    EXPECT_EQ(end.error().text.find('\x1b'), std::string::npos);
  }
}

TEST(ScramExchange, steps_come_once_and_in_order) {
  ScramClient client({"nonce", "", kScramSha256});
  EXPECT_EQ(client.last(keys_of("secret")).error().code, Errc::bug);
  EXPECT_EQ(client.first().error().code, Errc::bug);  // a failure is final
  ScramServer server({plain().verifier, true, "nonce", ""});
  EXPECT_EQ(server.on_last("c=biws,r=x,p=y").error().code, Errc::bug);
  EXPECT_EQ(server.on_first(kScramSha256, "n,,n=,r=abc").error().code, Errc::bug);
  for (const char* nonce : {"", "with,comma", "with space"}) {
    EXPECT_FALSE(ScramClient({nonce, "", kScramSha256}).first()) << nonce;
    EXPECT_FALSE(ScramServer({plain().verifier, true, nonce, ""}).on_first(kScramSha256, "n,,n=,r=abc")) << nonce;
  }
}

}  // namespace
}  // namespace pgdba::wire
