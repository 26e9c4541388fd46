// The pooling core's protocol features, each with a script of bytes: statement and session mode, replication, cancel
// and peers, limits in time, what clients are told of the server, and what they read when a server dies.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "pool/commits.h"
#include "pool/core.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_md5.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {
namespace {

using namespace std::chrono_literals;

// Takes all bytes, notes all wishes.
struct FakeHost : Host {
  std::map<Conn*, std::string> sent;
  std::vector<Server*> connects, cancels;
  std::vector<Conn*> closed;
  std::vector<std::pair<int, wire::CancelKey>> at_peers;
  std::vector<std::string> lines;
  int suspicions = 0;
  uint8_t dice = 1;

  bool send(Conn& to, std::span<const Slice> bytes) override {
    for (const Slice& slice : bytes) sent[&to].append(slice.data, slice.size);
    return true;
  }
  void want_input(Conn&, bool) override {}
  void close(Conn& conn) override { closed.push_back(&conn); }
  void connect(Server& server) override { connects.push_back(&server); }
  void send_cancel(Server& server) override { cancels.push_back(&server); }
  void derive_scram_keys(Conn&, std::string_view, const wire::ScramChallenge&) override {}
  void start_tls(Client&) override {}
  std::string server_certificate_digest(const Server&) override { return {}; }
  void console_begins(Client&) override {}
  size_t console_input(Client&, std::string_view bytes) override { return bytes.size(); }
  void cancel_elsewhere(const wire::CancelKey&) override {}
  void cancel_at_peer(Client&, int peer, const wire::CancelKey& key) override { at_peers.emplace_back(peer, key); }
  std::string peer_text(const Client&) override { return "10.1.2.3:4567"; }
  void suspect_leader() override { ++suspicions; }
  void ask_worker(Pool&, size_t) override {}
  void give_to_worker(size_t, Transfer) override {}
  void random(std::span<uint8_t> bytes) override {
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(dice++ * 37);
  }
  void log(LogLevel, const Conn*, std::string_view text) override { lines.emplace_back(text); }
  [[nodiscard]] bool has_line(std::string_view part) const {
    for (const std::string& line : lines) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }
};

struct FakeDirectory : Directory {
  std::map<std::string, Database, std::less<>> databases;
  Method method = Method::trust;
  std::map<std::string, std::string> secrets;
  std::map<std::string, std::string> typed;
  std::string limit;
  bool fill = false;

  Tls tls_policy(const Client&) override { return Tls::refuse; }
  std::string may_begin(const Client&) override { return {}; }
  Database* database(std::string_view name) override {
    auto found = databases.find(name);
    return found == databases.end() ? nullptr : &found->second;
  }
  const User* settings_of(std::string_view) override { return nullptr; }
  Method method_for(const Client&, std::string_view, std::string_view) override { return method; }
  Lookup secret_of(Client&, std::string_view, std::string_view user) override {
    auto found = secrets.find(std::string(user));
    return {.pending = false, .secret = Secret(found == secrets.end() ? std::string() : found->second)};
  }
  wire::ScramVerifier mock(std::string_view) override { return {}; }
  bool mostly_scram() override { return false; }
  std::string certificate_digest(const Client&) override { return {}; }
  void remember(std::string_view, const KnownKeys&) override {}
  void remember_password(std::string_view user, const Secret& password) override {
    typed[std::string(user)] = password.reveal();
  }
  std::vector<Database*> filled() override {
    return fill ? std::vector<Database*>{&databases.begin()->second} : std::vector<Database*>{};
  }
  Credentials credentials(const Pool&) override { return {}; }
  std::string verify_query(const Pool&) override { return {}; }
  std::string judge(const Server&, const std::vector<std::optional<std::string>>&) override { return {}; }
  std::string may_use_console(const Client&, bool) override { return "not allowed"; }
  std::string admit_client(const Client&, const Database&) override { return limit; }
  void forget_client(const Client&, const Database&) override {}
};

struct FakeLedger : Ledger {
  int servers = 0, most = 0;  // 0: any number
  Verdict take_server(const Pool&, int limit) override {
    if (limit > 0 && servers >= limit) return Verdict::pool_full;
    if (most > 0 && servers >= most) return Verdict::others_full;
    ++servers;
    return Verdict::taken;
  }
  void give_server(const Pool&) override { --servers; }
  PoolShare* share(const Pool&) override { return nullptr; }
};

std::string ready(char status) {
  std::string out;
  wire::append_ready_for_query(out, status);
  return out;
}
std::string complete(std::string_view tag) {
  std::string out;
  wire::append_command_complete(out, tag);
  return out;
}
std::string query(std::string_view sql) {
  std::string out;
  wire::append_query(out, sql);
  return out;
}
std::string status(std::string_view name, std::string_view value) {
  std::string out;
  wire::append_parameter_status(out, name, value);
  return out;
}
std::string error(std::string_view sqlstate, std::string_view text, std::string_view severity = "FATAL") {
  wire::ErrorFields fields;
  fields.severity = severity;
  fields.sqlstate = sqlstate;
  fields.message = text;
  std::string out;
  wire::append_error(out, fields);
  return out;
}
std::string extended(std::string_view sql, std::string_view name = "") {
  std::string out;
  wire::append_parse(out, name, sql, {});
  wire::append_bind(out, "", name, {});
  wire::append_execute(out, "");
  wire::append_sync(out);
  return out;
}

// The types of the messages in `bytes`.
std::string types(std::string_view bytes) {
  std::string out;
  wire::Message message;
  while (wire::read_message(bytes, message) == wire::Scan::complete) {
    out += message.type;
    bytes.remove_prefix(message.size());
  }
  return out;
}

struct Said {
  std::string sqlstate, text, severity;
};
// The last error or notice in `bytes`.
Said last_error(std::string_view bytes, char type = 'E') {
  Said said;
  wire::Message message;
  while (wire::read_message(bytes, message) == wire::Scan::complete) {
    if (message.type == type) {
      if (auto fields = wire::parse_error_response(message.body)) {
        said = {std::string(fields->sqlstate), std::string(fields->message), std::string(fields->severity)};
      }
    }
    bytes.remove_prefix(message.size());
  }
  return said;
}

struct Features : testing::Test {
  FakeHost host;
  FakeDirectory directory;
  FakeLedger ledger;
  Settings settings;
  std::unique_ptr<Core> made;
  Moment now = 1'000'000'000;

