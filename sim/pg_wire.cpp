#include "pg_wire.h"

#include <array>

#include "base/text.h"
#include "pool/follow.h"
#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"
#include "world.h"

namespace pgdba::sim {

namespace {

// The client that a tag or a comment names: "c3-17" is the client c3's.
std::string_view owner_of(std::string_view tag) { return tag.substr(0, tag.find('-')); }

// "SET name=E'value'", as pool/parameters.cpp writes it.
bool parse_set(std::string_view sql, std::string_view& name, std::string_view& value) {
  if (!sql.starts_with("SET ")) return false;
  const size_t equals = sql.find("=E'");
  if (equals == std::string_view::npos || !sql.ends_with('\'')) return false;
  name = sql.substr(4, equals - 4);
  value = sql.substr(equals + 3, sql.size() - equals - 4);
  return true;
}

}  // namespace

Session::Session(World& world, int member, std::shared_ptr<Stream> stream)
    : world_(world), member_(member), pg_(world.node(member).pg), stream_(std::move(stream)), life_(pg_.server.life()) {}

void Session::start() {
  std::weak_ptr<Session> weak = weak_from_this();
  stream_->listen(1, {[weak](std::string bytes) {
                        if (auto self = weak.lock()) {
                          self->pg_.server.run(self->life_, [self, bytes = std::move(bytes)]() mutable { self->input(std::move(bytes)); });
                        }
                      },
                      [weak] {
                        if (auto self = weak.lock()) self->pg_.server.run(self->life_, [self] { self->leave(); });
                      }});
}

void Session::leave() {
  if (over_) return;
  over_ = true;
  stream_->close(1);
}

void Session::end(SessionEnd how) {
  if (over_) return;
  if (how == SessionEnd::vanished) {
    over_ = true;
    stream_->vanish(1, [&node = world_.node(member_)] { return node.powered; });
    return;
  }
  const bool busy = stage_ == Stage::busy;
  if (how == SessionEnd::orphaned || how == SessionEnd::shutdown) {
    orphan_ = true;
    if (busy) return;  // it leaves when its request is done
    if (how == SessionEnd::shutdown) error("FATAL", "57P01", "terminating connection due to administrator command");
  } else if (how == SessionEnd::crash && world_.pooled_random.chance(0.5)) {
    error("FATAL", "57P02", "terminating connection because of crash of another server process");
  }
  flush();
  leave();
}

void Session::promoted() {
  if (over_ || stage_ == Stage::startup) return;
  wire::append_parameter_status(out_, "in_hot_standby", "off");
  if (stage_ == Stage::ready) flush();
}

void Session::flush() {
  if (out_.empty() || over_) return;
  stream_->send(1, std::move(out_));
  out_.clear();
}

void Session::error(std::string_view severity, std::string_view sqlstate, std::string_view text) {
  wire::ErrorFields fields;
  fields.severity = severity;
  fields.sqlstate = sqlstate;
  fields.message = text;
  wire::append_error(out_, fields);
  if (status_ == 'T') status_ = 'E';
  writes_.clear();
}

void Session::ready() {
  wire::append_ready_for_query(out_, status_);
  flush();
}

void Session::input(std::string bytes) {
  if (over_) return;
  in_ += bytes;
  work();
}

void Session::work() {
  if (stage_ == Stage::startup) first_packet();
  while (!over_ && stage_ == Stage::ready) {
    if (orphan_) {
      flush();
      return leave();
    }
    wire::Message message;
    const wire::Scan scan = wire::read_message(in_, message);
    if (scan == wire::Scan::incomplete) break;
    if (scan == wire::Scan::invalid || !wire::is_frontend_type(message.type)) {
      world_.checkers.violate("bytes", fmt::format("{} was sent something that is no message", world_.name(member_)));
      return;
    }
    const std::string body(message.body);
    const char type = message.type;
    in_.erase(0, message.size());
    this->message(type, body);
  }
  if (stage_ == Stage::ready) flush();
}

void Session::first_packet() {
  auto packet = wire::parse_first_packet(in_);
  if (!packet || !*packet) return;
  in_.erase(0, (*packet)->size);
  using Phase = Postgres::Phase;
  const bool starting = pg_.phase() == Phase::starting;
  if (!pg_.answers()) {
    error("FATAL", "57P03", starting ? "the database system is starting up" : "the database system is shutting down");
  } else if (!pg_.takes_clients()) {
    error("FATAL", "28000", "pg_hba.conf rejects connection");
  } else {
    wire::append_authentication_ok(out_);
    for (const auto& [name, value] : {std::pair("server_version", "15.8"), std::pair("client_encoding", "UTF8"), std::pair("application_name", ""),
                                      std::pair("in_hot_standby", pg_.phase() == Phase::primary ? "off" : "on")}) {
      wire::append_parameter_status(out_, name, value);
    }
    wire::append_backend_key_data(out_, {static_cast<uint32_t>(world_.next_pid()), "key!"});
    stage_ = Stage::ready;
    return ready();
  }
  flush();
  leave();
}

void Session::message(char type, std::string_view body) {
  if (skipping_ && type != wire::frontend::sync && type != wire::frontend::terminate) return;
  switch (type) {
    case wire::frontend::terminate: return leave();
    case wire::frontend::query: {
      auto sql = wire::parse_query(body);
      query(std::string(sql.value_or("")));
      return;
    }
    case wire::frontend::parse: {
      auto parsed = wire::parse_parse(body);
      if (!parsed) break;
      if (status_ == 'E') {
        error("ERROR", "25P02", "current transaction is aborted");
        skipping_ = true;
        return;
      }
      if (!parsed->name.empty() && statements_.contains(parsed->name)) {
        error("ERROR", "42P05", "prepared statement already exists");
        skipping_ = true;
        return;
      }
      statements_[std::string(parsed->name)] = parsed->query;
      wire::append_parse_complete(out_);
      return;
    }
    case wire::frontend::bind: {
      auto parsed = wire::parse_bind(body);
      if (!parsed) break;
      auto found = statements_.find(parsed->statement);
      auto values = wire::parse_bind_values(parsed->rest);
      if (found == statements_.end() || !values || values->values.size() != 1 || !values->values[0]) {
        error("ERROR", "26000", "prepared statement does not exist");
        skipping_ = true;
        return;
      }
      portal_sql_ = found->second;
      portal_parameter_ = *values->values[0];
      wire::append_bind_complete(out_);
      return;
    }
    case wire::frontend::describe: {
      auto parsed = wire::parse_describe_or_close(body);
      if (!parsed) break;
      if (status_ == 'E' || !statements_.contains(parsed->name)) {
        error("ERROR", status_ == 'E' ? "25P02" : "26000", "cannot describe this");
        skipping_ = true;
        return;
      }
      wire::append_parameter_description(out_, std::array<uint32_t, 1>{25});
      wire::append_row_description(out_, std::array<wire::Column, 1>{});
      return;
    }
    case wire::frontend::execute:
      if (!execute(portal_sql_, portal_parameter_, false)) skipping_ = true;
      return;
    case wire::frontend::close: {
      auto parsed = wire::parse_describe_or_close(body);
      if (!parsed) break;
      if (auto found = statements_.find(parsed->name); found != statements_.end()) statements_.erase(found);
      wire::append_close_complete(out_);
      return;
    }
    case wire::frontend::sync:
      skipping_ = false;
      if (status_ == 'I' && !writes_.empty()) return commit({});
      return ready();
    default: return;
  }
  world_.checkers.violate("bytes", fmt::format("{} was sent a broken message of type {}", world_.name(member_), type));
}

// A simple query: statements one after the other, up to the first error.
void Session::query(const std::string& sql) {
  if (sql == pool::verify_question()) {
    const std::string id = std::to_string(pg_.dir.system_id), term = std::to_string(pg_.loaded().term);
    const bool standby = pg_.phase() != Postgres::Phase::primary && pg_.phase() != Postgres::Phase::stopping;
    const std::array<wire::Value, 3> row{wire::Value(standby ? "t" : "f"), wire::Value(id),
                                         pg_.loaded().term > 0 ? wire::Value(term) : wire::Value()};
    wire::append_row_description(out_, std::array<wire::Column, 3>{});
    wire::append_data_row(out_, row);
    wire::append_command_complete(out_, "SELECT 1");
    return ready();
  }
  if (sql == "BEGIN") {
    if (status_ == 'I') status_ = 'T';
    wire::append_command_complete(out_, "BEGIN");
    return ready();
  }
  if (sql == "COMMIT") {
    if (status_ == 'T' && !writes_.empty()) return commit("COMMIT");
    wire::append_command_complete(out_, status_ == 'E' ? "ROLLBACK" : "COMMIT");
    status_ = 'I';
    return ready();
  }
  if (sql.empty()) {
    wire::append_empty_query_response(out_);
    return ready();
  }
  if (sql.starts_with("SET ")) {
    std::string_view rest = sql;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(';'), rest.size());
      std::string_view name, value;
      if (parse_set(rest.substr(0, end), name, value)) {
        if (name == "application_name") application_name_ = value;
        wire::append_command_complete(out_, "SET");
        wire::append_parameter_status(out_, name, value);
      }
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return ready();
  }
  if (!execute(sql, {}, true)) return ready();
  if (status_ == 'I' && !writes_.empty()) return commit({});
  ready();
}

