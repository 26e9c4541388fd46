#include "unit/pool/rig.h"

#include <sstream>
#include <stdexcept>

#include "unit/pool/notation.h"
#include "wire/pg_build.h"

namespace pgdba::pool::testing {

namespace {

std::vector<std::string> lines_of(std::string_view script) {
  std::vector<std::string> lines;
  std::istringstream in{std::string(script)};
  for (std::string line; std::getline(in, line);) {
    const size_t begin = line.find_first_not_of(' ');
    if (begin != std::string::npos) lines.push_back(line.substr(begin));
  }
  return lines;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::istringstream in{std::string(text)};
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string startup(const std::vector<std::string>& words, size_t from) {
  std::vector<wire::StartupParameter> parameters{{"user", "u"}, {"database", "db"}};
  for (size_t i = from; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    parameters.push_back({words[i].substr(0, equals), words[i].substr(equals + 1)});
  }
  std::string packet;
  wire::append_startup(packet, 0, parameters);
  return packet;
}

}  // namespace

Rig::Rig() {
  digests().clear();
  settings.pool_mode = PoolMode::transaction;
  settings.default_pool_size = 1;
  settings.server_check_query = std::nullopt;
}

Rig::~Rig() = default;

Core& Rig::core() {
  if (!core_) {
    core_ = std::make_unique<Core>(host, directory, ledger, settings, number_of);
    core_->set_now(now);
  }
  return *core_;
}

Client* Rig::client(std::string_view name) {
  Peer* peer = host.find(name);
  return peer == nullptr ? nullptr : static_cast<Client*>(peer->conn);
}
Server* Rig::server(std::string_view name) {
  Peer* peer = host.find(name);
  return peer == nullptr ? nullptr : static_cast<Server*>(peer->conn);
}

void Rig::input(Peer& peer, std::string_view bytes) {
  const size_t piece = bytewise ? 1 : bytes.size();
  for (size_t at = 0; at < bytes.size() && peer.conn != nullptr; at += piece) {
    const std::string own(bytes.substr(at, piece));  // so that nobody reads beyond it
    const std::unique_ptr<char[]> exact(new char[own.size()]);
    std::copy(own.begin(), own.end(), exact.get());
    if (peer.conn->is_client)
      core().client_input(static_cast<Client&>(*peer.conn), {exact.get(), own.size()});
    else
      core().server_input(static_cast<Server&>(*peer.conn), {exact.get(), own.size()});
    // Slow hashing, at once.
    auto derived = std::move(host.derivations);
    host.derivations.clear();
    hashed += derived.size();
    for (auto& [conn, keys] : derived) core().derived(*conn, keys);
  }
}

void Rig::gone(Peer& peer) {
  if (peer.conn == nullptr) return;
  if (peer.conn->is_client)
    core().client_gone(static_cast<Client&>(*peer.conn));
  else
    core().server_lost(static_cast<Server&>(*peer.conn), "gone");
}

void Rig::step(std::string_view line) {
  const std::vector<std::string> words = words_of(line);
  const std::string& head = words.at(0);
  const std::string name = head.substr(0, head.size() - 1);
  const std::string verb = words.size() > 1 ? words[1] : "";
  if (head == "wait" || head == "tick") {
    now += static_cast<Moment>(std::stod(verb) * 1e6);
    core().set_now(now);
    if (head == "tick") core().tick();
    return;
  }
  if (head == "route") {
    RouteState state;
    state.open = verb == "open";
    if (state.open) state.term = host.term = std::stoul(words.at(2));
    core().set_route(Route::primary, state);
    return;
  }
  if (verb == "in" || verb == "start") {
    Peer& peer = host.add(name);
    Client& client = core().accept(&peer);
    peer.conn = &client;
    input(peer, startup(words, 2));
    if (verb == "in" && peer.conn != nullptr) {  // only what follows the welcome is of interest
      const size_t ready = peer.out.find(std::string("Z\0\0\0\5I", 6));
      if (ready != std::string::npos) peer.out.erase(0, ready + 6);
    }
    return;
  }
  Peer* peer = host.find(name);
  if (peer == nullptr) throw std::runtime_error("nobody is called " + name);
  if (head.back() == ':') {
    const bool from_client = peer->conn != nullptr && peer->conn->is_client;
    if (peer->conn != nullptr) input(*peer, encode(line.substr(line.find(':') + 1), from_client));
    return;
  }
  if (peer->conn == nullptr) return;
  Conn& conn = *peer->conn;
  if (verb == "gone" || verb == "lost") {
    gone(*peer);
  } else if (verb == "up" || verb == "connected") {
    core().server_connected(static_cast<Server&>(conn));
    peer->out.clear();
    peer->fresh = false;
    if (verb == "up") {
      input(*peer,
            encode("R S(client_encoding,UTF8) S(DateStyle,ISO) S(TimeZone,UTC) S(standard_conforming_strings,on) "
                   "S(application_name,) S(server_version,15) K Z(I)",
                   false));
    }
  } else if (verb == "slow") {
    peer->slow = true;
  } else if (verb == "fast") {
    peer->slow = false;
    core().drained(conn);
  } else if (verb == "cancel") {
    const uint64_t key = static_cast<Client&>(conn).cancel_key;
    std::string secret(4, 0);
    wire::store_u32(secret.data(), static_cast<uint32_t>(key));
    core().cancel({static_cast<uint32_t>(key >> 32), secret});
  } else if (verb == "cancelled") {
    core().cancel_sent(static_cast<Server&>(conn));
  } else {
    throw std::runtime_error("unknown event " + std::string(line));
  }
}

std::string Rig::outputs() {
  std::string text;
  std::map<std::string, std::string> said;
  for (const auto& peer : host.peers) {
    if (peer->fresh) {  // the startup packet
      peer->out.clear();
      continue;
    }
    const bool client = peer->name[0] >= 'a';
    if (std::string messages = decode(peer->out, !client); !messages.empty()) said[peer->name] = messages;
  }
  for (const auto& [name, messages] : said) text += "> " + name + ": " + messages + "\n";
  for (const std::string& decision : host.noted) text += decision + "\n";
  host.noted.clear();
  return text;
}

std::string Rig::run(std::string_view script) {
  std::string transcript;
  for (const std::string& line : lines_of(script)) {
    if (line[0] == '>') continue;
    step(line);
    core().tidy();
    transcript += line + "\n" + outputs();
    check();
  }
  return transcript;
}

void Rig::check() {
  int servers = 0;
  for (const auto& pool : core().pools()) {
    int here = 0;
    for (Server& server : pool->idle) {
      ++here;
      EXPECT_TRUE(server.requests.clean() && server.status == 'I' && server.client == nullptr &&
                  server.chore == Chore::none);
      EXPECT_EQ(server.state, ServerState::idle);
    }
    for (Server& server : pool->lent) {
      ++here;
      EXPECT_TRUE(server.client != nullptr && server.client->server == &server &&
                  server.client->state == ClientState::active);
    }
    for (Server& server : pool->busy) {
      ++here;
      EXPECT_EQ(server.client, nullptr);
    }
    for (Server& server : pool->arriving) {
      ++here;
      EXPECT_EQ(server.client, nullptr);
    }
    EXPECT_EQ(here, pool->servers);
    EXPECT_EQ(static_cast<int>(pool->arriving.size()), pool->connecting);
    for (Client& client : pool->waiting)
      EXPECT_TRUE(client.state == ClientState::waiting && client.server == nullptr && !client.dead);
    servers += here;
  }
  EXPECT_EQ(servers, ledger.total);
  for (const auto& peer : host.peers) {
    if (peer->name[0] < 'a') continue;
    std::string all = peer->all;
    const std::string text = " " + decode(all, false);
    for (const char other : std::string_view("abc")) {
      if (other == peer->name[0]) continue;
      EXPECT_EQ(text.find(std::string(" D(") + other), std::string::npos)
          << "rows of " << other << " at " << peer->name;
    }
  }
}

void Rig::end() {
  for (int round = 0; round < 5; ++round) {
    for (size_t i = 0; i < host.peers.size(); ++i) gone(*host.peers[i]);  // new servers may be asked for meanwhile
    core().tidy();
  }
  check();
  for (const auto& pool : core().pools()) {
    EXPECT_EQ(pool->servers, 0);
    EXPECT_EQ(pool->connecting, 0);
    EXPECT_EQ(pool->clients, 0);
    EXPECT_TRUE(pool->waiting.empty() && pool->newcomers.empty());
  }
  EXPECT_EQ(ledger.total, 0);
  EXPECT_EQ(directory.admitted, 0);
  EXPECT_EQ(host.closed_twice, 0);
  EXPECT_EQ(host.sent_to_closed, 0);
}

void expect_script(const ScriptRow& row) {
  const std::string name = row.name;
  const auto prepare = [&](Rig& rig) {
    row.prepare(rig);
    if (row.begun) rig.run("a! in\n1! up\nb! in\n");
  };
  std::string wanted;
  std::vector<std::string> inputs;
  for (const std::string& line : lines_of(row.script)) {
    wanted += line + "\n";
    if (line[0] != '>') inputs.push_back(line);
  }
  for (const bool bytewise : {false, true}) {
    SCOPED_TRACE(name + (bytewise ? ", byte by byte" : ""));
    Rig rig;
    prepare(rig);
    rig.bytewise = bytewise;
    EXPECT_EQ(rig.run(row.script), wanted);
    rig.end();
    if (::testing::Test::HasFailure()) return;
  }
  // Each connection is lost after each step, and in the middle of what it says next.
  for (size_t steps = 1; steps <= inputs.size(); ++steps) {
    for (size_t victim = 0;; ++victim) {
      Rig rig;
      prepare(rig);
      for (size_t i = 0; i < steps; ++i) {
        rig.step(inputs[i]);
        rig.core().tidy();
      }
      if (victim / 2 >= rig.host.peers.size()) break;
      Peer& peer = *rig.host.peers[victim / 2];
      SCOPED_TRACE(name + ": " + peer.name + " lost after \"" + inputs[steps - 1] + "\"");
      if (victim % 2 == 1) {
        if (steps == inputs.size() || inputs[steps].substr(0, inputs[steps].find(':')) != peer.name ||
            peer.conn == nullptr)
          continue;
        const std::string next = encode(inputs[steps].substr(inputs[steps].find(':') + 1), peer.conn->is_client);
        rig.input(peer, std::string_view(next).substr(0, next.size() / 2));
      }
      rig.gone(peer);
      rig.core().tidy();
      rig.check();
      // The others go on as far as they are still there.
      for (size_t i = steps; i < inputs.size(); ++i) {
        const std::string who = inputs[i].substr(0, inputs[i].find_first_of(":!"));
        if (who.size() == 1 && who[0] < 'a') continue;  // a server would answer what it was never asked
        if (who.size() == 1 && inputs[i].find("! in") == std::string::npos &&
            inputs[i].find("! start") == std::string::npos && rig.host.find(who) == nullptr) {
          continue;
        }
        rig.step(inputs[i]);
        rig.core().tidy();
        rig.check();
      }
      rig.end();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace pgdba::pool::testing
