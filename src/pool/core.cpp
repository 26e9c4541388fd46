#include "pool/core.h"

#include <algorithm>
#include <utility>

#include "pool/client_login.h"
#include "pool/server_login.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {

namespace {

// A message up to this size is collected before a server is asked for, so that a slow sender holds none meanwhile.
constexpr size_t kCollect = 16384;

// The client has only the beginning of a message: it would take whatever we say now for the rest of it.
bool in_the_middle(const Server& server, const Settings& settings) {
  return server.pass != 0 && server.chore == Chore::none && settings.rules.whole_messages;
}

}  // namespace

// Here, where the logins are whole types.
Client::Client() : Conn(true) {}
Client::~Client() = default;
Server::Server() : Conn(false) {}
Server::~Server() = default;

Core::Core(Host& host, Directory& directory, Ledger& ledger, const Settings& settings, StatementTable::Digest digest, size_t worker)
    : host_(host), directory_(directory), ledger_(ledger), settings_(settings), statements_(digest), parameters_(settings.tracked), worker_(worker) {}

Core::~Core() {
  while (!clients_.empty()) {
    Client& client = clients_.front();
    client.dead = true;
    clients_.pop_front();
    delete &client;
  }
  for (const auto& pool : pools_) {
    for (ServerList* list : {&pool->idle, &pool->lent, &pool->busy, &pool->arriving}) {
      list->clear_and_dispose([](Server* server) { delete server; });
    }
  }
  tidy();
}

// Unique over all workers.
uint64_t Core::new_id() { return next_id_++ * kMaxWorkers + worker_; }

Client& Core::accept(void* socket) {
  auto* client = new Client;  // tidy() deletes it
  client->id = new_id();
  client->socket = socket;
  client->connected_at = client->input_at = client->request_at = now_;
  client->parameters = parameters_.empty();
  client->login = std::make_unique<ClientLogin>();
  clients_.push_back(*client);
  logins_.push_back(*client);
  return *client;
}

bool Core::drop_oldest_login() {
  if (logins_.empty()) return false;
  close_client(logins_.front(), {.sqlstate = "53300", .text = "too many connections that have not logged in"});
  return true;
}

Client& Core::open_own(Pool& pool) {
  Client& client = accept(nullptr);
  client.queue.unlink();
  client.login.reset();
  client.own = true;
  client.state = ClientState::idle;
  client.pool = &pool;
  client.user_name = pool.user;
  ++pool.clients;
  return client;
}

void Core::client_input(Client& client, std::string_view bytes) {
  if (client.dead) return;
  client.input_at = now_;
  const size_t fresh = bytes.size();
  std::string joined;
  if (!client.held.empty()) {
    joined.swap(client.held);
    joined.append(bytes);
    bytes = joined;
  }
  size_t done = 0;
  if (client.state == ClientState::login) {
    done = client_login_input(client, bytes);
  } else if (client.pool != nullptr) {
    client.pool->stats.received += fresh;
  }
  // The login may be over, the client may have a server now: what is left goes on.
  if (!client.dead && client.state == ClientState::console) done += host_.console_input(client, bytes.substr(done));
  if (!client.dead && client.state == ClientState::idle) done += idle_input(client, bytes.substr(done));
  if (!client.dead && client.state == ClientState::active && client.server->chore == Chore::none) {
    done += forward_requests(client, bytes.substr(done));
  }
  if (!client.dead) keep(client, joined, bytes, done);
}

// What has not been dealt with. `joined` holds the bytes if they were put together: it is taken as it is, so that a long
// message is not copied again with each piece.
void Core::keep(Conn& conn, std::string& joined, std::string_view bytes, size_t done) {
  if (done >= bytes.size()) return;
  if (joined.empty()) {
    conn.held.assign(bytes.substr(done));
    return;
  }
  joined.erase(0, done);
  conn.held = std::move(joined);
}

// What a client without a server says, up to the first message that needs one; then it has one, or waits for it.
size_t Core::idle_input(Client& client, std::string_view in) {
  size_t done = 0;
  while (done < in.size()) {
    if (client.pass != 0) {  // the rest of a message that nobody wants
      const size_t more = std::min<size_t>(client.pass, in.size() - done);
      client.pass -= static_cast<uint32_t>(more);
      done += more;
      continue;
    }
    const size_t have = in.size() - done;
    if (have < wire::kHeadSize) return done;
    const char type = in[done];
    const uint32_t length = wire::load_u32(in.data() + done + 1);
    if (length < wire::kMinLength || length > settings_.max_packet_size || !wire::is_frontend_type(type)) {
      close_client(client, {.text = "unknown pkt"});
      return in.size();
    }
    const size_t size = size_t{length} + 1;
    if (type == wire::frontend::terminate) {
      close_client(client, {});
      return in.size();
    }
    // Left over from a COPY that the server has refused already; PostgreSQL ignores these, too.
    if (type == wire::frontend::copy_data || type == wire::frontend::copy_done || type == wire::frontend::copy_fail) {
      client.pass = static_cast<uint32_t>(size);
      continue;
    }
    if (size > have && size <= kCollect) return done;
    request_server(client);
    return done;
  }
  return done;
}

void Core::client_gone(Client& client) {
  if (!client.dead) close_client(client, {.text = {}, .reason = "client unexpected eof"});
}

void Core::send_error(Client& client, std::string_view severity, std::string_view sqlstate, std::string_view text) {
  wire::ErrorFields fields;
  fields.severity = severity;
  fields.sqlstate = sqlstate;
  fields.message = text;
  std::string message;
  if (severity == "NOTICE") wire::append_notice(message, fields);
  else wire::append_error(message, fields);
  send(client, message);
}

