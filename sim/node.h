// One simulated machine: its drifting clock, its processes (agent, guardian, postgres), what survives on its disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "events.h"
#include "ha/view.h"
#include "postgres.h"
#include "shell.h"

namespace pgdba::sim {

class World;

// CLOCK_BOOTTIME of one machine: an epoch and a rate of its own; stands still while a hypervisor pauses the machine.
class NodeClock {
 public:
  void boot(Time now, BootTime reading, double rate);
  [[nodiscard]] BootTime read(Time now) const;
  // When the clock will show `reading`, if nothing interferes.
  [[nodiscard]] Time when(BootTime reading, Time now) const;
  void stop(Time now);
  void go_on(Time now);
  [[nodiscard]] bool stopped() const { return stopped_; }
  // Until when it last stood still; true time.
  [[nodiscard]] std::optional<Time> paused_until() const { return paused_until_; }

 private:
  Time base_{};
  BootTime reading_{};
  double rate_ = 1.0;
  bool stopped_ = false;
  std::optional<Time> paused_until_;
};

class Node {
 public:
  Node(World& world, int index, std::string name, model::Tags tags);

  World& world;
  const int index;
  const std::string name;
  model::Tags tags;
  NodeClock clock;
  bool powered = true;
  bool disk_refuses = false;  // every change of a file fails, and a primary panics
  Postgres pg;
  Process agent;
  Process guardian;
  ha::Page page;  // in the guardian's memory
  std::optional<model::FreezeRecord> freeze_record;  // on disk, outside the data directory
  std::unique_ptr<Shell> shell;
  bool supervised = true;  // the agent is restarted when it ends

  [[nodiscard]] BootTime now() const;

  // ---- agent
  void start_agent();
  void kill_agent(std::optional<Duration> back_after);
  // ---- guardian
  void start_guardian();
  void kill_guardian();
  void set_page(const ha::Page& page);
  // SIGKILL for the server, through the guardian where there is one; standby.signal is put back.
  void end_postgres(std::function<void()> done);
  void postgres_changed();  // the guardian's pidfd
  // ---- machine
  void power_off();
  void power_on();
  void put_standby_signal();

 private:
  void watch_deadline();
};

}  // namespace pgdba::sim
