#include "pool/server_login.h"

#include <utility>

#include "base/base64.h"
#include "pool/client_login.h"
#include "pool/core.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_md5.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {

namespace {

constexpr std::string_view kStartingUp = "57P03";  // the server will be there soon: nobody is turned away for it

}  // namespace

void Core::send(Conn& to, std::string_view bytes) {
  const Slice slice{bytes.data(), bytes.size()};
  to.backlog = !host_.send(to, {&slice, 1});
}

std::string Core::nonce() {
  std::array<uint8_t, 18> bytes;
  host_.random(bytes);
  return base64_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void Core::server_connected(Server& server) {
  if (server.dead) return;
  const Pool& pool = *server.pool;
  server.state = ServerState::login;
  server.login = std::make_unique<ServerLogin>();
  std::vector<wire::StartupParameter> parameters{{"user", pool.user}, {"database", pool.database->server_name}};
  for (const auto& [name, value] : pool.database->startup) parameters.push_back({name, value});
  std::string packet;
  wire::append_startup(packet, 0, parameters);
  send(server, packet);
}

size_t Core::server_login_input(Server& server, std::string_view in) {
  size_t done = 0;
  wire::Message message;
  while (!server.dead && server.state == ServerState::login) {
    const wire::Scan scan = wire::read_message(in.substr(done), message, wire::kMaxAuthMessage);
    if (scan == wire::Scan::incomplete) return done;
    if (scan == wire::Scan::invalid) {
      login_failed(server, {.text = "server sent something that is no message", .sqlstate = "08P01", .at = now_});
      return in.size();
    }
    done += message.size();
    switch (message.type) {
      case wire::backend::authentication: on_authentication(server, message.body); break;
      case wire::backend::error_response: {
        Failure failure{.text = "login failed", .sqlstate = "08P01", .at = now_, .from_server = true};
        if (auto fields = wire::parse_error_response(message.body)) {
          failure.text = fields->message;
          failure.sqlstate = fields->sqlstate;
        }
        login_failed(server, std::move(failure));
        break;
      }
      case wire::backend::parameter_status:
        if (auto parsed = wire::parse_parameter_status(message.body)) {
          server.login->welcome.emplace_back(parsed->name, parsed->value);
          if (auto index = parameters_.index_of(parsed->name)) {
            server.parameters = parameters_.with(server.parameters, *index, parsed->value);
          }
        }
        break;
      case wire::backend::backend_key_data:
        if (auto key = wire::parse_backend_key_data(message.body)) server.key = std::move(*key);
        break;
      case wire::backend::ready_for_query:
        if (!server.login->authenticated) {
          login_failed(server, {.text = "server skipped authentication", .sqlstate = "08P01", .at = now_});
        } else {
          logged_in(server);
        }
        break;
      case wire::backend::notice_response:
      case wire::backend::negotiate_protocol_version: break;
      default:
        login_failed(server, {.text = "server sent an unexpected message at login", .sqlstate = "08P01", .at = now_});
    }
  }
  return done;
}

void Core::on_authentication(Server& server, std::string_view body) {
  ServerLogin& login = *server.login;
  const auto refuse = [&](std::string text) { login_failed(server, {.text = std::move(text), .sqlstate = "08P01", .at = now_}); };
  auto parsed = wire::parse_authentication(body);
  if (!parsed) return refuse("server sent a broken authentication request");
  std::string answer;
  switch (parsed->kind) {
    case wire::AuthKind::ok:
      if (login.scram && !login.scram->done()) return refuse("server did not finish SCRAM");
      login.authenticated = true;
      return;
    case wire::AuthKind::cleartext: {
      const Credentials shown = directory_.credentials(*server.pool);
      const std::string& secret = shown.secret.reveal();
      if (secret.empty() || wire::is_md5_secret(secret)) return refuse("server wants a password in clear text, and none is known");
      wire::append_password(answer, secret);
      break;
    }
    case wire::AuthKind::md5: {
      const Credentials shown = directory_.credentials(*server.pool);
      std::string secret = shown.secret.reveal();
      if (secret.empty()) return refuse("server wants a password, and none is known");
      if (!wire::is_md5_secret(secret)) {
        auto hashed = wire::md5_secret(secret, server.pool->user);
        if (!hashed) return refuse(hashed.error().text);
        secret = *hashed;
      }
      auto proof = wire::md5_answer(secret, parsed->data);
      if (!proof) return refuse(proof.error().text);
      wire::append_password(answer, *proof);
      break;
    }
    case wire::AuthKind::sasl: {
      const std::string digest = host_.server_certificate_digest(server);
      const std::string_view mechanism = wire::choose_scram(parsed->mechanisms, !digest.empty(), false);
      if (mechanism.empty()) return refuse("server offers no SASL mechanism that is known here");
      login.scram.emplace(wire::ScramClient::Input{.nonce = nonce(), .channel_binding = digest, .mechanism = mechanism});
      auto first = login.scram->first();
      if (!first) return refuse(first.error().text);
      wire::append_sasl_initial_response(answer, mechanism, *first);
      break;
    }
    case wire::AuthKind::sasl_continue: {
      if (!login.scram) return refuse("server continues what was not begun");
      auto challenge = login.scram->on_server_first(parsed->data);
      if (!challenge) return refuse(challenge.error().text);
      login.challenge = *challenge;
      const Credentials shown = directory_.credentials(*server.pool);
      if (shown.keys && shown.keys->challenge == *challenge) return answer_challenge(server, shown.keys->keys);
      if (server.pool->keys && server.pool->keys->challenge == *challenge) return answer_challenge(server, server.pool->keys->keys);
      if (shown.secret.empty() || wire::is_md5_secret(shown.secret.reveal())) {
        return refuse("cannot do SCRAM authentication: no password of this user is known, and no client has logged in with SCRAM");
      }
      host_.derive_scram_keys(server, shown.secret.reveal(), *challenge);
      return;
    }
    case wire::AuthKind::sasl_final: {
      if (!login.scram) return refuse("server ends what was not begun");
      auto proved = login.scram->on_server_last(parsed->data);
      if (!proved) return refuse(proved.error().text);
      server.pool->keys = login.keys;
      return;
    }
    case wire::AuthKind::unsupported: return refuse("server wants an authentication that is not supported here");
  }
  send(server, answer);
}

void Core::answer_challenge(Server& server, const wire::ScramKeys& keys) {
  server.login->keys = KnownKeys{server.login->challenge, keys};
  auto last = server.login->scram->last(keys);
  if (!last) return login_failed(server, {.text = last.error().text, .sqlstate = "08P01", .at = now_});
  std::string answer;
  wire::append_sasl_response(answer, *last);
  send(server, answer);
}

void Core::logged_in(Server& server) {
  --server.pool->connecting;
  server.state = ServerState::busy;
  server.status = 'I';
  if (std::string question = directory_.verify_query(*server.pool); !question.empty()) {
    start_chore(server, Chore::verify, question);
    return;
  }
  accepted(server);
}

// The server is the right one.
void Core::accepted(Server& server) {
  Pool& pool = *server.pool;
  pool.failure.reset();
  pool.welcome = std::move(server.login->welcome);
  pool.defaults = server.parameters;
  pool.welcomed = true;
  server.login.reset();
  host_.log(LogLevel::info, &server, "new connection to server " + server.address);
  welcome_newcomers(pool);
  if (!pool.database->connect_query.empty()) {
    start_chore(server, Chore::connect_query, pool.database->connect_query);
    return;
  }
  now_free(server);
}

void Core::welcome_newcomers(Pool& pool) {
  while (!pool.newcomers.empty()) {
    Client& client = pool.newcomers.front();
    pool.newcomers.pop_front();
    welcome_client(client);
  }
  publish(pool);
}

void Core::login_failed(Server& server, Failure failure) {
  if (server.dead) return;
  Pool& pool = *server.pool;
  host_.log(LogLevel::warning, &server, "login failed: " + failure.text);
  // In a cluster it may be the server that is wrong, not the user: the next one decides.
  const bool refused = failure.from_server && failure.sqlstate != kStartingUp && !moving(pool, failure);
  pool.failure = failure;
  close_server(server, failure.text);
  if (!refused) return;
  // What PostgreSQL says of this user or database holds for everybody who waits here.
  for (ClientQueue* queue : {&pool.waiting, &pool.newcomers}) {
    while (!queue->empty()) close_client(queue->front(), {.sqlstate = failure.sqlstate, .text = failure.text});
  }
}

// Whether this failure may come from the primary's being on the move: it goes away, starts, or is gated (28000, ha.md's gate).
bool Core::moving(const Pool& pool, const Failure& failure) const {
  return pool.database->route != Route::fixed && (!failure.from_server || failure.sqlstate.starts_with("57P") || failure.sqlstate == "28000");
}

// No server is there and the last attempt failed a moment ago: better to say so than to let the client wait.
bool Core::fails_fast(const Pool& pool) const {
  return pool.failure && !moving(pool, *pool.failure) && pool.failure->sqlstate != kStartingUp && pool.servers == pool.connecting &&
         now_ - pool.failure->at < settings_.server_login_retry.count();
}

void Core::admit(Client& client, Pool& pool) {
  client.login.reset();
  client.pool = &pool;
  client.rewrite = pool.mode != PoolMode::session && settings_.max_prepared_statements > 0 && !client.replication;
  client.request_at = now_;
  ++pool.clients;
  ++pool.stats.logins;
  if (pool.welcomed) return welcome_client(client);
  if (fails_fast(pool)) {
    const std::string text = "server login has been failing, cached error: " + pool.failure->text + " (server_login_retry)";
    close_client(client, {.text = text});
    return;
  }
  client.state = ClientState::welcome;
  want_input(client, false);
  pool.newcomers.push_back(client);
  publish(pool);
  open_servers(pool);
}

void Core::welcome_client(Client& client) {
  Pool& pool = *client.pool;
  // Only what this server reports can be set there and be seen to be set.
  client.parameters = parameters_.overlay_known(pool.defaults, client.wishes);
  client.wishes.reset();
  std::string bytes;
  for (const auto& [name, value] : pool.welcome) {
    auto index = parameters_.index_of(name);
    const bool own = index && client.parameters->values[*index];
    wire::append_parameter_status(bytes, name, own ? *client.parameters->values[*index] : value);
  }
  std::array<uint8_t, 8> key;
  host_.random(key);
  key[0] &= 0x7f;
  client.cancel_key = 0;
  for (const uint8_t byte : key) client.cancel_key = client.cancel_key << 8 | byte;
  keys_[client.cancel_key] = &client;
  wire::append_backend_key_data(bytes, {static_cast<uint32_t>(client.cancel_key >> 32),
                                        std::string(reinterpret_cast<const char*>(key.data()) + 4, 4)});
  wire::append_ready_for_query(bytes, 'I');
  client.state = ClientState::idle;
  send(client, bytes);
  want_input(client, true);
  if (!client.held.empty()) client_input(client, {});
}

}  // namespace pgdba::pool