  void SetUp() override {
    directory.databases["db"].name = "db";
    directory.databases["db"].server_name = "real";
    directory.secrets["joe"] = "";
  }
  Core& core() {
    if (!made) {
      made = std::make_unique<Core>(host, directory, ledger, settings, [](std::string_view text) {
        std::array<uint8_t, 16> id{};
        for (size_t i = 0; i < text.size(); ++i) id[i % 16] = static_cast<uint8_t>(id[i % 16] * 31 + text[i]);
        return id;
      });
      made->set_now(now);
    }
    return *made;
  }
  Database& db() { return directory.databases["db"]; }
  void pass(std::chrono::microseconds time) {
    now += time.count();
    core().set_now(now);
    core().tick();
  }

  Client& login(const std::vector<wire::StartupParameter>& more = {}) {
    Client& client = core().accept(nullptr);
    std::vector<wire::StartupParameter> parameters{{"user", "joe"}, {"database", "db"}};
    parameters.insert(parameters.end(), more.begin(), more.end());
    std::string packet;
    wire::append_startup(packet, 0, parameters);
    core().client_input(client, packet);
    return client;
  }
  // Lets the newest connection log in.
  Server& answer(std::string_view version = "15.1", std::string_view more = "") {
    Server& server = *host.connects.back();
    core().server_connected(server);
    std::string bytes;
    wire::append_authentication_ok(bytes);
    bytes += status("server_version", version) + status("client_encoding", "UTF8") + status("application_name", "");
    bytes += more;
    wire::append_backend_key_data(bytes, {77, "abcd"});
    core().server_input(server, bytes + ready('I'));
    return server;
  }
  Client& in() {
    Client& client = login();
    answer();
    host.sent[&client].clear();
    return client;
  }
  std::string take(Conn& conn) { return std::exchange(host.sent[&conn], {}); }
  wire::CancelKey key_of(const Client& client) {
    std::string secret(4, '\0');
    for (size_t i = 0; i < 4; ++i) secret[i] = static_cast<char>(client.cancel_key >> (24 - 8 * i));
    return {static_cast<uint32_t>(client.cancel_key >> 32), secret};
  }
  Client& ask_cancel(const wire::CancelKey& key) {
    Client& client = core().accept(nullptr);
    std::string packet;
    wire::append_cancel_request(packet, key);
    core().client_input(client, packet);
    return client;
  }
};

TEST_F(Features, StatementModeRefusesBlocks) {
  settings.pool_mode = PoolMode::statement;
  Client& client = in();
  Server& server = *host.connects[0];
  core().client_input(client, query("select 1"));
  core().server_input(server, complete("SELECT 1") + ready('I'));
  EXPECT_EQ(types(take(client)), "CZ");
  core().client_input(client, query("begin"));
  core().server_input(server, complete("BEGIN") + ready('T'));
  const std::string said = take(client);
  EXPECT_EQ(types(said), "CE");
  EXPECT_EQ(last_error(said).text, "transaction blocks not allowed in statement pooling mode");
  EXPECT_EQ(last_error(said).sqlstate, "08P01");
  EXPECT_TRUE(client.dead);
  EXPECT_TRUE(server.dead);
}

TEST_F(Features, SessionModeKeepsTheServerAndResetsIt) {
  Client& client = in();
  Server& server = *host.connects[0];
  core().client_input(client, query("listen a"));
  core().server_input(server, complete("LISTEN") + ready('I'));
  EXPECT_EQ(client.server, &server);
  EXPECT_EQ(core().load(Route::fixed).lent, 0) << "a switchover does not wait for a session that does nothing";
  take(client);
  const std::string notification("A\0\0\0\x0d\0\0\0\1a\0b\0", 14);
  core().server_input(server, notification);
  EXPECT_EQ(take(client), notification) << "it arrives while nothing runs";
  take(server);
  core().client_gone(client);
  EXPECT_NE(take(server).find("DISCARD ALL"), std::string::npos);
  EXPECT_EQ(server.state, ServerState::busy);
  core().server_input(server, complete("DISCARD ALL") + ready('I'));
  EXPECT_EQ(server.state, ServerState::idle);
}

TEST_F(Features, ServerFastCloseEndsAnObsoleteSession) {
  settings.server_fast_close = true;
  Client& client = in();
  Server& server = *host.connects[0];
  core().client_input(client, query("begin"));
  core().server_input(server, complete("BEGIN") + ready('T'));
  server.close_when_free = true;
  server.close_reason = "database configuration changed";
  pass(1s);
  EXPECT_FALSE(client.dead) << "inside a transaction";
  core().client_input(client, query("commit"));
  core().server_input(server, complete("COMMIT") + ready('I'));
  pass(1s);
  EXPECT_TRUE(client.dead);
  EXPECT_EQ(last_error(take(client)).text, "database configuration changed");
}

TEST_F(Features, ReplicationHasItsOwnServer) {
  settings.pool_mode = PoolMode::transaction;
  Client& client =
      login({{"replication", "database"}, {"options", "-c geqo=off"}, {"application_name", "walreceiver"}});
  ASSERT_EQ(host.connects.size(), 1U);
  Server& server = *host.connects[0];
  core().server_connected(server);
  auto startup = wire::parse_first_packet(take(server));
  ASSERT_TRUE(startup && *startup);
  EXPECT_EQ(*(*startup)->find("replication"), "database");
  EXPECT_EQ(*(*startup)->find("options"), "-c geqo=off");
  EXPECT_EQ(*(*startup)->find("application_name"), "walreceiver");
  EXPECT_EQ(*(*startup)->find("database"), "real");
  std::string bytes;
  wire::append_authentication_ok(bytes);
  bytes += status("server_version", "15.9") + status("in_hot_standby", "off");
  core().server_input(server, bytes + ready('I'));
  EXPECT_EQ(types(take(client)), "RSSKZ");
  EXPECT_EQ(client.server, &server);
  core().client_input(client, query("IDENTIFY_SYSTEM"));
  core().server_input(server, complete("IDENTIFY_SYSTEM") + ready('I'));
  EXPECT_EQ(client.server, &server) << "not released between statements";
  EXPECT_EQ(core().load(Route::fixed).lent, 0) << "a switchover does not wait for it";
  core().client_gone(client);
  EXPECT_TRUE(server.dead) << "never used again";
}

TEST_F(Features, ReplicationEvictsAnIdleServer) {
  settings.pool_mode = PoolMode::transaction;
  db().pool_size = 1;
  in();
  Server& idle = *host.connects[0];
  EXPECT_EQ(idle.state, ServerState::idle);
  login({{"replication", "true"}});
  EXPECT_TRUE(idle.dead);
  ASSERT_EQ(host.connects.size(), 2U);
  EXPECT_TRUE(host.connects[1]->replication);
}

TEST_F(Features, ReplicationWaitsForRoomAndForAServer) {
  settings.pool_mode = PoolMode::transaction;
  db().pool_size = 1;
  Client& busy = in();
  Server& server = *host.connects[0];
  core().client_input(busy, query("select 1"));
  Client& replica = login({{"replication", "true"}});
  EXPECT_EQ(host.connects.size(), 1U);
  core().server_input(server, complete("SELECT 1") + ready('I'));
  pass(400ms);
  ASSERT_EQ(host.connects.size(), 2U);
  core().server_lost(*host.connects[1], "connect failed: refused");
  EXPECT_FALSE(replica.dead) << "a mere failure to connect kills nobody";
  pass(16s);
  ASSERT_EQ(host.connects.size(), 3U);
  Server& second = *host.connects[2];
  core().server_connected(second);
  core().server_input(second, error("42501", "must be superuser or replication role to start walsender"));
  EXPECT_TRUE(replica.dead);
  EXPECT_EQ(last_error(take(replica)).sqlstate, "42501");
}

TEST_F(Features, ReplicationValueIsChecked) {
  Client& client = login({{"replication", "perhaps"}});
  EXPECT_TRUE(client.dead);
  EXPECT_EQ(last_error(take(client)).text, "invalid value for parameter \"replication\": \"perhaps\"");
}

TEST_F(Features, CancelKeepsTheServerUntilItHasEnded) {
  settings.pool_mode = PoolMode::transaction;
  Client& client = in();
  Server& server = *host.connects[0];
  core().client_input(client, query("select pg_sleep(9)"));
  Client& requester = ask_cancel(key_of(client));
  ASSERT_EQ(host.cancels.size(), 1U);
  EXPECT_FALSE(requester.dead) << "libpq waits for the end of this connection";
  core().server_input(server, error("57014", "canceling statement due to user request", "ERROR") + ready('I'));
  EXPECT_EQ(server.state, ServerState::busy);
  core().client_input(client, query("select 2"));
  EXPECT_EQ(client.server, nullptr);
  core().cancel_sent(server);
  EXPECT_TRUE(requester.dead);
  EXPECT_EQ(client.server, &server) << "free again, and lent at once";
}

TEST_F(Features, CancelWaitsBehindAnother) {
  Client& client = in();
  Server& server = *host.connects[0];
  core().client_input(client, query("select pg_sleep(9)"));
  Client& first = ask_cancel(key_of(client));
  Client& second = ask_cancel(key_of(client));
  EXPECT_EQ(host.cancels.size(), 1U);
  core().cancel_sent(server);
  EXPECT_TRUE(first.dead);
  EXPECT_FALSE(second.dead);
  EXPECT_EQ(host.cancels.size(), 2U);
  Client& third = ask_cancel(key_of(client));
  pass(11s);
  EXPECT_TRUE(third.dead) << "cancel_wait_timeout";
  EXPECT_FALSE(second.dead);
  core().server_lost(server, "gone");
  EXPECT_TRUE(second.dead);
}

TEST_F(Features, PeersPassCancelRequestsOn) {
  settings.peer_id = 0x0102;
  Client& client = in();
  wire::CancelKey key = key_of(client);
  EXPECT_EQ(key.pid >> 16 & 0xff, 2U);
  EXPECT_EQ(key.pid >> 8 & 0xff, 1U);
  EXPECT_EQ(key.secret[3] & 3, 3);
  Server& server = *host.connects[0];
  core().client_input(client, query("select pg_sleep(9)"));
  key.secret[3] = static_cast<char>(key.secret[3] & ~3);  // has passed through others
  ask_cancel(key);
  EXPECT_EQ(host.cancels, std::vector<Server*>{&server});
  key.pid = (key.pid & 0xff0000ff) | 0x030000;
  Client& spent = ask_cancel(key);
  EXPECT_TRUE(spent.dead);
  EXPECT_TRUE(host.at_peers.empty());
  key.secret[3] = static_cast<char>(key.secret[3] | 2);
  Client& passed = ask_cancel(key);
  ASSERT_EQ(host.at_peers.size(), 1U);
  EXPECT_EQ(host.at_peers[0].first, 3);
  EXPECT_EQ(host.at_peers[0].second.secret[3] & 3, 1);
  EXPECT_FALSE(passed.dead);
  core().peer_cancelled(passed.id);
  EXPECT_TRUE(passed.dead);
}

TEST_F(Features, SmallSettings) {
  settings.disable_pqexec = true;
  settings.application_name_add_host = true;
  settings.login_notify_message = "welcome to the show";
  Client& client = login({{"application_name", "tool"}});
  answer();
  const std::string said = take(client);
  EXPECT_EQ(types(said), "RSSSKNZ");
  EXPECT_EQ(last_error(said, 'N').text, "welcome to the show");
  EXPECT_NE(said.find("tool - 10.1.2.3:4567"), std::string::npos);
  core().client_input(client, query("select 1"));
  core().server_input(*host.connects[0], complete("SET") + ready('I'));  // application_name
  EXPECT_EQ(last_error(take(client)).text, "PQexec disallowed");
  EXPECT_TRUE(client.dead);
}

TEST_F(Features, LimitsSpeakAsPgBouncerDoes) {
  directory.limit = "no more connections allowed (max_client_conn)";
  Client& client = login();
  EXPECT_EQ(last_error(take(client)).sqlstate, "08P01");
}

TEST_F(Features, AuthTypeAnyNeedsAForcedUser) {
  directory.method = Method::any;
  Client& first = login();
  EXPECT_EQ(last_error(take(first)).text, "bouncer config error");
  db().forced_user = "boss";
  Client& second = login();
  EXPECT_FALSE(second.dead);
  EXPECT_EQ(second.user_name, "boss");
}

TEST_F(Features, TypedPasswordsAreKept) {
  directory.method = Method::password;
  directory.secrets["joe"] = *wire::md5_secret("blue", "joe");
  Client& client = login();
  std::string answer;
  wire::append_password(answer, "wrong");
  core().client_input(client, answer);
  core().derived(client, wire::ScramKeys{});
  EXPECT_TRUE(client.dead);
  EXPECT_TRUE(directory.typed.empty());
  Client& second = login();
  answer.clear();
  wire::append_password(answer, "blue");
  core().client_input(second, answer);
  core().derived(second, wire::ScramKeys{});
  EXPECT_FALSE(second.dead);
  EXPECT_EQ(directory.typed["joe"], "blue");
}

TEST_F(Features, RoundRobinTakesTheOldest) {
  settings.pool_mode = PoolMode::transaction;
  for (const bool robin : {false, true}) {
    settings.server_round_robin = robin;
    Client& a = login();
    if (!robin) answer();
    Client& b = login();
    core().client_input(a, query("select 1"));
    core().client_input(b, query("select 1"));
    if (!robin) answer();
    Server* first = a.server;
    Server* second = b.server;
    core().server_input(*first, complete("SELECT 1") + ready('I'));
    core().server_input(*second, complete("SELECT 1") + ready('I'));
    core().client_input(a, query("select 1"));
    EXPECT_EQ(a.server, robin ? first : second);
    core().server_input(*a.server, complete("SELECT 1") + ready('I'));
    core().client_gone(a);
    core().client_gone(b);
  }
}

TEST_F(Features, ReserveComesAfterItsTimeout) {
  settings.pool_mode = PoolMode::transaction;
  db().pool_size = 1;
  db().reserve_pool_size = 2;
  Client& first = in();
  core().client_input(first, query("select pg_sleep(9)"));
  Client& second = login();
  core().client_input(second, query("select 1"));
  pass(4900ms);
  Client& third = login();
  core().client_input(third, query("select 1"));
  EXPECT_EQ(host.connects.size(), 1U);
  pass(200ms);
  EXPECT_EQ(host.connects.size(), 2U) << "one for the one that has waited for so long";
  EXPECT_TRUE(host.has_line("taking connection from reserve_pool"));
  pass(5s);
  EXPECT_EQ(host.connects.size(), 3U);
  pass(20s);
  EXPECT_LE(ledger.servers, 3);
}

TEST_F(Features, MinPoolSizeNeedsNoClientWithAForcedUser) {
  db().forced_user = "boss";
  db().min_pool_size = 2;
  directory.fill = true;
  pass(400ms);
  ASSERT_EQ(host.connects.size(), 1U);
  answer();
  pass(400ms);
  ASSERT_EQ(host.connects.size(), 2U);
  answer();
  pass(400ms);
  EXPECT_EQ(host.connects.size(), 2U);
}

TEST_F(Features, OneCheckInsteadOfANewConnection) {
  settings.pool_mode = PoolMode::transaction;
  Client& client = in();
  Server& server = *host.connects[0];
  pass(31s);
  core().client_input(client, query("select 1"));
  EXPECT_EQ(server.chore, Chore::check);
  EXPECT_EQ(host.connects.size(), 1U);
  std::string empty;
  wire::append_empty_query_response(empty);
  core().server_input(server, empty + ready('I'));
  EXPECT_EQ(client.server, &server);
}

TEST_F(Features, TextsOfTimeouts) {
  settings.pool_mode = PoolMode::transaction;
  settings.query_timeout = 2s;
  db().pool_size = 1;
  Client& runs = in();
  core().client_input(runs, query("select pg_sleep(9)"));
  Client& waits = login();
  core().client_input(waits, query("select 1"));
  pass(3s);
  EXPECT_EQ(last_error(take(waits)).text, "query_timeout");
  EXPECT_EQ(last_error(take(runs)).text, "query timeout");
  Client& silent = core().accept(nullptr);
  pass(61s);
  EXPECT_EQ(last_error(take(silent)).text, "client_login_timeout");
}

TEST_F(Features, LoginWaitsForAServerThatDoesNotCome) {
  Client& client = login();
  pass(61s);
  EXPECT_EQ(last_error(take(client)).text, "client_login_timeout (server down)");
}

TEST_F(Features, FailFast) {
  settings.pool_mode = PoolMode::transaction;
  Client& client = in();
  core().server_lost(*host.connects[0], "server conn crashed?");
  core().client_input(client, query("select 1"));
  EXPECT_EQ(client.state, ClientState::waiting);
  core().server_lost(*host.connects[1], "connect failed: Connection refused");
  EXPECT_FALSE(client.dead) << "a mere failure to connect kills nobody who waits";
  Client& other = login();
  core().client_input(other, query("select 1"));
  EXPECT_EQ(last_error(take(other)).text,
            "server login has been failing, cached error: connect failed: Connection refused (server_login_retry)");
  pass(16s);
  ASSERT_EQ(host.connects.size(), 3U);
  core().server_connected(*host.connects[2]);
  core().server_input(*host.connects[2], error("57P03", "the database system is starting up"));
  EXPECT_FALSE(client.dead);
  pass(16s);
  core().server_connected(*host.connects[3]);
  core().server_input(*host.connects[3], error("28P01", "password authentication failed for user \"joe\""));
  EXPECT_TRUE(client.dead);
  EXPECT_EQ(last_error(take(client)).sqlstate, "28P01");
}

TEST_F(Features, AServerWithoutPasswordIsSaidAtOnce) {
  Client& client = login();
  core().server_connected(*host.connects[0]);
  std::string ask;
  wire::append_authentication_cleartext(ask);
  core().server_input(*host.connects[0], ask);
  EXPECT_TRUE(client.dead);
}

TEST_F(Features, NewWelcomeBeforeTheNextAnswer) {
  settings.pool_mode = PoolMode::transaction;
  Client& client = in();
  core().server_lost(*host.connects[0], "restarted");
  core().client_input(client, query("select 1"));
  Server& newer = answer("16.2");
  core().server_input(newer, complete("SELECT 1") + ready('I'));
  const std::string said = take(client);
  EXPECT_EQ(types(said), "SCZ");
  EXPECT_NE(said.find("16.2"), std::string::npos);
  core().client_input(client, query("select 1"));
  core().server_input(newer, complete("SELECT 1") + ready('I'));
  EXPECT_EQ(types(take(client)), "CZ") << "once";
}

TEST_F(Features, APrimaryThatIsNoneIsSuspected) {
  settings.pool_mode = PoolMode::transaction;
  db().route = Route::primary;
  core().set_route(Route::primary, {.open = true, .term = 0, .fresh_until = 0, .why = {}});
  Client& client = login();
  Server& standby = answer("15.1", status("in_hot_standby", "on"));
  EXPECT_TRUE(standby.dead);
  EXPECT_GE(host.suspicions, 1);
  pass(400ms);
  Server& server = answer("15.1", status("in_hot_standby", "off"));
  host.suspicions = 0;
  core().client_input(client, query("select 1"));
  core().server_input(server, status("in_hot_standby", "on"));
  EXPECT_EQ(host.suspicions, 1);
  EXPECT_FALSE(server.dead) << "what runs, runs";
  core().server_input(server, complete("SELECT 1") + ready('I'));
  EXPECT_TRUE(server.dead);
  EXPECT_FALSE(client.dead);
}

TEST_F(Features, HeldClientsAreTold) {
  settings.pool_mode = PoolMode::transaction;
  settings.failover_hold_timeout = 20s;
  db().route = Route::primary;
  Client& client = login();
  answer();
  core().set_route(Route::primary, {.open = false, .term = 1, .fresh_until = 0, .why = "no leader"});
  core().client_input(client, query("select 1"));
  Client& newcomer = login();
  core().client_input(newcomer, query("select 1"));
  take(client);
  pass(6s);
  pass(1s);
  const std::string notice = take(client);
  EXPECT_EQ(types(notice), "N");
  EXPECT_EQ(last_error(notice, 'N').text,
            "the primary is being moved (no leader): the statement waits for it, at most 20 s");
  pass(12s);
  EXPECT_FALSE(client.dead);
  pass(2s);
  EXPECT_EQ(last_error(take(client)).sqlstate, "08006");
}

// Whichever of the two limits ends first ends the wait, under its own name. The shorter query_wait_timeout went by the name
// of failover_hold_timeout, and with none of them the notice said "at most 0 s".
TEST_F(Features, TheShorterOfTheTwoLimitsEndsTheHold) {
  struct Row {
    Micros hold, wait;
    std::string_view notice, sqlstate, text;  // no text: it goes on waiting
  };
  const Row rows[] = {
      {8s, 20s, ", at most 8 s", "08006", "no primary is available: no leader (failover_hold_timeout)"},
      {8s, 0s, ", at most 8 s", "08006", "no primary is available: no leader (failover_hold_timeout)"},
      {20s, 8s, ", at most 8 s", "08P01", "query_wait_timeout"},
      {0s, 8s, ", at most 8 s", "08P01", "query_wait_timeout"},
      {0s, 0s, "", "", ""},
  };
  settings.pool_mode = PoolMode::transaction;
  db().route = Route::primary;
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(row.text) + " " + std::to_string(row.hold.count()));
    settings.failover_hold_timeout = row.hold;
    settings.query_wait_timeout = row.wait;
    core().set_route(Route::primary, {.open = true, .term = 0, .fresh_until = 0, .why = {}});
    Client& client = login();
    if (client.state == ClientState::welcome) answer();
    core().set_route(Route::primary, {.open = false, .term = 0, .fresh_until = 0, .why = "no leader"});
    core().client_input(client, query("select 1"));
    take(client);
    pass(6s);
    const std::string notice = take(client);
    EXPECT_EQ(types(notice), "N");
    EXPECT_EQ(last_error(notice, 'N').text, "the primary is being moved (no leader): the statement waits for it" + std::string(row.notice));
    pass(1s);
    EXPECT_EQ(take(client), "") << "told once";
    pass(2s);
    EXPECT_EQ(client.dead, !row.text.empty());
    const Said said = last_error(take(client));
    EXPECT_EQ(said.sqlstate, row.sqlstate);
    EXPECT_EQ(said.text, row.text);
    if (!client.dead) core().client_gone(client);
  }
}