void Core::close_client(Client& client, const Farewell& farewell) {
  if (client.dead) return;
  if (!farewell.text.empty()) {
    if (client.login && !client.login->answer.empty()) send(client, client.login->answer);
    if (client.server == nullptr || !in_the_middle(*client.server, settings_)) send_error(client, farewell.severity, farewell.sqlstate, farewell.text);
    host_.log(LogLevel::warning, &client, "pooler error: " + std::string(farewell.text));
  }
  if (!client.own) {
    const std::string_view why = !farewell.text.empty() ? farewell.text : !farewell.reason.empty() ? farewell.reason : "client close request";
    host_.log(LogLevel::info, &client, "closing because: " + std::string(why));
  }
  client.queue.unlink();
  if (client.pool != nullptr) publish(*client.pool);
  Server* server = client.server;
  const bool owes = server != nullptr && (!server->requests.clean() || server->status != 'I' || server->copying ||
                                          server->chore != Chore::none || server->pass != 0 || client.pass != 0);
  if (client.pool != nullptr) --client.pool->clients;
  if (client.counted) directory_.forget_client(client, *client.pool->database);
  if (client.cancel_key != 0) keys_.erase(client.cancel_key);
  client.dead = true;
  client.server = nullptr;
  host_.close(client);
  dead_.push_back(&client);
  client.all.unlink();
  if (server == nullptr) return;
  server->client = nullptr;
  server->cut_off = client.pass != 0;
  if (owes || client.replication) {
    close_server(*server, "client disconnect while server was not ready");
  } else {
    want_input(*server, true);
    release(*server);
  }
}

void Core::close_server(Server& server, std::string_view why) {
  if (server.dead) return;
  Pool& pool = *server.pool;
  host_.log(LogLevel::info, &server, "closing because: " + std::string(why));
  server.dead = true;
  server.list.unlink();
  if (!cancelers_.empty()) end_cancels(server.id);
  --pool.servers;
  if (server.state == ServerState::connecting || server.state == ServerState::login) --pool.connecting;
  ledger_.give_server(pool);
  Client* client = server.client;
  server.client = nullptr;
  if (client != nullptr && client->pass != 0) server.cut_off = true;
  // Behind half a message it would be taken for more of that: a Query that lacks two bytes would be carried out.
  if (server.state != ServerState::connecting && server.state != ServerState::login && !server.cut_off) {
    std::string bye;
    wire::append_terminate(bye);
    const Slice slice{bye.data(), bye.size()};
    host_.send(server, {&slice, 1});
  }
  host_.close(server);
  dead_.push_back(&server);
  if (client != nullptr && !client->dead) {
    client->server = nullptr;
    if (client->state == ClientState::welcome) pool.replicas.push_back(*client);  // gets another one
    else close_client(*client, in_the_middle(server, settings_) ? Farewell{} : farewell_of(server));
  }
  publish(pool);
  open_servers(pool);
  if (server_gone_) server_gone_();
}

// What the client of a server that has died is told: nothing that is not certain, and nothing twice.
Farewell Core::farewell_of(const Server& server) const {
  if (server.said_goodbye) return {};  // in the server's own words
  if (server.may_commit && settings_.rules.doubt_is_said) {
    return {.sqlstate = "08007", .text = "server connection lost: whether the transaction was committed is not known"};
  }
  if (server.status != 'I' || !server.requests.empty()) {
    return {.sqlstate = "08006", .text = "server connection lost: the transaction was rolled back"};
  }
  if (server.term < route(server.pool->database->route).term) {
    return {.sqlstate = "57P01", .text = "the primary has moved, which a session cannot: connect again"};
  }
  return {.sqlstate = "08006", .text = "server conn crashed?"};
}

void Core::server_lost(Server& server, std::string_view why) {
  if (server.dead) return;
  if (server.login || server.state == ServerState::connecting) {  // not accepted yet
    login_failed(server, {.text = std::string(why), .sqlstate = "08006", .at = now_, .from_server = false});
    return;
  }
  if (!server.input_wanted) return;  // its last words lie unread; the shell comes to the end again behind them
  close_server(server, why);
}

void Core::drained(Conn& conn) {
  if (conn.dead) return;
  conn.backlog = false;
  if (conn.is_client) {
    auto& client = static_cast<Client&>(conn);
    if (client.server != nullptr) {
      pace(*client.server, client);
      if (client.server->chore == Chore::none) pace(client, *client.server);
    }
  } else {
    auto& server = static_cast<Server&>(conn);
    if (server.client != nullptr && server.chore == Chore::none) pace(*server.client, server);
  }
}

Pool& Core::pool_for(Database& database, const std::string& server_user, const User* user) {
  for (const auto& pool : pools_) {
    if (pool->database == &database && pool->user == server_user) return *pool;
  }
  auto pool = std::make_unique<Pool>();
  pool->database = &database;
  pool->user = server_user;
  pool->user_settings = user;
  pool->mode = settings_.pool_mode;
  if (database.pool_mode) pool->mode = *database.pool_mode;
  if (user != nullptr && user->pool_mode) pool->mode = *user->pool_mode;
  pool->defaults = parameters_.empty();
  pool->share = ledger_.share(*pool);
  pool->paused = paused_databases_.contains(database.name);
  pools_.push_back(std::move(pool));
  return *pools_.back();
}

Pool* Core::find_pool(std::string_view database, std::string_view user) {
  for (const auto& pool : pools_) {
    if (pool->database->name == database && pool->user == user) return pool.get();
  }
  return nullptr;
}

void Core::tidy() {
  for (Conn* conn : dead_) {
    if (conn->is_client) delete static_cast<Client*>(conn);
    else delete static_cast<Server*>(conn);
  }
  dead_.clear();
}

}  // namespace pgdba::pool
