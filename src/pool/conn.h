// Clients, servers and pools as the core keeps them: what state each is in and what it waits for. No behaviour but moves
// between lists; decisions are in core.h.
//
// Invariants: a server is in exactly one list of its pool: idle, lent (to exactly one client), busy (our own housekeeping),
// or arriving; `client.server` and `server.client` point at each other or are both null. An idle client holds no buffer.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/secret.h"
#include "pool/commits.h"
#include "pool/host.h"
#include "pool/parameters.h"
#include "pool/requests.h"
#include "pool/settings.h"
#include "pool/share.h"
#include "pool/statements.h"
#include "wire/pg_startup.h"
#include "wire/scram.h"

namespace pgdba::pool {

using Hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

struct Pool;
struct ClientLogin;
struct ServerLogin;

// SCRAM keys with what they are for.
struct KnownKeys {
  wire::ScramChallenge challenge;
  wire::ScramKeys keys;
};

// Microseconds on a clock that does not jump; set once per round of the event loop.
using Moment = int64_t;

enum class ClientState : uint8_t {
  login,         // up to the end of authentication
  welcome,       // may come in, and waits until the pool knows what a server says at login
  idle,          // no server
  waiting,       // in its pool's queue
  active,        // has a server
  console,       // speaks to the pooler itself
};

enum class ServerState : uint8_t { connecting, login, idle, busy, active };

// What a busy server, or one just lent, is doing for us. Its answers are hidden; an error closes it.
enum class Chore : uint8_t { none, verify, connect_query, check, reset, parameters };

struct Conn {
  explicit Conn(bool client) : is_client(client) {}
  Conn(const Conn&) = delete;
  Conn& operator=(const Conn&) = delete;

  const bool is_client;
  bool dead = false;     // gone for the core; the object stays until Core::tidy()
  bool backlog = false;  // the shell still holds bytes for it
  bool input_wanted = true;
  uint32_t pass = 0;        // bytes of a message whose head has been dealt with
  void* socket = nullptr;   // the shell's; null for a client of our own
  uint64_t id = 0;          // unique for the process
  Moment connected_at = 0;
  std::string held;         // received and not dealt with yet
};

struct Client : Conn {
  Client();
  ~Client();

  ClientState state = ClientState::login;
  bool rewrite = false;      // names of statements are the client's own (transaction and statement mode)
  bool replication = false;  // has a server of its own
  bool physical = false;     // of these: not bound to a database
  bool own = false;          // one of the pooler's own (auth_query): limits and timeouts of clients do not count
  bool notified = false;     // has been told that it waits
  bool counted = false;      // in the directory's numbers
  Pool* pool = nullptr;
  Server* server = nullptr;
  const User* user = nullptr;  // of the login; its limits
  std::string user_name;
  Parameters parameters;
  Parameters wishes;         // of its startup packet, until it is welcomed
  std::unique_ptr<ClientStatements> statements;
  std::unique_ptr<ClientLogin> login;  // gone once it is in
  uint64_t cancel_key = 0;             // as its BackendKeyData says
  uint32_t welcome_version = 0;        // of what it has been told of the server, as in its pool
  Moment request_at = 0;               // since when it waits, or its query runs
  Moment transaction_at = 0;
  Moment input_at = 0;
  Hook queue;  // in Pool::waiting, newcomers, replicas or sessions, or Core's list of logins or of cancel requests
  Hook all;    // in Core's list
};

struct Server : Conn {
  Server();
  ~Server();