// A session with a server, in whose cluster a switchover begins. A statement that it began during the drain made the
// switchover wait for its grace, and was cut off by the stop.
struct SessionInASwitchover : Features {
  Client* client = nullptr;
  Server* server = nullptr;

  void begin(char status = 'I') {
    settings.pool_mode = PoolMode::session;
    db().route = Route::primary;
    route(true, 0);
    client = &in();
    server = host.connects[0];
    core().client_input(*client, query("listen a"));
    core().server_input(*server, complete("LISTEN") + ready(status));
    route(false, 0);
    take(*client);
    take(*server);
  }
  void route(bool open, uint64_t term) {
    core().set_route(Route::primary, {.open = open, .term = term, .fresh_until = 0, .why = open ? "" : "a switchover"});
  }
};

TEST_F(SessionInASwitchover, BeginsNothingNewAndGoesOnWhenThePrimaryStays) {
  begin();
  const std::string first = query("insert into t values (1)");
  core().client_input(*client, first.substr(0, 9));
  core().client_input(*client, first.substr(9));
  core().client_input(*client, query("select 2"));
  EXPECT_EQ(take(*server), "");
  EXPECT_EQ(core().load(Route::primary).lent, 0);
  EXPECT_EQ(core().load(Route::primary).waiting, 1);
  route(false, 0);
  EXPECT_EQ(take(*server), "");
  route(true, 0);
  EXPECT_EQ(take(*server), first + query("select 2"));
  core().server_input(*server, complete("INSERT 0 1") + ready('I') + complete("SELECT 1") + ready('I'));
  EXPECT_EQ(types(take(*client)), "CZCZ");
  EXPECT_EQ(core().load(Route::primary).waiting, 0);
  core().client_input(*client, query("select 3"));
  EXPECT_EQ(take(*server), query("select 3"));
}

