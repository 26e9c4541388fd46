#include "pooler/console/session.h"

#include <utility>

#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pooler {

namespace {

constexpr uint32_t kMaxCommand = 65536;
constexpr size_t kMaxNames = 1000;  // statements and portals that one connection may keep

void append_problem(std::string& out, std::string_view text, std::string_view sqlstate,
                    std::string_view severity = "ERROR") {
  wire::ErrorFields fields;
  fields.severity = severity;
  fields.sqlstate = sqlstate;
  fields.message = text;
  wire::append_error(out, fields);
}

}  // namespace

void Session::welcome(std::string& out, std::string_view server_version, const wire::CancelKey& key) {
  wire::append_parameter_status(out, "server_version", server_version);
  wire::append_parameter_status(out, "client_encoding", "UTF8");
  wire::append_parameter_status(out, "server_encoding", "UTF8");
  wire::append_parameter_status(out, "DateStyle", "ISO");
  wire::append_parameter_status(out, "TimeZone", "GMT");
  wire::append_parameter_status(out, "standard_conforming_strings", "on");
  wire::append_parameter_status(out, "is_superuser", "on");
  wire::append_backend_key_data(out, key);
  wire::append_ready_for_query(out, 'I');
}

Session::Read Session::input(std::string_view bytes, std::string& out) {
  Read read;
  while (!busy_) {
    wire::Message message;
    const wire::Scan scan = wire::read_message(bytes.substr(read.consumed), message, kMaxCommand);
    if (scan == wire::Scan::incomplete) return read;
    if (scan == wire::Scan::invalid || !wire::is_frontend_type(message.type)) {
      append_problem(out, "unknown pkt", "08P01", "FATAL");
      read.close = true;
      return read;
    }
    read.consumed += message.size();
    if (message.type == wire::frontend::terminate) {
      read.close = true;
      return read;
    }
    if (message.type == wire::frontend::sync) {
      skipping_ = false;
      wire::append_ready_for_query(out, 'I');
      continue;
    }
    if (skipping_) continue;
    switch (message.type) {
      case wire::frontend::query: on_query(message.body, out, read); break;
      case wire::frontend::parse: on_parse(message.body, out); break;
      case wire::frontend::bind: on_bind(message.body, out); break;
      case wire::frontend::describe: on_describe(message.body, out); break;
      case wire::frontend::execute: on_execute(message.body, out, read); break;
      case wire::frontend::close: on_close(message.body, out); break;
      case wire::frontend::function_call:
        append_problem(out, "the console has no functions", "0A000");
        wire::append_ready_for_query(out, 'I');
        break;
      default: break;  // Flush; COPY's messages, which PostgreSQL passes over, too
    }
  }
  return read;
}

void Session::on_query(std::string_view body, std::string& out, Read& read) {
  auto text = wire::parse_query(body);
  auto command = text ? parse_command(*text) : Result<Command>(fail(Errc::invalid, "broken message"));
  portals_.erase("");
  if (!command || command->verb == Verb::empty) {
    if (command)
      wire::append_empty_query_response(out);
    else
      append_problem(out, command.error().text, "08P01");
    wire::append_ready_for_query(out, 'I');
    return;
  }
  busy_ = simple_ = true;
  running_ = *command;
  read.run = *command;
}

// To the next Sync. Portals do not outlive an error, as in PostgreSQL.
void Session::skip() {
  skipping_ = true;
  portals_.clear();
}

void Session::refuse(std::string& out, std::string_view text, std::string_view sqlstate) {
  append_problem(out, text, sqlstate);
  skip();
}

void Session::on_parse(std::string_view body, std::string& out) {
  auto message = wire::parse_parse(body);
  if (!message) return refuse(out, "broken message");
  auto command = parse_command(message->query);
  if (!command) return refuse(out, command.error().text);
  if (!message->name.empty() && statements_.contains(message->name)) {
    return refuse(out, "prepared statement \"" + std::string(message->name) + "\" already exists", "42P05");
  }
  if (statements_.size() >= kMaxNames) return refuse(out, "too many prepared statements", "53400");
  statements_.insert_or_assign(std::string(message->name), std::move(*command));
  wire::append_parse_complete(out);
}

