// A server that answers as PostgreSQL would, for random traffic: it knows prepared statements, transactions, errors
// until Sync and COPY. What a statement's text says decides: "bad…" fails, "begin", "commit", "rollback", "copy",
// "deallocate", "set ZONE", and anything else is answered by one row that holds the text and the zone, so that one sees
// whose answer it is.
//
// Header only: the fuzzer uses it, too. Whatever it is sent must be well-formed; broken() says what was not.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "wire/pg_build.h"
#include "wire/pg_frame.h"
#include "wire/pg_parse.h"

namespace pgdba::pool::testing {

class FakePostgres {
 public:
  // Takes the bytes; what it answers is appended to out().
  void input(std::string_view bytes) {
    in_.append(bytes);
    wire::Message message;
    std::string_view rest = in_;
    while (broken_.empty() && !closed_ && wire::read_message(rest, message) == wire::Scan::complete) {
      const std::string body(message.body);
      rest.remove_prefix(message.size());
      take(message.type, body);
    }
    in_.erase(0, in_.size() - rest.size());
  }
  std::string& out() { return out_; }
  [[nodiscard]] const std::string& broken() const { return broken_; }
  [[nodiscard]] bool in_copy() const { return copy_ != Copy::none; }
  [[nodiscard]] bool closed() const { return closed_; }
  // A COPY has failed by its data, and its client has not said anything yet that cannot be meant for it.
  [[nodiscard]] bool copy_failed() const { return copy_failed_; }
  // Nothing is open, and nothing is half received.
  [[nodiscard]] bool at_rest() const {
    return in_.empty() && status_ == 'I' && !implicit_ && !skipping_ && copy_ == Copy::none;
  }
  [[nodiscard]] const std::string& zone() const { return zone_; }

 private:
  enum class Copy { none, simple, extended };

  void take(char type, std::string_view body) {
    if (copy_ != Copy::none) return in_copy(type, body);
    if (type != 'd' && type != 'S' && type != 'H') copy_failed_ = false;
    if (skipping_ && type != 'S' && type != 'X') return;
    switch (type) {
      case 'Q': return query(*wire::parse_query(body));
      case 'P': {
        auto parse = wire::parse_parse(body);
        if (!parse) return breaks("Parse");
        implicit_ = true;
        const std::string name(parse->name), text(parse->query);
        // PostgreSQL refuses a Parse in a failed transaction, and complains of the text before it does of the name; the
        // pooler, which may not ask it, leaves the first to the Bind and says the second.
        if (!name.empty() && statements_.contains(name))
          return error("42P05", "prepared statement \"" + name + "\" already exists");
        if (text.starts_with("unparsable")) return error("42601", "syntax error in " + text);
        statements_[name] = text;
        wire::append_parse_complete(out_);
        return;
      }
      case 'B': {
        auto bind = wire::parse_bind(body);
        if (!bind) return breaks("Bind");
        implicit_ = true;
        auto found = statements_.find(std::string(bind->statement));
        if (found == statements_.end())
          return error("26000", "prepared statement \"" + std::string(bind->statement) + "\" does not exist");
        if (status_ == 'E' && found->second != "rollback") return error("25P02", "current transaction is aborted");
        portals_[std::string(bind->portal)] = found->second;
        wire::append_bind_complete(out_);
        return;
      }
      case 'D': {
        auto named = wire::parse_describe_or_close(body);
        if (!named) return breaks("Describe");
        implicit_ = true;
        auto& all = named->kind == 'S' ? statements_ : portals_;
        if (!all.contains(std::string(named->name)))
          return error("26000", "\"" + std::string(named->name) + "\" does not exist");
        if (named->kind == 'S') wire::append_parameter_description(out_, {});
        wire::append_no_data(out_);
        return;
      }
      case 'C': {
        auto named = wire::parse_describe_or_close(body);
        if (!named) return breaks("Close");
        implicit_ = true;
        (named->kind == 'S' ? statements_ : portals_).erase(std::string(named->name));
        wire::append_close_complete(out_);
        return;
      }
      case 'E': {
        auto execute = wire::parse_execute(body);
        if (!execute) return breaks("Execute");
        implicit_ = true;
        auto found = portals_.find(std::string(execute->portal));
        if (found == portals_.end()) return error("34000", "portal does not exist");
        run(found->second, Copy::extended);
        return;
      }
      case 'S':
        skipping_ = false;
        ready();
        return;
      case 'H':
      case 'd':
      case 'c':
      case 'f': return;  // of a COPY that has failed
      case 'X': closed_ = true; return;
      default: return breaks(std::string("a message of type ") + type);
    }
  }

