// Clients with a journal, and the pooler that most of them go through.
//
// The pooler follows terms as src/pooler will: it lends only servers of the newest term that it has seen, only while
// its view of etcd is younger than ttl / 2, and takes part in the choreography of a switchover.
#pragma once

#include <cstdint>
#include <memory>

#include "events.h"
#include "model/cluster.h"
#include "postgres.h"

namespace pgdba::sim {

class World;

struct Journal {
  uint64_t ok = 0;
  uint64_t failed = 0;
  uint64_t unknown = 0;
  Time longest_gap{};
};

class Pooler {
 public:
  explicit Pooler(World& world) : world_(world) {}
  void start();
  void etcd_event();
  // The member that may be lent now, or -1.
  [[nodiscard]] int server() const;
  [[nodiscard]] model::Term term() const { return term_; }
  void lent() { ++in_flight_; }
  void returned();

 private:
  void refresh();
  void see();
  void publish(model::PoolerRecord::State state);

  World& world_;
  model::Term term_ = 0;
  std::string leader_;
  Time as_of_{};
  bool due_ = false;
  int in_flight_ = 0;
  std::optional<model::Switchover> hold_;
  Time hold_until_{};
  model::PoolerRecord::State published_ = model::PoolerRecord::State::open;
};

class Clients {
 public:
  explicit Clients(World& world) : world_(world), pooler_(world) {}
  void start();
  void etcd_event() { pooler_.etcd_event(); }
  [[nodiscard]] const Journal& journal() const { return journal_; }

 private:
  void pooled_writer();
  // Keeps its session, opened while a standby's gate was open perhaps, until the server ends (G5).
  struct Session {
    int member = -1;
    uint64_t life = 0;
    int failures = 0;
  };
  void direct_writer(std::shared_ptr<Session> session);
  void reader();
  void write_to(int member, model::Term at_least, uint64_t session_life, std::function<void(WriteResult)> then);

  World& world_;
  Pooler pooler_;
  Journal journal_;
  Time last_ok_{};
};

}  // namespace pgdba::sim