void Session::on_bind(std::string_view body, std::string& out) {
  auto message = wire::parse_bind(body);
  auto values = message ? wire::parse_bind_values(message->rest) : std::nullopt;
  if (!values) return refuse(out, "broken message");
  auto statement = statements_.find(message->statement);
  if (statement == statements_.end()) {
    return refuse(out, "prepared statement \"" + std::string(message->statement) + "\" does not exist", "26000");
  }
  if (!values->values.empty()) return refuse(out, "the console's commands have no parameters");
  const Columns columns = columns_of(statement->second);
  if (values->result_formats.size() > 1 && values->result_formats.size() != columns.size()) {
    return refuse(out, "bind message has " + std::to_string(values->result_formats.size()) +
                           " result formats but query has " + std::to_string(columns.size()) + " columns");
  }
  for (const uint16_t format : values->result_formats) {
    if (format > 1) return refuse(out, "unsupported format code: " + std::to_string(format), "22023");
  }
  if (!message->portal.empty() && portals_.contains(message->portal)) {
    return refuse(out, "cursor \"" + std::string(message->portal) + "\" already exists", "42P03");
  }
  if (portals_.size() >= kMaxNames) return refuse(out, "too many portals", "53400");
  portals_.insert_or_assign(std::string(message->portal),
                            Portal{statement->second, std::move(values->result_formats), std::nullopt, 0});
  wire::append_bind_complete(out);
}

void Session::on_describe(std::string_view body, std::string& out) {
  auto message = wire::parse_describe_or_close(body);
  if (!message) return refuse(out, "broken message");
  const Command* command = nullptr;
  std::span<const uint16_t> formats;
  if (message->kind == 'S') {
    auto found = statements_.find(message->name);
    if (found == statements_.end()) {
      return refuse(out, "prepared statement \"" + std::string(message->name) + "\" does not exist", "26000");
    }
    command = &found->second;
    wire::append_parameter_description(out, {});
  } else {
    auto found = portals_.find(message->name);
    if (found == portals_.end())
      return refuse(out, "portal \"" + std::string(message->name) + "\" does not exist", "34000");
    command = &found->second.command;
    formats = found->second.formats;
  }
  const Columns columns = columns_of(*command);
  if (columns.empty())
    wire::append_no_data(out);
  else
    append_description(out, columns, formats);
}

void Session::on_execute(std::string_view body, std::string& out, Read& read) {
  auto message = wire::parse_execute(body);
  if (!message) return refuse(out, "broken message");
  auto found = portals_.find(message->portal);
  if (found == portals_.end())
    return refuse(out, "portal \"" + std::string(message->portal) + "\" does not exist", "34000");
  Portal& portal = found->second;
  max_rows_ = message->max_rows;
  if (portal.command.verb == Verb::empty) return void(wire::append_empty_query_response(out));
  if (portal.result) return send_rows(portal, out);
  busy_ = true;
  simple_ = false;
  portal_ = found->first;
  running_ = portal.command;
  read.run = portal.command;
}

void Session::on_close(std::string_view body, std::string& out) {
  auto message = wire::parse_describe_or_close(body);
  if (!message) return refuse(out, "broken message");
  if (message->kind == 'S') {
    if (auto found = statements_.find(message->name); found != statements_.end()) statements_.erase(found);
  } else if (auto found = portals_.find(message->name); found != portals_.end()) {
    portals_.erase(found);
  }
  wire::append_close_complete(out);
}

void Session::send_rows(Portal& portal, std::string& out) const {
  const Table& table = *portal.result;
  int32_t sent = 0;
  while (portal.next < table.rows.size() && (max_rows_ <= 0 || sent < max_rows_)) {
    append_row(out, table.columns, table.rows[portal.next], portal.formats);
    ++portal.next;
    ++sent;
  }
  if (max_rows_ > 0 && sent == max_rows_ && portal.next < table.rows.size()) {
    out.append({wire::backend::portal_suspended, 0, 0, 0, 4});
  } else {
    wire::append_command_complete(out, tag_of(portal.command));
  }
}

void Session::done(Outcome outcome, std::string& out) {
  if (!std::exchange(busy_, false)) return;
  if (!outcome.notice.empty()) {
    wire::ErrorFields fields;
    fields.severity = "NOTICE";
    fields.sqlstate = "00000";
    fields.message = outcome.notice;
    fields.detail = outcome.notice_detail;
    wire::append_notice(out, fields);
  }
  if (outcome.problem) {
    append_problem(out, outcome.problem->text, outcome.problem->sqlstate);
    if (!simple_) skip();
  } else if (simple_) {
    if (outcome.table && !outcome.table->columns.empty()) {
      append_description(out, outcome.table->columns);
      for (const Row& row : outcome.table->rows) append_row(out, outcome.table->columns, row);
    }
    wire::append_command_complete(out, tag_of(running_));
  } else if (auto found = portals_.find(portal_); found != portals_.end()) {
    found->second.result = outcome.table ? std::move(*outcome.table) : Table{};
    send_rows(found->second, out);
  }
  if (simple_) wire::append_ready_for_query(out, 'I');
}

}  // namespace pgdba::pooler