TEST_F(SessionInASwitchover, EndsWhatItIsIn) {
  begin('T');
  EXPECT_EQ(core().load(Route::primary).lent, 1);
  core().client_input(*client, query("commit"));
  EXPECT_EQ(take(*server), query("commit"));
  core().server_input(*server, complete("COMMIT") + ready('I'));
  EXPECT_EQ(core().load(Route::primary).lent, 0);
  core().client_input(*client, query("begin"));
  EXPECT_EQ(take(*server), "") << "the next one waits";
}

TEST_F(SessionInASwitchover, IsToldThatItEndsAndNothingOfItHasBegun) {
  begin();
  core().client_input(*client, query("select 1"));
  route(true, 1);
  EXPECT_TRUE(client->dead);
  EXPECT_TRUE(server->dead);
  EXPECT_EQ(take(*server).find("select"), std::string::npos);
  const Said said = last_error(take(*client));
  EXPECT_EQ(said.sqlstate, "57P01");
  EXPECT_EQ(said.text, "the primary has moved, which a session cannot: connect again");
}

TEST_F(SessionInASwitchover, IsToldWhyItWaitsAndNotForEver) {
  settings.failover_hold_timeout = 20s;
  begin();
  core().client_input(*client, query("select 1"));
  pass(6s);
  EXPECT_EQ(last_error(take(*client), 'N').text, "the primary is being moved (a switchover): the statement waits for it, at most 20 s");
  pass(13s);
  EXPECT_EQ(take(*client), "");
  pass(2s);
  const Said said = last_error(take(*client));
  EXPECT_EQ(said.sqlstate, "08006");
  EXPECT_EQ(said.text, "no primary is available: a switchover (failover_hold_timeout)");
  EXPECT_FALSE(server->dead) << "it owes nothing";
}