  ServerState state = ServerState::connecting;
  Chore chore = Chore::none;
  char status = 'I';         // of the last ReadyForQuery
  bool copying = false;
  bool may_commit = false;   // something under way may end a transaction with success
  bool block_ends = false;   // something under way ends the transaction block; what follows is outside of it
  Ending unnamed_statement = Ending::commit, unnamed_portal = Ending::commit;  // what they would do
  Ending named_statements = Ending::none, named_portals = Ending::none;        // the worst of them
  bool said_goodbye = false; // its FATAL has been passed on
  bool cut_off = false;      // has the beginning of a message whose end is not sent any more
  bool close_when_free = false;
  bool used = false;         // was lent since its last check
  bool being_canceled = false;  // a cancel request for it is on its way: it is not reused
  bool cancel_again = false;    // another one came meanwhile
  bool forgets = false;         // DISCARD or DEALLOCATE is under way
  bool stalled = false;         // its client's requests wait until it is known which names hold
  bool replication = false;     // for one client only, with which it ends
  Pool* pool = nullptr;
  Client* client = nullptr;
  Requests requests;
  Parameters parameters;
  ServerStatements statements;
  std::unique_ptr<ServerLogin> login;
  wire::CancelKey key;
  uint64_t term = 0;         // the number of the leadership it was connected under; 0 where there is no cluster
  uint64_t config = 0;       // the shell's: by which reading of the configuration it was connected
  std::vector<std::optional<std::string>> row;  // what `verify` has answered
  std::string member;        // of the cluster; empty where there is none
  std::string address;       // where it was connected to, for people
  std::string close_reason;  // with close_when_free
  Moment since = 0;          // in this state
  Hook list;                 // in one list of its pool
};

using ClientQueue = boost::intrusive::list<Client, boost::intrusive::member_hook<Client, Hook, &Client::queue>,
                                           boost::intrusive::constant_time_size<false>>;
using ClientList = boost::intrusive::list<Client, boost::intrusive::member_hook<Client, Hook, &Client::all>,
                                          boost::intrusive::constant_time_size<false>>;
using ServerList = boost::intrusive::list<Server, boost::intrusive::member_hook<Server, Hook, &Server::list>,
                                          boost::intrusive::constant_time_size<false>>;

struct Stats {
  uint64_t assignments = 0, transactions = 0, queries = 0, received = 0, sent = 0;
  uint64_t transaction_us = 0, query_us = 0, wait_us = 0;
  uint64_t client_parses = 0, server_parses = 0, binds = 0, logins = 0;
};

struct Failure {
  std::string text;
  std::string sqlstate;
  Moment at = 0;
  bool from_server = false;  // PostgreSQL said so, in an ErrorResponse
};

// Servers of one database entry under one identity.
struct Pool {
  Database* database = nullptr;
  std::string user;              // on the server
  const User* user_settings = nullptr;
  PoolMode mode = PoolMode::session;
  ClientQueue waiting;           // first come, first served
  ClientQueue newcomers;         // wait for the welcome
  ClientQueue replicas;          // replication connections that have no server yet
  ClientQueue sessions;          // have a server, and begin nothing new on it while the primary moves
  ServerList idle, lent, busy, arriving;
  int servers = 0;               // in all four lists
  int connecting = 0;            // of these, in `arriving`
  int clients = 0;
  std::vector<std::pair<std::string, std::string>> welcome;  // ParameterStatus of the newest server
  Parameters defaults;           // the tracked ones among them
  std::string told;              // made of it for the last client; good for all with the same parameters
  Parameters told_to;            // those; null: none
  bool welcomed = false;
  uint32_t welcome_version = 0;  // grows when a server says something else than those before
  std::optional<Failure> failure;  // of the last attempt to connect, when it failed
  std::optional<KnownKeys> keys;  // with which the last login worked
  PoolShare* share = nullptr;    // null: there is only one worker
  bool shown_idle = false, shown_waiting = false;  // what the share says of us
  Moment shown_oldest = 0;
  bool asked = false;            // another worker, for a server; it has not answered
  bool paused = false;
  bool serving = false;          // serve_queue() is at work
  Moment lifetime_ended_at = 0;
  Moment reconnected_at = 0;     // servers from before are not lent
  Stats stats;
};

// An idle server on its way from one worker's pool to another's: nothing in it belongs to a worker any more.
struct Transfer {
  Server* server = nullptr;
  std::string database, user;
  std::vector<std::pair<std::string, std::string>> welcome;  // what the old pool knew
  std::vector<std::optional<std::string>> parameters;
};

}  // namespace pgdba::pool
