#include "pool/client_login.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "pool/core.h"
#include "pool/server_login.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_md5.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {

namespace {

constexpr std::string_view kWrongPassword = "password authentication failed";

bool is_verifier(const std::string& secret) { return secret.starts_with("SCRAM-SHA-256$"); }

// Takes as long wherever they differ.
bool same_text(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

size_t Core::client_login_input(Client& client, std::string_view in) {
  size_t done = 0;
  while (!client.dead && client.state == ClientState::login && done < in.size()) {
    ClientLogin& login = *client.login;
    switch (login.stage) {
      case LoginStage::first_packet: {
        auto packet = wire::parse_first_packet(in.substr(done));
        if (!packet) {
          close_client(client, {.text = packet.error().text});
          return in.size();
        }
        if (!*packet) return done;
        done += (*packet)->size;
        if (!first_packet(client, **packet, in.size() - done)) return done;
        break;
      }
      case LoginStage::password:
      case LoginStage::sasl_first:
      case LoginStage::sasl_last: {
        wire::Message message;
        const wire::Scan scan = wire::read_message(in.substr(done), message, wire::kMaxAuthMessage);
        if (scan == wire::Scan::incomplete) return done;
        if (scan == wire::Scan::invalid || (message.type != wire::frontend::password && message.type != wire::frontend::terminate)) {
          close_client(client, {.text = "broken message during login"});
          return in.size();
        }
        done += message.size();
        if (message.type == wire::frontend::terminate) {
          close_client(client, {});
          return in.size();
        }
        on_password_message(client, message.body);
        break;
      }
      case LoginStage::handshake:
      case LoginStage::secret:
      case LoginStage::deriving: return done;  // kept until we can go on
      case LoginStage::cancelling: return in.size();
    }
  }
  return done;
}

// False: nothing more is to be read now. `more` bytes followed the packet.
bool Core::first_packet(Client& client, const wire::FirstPacket& packet, size_t more) {
  ClientLogin& login = *client.login;
  switch (packet.kind) {
    case wire::FirstKind::ssl_request:
    case wire::FirstKind::tls_hello: {
      const bool direct = packet.kind == wire::FirstKind::tls_hello;
      if (login.tls_asked) {
        close_client(client, {.text = "unexpected request for encryption"});
        return false;
      }
      login.tls_asked = true;
      const bool accept = directory_.tls_policy(client) == Tls::accept;
      if (direct && !accept) {
        close_client(client, {});
        return false;
      }
      if (!accept) {
        send(client, "N");
        return true;
      }
      // Plain bytes behind the request would be taken for encrypted ones.
      if (!direct && more != 0) {
        close_client(client, {.text = "received unencrypted data after SSL request"});
        return false;
      }
      if (!direct) send(client, "S");
      login.stage = LoginStage::handshake;
      host_.start_tls(client);
      return false;
    }
    case wire::FirstKind::gssenc_request:
      if (login.gss_asked) {
        close_client(client, {.text = "unexpected request for encryption"});
        return false;
      }
      login.gss_asked = true;
      send(client, "N");
      return true;
    case wire::FirstKind::cancel_request:
      cancel_requested(client, packet.cancel);
      return false;
    case wire::FirstKind::protocol_2:
      close_client(client, {.text = "old V2 protocol not supported"});
      return false;
    case wire::FirstKind::startup: break;
  }
  if (std::string why = directory_.may_begin(client); !why.empty()) {
    close_client(client, {.text = why});
    return false;
  }
  read_startup(client, packet);
  return !client.dead && login_begins(client);
}

// The handshake is over; what comes from now on is plain text again.
void Core::tls_ready(Client& client) {
  if (client.dead || client.state != ClientState::login) return;
  client.login->stage = LoginStage::first_packet;
}

void Core::read_startup(Client& client, const wire::FirstPacket& packet) {
  ClientLogin& login = *client.login;
  if (const std::string* user = packet.find("user")) client.user_name = *user;
  const std::string* database = packet.find("database");
  login.database = database == nullptr || database->empty() ? client.user_name : *database;
  if (client.user_name.empty()) {
    close_client(client, {.sqlstate = "28000", .text = "no PostgreSQL user name specified in startup packet"});
    return;
  }
  if (packet.minor > 0 || !packet.protocol_options.empty()) {
    std::vector<std::string> unknown;
    for (const auto& option : packet.protocol_options) unknown.push_back(option.name);
    std::string answer;
    wire::append_negotiate_protocol_version(answer, 0, unknown);
    send(client, answer);
  }
  const auto ignored = [&](std::string_view name) {
    for (const std::string& candidate : settings_.ignored_startup_parameters) {
      if (iequals(candidate, name)) return true;
    }
    return false;
  };
  if (const std::string* value = packet.find("replication")) {
    // "database": logical, bound to one; else a boolean of PostgreSQL's.
    static constexpr std::string_view yes[] = {"true", "on", "yes", "1"}, no[] = {"false", "off", "no", "0"};
    const auto is_one_of = [&](const auto& words) {
      return std::any_of(std::begin(words), std::end(words), [&](std::string_view word) { return iequals(*value, word); });
    };
    client.physical = is_one_of(yes);
    client.replication = client.physical || *value == "database";
    if (!client.replication && !is_one_of(no)) login.refused_parameter = "invalid value for parameter \"replication\": \"" + *value + "\"";
  }
  if (client.replication) login.parameters = packet.parameters;  // go to the server as they are
  ParameterSet wishes = *parameters_.empty();  // interned once it is whole: a packet may name one thing hundreds of times
  const auto take = [&](const std::string& name, const std::string& value, std::string_view where) {
    if (client.replication) return;
    if (auto index = parameters_.index_of(name)) {
      wishes.values[*index] = value;
    } else if (!ignored(name) && login.refused_parameter.empty()) {
      login.refused_parameter = "unsupported startup parameter" + std::string(where) + ": " + name;
    }
  };
  for (const auto& [name, value] : packet.parameters) {
    if (name == "user" || name == "database") continue;
    if (name == "replication") continue;
    if (name != "options") {
      take(name, value, "");
      continue;
    }
    if (ignored("options") || client.replication) continue;
    auto options = wire::parse_options(value);
    if (!options) {
      login.refused_parameter = "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed";
      continue;
    }
    for (const auto& option : *options) take(option.name, option.value, " in options");
  }
  if (settings_.application_name_add_host) {
    const std::string* given = packet.find("application_name");
    const std::string name = (given == nullptr ? "app" : *given) + " - " + host_.peer_text(client);
    wishes.values[*parameters_.index_of("application_name")] = name;
  }
  client.wishes = parameters_.intern(std::move(wishes));
}

// Chooses the method and asks for the proof. True: the client's answer may be read.
bool Core::login_begins(Client& client) {
  ClientLogin& login = *client.login;
  host_.log(LogLevel::info, &client, "login attempt");
  login.method = directory_.method_for(client, login.database, client.user_name);
  switch (login.method) {
    case Method::reject: close_client(client, {.sqlstate = "28000", .text = "login rejected"}); return false;
    case Method::none: close_client(client, {.sqlstate = "28000", .text = "no authentication method is found"}); return false;
    case Method::any:
    case Method::external: login_proved(client); return false;
    default: break;
  }
  Directory::Lookup found = directory_.secret_of(client, login.database, client.user_name);
  if (client.dead) return false;
  if (found.pending) {
    login.stage = LoginStage::secret;
    want_input(client, false);
    return false;
  }
  login.secret = std::move(found.secret);
  return ask_for_proof(client);
}

void Core::secret_found(Client& client, std::optional<Secret> secret) {
  if (client.dead || client.state != ClientState::login || client.login->stage != LoginStage::secret) return;
  client.login->secret = std::move(secret);
  want_input(client, true);
  if (ask_for_proof(client) && !client.held.empty()) client_input(client, {});
}

bool Core::ask_for_proof(Client& client) {
  ClientLogin& login = *client.login;
  const std::string stored = login.secret ? login.secret->reveal() : std::string();
  std::string request;
  if (login.method == Method::trust) {
    if (!login.secret) {
      close_client(client, {.sqlstate = "28P01", .text = "\"trust\" authentication failed"});
      return false;
    }
    login_proved(client);
    return false;
  }
  if (login.method == Method::password) {
    wire::append_authentication_cleartext(request);
    login.stage = LoginStage::password;
    send(client, request);
    return true;
  }
  const bool by_scram = login.method == Method::scram || is_verifier(stored) || (stored.empty() && directory_.mostly_scram());
  if (!by_scram) {
    std::array<uint8_t, 4> salt;
    host_.random(salt);
    login.salt.assign(reinterpret_cast<const char*>(salt.data()), salt.size());
    wire::append_authentication_md5(request, login.salt);
    login.stage = LoginStage::password;
    send(client, request);
    return true;
  }
  // Users whose password is stored in clear text, and those who do not exist, get a salt of ours.
  login.verifier = directory_.mock(client.user_name);
  if (is_verifier(stored)) {
    if (auto parsed = wire::parse_scram_verifier(stored)) login.verifier = *parsed;
  }
  const std::string digest = directory_.certificate_digest(client);
  wire::append_authentication_sasl(request, wire::ScramServer::mechanisms(!digest.empty()));
  login.stage = LoginStage::sasl_first;
  send(client, request);
  return true;
}

void Core::on_password_message(Client& client, std::string_view body) {
  ClientLogin& login = *client.login;
  const std::string stored = login.secret ? login.secret->reveal() : std::string();
  if (login.stage == LoginStage::sasl_first) {
    auto first = wire::parse_sasl_initial_response(body);
    if (!first || !first->data) return wrong_password(client, "broken SASL message");
    login.sasl_mechanism = first->mechanism;
    login.sasl_first = *first->data;
    const bool plain = !stored.empty() && !is_verifier(stored) && !wire::is_md5_secret(stored);
    if (!plain) return begin_scram(client, is_verifier(stored));
    // Mostly they are known already: an answer that took the hashing's time would tell that there is such a user.
    if (auto keys = directory_.derived_keys(client.user_name, *login.secret, login.verifier->challenge)) return begin_with_keys(client, *keys);
    return derive(client, stored);
  }
  if (login.stage == LoginStage::sasl_last) {
    auto answer = login.scram->on_last(body);
    if (!answer) return wrong_password(client, "");
    wire::append_authentication_sasl_final(login.answer, *answer);
    if (is_verifier(stored)) directory_.remember(client.user_name, {login.verifier->challenge, *login.scram->keys()});
    return login_proved(client);
  }
  auto password = wire::parse_password(body);
  if (!password || password->empty()) return wrong_password(client, "");
  if (!login.salt.empty()) {
    std::string secret = stored;
    if (!secret.empty() && !wire::is_md5_secret(secret)) secret = wire::md5_secret(secret, client.user_name).value_or("");
    // An unknown user's answer is compared, too, with something that nobody can have sent.
    const std::string against = secret.empty() ? wire::md5_secret(nonce(), client.user_name).value_or("") : secret;
    const bool right = wire::md5_answer_matches(against, login.salt, *password) && !secret.empty();
    return right ? login_proved(client) : wrong_password(client, "");
  }
  // Hashed whatever is stored, and also for nobody, so that no answer comes sooner than another.
  auto verifier = wire::parse_scram_verifier(stored);
  login.verifier = verifier ? *verifier : directory_.mock(client.user_name);
  login.password = *password;
  derive(client, login.password);
}

// What comes meanwhile stays with the sender.
void Core::derive(Client& client, std::string_view password) {
  client.login->stage = LoginStage::deriving;
  want_input(client, false);
  host_.derive_scram_keys(client, password, client.login->verifier->challenge);
}

// A password in clear text, and its keys.
bool Core::is_right(const Client& client, std::string_view password, const wire::ScramKeys& keys) const {
  const ClientLogin& login = *client.login;
  const std::string stored = login.secret ? login.secret->reveal() : std::string();
  if (stored.empty()) return false;
  if (is_verifier(stored)) return wire::scram_keys_match(keys, *login.verifier);
  if (wire::is_md5_secret(stored)) return same_text(wire::md5_secret(password, client.user_name).value_or(""), stored);
  return same_text(password, stored);
}

void Core::begin_with_keys(Client& client, const wire::ScramKeys& keys) {
  auto verifier = wire::make_verifier(keys, client.login->verifier->challenge);
  if (!verifier) return wrong_password(client, "");
  client.login->verifier = *verifier;
  begin_scram(client, true);
}

void Core::begin_scram(Client& client, bool may_succeed) {
  ClientLogin& login = *client.login;
  login.scram.emplace(wire::ScramServer::Input{.verifier = *login.verifier, .may_succeed = may_succeed, .nonce = nonce(),
                                               .channel_binding = directory_.certificate_digest(client)});
  auto answer = login.scram->on_first(login.sasl_mechanism, login.sasl_first);
  if (!answer) return wrong_password(client, answer.error().text);
  std::string bytes;
  wire::append_authentication_sasl_continue(bytes, *answer);
  login.stage = LoginStage::sasl_last;
  send(client, bytes);
}

void Core::derived(Conn& for_whom, const Result<wire::ScramKeys>& keys) {
  if (for_whom.dead) return;
  if (!for_whom.is_client) {
    auto& server = static_cast<Server&>(for_whom);
    if (server.state != ServerState::login || !server.login || !server.login->scram) return;
    if (!keys) return login_failed(server, {.text = keys.error().text, .sqlstate = "08P01", .at = now_});
    return answer_challenge(server, *keys);
  }
  auto& client = static_cast<Client&>(for_whom);
  if (client.state != ClientState::login || client.login->stage != LoginStage::deriving) return;
  ClientLogin& login = *client.login;
  if (!keys) return wrong_password(client, "");
  want_input(client, true);
  if (!login.password.empty()) {  // a password in clear text
    const std::string password = std::exchange(login.password, {});
    if (!is_right(client, password, *keys)) return wrong_password(client, "");
    const std::string& stored = login.secret->reveal();
    if (is_verifier(stored)) directory_.remember(client.user_name, {login.verifier->challenge, *keys});
    if (is_verifier(stored) || wire::is_md5_secret(stored)) directory_.remember_password(client.user_name, Secret(password));
    login_proved(client);
  } else {
    directory_.keep_derived(client.user_name, *login.secret, {login.verifier->challenge, *keys});
    begin_with_keys(client, *keys);
  }
  if (!client.dead && !client.held.empty()) client_input(client, {});
}

void Core::wrong_password(Client& client, std::string_view detail) {
  host_.log(LogLevel::warning, &client, "login failed: db=" + client.login->database + " user=" + client.user_name +
                                            (detail.empty() ? "" : ": " + std::string(detail)));
  close_client(client, {.sqlstate = "28P01", .text = kWrongPassword});
}

// Who it is, is certain. Now the rest of what it asked for may be judged.
void Core::login_proved(Client& client) {
  ClientLogin& login = *client.login;
  if (login.database == "pgbouncer") {
    if (std::string why = directory_.may_use_console(client, login.method != Method::any); !why.empty()) {
      close_client(client, {.text = why});
      return;
    }
    client.queue.unlink();
    wire::append_authentication_ok(login.answer);
    send(client, login.answer);
    client.login.reset();
    client.state = ClientState::console;
    host_.console_begins(client);
    return;
  }
  Database* database = directory_.database(login.database);
  if (database == nullptr) {
    const std::string text = "no such database: " + login.database;
    return close_client(client, {.sqlstate = "3D000", .text = text});
  }
  if (disabled(database->name)) {
    const std::string text = "database does not allow connections: " + database->name;
    return close_client(client, {.text = text});
  }
  if (login.method == Method::any) {
    if (!database->forced_user) {
      host_.log(LogLevel::error, &client, "auth_type=any requires forced user");
      return close_client(client, {.text = "bouncer config error"});
    }
    client.user_name = *database->forced_user;  // the name that was given counts for nothing
  }
  if (!login.refused_parameter.empty()) {
    const std::string text = login.refused_parameter;
    return close_client(client, {.text = text});
  }
  client.user = directory_.settings_of(client.user_name);
  if (std::string why = directory_.admit_client(client, *database); !why.empty()) {
    return close_client(client, {.text = why});  // 08P01, as PgBouncer has it
  }
  client.counted = true;
  wire::append_authentication_ok(login.answer);
  const std::string server_user = database->forced_user.value_or(client.user_name);
  Pool& pool = pool_for(*database, server_user, directory_.settings_of(server_user));
  admit(client, pool);
}

}  // namespace pgdba::pool