TEST_F(SessionInASwitchover, MayLeaveOrChangeItsMind) {
  begin();
  core().client_input(*client, query("select 1"));
  core().cancel(key_of(*client));
  const std::string said = take(*client);
  EXPECT_EQ(types(said), "EZ");
  EXPECT_EQ(last_error(said).sqlstate, "57014");
  EXPECT_EQ(core().load(Route::primary).waiting, 0);
  std::string bye;
  wire::append_terminate(bye);
  core().client_input(*client, bye);
  EXPECT_TRUE(client->dead);
  EXPECT_FALSE(server->dead);
}

TEST_F(Features, AtLoginLibpqMayGoOnToTheNextHost) {
  db().route = Route::primary;
  core().set_route(Route::primary, {.open = false, .term = 1, .fresh_until = 0, .why = "no leader"});
  Client& client = login();
  pass(31s);
  const Said said = last_error(take(client));
  EXPECT_EQ(said.sqlstate, "57P03");
  EXPECT_EQ(said.text, "no primary is available: no leader (failover_hold_timeout)");
}

TEST(Ending, OfText) {
  struct Row {
    std::string_view sql;
    Ending ending;
  };
  const Row rows[] = {
      {"COMMIT", Ending::commit},
      {"commit and chain", Ending::commit},
      {"  -- x\n/* a /* b */ c */ end;", Ending::commit},
      {"-- to the end of the line, which CR is as well\rCOMMIT", Ending::commit},
      {"execute c", Ending::commit},  // PostgreSQL 15: commits when c was made by Parse(c, COMMIT)
      {"PREPARE TRANSACTION 'x'", Ending::commit},
      {"prepare p as select 1", Ending::none},
      {"rollback", Ending::rollback},
      {"ABORT", Ending::rollback},
      {"update friend set spend = 1 where comm = 'commit'", Ending::none},
      {"select case when a then 1 end", Ending::none},
      {"insert into t values ('a;b')", Ending::none},
      {"insert into t values ('a; commit')", Ending::commit},
      {"select 1; commit", Ending::commit},
      {"rollback; insert into t values (1)", Ending::commit},
      {"select 1; select 2;", Ending::none},
      {"commitment", Ending::none},
      {"", Ending::none},
      {"/* open", Ending::none},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(ending_of(row.sql), row.ending) << row.sql;
    if (row.sql.find("; ") == std::string_view::npos) {
      EXPECT_EQ(ending_of_statement(row.sql), row.ending) << row.sql;
    }
  }
}

