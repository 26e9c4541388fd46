// From a server to its client: whose answer is which, and when the server is free again.
#include <algorithm>

#include "pool/core.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pool {

namespace {

// Messages that have to be seen as a whole are this short, or they are passed on unseen.
constexpr size_t kMaxSeen = 65536;

// A server that is nobody's may say these; anything else means that we have lost count.
bool unasked(char type) {
  return type == wire::backend::parameter_status || type == wire::backend::notice_response ||
         type == wire::backend::notification_response;
}

}  // namespace

void Core::server_input(Server& server, std::string_view bytes) {
  if (server.dead) return;
  if (server.state == ServerState::connecting) return;
  std::string joined;
  if (!server.held.empty()) {
    joined.swap(server.held);
    joined.append(bytes);
    bytes = joined;
  }
  size_t done = 0;
  if (server.state == ServerState::login) {
    done = server_login_input(server, bytes);
  } else if (server.chore != Chore::none) {
    done = chore_responses(server, bytes);
  } else if (server.client != nullptr) {
    done = forward_responses(server, bytes);
  } else {
    done = idle_responses(server, bytes);
  }
  if (!server.dead) keep(server, joined, bytes, done);
}

// How much of `in` has been dealt with.
size_t Core::forward_responses(Server& server, std::string_view in) {
  Client& client = *server.client;
  Requests& requests = server.requests;
  const char* at = in.data();
  const char* run = at;
  const char* const end = at + in.size();
  // Answers of ours that are due, but not in the middle of a message.
  const auto emit_due = [&] {
    if (server.pass != 0 && settings_.rules.whole_messages) return;
    while (auto request = requests.due_fake()) {
      batch_.pass(run, at);
      run = at;
      char* own = batch_.own(wire::kHeadSize);
      own[0] = *request == Request::parse ? wire::backend::parse_complete : wire::backend::close_complete;
      wire::store_u32(own + 1, wire::kMinLength);
      if (batch_.full()) send_batch(client);
    }
  };
  if (server.pass != 0) {
    const size_t more = std::min<size_t>(server.pass, in.size());
    server.pass -= static_cast<uint32_t>(more);
    at += more;
    emit_due();
  }
  // Between transactions the server goes back; in session mode, and with a replication connection, never.
  const bool lent_by_transaction = client.pool->mode != PoolMode::session && !client.replication;
  bool free = false;
  const auto up_to_here = [&] {
    batch_.pass(run, at);
    send_batch(client);
    return static_cast<size_t>(at - in.data());
  };
  while (!free && static_cast<size_t>(end - at) >= wire::kHeadSize) {
    const char type = *at;
    const uint32_t length = wire::load_u32(at + 1);
    if (length < wire::kMinLength || !wire::is_backend_type(type)) {
      up_to_here();
      close_server(server, "server sent something that is no message");
      return in.size();
    }
    const size_t size = size_t{length} + 1;
    const auto have = static_cast<size_t>(end - at);
    if (type == wire::backend::data_row && size <= have) {  // most of all messages: it only passes through
      at += size;
      continue;
    }
    bool shown = true;
    switch (type) {
      case wire::backend::data_row:
      case wire::backend::copy_data:
      case wire::backend::notice_response:
      case wire::backend::notification_response: break;

      case wire::backend::parse_complete:
      case wire::backend::bind_complete:
      case wire::backend::close_complete:
      case wire::backend::no_data:
      case wire::backend::row_description:
      case wire::backend::empty_query_response:
      case wire::backend::function_call_response:
      case wire::backend::portal_suspended: shown = requests.answer(type); break;

      case wire::backend::command_complete: {
        if (have < size && size < kMaxSeen) return up_to_here();
        on_complete_tag(server, {at + wire::kHeadSize, std::min(size, have) - wire::kHeadSize});
        server.copying = false;
        shown = requests.answer(type);
        break;
      }
      case wire::backend::ready_for_query: {
        if (have < size) return up_to_here();
        if (size != 6 || !requests.ready()) {
          up_to_here();
          close_server(server, "server was ready without having been asked");
          return in.size();
        }
        server.status = at[5];
        server.copying = false;
        Stats& stats = server.pool->stats;
        ++stats.queries;
        stats.query_us += static_cast<uint64_t>(now_ - client.request_at);
        if (server.status == 'I') {
          ++stats.transactions;
          stats.transaction_us += static_cast<uint64_t>(now_ - client.transaction_at);
        } else if (client.pool->mode == PoolMode::statement && lent_by_transaction) {
          up_to_here();
          close_client(client, {.text = "transaction blocks not allowed in statement pooling mode"});
          return in.size();
        }
        if (requests.empty()) {
          server.may_commit = false;
          server.forgets = false;
          server.cancel_again = false;
        }
        free = lent_by_transaction && (requests.empty() || !settings_.rules.owes_nothing) && server.status == 'I';
        if (free) {
          // It waits for the rest of a message, or may have more to say: it is of no use to anybody else.
          if (settings_.rules.owes_nothing && (client.pass != 0 || !requests.certain())) server.close_when_free = true;
        } else if (server.status != 'I') {
          client.input_at = now_;  // from now on it is idle in its transaction
        }
        break;
      }
      case wire::backend::error_response: {
        if (have < size && size < kMaxSeen) return up_to_here();
        server.copying = false;
        const std::string_view body(at + wire::kHeadSize, std::min(size, have) - wire::kHeadSize);
        Requests::Failed failed = requests.error();
        undo(server, failed.undone);
        if (have >= size) on_error(server, body, failed.duplicate.has_value());
        if (failed.duplicate && have >= size) {
          batch_.pass(run, at);
          at += size;
          run = at;
          already_exists(client, *failed.duplicate, {at - size + wire::kHeadSize, size - wire::kHeadSize});
          continue;
        }
        break;
      }
      case wire::backend::parameter_status: {
        if (size > kMaxSeen) {
          up_to_here();
          close_server(server, "server sent a parameter that is too long");
          return in.size();
        }
        if (have < size) return up_to_here();
        on_parameter(server, {at + wire::kHeadSize, size - wire::kHeadSize});
        break;
      }
      case wire::backend::copy_in_response:
      case wire::backend::copy_both_response:
        requests.copy_in();
        server.copying = true;
        break;
      case wire::backend::copy_out_response: server.copying = true; break;
      default: break;  // CopyDone, ParameterDescription
    }
    if (!shown) {
      if (size != wire::kHeadSize) {
        up_to_here();
        close_server(server, "server sent something that is no message");
        return in.size();
      }
      batch_.pass(run, at);
      at += size;
      run = at;
      if (batch_.full()) send_batch(client);
    } else if (size <= have) {
      at += size;
    } else {
      server.pass = static_cast<uint32_t>(size - have);
      at = end;
    }
    if (requests.fake_is_due()) emit_due();
  }
  size_t done = up_to_here();
  const bool woken = server.stalled && !names_in_doubt(server);
  if (!free) {
    if (woken) {
      server.stalled = false;
      resume(client);
      if (server.dead) return in.size();
    }
    return done;
  }
  // Whatever follows is said to nobody.
  unlink(server);
  if (done < in.size()) done += idle_responses(server, in.substr(done));
  if (server.dead) return in.size();
  if (done < in.size()) server.close_when_free = true;  // half a message, which nobody asked for
  release(server);
  if (woken && !client.dead && !client.held.empty()) client_input(client, {});
  return in.size();
}

