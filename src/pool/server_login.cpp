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
  if (server.replication && server.client != nullptr) {  // in the client's own words
    for (const wire::StartupParameter& each : server.client->login->parameters) {
      if (each.name != "user" && each.name != "database") parameters.push_back(each);
    }
  } else {
    for (const auto& [name, value] : pool.database->startup) parameters.push_back({name, value});
  }
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
  // Nothing that a second attempt would change: whoever waits is told at once.
  const auto no_password = [&](std::string text) {
    login_failed(server, {.text = std::move(text), .sqlstate = "08P01", .at = now_, .from_server = true});
  };
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
      if (secret.empty() || wire::is_md5_secret(secret)) return no_password("server wants a password in clear text, and none is known");
      wire::append_password(answer, secret);
      break;
    }
    case wire::AuthKind::md5: {
      const Credentials shown = directory_.credentials(*server.pool);
      std::string secret = shown.secret.reveal();
      if (secret.empty()) return no_password("server wants a password, and none is known");
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
        return no_password("cannot do SCRAM authentication: no password of this user is known, and no client has logged in with SCRAM");
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
  const bool physical = server.replication && server.client->physical;  // takes no SQL
  if (server.pool->database->route == Route::primary && settings_.rules.verify_first) {
    for (const auto& [name, value] : server.login->welcome) {
      if (name != "in_hot_standby" || value != "on") continue;
      host_.suspect_leader();
      return login_failed(server, {.text = "the server is not (yet) primary", .sqlstate = "08006", .at = now_});
    }
  }
  if (std::string question = directory_.verify_query(*server.pool); !question.empty() && !physical) {
    start_chore(server, Chore::verify, question);
    return;
  }
  accepted(server);
}

// The server is the right one.
void Core::accepted(Server& server) {
  Pool& pool = *server.pool;
  pool.failure.reset();
  if (server.replication) return replication_accepted(server);
  new_welcome(server);
  server.login.reset();
  host_.log(LogLevel::info, &server, "new connection to server " + server.address);
  welcome_newcomers(pool);
  if (!pool.database->connect_query.empty()) {
    start_chore(server, Chore::connect_query, pool.database->connect_query);
    return;
  }
  now_free(server);
}

void Core::login_failed(Server& server, Failure failure) {
  if (server.dead) return;
  Pool& pool = *server.pool;
  host_.log(LogLevel::warning, &server, "login failed: " + failure.text);
  // In a cluster it may be the server that is wrong, not the user: the next one decides.
  const bool refused = failure.from_server && failure.sqlstate != kStartingUp && !moving(pool, failure);
  const bool of_route = pool.database->route == Route::primary && !refused;
  Client* own = server.replication ? server.client : nullptr;
  if (own != nullptr && refused) {  // what is wrong with this one is wrong with no other
    own->server = nullptr;
    server.client = nullptr;
    close_server(server, failure.text);
    return close_client(*own, {.sqlstate = failure.sqlstate, .text = failure.text});
  }
  pool.failure = failure;
  close_server(server, failure.text);
  if (of_route) host_.suspect_leader();
  // What PostgreSQL says of this user or database holds for everybody who waits here, unless others of our servers are in.
  if (!refused || pool.servers != pool.connecting) return;
  for (ClientQueue* queue : {&pool.waiting, &pool.newcomers, &pool.replicas}) {
    while (!queue->empty()) close_client(queue->front(), {.sqlstate = failure.sqlstate, .text = failure.text});
  }
}

// Whether this failure may come from the primary's being on the move: it goes away, starts, or is gated (28000, ha.md's gate).
bool Core::moving(const Pool& pool, const Failure& failure) const {
  return pool.database->route != Route::fixed && (!failure.from_server || failure.sqlstate.starts_with("57P") || failure.sqlstate == "28000");
}

}  // namespace pgdba::pool