// What a client reads when its server dies before it has answered the last of these.
TEST_F(Features, FarewellKnowsWhatMayHaveCommitted) {
  struct Row {
    const char* name;
    bool block;  // inside of a transaction block
    std::string bytes;
    std::string_view sqlstate;
    PoolMode mode = PoolMode::transaction;
  };
  const std::string named = extended("commit", "c");
  std::string pipeline = extended("rollback") + extended("insert into t values (1)");
  const Row rows[] = {
      {"outside everything may", false, query("insert into t values (1)"), "08007"},
      {"outside, extended", false, extended("insert into t values (1)"), "08007"},
      {"inside, a statement", true, query("insert into t values ('friend')"), "08006"},
      {"inside, extended", true, extended("insert into t values (1)"), "08006"},
      {"inside, named", true, extended("insert into t values (1)", "i"), "08006"},
      {"inside, commit", true, query("commit"), "08007"},
      {"inside, extended commit", true, extended("COMMIT"), "08007"},
      {"inside, named commit", true, named, "08007"},
      {"inside, rollback", true, extended("rollback"), "08006"},
      {"inside, what follows a rollback", true, pipeline, "08007"},
      {"session mode, a statement", true, extended("insert into t values (1)", "i"), "08006", PoolMode::session},
      {"session mode, named commit", true, named, "08007", PoolMode::session},
      {"session mode, unnamed commit", true, extended("commit"), "08007", PoolMode::session},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    made.reset();
    host = FakeHost{};
    ledger = FakeLedger{};
    settings.pool_mode = row.mode;
    Client& client = in();
    Server& server = *host.connects[0];
    if (row.block) {
      core().client_input(client, query("begin"));
      core().server_input(server, complete("BEGIN") + ready('T'));
    }
    take(client);
    core().client_input(client, row.bytes);
    core().server_lost(server, "crashed");
    EXPECT_EQ(last_error(take(client)).sqlstate, row.sqlstate);
  }
}

}  // namespace
}  // namespace pgdba::pool
