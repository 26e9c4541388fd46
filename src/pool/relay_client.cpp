// From the client to its server: which request is which, and the names of prepared statements.
#include <algorithm>

#include "base/text.h"
#include "pool/core.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {

namespace {

// A statement's name longer than this is refused by nothing in PostgreSQL, but it is a client's mistake or an attack.
constexpr size_t kMaxName = 16384;

// The text of a Query; one that is not here as a whole may be anything.
Ending ending_of_query(std::string_view message, bool cut) { return cut ? Ending::commit : ending_of(message.substr(wire::kHeadSize)); }

// Whether this Query makes the server forget all prepared statements. Enough of it must be there: kSeenOfQuery bytes.
constexpr size_t kSeenOfQuery = 32;
bool forgets_statements(std::string_view message) {
  size_t at = wire::kHeadSize;
  while (at < message.size() && (message[at] == ' ' || message[at] == '\n' || message[at] == '\t' || message[at] == '\r')) ++at;
  if (at == message.size() || (message[at] | 0x20) != 'd') return false;
  return iequals(message.substr(at, 7), "discard") || iequals(message.substr(at, 10), "deallocate");
}

// Whether this Parse, Bind, Describe or Close speaks of a named statement. Cut, it may.
bool names_statement(char type, std::string_view message) {
  std::string_view body = message.substr(wire::kHeadSize);
  size_t before = 0;
  if (type == wire::frontend::bind) before = std::min(body.find('\0'), body.size() - 1) + 1;
  else if (type != wire::frontend::parse) before = 1;
  if (before == 1 && type != wire::frontend::bind && !body.empty() && body[0] != 'S') return false;
  return body.size() <= before || body[before] != 0;
}

}  // namespace

// A statement is on its way that is in a transaction block, as far as is known.
void Core::note_ending(Server& server, Ending ending) {
  // Behind the end of the block a statement commits by itself; in a failed one nothing does.
  if (server.block_ends || (ending == Ending::commit && server.status != 'E')) server.may_commit = true;
  if (ending != Ending::none) server.block_ends = true;
}

// A Parse that goes on under the client's own name; of named ones only the worst is known.
void Core::note_parse(Server& server, std::string_view message) {
  message.remove_prefix(std::min(message.size(), wire::kHeadSize));
  const size_t name = message.find('\0');
  const std::string_view text = name == std::string_view::npos ? std::string_view() : message.substr(name + 1);
  const size_t end = text.find('\0');
  note_parse(server, name == 0, end == std::string_view::npos ? Ending::commit : ending_of_statement(text.substr(0, end)));
}

void Core::note_parse(Server& server, bool unnamed, Ending ending) {
  if (server.requests.skipping()) return;
  if (unnamed) server.unnamed_statement = ending;
  else server.named_statements = std::max(server.named_statements, ending);
}

void Core::note_bind(Server& server, bool unnamed_portal, Ending ending) {
  if (unnamed_portal) server.unnamed_portal = ending;
  else server.named_portals = std::max(server.named_portals, ending);
}

void Core::note_bind(Server& server, std::string_view message) {
  message.remove_prefix(std::min(message.size(), wire::kHeadSize));
  const size_t portal = message.find('\0');
  const bool seen = portal != std::string_view::npos && portal + 1 < message.size();
  const Ending known = seen && message[portal + 1] == '\0' ? server.unnamed_statement : server.named_statements;
  note_bind(server, portal == 0, seen ? known : Ending::commit);
}

Ending Core::ending_of_execute(const Server& server, std::string_view message) {
  if (message.size() <= wire::kHeadSize) return Ending::commit;
  return message[wire::kHeadSize] == '\0' ? server.unnamed_portal : server.named_portals;
}

// Which names hold, and which statements the server has, is not known: DISCARD has not been answered, or a Parse before the
// last Sync, which may be skipped although what follows is not.
bool Core::names_in_doubt(const Server& server) const {
  return server.requests.unsure() || (server.forgets && !server.requests.empty());
}

void Core::flush_to_server(Server& server) {
  if (batch_.empty()) return;
  server.backlog = !host_.send(server, batch_.take());
  batch_.clear();
  if (server.client != nullptr) pace(*server.client, server);
}

// `source` is read only while `sink` keeps up.
void Core::pace(Conn& source, const Conn& sink) {
  const bool wanted = !sink.backlog;
  if (source.input_wanted == wanted) return;
  source.input_wanted = wanted;
  host_.want_input(source, wanted);
}

