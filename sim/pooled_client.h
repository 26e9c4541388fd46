// Clients that speak PostgreSQL's protocol to real poolers (pooler_host.h), and the judge of what they are told.
//
// Each client tags what it writes ("c3-17" is its 17th) and keeps what it is owed, message by message: an answer that is
// missing, doubled, out of order or another client's is a violation of "bytes". Its journal says of each transaction: ok,
// failed or indeterminate. Judged against the servers' logs: what was told to be done is acknowledged and on the newest
// primary (A, B); what was told to be rolled back is nowhere; nothing is executed twice.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pooler_host.h"
#include "stream.h"
#include "wal.h"

namespace pgdba::sim {

class World;
class Pooled;

struct PooledJournal {
  uint64_t ok = 0, failed = 0, unknown = 0;
  uint64_t reads = 0, logins = 0;
};

class PooledClient {
 public:
  PooledClient(World& world, Pooled& all, int number, bool reader);
  void start();
  [[nodiscard]] Time last_served() const { return served_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string summary() const;

 private:
  // One transaction, as far as its end is owed.
  struct Unit {
    std::vector<std::string> tags;
    bool reads = false;
    bool divides = false;   // by zero: it fails
    bool end_sent = false;  // the server may have been told to commit
    bool failed = false;
    bool block = false;     // between BEGIN and COMMIT
    std::string why;
    [[nodiscard]] std::string verb() const { return reads ? "SELECT" : divides ? "DIVIDE" : "INSERT"; }
  };
  // A message that is owed.
  struct Want {
    char type;
    std::string text;
    std::shared_ptr<Unit> unit;
    bool ends = false;  // the unit, with this ReadyForQuery
  };
  void connect();
  void run(Duration delay, std::function<void()> fn);  // unless the connection ends meanwhile
  void closed();
  void hang_up();
  void input(std::string bytes);
  bool message(char type, std::string_view body);
  void error(std::string_view body);
  void ready();
  void think();
  void begin_work();
  void go_on();
  // Requests, appended to out_.
  void ask(const std::string& sql, const std::shared_ptr<Unit>& unit, bool ends);
  void ask_extended(const std::string& tag, const std::shared_ptr<Unit>& unit, bool ends);
  void send();
  void settle(Unit& unit, bool lost);
  std::string tag();
  void bad(std::string text);

  World& world_;
  Pooled& all_;
  const int number_;
  const bool reader_;
  const std::string name_;
  std::shared_ptr<Stream> stream_;
  uint64_t session_ = 0;  // rises with each connection
  bool in_ = false;       // logged in
  bool several_ = false;  // transactions are being sent at once
  std::string input_, out_;
  std::deque<Want> wants_;
  std::deque<std::shared_ptr<Unit>> units_;  // whose end is owed, in order
  std::deque<std::string> plan_;             // statements of the transaction that are still to be sent one by one
  std::map<std::string, std::string> prepared_;
  std::string farewell_;                     // SQLSTATE of a FATAL
  std::string farewell_text_;
  uint64_t count_ = 0;
  Time served_{};
  Time waits_since_{};
};

class Pooled {
 public:
  explicit Pooled(World& world);
  void start();
  void etcd_event();
  void heal();
  [[nodiscard]] int poolers() const { return static_cast<int>(poolers_.size()); }
  [[nodiscard]] SimPooler& pooler(int i) { return *poolers_[static_cast<size_t>(i)]; }
  // Every client was served after `since`; otherwise says who was not.
  [[nodiscard]] bool served(Time since, std::string* missing) const;
  [[nodiscard]] const PooledJournal& journal() const { return journal_; }

  // A server has written the transaction of these tags.
  void written(const std::vector<std::string>& tags, RecordId record, int member);
  // A client was told so.
  void told_ok(const std::string& tag);
  void told_failed(const std::string& tag, const std::string& why);

 private:
  friend class PooledClient;
  struct Known {
    RecordId record = 0;
    bool written = false;
    bool late = false;    // by a server of an older term, when a newer one had a primary
    bool denied = false;  // the client was told that it failed
    int member = 0;
  };
  World& world_;
  std::vector<std::unique_ptr<SimPooler>> poolers_;
  std::vector<std::unique_ptr<PooledClient>> clients_;
  std::map<std::string, Known> tags_;
  PooledJournal journal_;
};

}  // namespace pgdba::sim