void Core::send_batch(Client& client) {
  if (batch_.empty()) return;
  size_t bytes = 0;
  for (const Slice& slice : batch_.take()) bytes += slice.size;
  client.pool->stats.sent += bytes;
  client.backlog = !host_.send(client, batch_.take());
  batch_.clear();
  if (client.server != nullptr) pace(*client.server, client);
}

// A server that owes nothing: what it says of itself is noted, anything else makes it useless.
size_t Core::idle_responses(Server& server, std::string_view in) {
  size_t done = 0;
  while (in.size() - done >= wire::kHeadSize) {
    const char type = in[done];
    const uint32_t length = wire::load_u32(in.data() + done + 1);
    const size_t size = size_t{length} + 1;
    if (length < wire::kMinLength || size > kMaxSeen || !unasked(type)) {
      std::string why = "idle server got dirty";
      if (type == wire::backend::error_response && in.size() - done >= size) {
        if (auto fields = wire::parse_error_response(in.substr(done + wire::kHeadSize, size - wire::kHeadSize))) {
          why = std::string(fields->message);
        }
      }
      close_server(server, why);
      return in.size();
    }
    if (in.size() - done < size) return done;
    if (type == wire::backend::parameter_status) on_parameter(server, in.substr(done + wire::kHeadSize, size - wire::kHeadSize));
    done += size;
  }
  return done;
}

// What an error tells of the server itself.
void Core::on_error(Server& server, std::string_view body, bool duplicate) {
  auto fields = wire::parse_error_response(body);
  if (!fields) return;
  server.unnamed_statement = server.unnamed_portal = Ending::commit;  // which ones are there now is not known
  if (fields->severity == "FATAL" || fields->severity == "PANIC") server.said_goodbye = true;
  // A primary that turns out to be read-only is none: it is not lent again.
  if (fields->sqlstate == "25006" && server.pool->database->route == Route::primary) {
    server.close_when_free = true;
    server.close_reason = "server refuses to write";
    host_.suspect_leader();
  }
  // One of our names is there, or is not, against what we know: somebody has used SQL on it.
  if ((fields->sqlstate == "26000" || (fields->sqlstate == "42P05" && !duplicate)) &&
      fields->message.find("PGDBA_") != std::string_view::npos) {
    server.close_when_free = true;
    server.close_reason = "prepared statements have been changed";
  }
}