// How much of `in` has been dealt with; the rest begins with a message that has to be seen as a whole, or has to wait.
size_t Core::forward_requests(Client& client, std::string_view in) {
  Server& server = *client.server;
  Requests& requests = server.requests;
  const char* at = in.data();
  const char* run = at;  // [run, at) passes through
  const char* const end = at + in.size();
  if (client.pass != 0) {
    const size_t more = std::min<size_t>(client.pass, in.size());
    client.pass -= static_cast<uint32_t>(more);
    at += more;
  }
  if (requests.empty()) {
    if (client.pool->mode == PoolMode::session && at == in.data() && session_waits(client, in)) return 0;
    client.request_at = now_;
    server.may_commit = server.status == 'I';  // outside of a block everything commits
    server.block_ends = false;
    if (server.status == 'I') client.transaction_at = now_;
  }
  bool leaves = false;
  bool cut = false;  // the rest has to wait
  while (static_cast<size_t>(end - at) >= wire::kHeadSize) {
    const char type = *at;
    const uint32_t length = wire::load_u32(at + 1);
    if (length < wire::kMinLength || length > settings_.max_packet_size || !wire::is_frontend_type(type)) {
      batch_.pass(run, at);
      flush_to_server(server);
      emit_fakes(client);
      close_client(client, {.text = "unknown pkt"});
      return in.size();
    }
    const size_t size = size_t{length} + 1;
    const auto have = static_cast<size_t>(end - at);
    bool rewritten = false;
    switch (type) {
      case wire::frontend::query:
        if (client.rewrite && have < size && have < kSeenOfQuery) {
          cut = true;
          break;
        }
        if (settings_.disable_pqexec) {
          batch_.pass(run, at);
          flush_to_server(server);
          emit_fakes(client);
          close_client(client, {.text = "PQexec disallowed"});
          return in.size();
        }
        if (client.rewrite && forgets_statements({at, std::min(size, have)})) server.forgets = true;
        requests.push(Request::query);
        if (!server.may_commit) note_ending(server, ending_of_query({at, std::min(size, have)}, have < size));
        break;
      case wire::frontend::sync:
        requests.push(Request::sync);
        break;
      case wire::frontend::function_call:
        requests.push(Request::function_call);
        if (!server.may_commit) note_ending(server, Ending::none);
        break;
      case wire::frontend::execute:
        requests.push(Request::execute);
        if (!server.may_commit) note_ending(server, ending_of_execute(server, {at, std::min(size, have)}));
        break;
      case wire::frontend::copy_done:
      case wire::frontend::copy_fail: requests.copy_ended_by_client(); break;
      case wire::frontend::bind:
      case wire::frontend::parse:
      case wire::frontend::describe:
      case wire::frontend::close: {
        if (!client.rewrite) {
          if (type == wire::frontend::bind) note_bind(server, {at, std::min(size, have)});
          else if (type == wire::frontend::parse) note_parse(server, {at, std::min(size, have)});
          if (type == wire::frontend::bind) requests.push(Request::bind);
          else if (type == wire::frontend::describe) requests.push(Request::describe);
          else requests.push({type == wire::frontend::parse ? Request::parse : Request::close, Show::forward, {}, {}});
          break;
        }
        // A name has to be whole before it can be told apart; a Parse because its text is kept.
        const std::string_view message(at, std::min(size, have));
        batch_.pass(run, at);
        run = at;
        Step step = Step::incomplete;
        server.stalled = false;
        if (names_in_doubt(server) && names_statement(type, message)) {
          flush_to_server(server);
          emit_fakes(client);  // these are answered
          server.stalled = names_in_doubt(server);
        }
        if (server.stalled) {
          want_input(client, false);
        } else if (type == wire::frontend::bind) {
          step = rewrite_bind(client, message, size);
        } else if (type == wire::frontend::parse) {
          const bool unnamed = have > wire::kHeadSize && size > wire::kHeadSize && at[wire::kHeadSize] == 0;
          if (have >= size || unnamed) step = rewrite_parse(client, message);
        } else if (have >= size) {
          step = rewrite_target(client, message);
        } else if (length > wire::kMaxShortMessage) {
          step = Step::lost;
        }
        if (step == Step::incomplete) {
          cut = true;
          break;
        }
        if (step == Step::lost) {
          flush_to_server(server);
          emit_fakes(client);
          close_client(client, {.text = "broken message"});
          return in.size();
        }
        rewritten = step == Step::taken;
        break;
      }
      case wire::frontend::terminate: leaves = true; break;
      default: break;  // Flush, CopyData
    }
    if (leaves || cut) break;
    if (size <= have) {
      at += size;
    } else {
      client.pass = static_cast<uint32_t>(size - have);
      at = end;
    }
    if (rewritten) run = at;
    if (batch_.full()) {
      batch_.pass(run, at);
      run = at;
      flush_to_server(server);
    }
  }
  batch_.pass(run, at);
  flush_to_server(server);
  emit_fakes(client);
  if (leaves) {
    close_client(client, {});
    return in.size();
  }
  return static_cast<size_t>(at - in.data());
}