  void in_copy(char type, std::string_view body) {
    if (type == 'd') {
      if (body.starts_with("bad")) {
        copy_fails("22P02", "bad row");
        copy_failed_ = true;
      }
    } else if (type == 'c') {
      const Copy was = copy_;
      copy_ = Copy::none;
      wire::append_command_complete(out_, "COPY 1");
      if (was == Copy::simple) ready();
    } else if (type == 'f') {
      copy_fails("57014", "COPY from stdin failed");
    } else if (type == 'X') {
      closed_ = true;
    } else if (type != 'S' && type != 'H') {  // protocol synchronization is lost
      wire::append_error(out_, {.severity = "FATAL", .sqlstate = "08P01", .message = "unexpected message in COPY"});
      closed_ = true;
    }
  }

  void copy_fails(std::string_view code, const std::string& text) {
    const Copy was = copy_;
    copy_ = Copy::none;
    error(code, text, was == Copy::extended);
    if (was == Copy::simple) ready();
  }

  void query(std::string_view text) {
    implicit_ = true;
    if (run(std::string(text), Copy::simple)) ready();
  }

  // False: goes on with a COPY.
  bool run(const std::string& text, Copy how) {
    const bool simple = how == Copy::simple;
    if (status_ == 'E' && text != "rollback" && text != "commit") {
      error("25P02", "current transaction is aborted", !simple);
      return true;
    }
    if (text.starts_with("bad")) {
      error("42601", text, !simple);
    } else if (text == "begin") {
      status_ = 'T';
      wire::append_command_complete(out_, "BEGIN");
    } else if (text == "commit" || text == "rollback") {
      status_ = 'I';
      wire::append_command_complete(out_, "COMMIT");
    } else if (text == "copy") {
      out_.append(std::string("G\0\0\0\7\0\0\0", 8));
      copy_ = how;
      return false;
    } else if (text == "deallocate all") {
      statements_.clear();
      wire::append_command_complete(out_, "DEALLOCATE ALL");
    } else if (text.starts_with("set ") || text.starts_with("SET TimeZone=E'")) {
      zone_ = text[1] == 'e' ? text.substr(4) : text.substr(15, text.size() - 17);
      wire::append_parameter_status(out_, "TimeZone", zone_);
      wire::append_command_complete(out_, "SET");
    } else {
      const std::string row = text + "@" + zone_;
      const wire::Value value = row;
      wire::append_data_row(out_, {&value, 1});
      wire::append_command_complete(out_, "SELECT 1");
    }
    return true;
  }

  void error(std::string_view code, const std::string& text, bool extended = true) {
    wire::append_error(out_, {.severity = "ERROR", .sqlstate = code, .message = text});
    if (status_ == 'T') status_ = 'E';
    skipping_ = extended;
  }
  void ready() {
    implicit_ = false;
    portals_.clear();
    wire::append_ready_for_query(out_, status_);
  }
  void breaks(const std::string& what) { broken_ = what; }

  std::string in_, out_, broken_;
  std::map<std::string, std::string> statements_, portals_;
  std::string zone_ = "UTC";
  char status_ = 'I';
  bool implicit_ = false;  // what only a Sync or a Query ends
  bool skipping_ = false;
  bool copy_failed_ = false;
  bool closed_ = false;
  Copy copy_ = Copy::none;
};

}  // namespace pgdba::pool::testing
