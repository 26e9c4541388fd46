// One member's PostgreSQL: its data directory and, while it runs, its processes.
//
// The log is a list of records (wal.h). What makes replication treacherous is modelled as PostgreSQL 15 does it: each walsender reads
// synchronous_standby_names by itself, only the checkpointer switches waiting on and off (Y3), acknowledgements are
// counted by connection (W9), a walreceiver outlives a cleared conninfo until the startup process notices (W3), a
// restarted standby understates its position (W4), backends outlive their postmaster (G1), and whoever waited for a
// standby is visible after a restart (G4).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "events.h"
#include "model/local.h"
#include "pg_wire.h"
#include "wal.h"

namespace pgdba::sim {

class World;

struct DataDirectory {
  model::DataDir kind = model::DataDir::empty;
  std::string why;
  uint64_t system_id = 0;
  bool standby_signal = false;
  bool novote = false;
  bool pristine = false;  // made by initdb, never started as a primary
  bool pooler_auth = false;
  std::map<uint32_t, std::string> nonces;
  std::set<uint32_t> known_timelines;     // history files, stubs among them
  std::map<uint32_t, Lsn> timeline_starts;
  Wal wal;
  model::ControlState control = model::ControlState::unknown;
  size_t checkpoint = 0;  // where recovery begins
  model::PgConfig on_disk;
};

// A replication connection: a walsender at `up`, a walreceiver (or a clone's) at `down`.
struct Connection {
  int pid = 0;
  int up = 0;
  int down = 0;
  uint64_t up_life = 0;
  uint64_t down_life = 0;
  std::string application_name;
  bool up_open = true;
  bool down_open = true;
  bool is_clone = false;
  bool diverged = false;  // the same timeline number, other records: bytes arrive that fit nothing (E7)
  bool sending = false;
  size_t sent = 0;
  Lsn flushed;            // as the walsender knows
  Lsn caught_up_at;       // from here on the row says "streaming"
  model::SyncNames names; // as this walsender has taken it
  std::optional<Lsn> signalled_at;  // it has been told to read the setting again, when WAL went so far, and has not yet
  int quiet = 0;          // checks without a sign of life
};

enum class WriteResult { ok, failed, unknown };

class Postgres {
 public:
  enum class Phase { stopped, starting, recovery, promoting, primary, stopping };
  Postgres(World& world, int member);

  DataDirectory dir;
  Process server;  // all processes of the last postmaster; it ends with the last of them
  Sessions sessions;  // of clients that speak the protocol

  // ---- life
  void start();                     // from files alone, as pg_ctl does
  void kill_postmaster();           // the backends go on
  void kill_rest(std::function<void()> done);  // postmaster first, then every descendant; done when all are gone
  void vanish();                    // power loss: everything at once
  void crash_backend();
  void stop_fast(std::function<void()> done);
  void reload();
  void promote(std::function<void(bool)> done);
  void checkpoint(std::function<void()> done);
  void lose_tail(size_t records);

  // ---- use
  // `written`: where the write stands in the log, as soon as it does.
  void client_write(bool old_session, std::function<void(WriteResult)> reply, std::function<void(RecordId)> written = {});
  bool client_read();
  RecordId append(Record::Kind kind);
  void probe_sync(std::function<void(bool)> done);
  void end_walsender(int pid);
  void reset_connections(int other);  // a firewall's resets: both ends hear of it
  void block_replay(Duration length);
  void busy_checkpointer(Duration length);
  // A base backup of this server under `application_name`, acknowledging what it has not got (mutation w9).
  std::shared_ptr<Connection> open_clone(int down, const std::string& application_name);
  void close(const std::shared_ptr<Connection>& connection);

  // ---- looking
  [[nodiscard]] bool postmaster() const { return postmaster_; }
  [[nodiscard]] bool all_dead() const { return !server.alive(); }
  [[nodiscard]] bool was_primary() const { return was_primary_; }  // the last postmaster was a primary
  [[nodiscard]] Phase phase() const { return phase_; }
  [[nodiscard]] uint64_t incarnation() const { return incarnation_; }
  [[nodiscard]] bool is_primary() const { return server.alive() && phase_ == Phase::primary; }
  [[nodiscard]] bool answers() const;
  [[nodiscard]] const model::PgConfig& loaded() const { return loaded_; }
  [[nodiscard]] bool takes_clients() const { return postmaster_ && answers() && !loaded_.gate_closed; }
  [[nodiscard]] bool streams_from(int member) const;
  [[nodiscard]] Lsn end() const;
  [[nodiscard]] uint32_t timeline() const;
  [[nodiscard]] bool exhausted() const { return exhausted_; }
  [[nodiscard]] Lsn reported_position() const;  // understated until the local log is exhausted
  void look(model::LocalPg& out) const;
  [[nodiscard]] std::string summary() const;  // for people
  void measure_wal() { measured_ = true; }
  void forget_exit();
  bool exit_unexpected = false;
  bool exit_after_panic = false;
  bool told_to_stop = false;
  size_t visible_base() const { return visible_base_; }
  size_t replayed() const { return replayed_; }
  // After the log was replaced by a clone or rewind.
  void log_replaced();

 private:
  friend class World;
  struct Waiter {
    RecordId record;
    Lsn end;
    std::function<void(WriteResult)> reply;
  };
  void run(Duration delay, std::function<void()> fn);
  void append_copies(const Wal& from, size_t first, size_t last);
  // lifecycle (postgres.cpp)
  void become_primary();
  void enter_recovery();
  void finish_stop(std::function<void()> done, int tries);
  void server_ended();
  void postmaster_gone();
  void drop_clients();
  // configuration and the startup process (postgres.cpp)
  void take_reload();
  void take_sync_flag();
  void obey();
  void prove_freeze();
  void advance_replay();
  // replication (replication.cpp)
  void try_connect();
  void schedule_connect();
  void connect(int upstream);
  void pump();
  void pump(const std::shared_ptr<Connection>& connection);
  void deliver(const std::shared_ptr<Connection>& connection, const Wal& batch);
  void reply(const std::shared_ptr<Connection>& connection);
  void watch(const std::shared_ptr<Connection>& connection);
  void close_receiver();
  void close_all();
  void release(const Connection& connection);
  void release_to(Lsn end, int count);
  void acknowledge(RecordId record);

  World& world_;
  int member_;
  Phase phase_ = Phase::stopped;
  bool postmaster_ = false;
  uint64_t incarnation_ = 0;
  model::PgConfig loaded_;
  model::PgConfig obeyed_;  // what the startup process has taken
  bool measured_ = false;
  bool was_primary_ = false;
  std::optional<Time> dying_at_;  // a kill is under way
  // standby
  std::shared_ptr<Connection> receiver_;
  bool connecting_ = false;
  bool exhausted_ = false;
  size_t replayed_ = 0;
  Time replay_blocked_until_{};
  std::string frozen_nonce_;
  // primary
  bool sync_defined_ = false;
  Time checkpointer_busy_until_{};
  std::vector<Waiter> waiters_;
  std::vector<std::shared_ptr<Connection>> senders_;
  Lsn released_;
  size_t visible_base_ = 0;
  int statements_ = 0;
};

}  // namespace pgdba::sim