// Answers that are due although the server has nothing more to say.
void Core::emit_fakes(Client& client) {
  Requests& requests = client.server->requests;
  if (client.server->pass != 0 && settings_.rules.whole_messages) return;  // when that message is over
  while (auto request = requests.due_fake()) {
    char* at = answers_.own(wire::kHeadSize);
    at[0] = *request == Request::parse ? wire::backend::parse_complete : wire::backend::close_complete;
    wire::store_u32(at + 1, wire::kMinLength);
    if (answers_.full()) flush_to_client(client);
  }
  flush_to_client(client);
}

void Core::flush_to_client(Client& client) {
  if (answers_.empty()) return;
  client.backlog = !host_.send(client, answers_.take());
  answers_.clear();
  if (client.server != nullptr) pace(*client.server, client);
  // Nothing but its own reading slows down a client whose requests need no server.
  if (client.backlog) want_input(client, false);
}

// The server has this statement when what follows reaches it: if need be it is prepared in front of it, and the answer
// hidden; the oldest one makes room.
void Core::make_sure_of(Server& server, const StatementRef& statement) {
  if (server.statements.use(statement->id)) return;
  ++server.pool->stats.server_parses;
  server.statements.add(statement->id);
  if (auto oldest = server.statements.overflow(settings_.max_prepared_statements)) {
    auto gone = std::make_shared<Statement>();
    gone->id = *oldest;
    gone->server_name = server_name_of(*oldest);
    char* at = batch_.own(wire::kHeadSize + 1 + kServerNameSize + 1);
    at[0] = wire::frontend::close;
    wire::store_u32(at + 1, static_cast<uint32_t>(wire::kMinLength + 1 + kServerNameSize + 1));
    at[5] = 'S';
    std::copy(gone->server_name.begin(), gone->server_name.end(), at + 6);
    server.requests.push({Request::close, Show::hide, {}, std::move(gone)});
  }
  char* at = batch_.own(wire::kHeadSize + kServerNameSize + 1);
  at[0] = wire::frontend::parse;
  wire::store_u32(at + 1, static_cast<uint32_t>(wire::kMinLength + kServerNameSize + 1 + statement->body.size()));
  std::copy(statement->server_name.begin(), statement->server_name.end(), at + 5);
  batch_.pass(statement->body);
  server.requests.push({Request::parse, Show::hide, {}, statement});
}

Core::Step Core::rewrite_parse(Client& client, std::string_view message) {
  Server& server = *client.server;
  ++server.pool->stats.client_parses;
  // An unnamed one may be cut. A broken one goes to PostgreSQL, which says what is wrong with it.
  const bool unnamed = message.size() > wire::kHeadSize && message[wire::kHeadSize] == 0;
  auto parsed = unnamed ? std::nullopt : wire::parse_parse(message.substr(wire::kHeadSize));
  if (!parsed) {
    note_parse(server, message);
    server.requests.push({Request::parse, Show::forward, {}, {}});
    ++server.pool->stats.server_parses;
    return Step::passed;
  }
  if (parsed->name.size() > kMaxName) return Step::lost;
  if (server.requests.skipping()) return Step::taken;  // PostgreSQL would not look at it either
  if (!client.statements) client.statements = std::make_unique<ClientStatements>();
  StatementRef statement = statements_.intern(message.substr(wire::kHeadSize + parsed->name.size() + 1));
  std::string name(parsed->name);
  if (const StatementRef* taken = client.statements->find(parsed->name)) {
    // "already exists" has to come from PostgreSQL, since it also ends a transaction: prepare the same one twice there.
    const StatementRef existing = *taken;
    make_sure_of(server, existing);
    char* at = batch_.own(wire::kHeadSize + kServerNameSize + 1);
    at[0] = wire::frontend::parse;
    wire::store_u32(at + 1, static_cast<uint32_t>(wire::kMinLength + kServerNameSize + 1 + existing->body.size()));
    std::copy(existing->server_name.begin(), existing->server_name.end(), at + 5);
    batch_.pass(existing->body);
    server.requests.push({Request::parse, Show::duplicate, std::move(name), existing});
    return Step::taken;
  }
  client.statements->set(parsed->name, statement);
  if (server.statements.use(statement->id)) {
    server.requests.push({Request::parse, Show::fake, std::move(name), statement});
    return Step::taken;
  }
  make_sure_of(server, statement);
  // What make_sure_of() has sent is this very Parse: its answer is the client's.
  server.requests.show_last(std::move(name));
  return Step::taken;
}