// "INSERT tag", "SELECT tag", "DIVIDE tag" (by zero), or with ? the tag is the parameter; a comment names whose text it is.
bool Session::execute(const std::string& sql, std::string_view parameter, bool describe) {
  if (status_ == 'E') {
    error("ERROR", "25P02", "current transaction is aborted");
    return false;
  }
  const std::string_view verb = std::string_view(sql).substr(0, 7);
  std::string_view rest = std::string_view(sql).substr(std::min<size_t>(7, sql.size()));
  const std::string_view tag = rest.starts_with('?') ? parameter : rest;
  if (verb != "INSERT " && verb != "SELECT " && verb != "DIVIDE ") {
    world_.checkers.violate("bytes", fmt::format("{} was sent a query that nobody wrote: {}", world_.name(member_), sql));
    return false;
  }
  if (application_name_ != owner_of(tag)) {
    world_.checkers.violate("bytes", fmt::format("{} runs {} {} under application_name {}", world_.name(member_), verb, tag, application_name_));
    return false;
  }
  if (rest.starts_with("?/*") && rest != "?/*all*/" && rest != fmt::format("?/*{}*/", owner_of(tag))) {
    world_.checkers.violate("bytes", fmt::format("{} runs another client's statement {} for {}", world_.name(member_), sql, tag));
    return false;
  }
  if (verb == "DIVIDE ") {
    error("ERROR", "22012", "division by zero");
    return false;
  }
  if (verb == "INSERT ") {
    if (pg_.phase() != Postgres::Phase::primary) {
      error("ERROR", "25006", "cannot execute INSERT in a read-only transaction");
      return false;
    }
    writes_.emplace_back(tag);
  }
  if (describe) wire::append_row_description(out_, std::array<wire::Column, 1>{});
  const wire::Value value = tag;
  wire::append_data_row(out_, {&value, 1});
  wire::append_command_complete(out_, verb == "INSERT " ? "INSERT 0 1" : "SELECT 1");
  return true;
}

