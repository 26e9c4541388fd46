// What a client is told of the server: at login from what the pool's newest server has said, later when that has
// changed.
#include <algorithm>

#include "base/text.h"
#include "pool/client_login.h"
#include "pool/core.h"
#include "pool/server_login.h"
#include "wire/pg_build.h"

namespace pgdba::pool {

namespace {

constexpr std::string_view kStandby = "in_hot_standby";

const std::string* value_of(const std::vector<std::pair<std::string, std::string>>& welcome, std::string_view name) {
  for (const auto& [key, value] : welcome) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

// No server is there and the last attempt failed a moment ago: better to say so than to let the client wait.
bool Core::fails_fast(const Pool& pool) const {
  return pool.failure && !moving(pool, *pool.failure) && pool.failure->sqlstate != "57P03" &&
         pool.servers == pool.connecting && now_ - pool.failure->at < settings_.server_login_retry.count();
}

void Core::fail_fast(Client& client) {
  const std::string text =
      "server login has been failing, cached error: " + client.pool->failure->text + " (server_login_retry)";
  close_client(client, {.text = text});
}

void Core::admit(Client& client, Pool& pool) {
  client.queue.unlink();
  std::string answer = std::move(client.login->answer);
  const bool at_once = !client.replication && pool.welcomed;
  if (!at_once) send(client, answer);
  if (client.replication) return admit_replication(client, pool);
  client.login.reset();
  client.pool = &pool;
  client.rewrite = pool.mode != PoolMode::session && settings_.max_prepared_statements > 0;
  client.request_at = now_;
  ++pool.clients;
  ++pool.stats.logins;
  if (at_once) return welcome_client(client, std::move(answer));
  if (fails_fast(pool)) return fail_fast(client);
  client.state = ClientState::welcome;
  want_input(client, false);
  pool.newcomers.push_back(client);
  publish(pool);
  open_servers(pool);
}

void Core::welcome_newcomers(Pool& pool) {
  while (!pool.newcomers.empty()) {
    Client& client = pool.newcomers.front();
    pool.newcomers.pop_front();
    welcome_client(client, {});
  }
  publish(pool);
}

// `bytes`: what has to be said before.
void Core::welcome_client(Client& client, std::string bytes) {
  Pool& pool = *client.pool;
  // Only what this server reports can be set there and be seen to be set.
  client.parameters = parameters_.overlay_known(pool.defaults, client.wishes);
  client.welcome_version = pool.welcome_version;
  if (pool.told_to != client.parameters) {  // most clients of a pool say the same at login
    pool.told_to = client.parameters;
    pool.told.clear();
    for (const auto& [name, value] : pool.welcome) {
      auto index = parameters_.index_of(name);
      const bool own = index && client.parameters->values[*index];
      wire::append_parameter_status(pool.told, name, own ? *client.parameters->values[*index] : value);
    }
  }
  bytes += pool.told;
  client.state = ClientState::idle;
  say_welcome(client, std::move(bytes));
}

// The end of every login; `bytes` is what comes before.
void Core::say_welcome(Client& client, std::string bytes) {
  client.wishes.reset();
  client.cancel_key = new_cancel_key();
  keys_[client.cancel_key] = &client;
  std::string secret(4, '\0');
  for (size_t i = 0; i < 4; ++i) secret[i] = static_cast<char>(client.cancel_key >> (24 - 8 * i));
  wire::append_backend_key_data(bytes, {static_cast<uint32_t>(client.cancel_key >> 32), std::move(secret)});
  if (!settings_.login_notify_message.empty()) {
    wire::ErrorFields notice;
    notice.severity = "NOTICE";
    notice.sqlstate = "00000";
    notice.message = settings_.login_notify_message;
    wire::append_notice(bytes, notice);
  }
  wire::append_ready_for_query(bytes, 'I');
  send(client, bytes);
  want_input(client, true);
  if (!client.held.empty()) client_input(client, {});
}

// What a server has said at login is what clients are told from now on; those who are in already hear of what is
// different when they have a server the next time.
void Core::new_welcome(Server& server) {
  Pool& pool = *server.pool;
  auto& told = server.login->welcome;
  const bool changed = pool.welcomed && std::any_of(told.begin(), told.end(), [&](const auto& entry) {
                         const std::string* before = value_of(pool.welcome, entry.first);
                         return !parameters_.index_of(entry.first) && (before == nullptr || *before != entry.second);
                       });
  if (changed) ++pool.welcome_version;
  pool.welcome = std::move(told);
  pool.told_to.reset();
  pool.defaults = server.parameters;
  pool.welcomed = true;
}

// Before the client's next answer. All that is not tracked, since what it has been told may be older than the last
// change.
void Core::refresh_welcome(Client& client) {
  const Pool& pool = *client.pool;
  client.welcome_version = pool.welcome_version;
  if (client.own || client.replication) return;
  std::string bytes;
  for (const auto& [name, value] : pool.welcome) {
    if (!parameters_.index_of(name)) wire::append_parameter_status(bytes, name, value);
  }
  if (!bytes.empty()) send(client, bytes);
}

// A server that is in use reports a value. Of what is not tracked only in_hot_standby is the server's own; the others
// follow what a client has SET or whom it has become.
void Core::on_untracked(Server& server, std::string_view name, std::string_view value) {
  if (name != kStandby) return;
  Pool& pool = *server.pool;
  if (pool.database->route == Route::primary && value == "on") {
    server.close_when_free = true;
    server.close_reason = "the server is no longer primary";
    host_.suspect_leader();
    return;
  }
  for (auto& [known, old] : pool.welcome) {
    if (known != name || old == value) continue;
    old = value;
    pool.told_to.reset();
    ++pool.welcome_version;
  }
}

}  // namespace pgdba::pool
