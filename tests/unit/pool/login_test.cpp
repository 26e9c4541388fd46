// How clients prove who they are, and that nothing before that tells what exists.
#include <gtest/gtest.h>

#include "unit/pool/notation.h"
#include "unit/pool/rig.h"
#include "wire/pg_build.h"
#include "wire/pg_md5.h"
#include "wire/scram_client.h"

namespace pgdba::pool::testing {
namespace {

// One login after another, each by a client of its own; what it was told, with random parts taken out.
struct Login {
  explicit Login(Rig& on) : rig(on) {}

  Peer& begin(const std::string& user, const std::string& database = "db") {
    const std::string name = "a" + std::to_string(++count);
    rig.step(name + "! start user=" + user + " database=" + database);
    return *rig.host.find(name);
  }
  void say(Peer& peer, std::string_view bytes) {
    if (peer.conn != nullptr) rig.input(peer, bytes);
  }
  static std::string heard(Peer& peer) { return decode(peer.out, false); }

  std::string clear(const std::string& user, const std::string& password, const std::string& database = "db") {
    Peer& peer = begin(user, database);
    std::string answer;
    wire::append_password(answer, password);
    say(peer, answer);
    return heard(peer);
  }
  std::string md5(const std::string& user, const std::string& password, const std::string& database = "db") {
    Peer& peer = begin(user, database);
    if (peer.out.size() < 13) return heard(peer);
    const std::string salt = peer.out.substr(9, 4);
    std::string answer;
    wire::append_password(answer, *wire::md5_answer(*wire::md5_secret(password, user), salt));
    say(peer, answer);
    return heard(peer);
  }
  std::string scram(const std::string& user, const std::string& password, const std::string& database = "db") {
    Peer& peer = begin(user, database);
    wire::ScramClient client(
        {.nonce = "abcdefghijklmnopqrstuvwx", .channel_binding = {}, .mechanism = wire::kScramSha256});
    std::string bytes;
    wire::append_sasl_initial_response(bytes, wire::kScramSha256, *client.first());
    say(peer, bytes);
    const size_t at = peer.out.find("r=abc");
    if (at == std::string::npos) return heard(peer);
    auto challenge = client.on_server_first(peer.out.substr(at));
    bytes.clear();
    wire::append_sasl_response(bytes, *client.last(*wire::scram_keys(password, *challenge)));
    say(peer, bytes);
    return heard(peer);
  }

