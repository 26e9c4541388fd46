// One administrator's connection as a machine: bytes in, bytes and commands out.
//
// Speaks the simple and the extended protocol (without parameters of statements). At most one command is under way;
// until done() is called nothing more is read. Invariant: every Query and every Sync is answered with one
// ReadyForQuery, in order, and after an error in the extended protocol everything up to Sync is passed over.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pooler/console/table.h"
#include "wire/pg_startup.h"

namespace pgdba::pooler {

// What a command has come to.
struct Outcome {
  struct Problem {
    std::string text;
    std::string sqlstate = "08P01";
  };
  std::optional<Problem> problem;
  std::optional<Table> table;
  std::string notice, notice_detail;
};

class Session {
 public:
  struct Read {
    size_t consumed = 0;
    std::optional<Command> run;  // to be carried out; done() follows
    bool close = false;          // the connection is over
  };
  // Answers are appended to `out`.
  Read input(std::string_view bytes, std::string& out);
  void done(Outcome outcome, std::string& out);
  [[nodiscard]] bool busy() const { return busy_; }

  // What follows AuthenticationOk.
  static void welcome(std::string& out, std::string_view server_version, const wire::CancelKey& key);

 private:
  struct Portal {
    Command command;
    std::vector<uint16_t> formats;
    std::optional<Table> result;
    size_t next = 0;  // of its rows
  };
  void on_query(std::string_view body, std::string& out, Read& read);
  void on_parse(std::string_view body, std::string& out);
  void on_bind(std::string_view body, std::string& out);
  void on_describe(std::string_view body, std::string& out);
  void on_execute(std::string_view body, std::string& out, Read& read);
  void on_close(std::string_view body, std::string& out);
  void send_rows(Portal& portal, std::string& out) const;
  void skip();
  void refuse(std::string& out, std::string_view text, std::string_view sqlstate = "08P01");

  bool busy_ = false;
  bool simple_ = false;    // the command under way came by Query
  bool skipping_ = false;  // up to the next Sync
  Command running_;
  std::string portal_;  // whose Execute is under way
  int32_t max_rows_ = 0;
  std::map<std::string, Command, std::less<>> statements_;
  std::map<std::string, Portal, std::less<>> portals_;
};

}  // namespace pgdba::pooler