void Core::undo(Server& server, const std::vector<Undo>& undone) {
  ClientStatements* names = server.client->statements.get();
  for (const Undo& entry : undone) {
    if (!entry.statement) continue;
    const bool parse = entry.request == Request::parse;
    if (parse && (entry.show == Show::forward || entry.show == Show::hide)) server.statements.remove(entry.statement->id);
    if (!parse && entry.show == Show::hide) server.statements.restore(entry.statement->id);
    if (names == nullptr || entry.client_name.empty() || entry.show == Show::duplicate) continue;
    if (parse) names->remove(entry.client_name);
    else names->set(entry.client_name, entry.statement);
  }
}

// PostgreSQL's "already exists", with the name that the client knows instead of ours.
void Core::already_exists(Client& client, std::string_view name, std::string_view body) {
  auto fields = wire::parse_error_response(body);
  std::string text = "prepared statement \"" + std::string(name) + "\" already exists";
  std::string message;
  wire::ErrorFields answer;
  if (fields) answer = *fields;  // or, in a failed transaction, what PostgreSQL says about that
  if (answer.sqlstate == "42P05") answer.message = text;
  wire::append_error(message, answer);
  batch_.pass(message);
  send_batch(client);  // `message` lives no longer
}

void Core::on_complete_tag(Server& server, std::string_view body) {
  // "DEALLOCATE ALL" and "DISCARD ALL", NUL included.
  static constexpr std::string_view deallocate("DEALLOCATE ALL", 15), discard("DISCARD ALL", 12);
  if (body != deallocate && body != discard) return;
  server.statements.clear();
  ClientStatements* names = server.client != nullptr ? server.client->statements.get() : nullptr;
  if (names != nullptr) names->clear();
  // What is under way behind it holds.
  for (const Undo& entry : server.requests.pending()) {
    if (!entry.statement || entry.show == Show::duplicate) continue;
    const bool parse = entry.request == Request::parse;
    if (parse && entry.show != Show::fake) server.statements.add(entry.statement->id);
    if (!parse && entry.show == Show::hide) server.statements.remove(entry.statement->id);
    if (names == nullptr || entry.client_name.empty()) continue;
    if (parse) names->set(entry.client_name, entry.statement);
    else names->remove(entry.client_name);
  }
}

void Core::on_parameter(Server& server, std::string_view body) {
  auto parsed = wire::parse_parameter_status(body);
  if (!parsed) return;
  auto index = parameters_.index_of(parsed->name);
  if (!index) return on_untracked(server, parsed->name, parsed->value);
  server.parameters = parameters_.with(server.parameters, *index, parsed->value);
  if (server.client != nullptr && server.chore == Chore::none) {
    server.client->parameters = parameters_.with(server.client->parameters, *index, parsed->value);
  }
}

// Answers to our own housekeeping. They are for nobody; an error means that this server is not fit.
size_t Core::chore_responses(Server& server, std::string_view in) {
  size_t done = 0;
  while (in.size() - done >= wire::kHeadSize) {
    if (server.pass != 0) {
      const size_t more = std::min<size_t>(server.pass, in.size() - done);
      server.pass -= static_cast<uint32_t>(more);
      done += more;
      continue;
    }
    const char type = in[done];
    const uint32_t length = wire::load_u32(in.data() + done + 1);
    const size_t size = size_t{length} + 1;
    if (length < wire::kMinLength) {
      close_server(server, "server sent something that is no message");
      return in.size();
    }
    if (in.size() - done < size) {
      if (size <= kMaxSeen) return done;
      server.pass = static_cast<uint32_t>(size - (in.size() - done));
      return in.size();
    }
    const std::string_view body = in.substr(done + wire::kHeadSize, size - wire::kHeadSize);
    done += size;
    if (type == wire::backend::parameter_status) on_parameter(server, body);
    if (type == wire::backend::command_complete) on_complete_tag(server, body);
    if (type == wire::backend::data_row && server.chore == Chore::verify) {
      server.row.clear();
      if (auto values = wire::parse_data_row(body)) {
        for (const auto& value : *values) server.row.emplace_back(value ? std::optional<std::string>(*value) : std::nullopt);
      }
    }
    if (type == wire::backend::error_response) {
      chore_failed(server, body);
      return in.size();
    }
    if (type == wire::backend::ready_for_query) {
      server.status = size == 6 ? body[0] : 'E';
      if (server.status != 'I') {
        close_server(server, "housekeeping left a transaction open");
        return in.size();
      }
      // Nothing may follow: what comes next is the answer to what is sent from now on.
      if (done < in.size()) {
        done += idle_responses(server, in.substr(done));
        if (server.dead || done < in.size()) {
          close_server(server, "server said more than it was asked");
          return in.size();
        }
      }
      chore_done(server);
      return in.size();
    }
  }
  return done;
}

}  // namespace pgdba::pool