  Rig& rig;
  int count = 0;
};

constexpr const char* kIn =
    "R S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) "
    "S(application_name,) S(server_version,15) K Z(I)";
constexpr const char* kWrong = "F(28P01,password authentication failed)";

std::string verifier(const std::string& password) {
  const wire::ScramChallenge challenge{.salt = "sixteen bytes !!", .iterations = 4096};
  return wire::format_scram_verifier(*wire::make_verifier(*wire::scram_keys(password, challenge), challenge));
}

TEST(PoolLogin, methods_and_what_is_stored) {
  struct Row {
    const char* name;
    Method method;
    std::string (Login::*how)(const std::string&, const std::string&, const std::string&);
    std::string asked;
  };
  const Row rows[] = {
      {"clear text", Method::password, &Login::clear, "R3 "},
      {"md5", Method::md5, &Login::md5, "R5 "},
      {"SCRAM", Method::scram, &Login::scram, "R10 R11 "},
  };
  for (const Row& row : rows) {
    for (const std::string& stored : {std::string("pw"), *wire::md5_secret("pw", "u"), verifier("pw")}) {
      for (const bool bytewise : {false, true}) {
        SCOPED_TRACE(std::string(row.name) + " with " + stored.substr(0, 5));
        Rig rig;
        rig.run("z! in\n1! up\n");
        rig.bytewise = bytewise;
        rig.directory.method = row.method;
        rig.directory.secrets["u"] = Secret(stored);
        Login login(rig);
        if (row.method == Method::md5 &&
            stored.starts_with("SCRAM")) {  // md5 lets SCRAM in where that is what is stored
          EXPECT_EQ(login.scram("u", "pw"), std::string("R10 R11 R12 ") + kIn);
          EXPECT_EQ(login.scram("u", "no"), std::string("R10 R11 ") + kWrong);
          continue;
        }
        const bool cannot = row.method == Method::scram && stored.starts_with("md5");
        const std::string last = row.method == Method::scram ? "R12 " : "";
        EXPECT_EQ((login.*row.how)("u", "pw", "db"), row.asked + (cannot ? kWrong : last + kIn));
        // Nobody learns what exists: a wrong password, no such user, no such database.
        EXPECT_EQ((login.*row.how)("u", "no", "db"), row.asked + kWrong);
        EXPECT_EQ((login.*row.how)("nobody", "pw", "db"), row.asked + kWrong);
        EXPECT_EQ((login.*row.how)("u", "no", "nowhere"), row.asked + kWrong);
        if (cannot) continue;
        EXPECT_EQ((login.*row.how)("u", "pw", "nowhere"), row.asked + last + "F(3D000,no such database: nowhere)");
        rig.end();
      }
    }
  }
}

TEST(PoolLogin, an_unknown_user_sees_the_same_salt_each_time) {
  Rig rig;
  rig.directory.method = Method::scram;
  const auto salt = [&](const std::string& name, const std::string& user) {
    rig.step(name + "! start user=" + user);
    Peer& peer = *rig.host.find(name);
    std::string bytes;
    wire::append_sasl_initial_response(bytes, wire::kScramSha256, "n,,n=,r=abcdefghijklmnopqrstuvwx");
    rig.input(peer, bytes);
    const size_t at = peer.out.find(",s=");
    return peer.out.substr(at, peer.out.find(",i=") - at);
  };
  EXPECT_EQ(salt("a", "nobody"), salt("b", "nobody"));
  EXPECT_NE(salt("c", "nobody"), salt("d", "somebody"));
  rig.end();
}

// A login that was hashed for milliseconds answered later than one that was not: whoever had a clock could tell who exists.
TEST(PoolLogin, what_an_answer_costs_says_nothing) {
  struct Row {
    Method method;
    std::string (Login::*how)(const std::string&, const std::string&, const std::string&);
    size_t hashed;
  };
  for (const Row& row : {Row{Method::password, &Login::clear, 1}, Row{Method::md5, &Login::md5, 0}, Row{Method::scram, &Login::scram, 0}}) {
    for (const std::string& stored : {std::string("pw"), *wire::md5_secret("pw", "u"), verifier("pw")}) {
      SCOPED_TRACE(std::string(wire::is_md5_secret(stored) ? "md5" : stored.substr(0, 5)) + " with method " + std::to_string(int(row.method)));
      Rig rig;
      rig.directory.method = row.method;
      rig.directory.secrets["u"] = Secret(stored);
      Login login(rig);
      (login.*row.how)("u", "no", "db");  // what is stored in clear text is hashed once
      EXPECT_EQ(rig.hashed, row.method == Method::scram && stored == "pw" ? 1 : row.hashed);
      for (const char* user : {"u", "nobody"}) {
        rig.hashed = 0;
        (login.*row.how)(user, "no", "db");
        EXPECT_EQ(rig.hashed, row.hashed) << user;
      }
      rig.end();
    }
  }
}

// Bytes that came while a password was being hashed were kept, however many there were.
TEST(PoolLogin, nothing_is_read_while_a_password_is_hashed) {
  for (const Method method : {Method::password, Method::scram}) {
    Rig rig;
    rig.directory.method = method;
    Login login(rig);
    Peer& peer = login.begin("u");
    std::string bytes;
    if (method == Method::password) wire::append_password(bytes, "pw");
    else wire::append_sasl_initial_response(bytes, wire::kScramSha256, "n,,n=,r=abcdefghijklmnopqrstuvwx");
    rig.core().client_input(*rig.client("a1"), bytes);
    ASSERT_EQ(rig.host.derivations.size(), 1U);
    EXPECT_FALSE(peer.wanted);
    rig.core().derived(*peer.conn, rig.host.derivations[0].second);
    EXPECT_TRUE(peer.wanted == (method == Method::scram)) << "in clear text it is in now, and waits for a server";
    rig.end();
  }
}

// Each value that an `options` named was kept as a set of its own for ten seconds: one packet of 10 kB took megabytes.
TEST(PoolLogin, a_startup_packet_leaves_one_set_of_parameters) {
  Rig rig;
  std::string options;
  for (int i = 0; options.size() < 4000; ++i) options += "-c TimeZone=z" + std::to_string(i) + " ";
  Peer& peer = rig.host.add("a");
  Client& client = rig.core().accept(&peer);
  peer.conn = &client;
  std::string packet;
  const std::string big(4000, 'x');
  wire::append_startup(packet, 0, {{"user", "u"}, {"database", "db"}, {"application_name", big}, {"options", options}});
  const size_t before = rig.core().parameters().size();
  rig.input(peer, packet);
  ASSERT_FALSE(client.dead);
  EXPECT_EQ(rig.core().parameters().size(), before + 1);
  EXPECT_EQ(client.wishes->values[4], big);
  rig.end();
}

TEST(PoolLogin, trust_needs_a_known_user_and_any_a_forced_one) {
  Rig rig;
  rig.run("z! in\n1! up\n");
  Login login(rig);
  EXPECT_EQ(Login::heard(login.begin("u")), kIn);
  EXPECT_EQ(Login::heard(login.begin("nobody")), "F(28P01,\"trust\" authentication failed)");
  rig.directory.method = Method::any;  // the name counts for nothing, so the database has to say whose servers they are
  EXPECT_EQ(Login::heard(login.begin("u")), "F(08P01,bouncer config error)");
  rig.directory.method = Method::reject;
  EXPECT_EQ(Login::heard(login.begin("u")), "F(28000,login rejected)");
  rig.end();
}

TEST(PoolLogin, what_is_asked_for_in_plain_is_answered_once) {
  Rig rig;
  rig.run("z! in\n1! up\n");
  Peer& peer = rig.host.add("a");
  peer.conn = &rig.core().accept(&peer);
  std::string bytes;
  wire::append_gssenc_request(bytes);
  wire::append_ssl_request(bytes);
  wire::append_startup(bytes, 0, {{"user", "u"}, {"database", "db"}});
  rig.bytewise = true;
  rig.input(peer, bytes);
  EXPECT_EQ(peer.out.substr(0, 2), "NN");
  peer.out.erase(0, 2);
  EXPECT_EQ(Login::heard(peer), kIn);
  rig.end();
}

TEST(PoolLogin, a_secret_that_comes_later) {
  Rig rig;
  rig.run("z! in\n1! up\n");
  rig.directory.method = Method::password;
  rig.directory.pending = true;
  Login login(rig);
  for (const bool known : {true, false}) {
    Peer& peer = login.begin("u");
    EXPECT_EQ(Login::heard(peer), "");
    EXPECT_FALSE(peer.wanted);
    rig.core().secret_found(*static_cast<Client*>(peer.conn), known ? std::optional(Secret("pw")) : std::nullopt);
    EXPECT_TRUE(peer.wanted);
    std::string answer;
    wire::append_password(answer, "pw");
    rig.input(peer, answer);
    EXPECT_EQ(Login::heard(peer), std::string("R3 ") + (known ? kIn : kWrong));
  }
  Peer& gone = login.begin("u");
  rig.gone(gone);
  rig.core().tidy();
  rig.end();
}

TEST(PoolLogin, what_follows_the_login_at_once_is_kept) {
  Rig rig;
  rig.run("z! in\n1! up\n");
  rig.directory.method = Method::password;
  Login login(rig);
  Peer& peer = login.begin("u");
  std::string bytes;
  wire::append_password(bytes, "pw");
  rig.input(peer, bytes + encode("Q(select 1)", true));
  EXPECT_NE(rig.outputs().find("> 1: Q(select 1)"), std::string::npos);
  rig.end();
}

}  // namespace
}  // namespace pgdba::pool::testing
