#include "node.h"

#include "world.h"

namespace pgdba::sim {

void NodeClock::boot(Time now, BootTime reading, double rate) {
  base_ = now;
  reading_ = reading;
  rate_ = rate;
  stopped_ = false;
}

BootTime NodeClock::read(Time now) const {
  if (stopped_) return reading_;
  return reading_ + Duration(static_cast<int64_t>(static_cast<double>((now - base_).count()) * rate_));
}

Time NodeClock::when(BootTime reading, Time now) const {
  BootTime present = read(now);
  if (reading <= present) return now;
  return now + Duration(static_cast<int64_t>(static_cast<double>((reading - present).count()) / rate_) + 1);
}

void NodeClock::stop(Time now) {
  reading_ = read(now);
  stopped_ = true;
}

void NodeClock::go_on(Time now) {
  if (!stopped_) return;
  base_ = now;
  stopped_ = false;
  paused_until_ = now;
}

Node::Node(World& w, int i, std::string n, model::Tags t)
    : world(w), index(i), name(std::move(n)), tags(std::move(t)), pg(w, i) {
  double drift = w.plan.drift * (static_cast<double>(w.random.between(-1000, 1000)) / 1000.0);
  clock.boot(Time{}, BootTime{draw(w.random, 10s, 90000s)}, 1.0 + drift);
}

BootTime Node::now() const { return clock.read(world.events.now()); }

void Node::start_agent() {
  if (!powered || agent.alive()) return;
  if (clock.stopped()) {  // a machine that a hypervisor has paused starts nothing
    world.events.after(50ms, [this] { start_agent(); });
    return;
  }
  world.note("{}: agent starts", name);
  agent.be_born();
  shell = std::make_unique<Shell>(world, *this);
  shell->start();
}

void Node::kill_agent(std::optional<Duration> back_after) {
  if (agent.alive()) {
    world.note("{}: agent ends", name);
    shell->interrupted();
    agent.die();
    world.retire(std::move(shell));
  }
  if (back_after) {
    world.events.after(*back_after, [this] { start_agent(); });
  }
}

void Node::start_guardian() {
  if (guardian.alive()) return;
  guardian.be_born();
  page = {};
  page.guardian_alive = true;
}

void Node::kill_guardian() {
  if (!guardian.alive()) return;
  world.note("{}: the guardian is killed", name);
  guardian.die();
  page = {};
  if (!pg.postmaster()) return;
  // PR_SET_PDEATHSIG: SIGQUIT for the postmaster, which ends its children and itself.
  world.events.after(draw_skewed(world.random, 1ms, 30ms), [this, life = pg.server.life()] {
    if (pg.server.life() == life) pg.kill_rest([] {});
  });
}

void Node::set_page(const ha::Page& wanted) {
  if (!guardian.alive()) return;
  page = wanted;
  page.guardian_alive = true;
  watch_deadline();
}

void Node::watch_deadline() {
  if (!page.deadline) return;
  BootTime deadline = *page.deadline;
  Time when = clock.when(deadline, world.events.now()) + draw(world.random, 0ms, 3ms);
  world.events.at(when, [this, deadline, life = guardian.life()] {
    guardian.run(life, [this, deadline] {
      if (page.deadline != deadline) return;
      if (now() < deadline) {
        watch_deadline();
        return;
      }
      if (pg.all_dead()) return;
      world.note("{}: the guardian's deadline has passed", name);
      end_postgres([] {});
    });
  });
}

// A data directory at rest: standby.signal, and no client may come in, whoever starts it (G2, G4).
void Node::put_standby_signal() {
  if (pg.dir.kind != model::DataDir::present || !world.options.rules.g2_standby_signal_at_rest) return;
  pg.dir.standby_signal = true;
  if (world.options.rules.g4_gate && pg.was_primary()) pg.dir.on_disk.gate_closed = true;
}

void Node::end_postgres(std::function<void()> done) {
  pg.told_to_stop = true;
  pg.kill_rest([this, done = std::move(done)] {
    if (pg.all_dead()) put_standby_signal();
    done();
  });
}

void Node::postgres_changed() {
  if (guardian.alive() && !pg.postmaster() && !pg.all_dead()) {
    guardian.run(guardian.life(), [this] {
      // The postmaster is gone and its children are not.
      world.events.after(draw_skewed(world.random, 200us, 3ms), [this, life = pg.server.life()] {
        if (pg.server.life() == life && !pg.postmaster()) {
          pg.kill_rest([this] {
            if (pg.all_dead()) put_standby_signal();
          });
        }
      });
    });
  }
  if (guardian.alive() && pg.all_dead()) {
    guardian.run(guardian.life(), [this] {
      if (pg.all_dead()) put_standby_signal();
    });
  }
  if (agent.alive() && shell) shell->postgres_event();
}

void Node::power_off() {
  if (!powered) return;
  world.note("{}: POWER LOSS", name);
  kill_agent(std::nullopt);
  guardian.die();
  page = {};
  pg.vanish();
  pg.forget_exit();
  powered = false;
}

void Node::power_on() {
  if (powered) return;
  world.note("{}: power is back", name);
  powered = true;
  clock.boot(world.events.now(), BootTime{draw(world.random, 5s, 30s)}, 1.0 + world.plan.drift);
  start_agent();
}

}  // namespace pgdba::sim
