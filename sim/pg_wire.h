// The server side of PostgreSQL's protocol over the simulated PostgreSQL: what a pooler and its clients talk to.
//
// A session speaks real bytes (startup, the simple and the extended protocol, as far as the clients of pooled_client.h use
// them) and writes through Postgres::client_write(), so a COMMIT is answered when the synchronous standbys have let it go. One
// request at a time: while one runs, later bytes wait. What a session cannot know it does not say: a server that is killed
// leaves a closed connection, a vanished one leaves nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stream.h"
#include "wal.h"

namespace pgdba::sim {

class World;
class Postgres;

// How a server's sessions end.
enum class SessionEnd {
  shutdown,  // FATAL 57P01, as by pg_ctl stop -m fast
  crash,     // WARNING and FATAL 57P02, or nothing
  orphaned,  // the postmaster is gone: idle ones leave at once, busy ones go on
  killed,    // closed without a word
  vanished,  // the machine is gone
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(World& world, int member, std::shared_ptr<Stream> stream);
  void start();
  void end(SessionEnd how);
  // in_hot_standby has changed.
  void promoted();
  [[nodiscard]] bool over() const { return over_; }

 private:
  enum class Stage { startup, ready, busy };
  void input(std::string bytes);
  void work();
  void first_packet();
  void message(char type, std::string_view body);
  void query(const std::string& sql);
  // What one statement does; false: an error was sent.
  bool execute(const std::string& sql, std::string_view parameter, bool describe);
  // Ends the transaction, or what is an implicit one; then `tail`.
  void commit(std::string tag_line);
  void ready();
  void error(std::string_view severity, std::string_view sqlstate, std::string_view text);
  void flush();
  void leave();

  World& world_;
  int member_;
  Postgres& pg_;
  std::shared_ptr<Stream> stream_;
  uint64_t life_;
  Stage stage_ = Stage::startup;
  bool over_ = false;
  bool orphan_ = false;
  std::string in_, out_;
  char status_ = 'I';
  bool skipping_ = false;  // to the next Sync
  std::vector<std::string> writes_;  // tags of the transaction that is open
  std::map<std::string, std::string, std::less<>> statements_;
  std::string portal_sql_, portal_parameter_;
  std::string application_name_;
};

// All sessions of one server.
class Sessions {
 public:
  Sessions(World& world, int member) : world_(world), member_(member) {}
  // A connection has arrived. False: refused.
  bool accept(std::shared_ptr<Stream> stream);
  void end(SessionEnd how);
  void promoted();

 private:
  World& world_;
  int member_;
  std::vector<std::shared_ptr<Session>> sessions_;
};

}  // namespace pgdba::sim