void Session::commit(std::string tag_line) {
  stage_ = Stage::busy;
  std::vector<std::string> tags = std::move(writes_);
  writes_.clear();
  auto self = shared_from_this();
  pg_.client_write(
      true,
      [self, tag_line = std::move(tag_line)](WriteResult result) {
        if (self->over_) return;
        // Whoever is told to go while it waits for a standby says nothing of its commit.
        if (result == WriteResult::unknown) return self->leave();
        if (result == WriteResult::failed) {
          self->error("FATAL", "57P01", "terminating connection due to administrator command");
          self->flush();
          return self->leave();
        }
        if (!tag_line.empty()) wire::append_command_complete(self->out_, tag_line);
        self->status_ = 'I';
        self->stage_ = Stage::ready;
        self->ready();
        self->work();
      },
      [self, tags = std::move(tags)](RecordId record) { self->world_.pooled->written(tags, record, self->member_); });
}

// ---- sessions -----------------------------------------------------------------------------------------------------

bool Sessions::accept(std::shared_ptr<Stream> stream) {
  if (!world_.node(member_).pg.postmaster()) return false;
  std::erase_if(sessions_, [](const auto& session) { return session->over(); });
  sessions_.push_back(std::make_shared<Session>(world_, member_, std::move(stream)));
  sessions_.back()->start();
  return true;
}

void Sessions::end(SessionEnd how) {
  if (sessions_.empty()) return;
  const std::vector<std::shared_ptr<Session>> all = sessions_;
  for (const auto& session : all) session->end(how);
  std::erase_if(sessions_, [](const auto& session) { return session->over(); });
}

void Sessions::promoted() {
  for (const auto& session : sessions_) session->promoted();
}

}  // namespace pgdba::sim