// `message` may be only the first part of `whole` bytes.
Core::Step Core::rewrite_bind(Client& client, std::string_view message, size_t whole) {
  Server& server = *client.server;
  auto parsed = wire::parse_bind(message.substr(wire::kHeadSize));
  if (!parsed && message.size() == whole) {  // PostgreSQL says what is wrong with it
    server.requests.push(Request::bind);
    return Step::passed;
  }
  if (!parsed) return message.size() < 2 * kMaxName ? Step::incomplete : Step::lost;
  ++server.pool->stats.binds;
  const StatementRef* statement = parsed->statement.empty() || !client.statements || server.requests.skipping()
                                      ? nullptr : client.statements->find(parsed->statement);
  note_bind(server, parsed->portal.empty(), statement != nullptr            ? (*statement)->ending
                                            : parsed->statement.empty() ? server.unnamed_statement
                                                                        : server.named_statements);
  if (statement == nullptr) {  // unnamed, or unknown: PostgreSQL says so
    server.requests.push(Request::bind);
    return Step::passed;
  }
  make_sure_of(server, *statement);
  const size_t names = parsed->portal.size() + 1 + parsed->statement.size() + 1;
  const size_t new_length = whole - 1 - names + parsed->portal.size() + 1 + kServerNameSize + 1;
  if (new_length > settings_.max_packet_size) return Step::lost;
  char* at = batch_.own(wire::kHeadSize);
  at[0] = wire::frontend::bind;
  wire::store_u32(at + 1, static_cast<uint32_t>(new_length));
  if (parsed->portal.size() < 64) {
    batch_.own(std::string_view(parsed->portal.data(), parsed->portal.size() + 1));
  } else {
    batch_.pass(std::string_view(parsed->portal.data(), parsed->portal.size() + 1));
  }
  batch_.own(std::string_view((*statement)->server_name.data(), kServerNameSize + 1));
  batch_.pass(parsed->rest);
  server.requests.push(Request::bind);
  return Step::taken;
}

// Describe and Close.
Core::Step Core::rewrite_target(Client& client, std::string_view message) {
  Server& server = *client.server;
  const bool close = message[0] == wire::frontend::close;
  auto parsed = wire::parse_describe_or_close(message.substr(wire::kHeadSize));
  const bool named = parsed && parsed->kind == 'S' && !parsed->name.empty() && !server.requests.skipping();
  const StatementRef* found = named && client.statements ? client.statements->find(parsed->name) : nullptr;
  // Closing what is not there is no error. It must not reach the server: it might be the name of somebody else's statement.
  if (close && named && found == nullptr) {
    server.requests.push({Request::close, Show::fake, {}, {}});
    return Step::taken;
  }
  if (found == nullptr) {
    if (close) server.requests.push({Request::close, Show::forward, {}, {}});
    else server.requests.push(Request::describe);
    return Step::passed;
  }
  if (close) {
    StatementRef statement = *found;
    client.statements->remove(parsed->name);
    server.requests.push({Request::close, Show::fake, std::string(parsed->name), std::move(statement)});
    return Step::taken;
  }
  make_sure_of(server, *found);
  char* at = batch_.own(wire::kHeadSize + 1 + kServerNameSize + 1);
  at[0] = wire::frontend::describe;
  wire::store_u32(at + 1, static_cast<uint32_t>(wire::kMinLength + 1 + kServerNameSize + 1));
  at[5] = 'S';
  std::copy((*found)->server_name.begin(), (*found)->server_name.end(), at + 6);
  server.requests.push(Request::describe);
  return Step::taken;
}

}  // namespace pgdba::pool
