// The world around a pooling core, for tests and the fuzzer: what was sent lies in a Peer, what the core asks for is
// noted.
//
// Nothing here calls back into the core from within a call; whoever drives it delivers what was noted.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/core.h"
#include "wire/pg_frame.h"

namespace pgdba::pool::testing {

// The other end of a connection.
struct Peer {
  std::string name;
  Conn* conn = nullptr;  // null: closed
  std::string out;       // what was sent to it and not looked at yet
  std::string all;       // everything that was ever sent to it
  bool slow = false;     // takes nothing in: send() says that not all has left
  bool wanted = true;
  bool fresh = false;  // a server that is still to get its startup packet
};

class FakeHost : public Host {
 public:
  Peer& add(std::string name) {
    peers.push_back(std::make_unique<Peer>());
    peers.back()->name = std::move(name);
    return *peers.back();
  }
  Peer* find(std::string_view name) {
    for (const auto& peer : peers) {
      if (peer->name == name) return peer.get();
    }
    return nullptr;
  }
  static Peer& of(const Conn& conn) { return *static_cast<Peer*>(conn.socket); }

  bool send(Conn& to, std::span<const Slice> bytes) override {
    if (to.socket == nullptr) return true;
    Peer& peer = of(to);
    if (peer.conn == nullptr) ++sent_to_closed;
    for (const Slice& slice : bytes) {
      peer.out.append(slice.data, slice.size);
      peer.all.append(slice.data, slice.size);
    }
    return !peer.slow;
  }
  void want_input(Conn& conn, bool wanted) override {
    if (conn.socket != nullptr) of(conn).wanted = wanted;
  }
  void close(Conn& conn) override {
    if (conn.socket == nullptr) return;
    Peer& peer = of(conn);
    if (peer.conn == nullptr) ++closed_twice;
    peer.conn = nullptr;
    noted.push_back("> " + peer.name + "! closed");
  }
  void connect(Server& server) override {
    Peer& peer = add(std::to_string(++servers));
    peer.conn = &server;
    peer.fresh = true;
    server.socket = &peer;
    server.term = term;
    noted.push_back("> " + peer.name + "! connect");
  }
  void send_cancel(Server& server) override { noted.push_back("> " + of(server).name + "! cancel"); }
  void derive_scram_keys(Conn& whom, std::string_view password, const wire::ScramChallenge& challenge) override {
    derivations.emplace_back(&whom, wire::scram_keys(password, challenge));
  }
  void start_tls(Client&) override {}
  std::string server_certificate_digest(const Server&) override { return {}; }
  void console_begins(Client&) override {}
  size_t console_input(Client&, std::string_view bytes) override { return bytes.size(); }
  void cancel_elsewhere(const wire::CancelKey&) override { noted.push_back("> cancel elsewhere"); }
  void ask_worker(Pool& pool, size_t worker) override { asked.emplace_back(&pool, worker); }
  void give_to_worker(size_t worker, Transfer transfer) override { given.emplace_back(worker, std::move(transfer)); }
  void random(std::span<uint8_t> bytes) override {
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(seed = seed * 1103515245 + 12345) >> 1;
  }
  void log(LogLevel, const Conn*, std::string_view) override {}

  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<std::string> noted;  // decisions since they were looked at last
  std::vector<std::pair<Conn*, Result<wire::ScramKeys>>> derivations;
  std::vector<std::pair<Pool*, size_t>> asked;
  std::vector<std::pair<size_t, Transfer>> given;
  uint64_t term = 0;  // of servers from now on
  int servers = 0;
  int sent_to_closed = 0, closed_twice = 0;
  uint32_t seed = 1;
};

class FakeLedger : public Ledger {
 public:
  Verdict take_server(const Pool& pool, int limit) override {
    if (limit != 0 && taken[pool.database->name + "/" + pool.user] >= limit) return Verdict::pool_full;
    if (most != 0 && total >= most) return Verdict::others_full;
    ++taken[pool.database->name + "/" + pool.user];
    ++total;
    return Verdict::taken;
  }
  void give_server(const Pool& pool) override {
    --taken[pool.database->name + "/" + pool.user];
    --total;
  }
  PoolShare* share(const Pool&) override { return shared; }

  std::map<std::string, int> taken;
  int total = 0;
  int most = 0;  // over all pools
  PoolShare* shared = nullptr;
};

class FakeDirectory : public Directory {
 public:
  FakeDirectory() {
    databases["db"].name = databases["db"].server_name = "db";
    secrets["u"] = Secret("pw");
  }
  Tls tls_policy(const Client&) override { return Tls::refuse; }
  std::string may_begin(const Client&) override { return refuse_begin; }
  Database* database(std::string_view name) override {
    auto found = databases.find(std::string(name));
    return found == databases.end() ? nullptr : &found->second;
  }
  const User* settings_of(std::string_view user) override {
    auto found = users.find(std::string(user));
    return found == users.end() ? nullptr : &found->second;
  }
  Method method_for(const Client&, std::string_view, std::string_view) override { return method; }
  Lookup secret_of(Client&, std::string_view, std::string_view user) override {
    if (pending) return {.pending = true, .secret = {}};
    auto found = secrets.find(std::string(user));
    return {.pending = false, .secret = found == secrets.end() ? std::nullopt : std::optional(found->second)};
  }
  wire::ScramVerifier mock(std::string_view user) override {
    wire::ScramVerifier verifier;
    verifier.challenge.salt = "0123456789" + std::string(user).substr(0, 1) + "abcde";
    return verifier;
  }
  bool mostly_scram() override { return mostly; }
  std::string certificate_digest(const Client&) override { return {}; }
  std::optional<wire::ScramKeys> derived_keys(std::string_view, const Secret& password, const wire::ScramChallenge&) override {
    auto found = derived.find(password.reveal());
    return found == derived.end() ? std::nullopt : std::optional(found->second);
  }
  void keep_derived(std::string_view, const Secret& password, const KnownKeys& keys) override {
    derived[password.reveal()] = keys.keys;
  }
  void remember(std::string_view, const KnownKeys&) override {}
  Credentials credentials(const Pool&) override { return {.secret = server_secret, .keys = {}}; }
  std::string verify_query(const Pool&) override { return verify; }
  std::string judge(const Server&, const std::vector<std::optional<std::string>>& row) override {
    return row.size() == 1 && row[0] == "right" ? "" : "wrong server";
  }
  std::string may_use_console(const Client&, bool) override { return {}; }
  std::string admit_client(const Client&, const Database&) override {
    if (admitted >= most) return "no more connections allowed (max_client_conn)";
    ++admitted;
    return {};
  }
  void forget_client(const Client&, const Database&) override { --admitted; }

  std::map<std::string, Database> databases;
  std::map<std::string, User> users;
  std::map<std::string, Secret> secrets;
  std::map<std::string, wire::ScramKeys> derived;  // by password
  Secret server_secret;
  Method method = Method::trust;
  std::string refuse_begin, verify;
  bool pending = false, mostly = false;
  int admitted = 0, most = 1000;
};

// Statements are numbered by their texts, in the order in which they are met: "PGDBA_" and the number.
inline std::map<std::string, uint8_t>& digests() {
  static std::map<std::string, uint8_t> known;
  return known;
}
inline std::array<uint8_t, 16> number_of(std::string_view body) {
  auto [found, added] = digests().try_emplace(std::string(body), static_cast<uint8_t>(digests().size() + 1));
  std::array<uint8_t, 16> id{};
  id[15] = found->second;
  return id;
}

}  // namespace pgdba::pool::testing
