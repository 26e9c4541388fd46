// What each kind of fault does to the world. A fault's own dice choose the victim and the duration.
#include <algorithm>

#include "scenes.h"
#include "world.h"

namespace pgdba::sim {

namespace {

using Kind = Fault::Kind;

void crash_next_primary(World& world, int before, Duration after, bool whole, int looks) {
  if (world.healing() || looks == 0) return;
  if (world.checkers.newest() == before || world.checkers.newest() < 0) {
    world.events.after(5ms, [&world, before, after, whole, looks] { crash_next_primary(world, before, after, whole, looks - 1); });
    return;
  }
  Node& fresh = world.node(world.checkers.newest());
  world.events.after(after, [&fresh, whole] {
    if (fresh.world.healing()) return;
    if (!whole) {
      fresh.pg.kill_postmaster();
      return;
    }
    fresh.power_off();
    fresh.world.events.after(5s, [&fresh] { fresh.power_on(); });
  });
}

class Injector {
 public:
  Injector(World& world, const Fault& fault) : world_(world), dice_(fault.dice), kind_(fault.kind) {}

  void inject();

 private:
  int member() { return static_cast<int>(dice_.below(static_cast<uint64_t>(world_.plan.members))); }
  int leader_mostly() {
    int owner = world_.leader();
    return owner >= 0 && dice_.chance(0.6) ? owner : member();
  }
  int other_than(int one) {
    int other = static_cast<int>(dice_.below(static_cast<uint64_t>(world_.plan.members - 1)));
    return other >= one ? other + 1 : other;
  }
  // Short ones are frequent; up to about four times the lease.
  Duration span() { return draw_skewed(dice_, 100ms, world_.ttl_now() * 4); }
  void later(Duration delay, Events::Fn fn) { world_.events.after(delay, std::move(fn)); }
  void freeze(const std::vector<Process*>& processes, Duration length);
  void cut(int from, int to, Duration length);
  void isolate(int victim, Duration length);
  void edit_config(const std::function<void(model::DynamicConfig&)>& edit);
  void lose_disk(Node& victim);
  void machines();
  void processes();
  void links();
  void etcd();
  void postgres();
  void operators();
  void poolers();

  World& world_;
  Random dice_;
  Kind kind_;
};

void Injector::freeze(const std::vector<Process*>& processes, Duration length) {
  for (Process* process : processes) {
    if (process->alive()) process->freeze();
  }
  later(length, [this_world = &world_, processes, seed = dice_.next()] {
    // They wake in any order.
    Random order(seed);
    for (Process* process : processes) process->thaw(this_world->events, draw(order, 0ms, 8ms));
  });
}

void Injector::cut(int from, int to, Duration length) {
  world_.network.cut(from, to);
  later(length, [&world = world_, from, to] { world.network.join(from, to); });
}

void Injector::isolate(int victim, Duration length) {
  bool etcd_too = dice_.chance(0.7);
  bool clients_too = dice_.chance(0.5);
  for (int other = 0; other < world_.plan.members; ++other) {
    if (other == victim) continue;
    cut(victim, other, length);
    cut(other, victim, length);
  }
  auto with = [&](int place) {
    cut(victim, place, length);
    cut(place, victim, length);
  };
  if (etcd_too) with(world_.network.etcd());
  if (clients_too) {
    with(world_.network.clients());
    for (int i = 0; i < world_.plan.poolers; ++i) with(world_.network.pooler(i));
  }
  world_.note("fault: {} is isolated for {} ms{}", world_.name(victim), to_ms(length), etcd_too ? ", from etcd too" : "");
}

void Injector::edit_config(const std::function<void(model::DynamicConfig&)>& edit) {
  if (!world_.etcd.state().config || !world_.etcd.available()) return;
  model::DynamicConfig config = world_.etcd.state().config->value;
  edit(config);
  world_.etcd.put_config(config);
}

void Injector::inject() {
  world_.note("fault: {}", to_string(kind_));
  if (kind_ == Kind::scene) return play_scene(world_, world_.plan.focus, dice_.next());
  if (kind_ >= Kind::freeze_pooler) return poolers();
  if (kind_ <= Kind::freeze_postgres || kind_ == Kind::kill_everything) {
    processes();
  } else if (kind_ <= Kind::power_loss || kind_ == Kind::lose_cache || kind_ == Kind::lose_disk) {
    machines();
  } else if (kind_ <= Kind::flap) {
    links();
  } else if (kind_ <= Kind::slow_watch) {
    etcd();
  } else if (kind_ <= Kind::panic_fsync || kind_ == Kind::fail_job || kind_ == Kind::disk_refuses) {
    postgres();
  } else {
    operators();
  }
}

void Injector::processes() {
  Node& victim = world_.node(leader_mostly());
  switch (kind_) {
    case Kind::kill_postmaster: victim.pg.kill_postmaster(); break;
    case Kind::crash_backend: victim.pg.crash_backend(); break;
    case Kind::kill_agent: victim.kill_agent(draw_skewed(dice_, 50ms, world_.ttl_now() * 3)); break;
    case Kind::freeze_agent: {
      Duration length = span();
      world_.note("fault: agent of {} is stopped for {} ms", victim.name, to_ms(length));
      freeze({&victim.agent}, length);
      break;
    }
    case Kind::kill_guardian: victim.kill_guardian(); break;
    case Kind::freeze_guardian: freeze({&victim.guardian}, span()); break;
    case Kind::freeze_postgres: {
      Duration length = span();
      world_.note("fault: postgres of {} is stopped for {} ms", victim.name, to_ms(length));
      freeze({&victim.pg.server}, length);
      break;
    }
    default: {
      victim.kill_agent(draw_skewed(dice_, 200ms, 10s));
      victim.kill_guardian();
      break;
    }
  }
}

void Injector::lose_disk(Node& victim) {
  world_.note("fault: {} loses its data directory", victim.name);
  world_.data_destroyed();
  victim.pg.dir = {};
  if (dice_.chance(0.5)) victim.freeze_record.reset();
}

void Injector::machines() {
  Node& victim = world_.node(leader_mostly());
  if (kind_ == Kind::freeze_node || kind_ == Kind::pause_machine) {
    Duration length = span();
    world_.note("fault: {} is {} for {} ms", victim.name, kind_ == Kind::pause_machine ? "paused, with its clock," : "stopped", to_ms(length));
    if (kind_ == Kind::pause_machine) {
      victim.clock.stop(world_.events.now());
      later(length, [&victim] { victim.clock.go_on(victim.world.events.now()); });
    }
    freeze({&victim.agent, &victim.guardian, &victim.pg.server}, length);
    return;
  }
  bool destroys = kind_ != Kind::power_loss;
  if (destroys && !world_.may_destroy_data()) return;
  victim.power_off();
  if (kind_ == Kind::lose_disk) lose_disk(victim);
  if (kind_ == Kind::lose_cache) {
    world_.data_destroyed();
    victim.pg.lose_tail(1 + dice_.below(4));
  }
  later(draw_skewed(dice_, 300ms, 15s), [&victim] { victim.power_on(); });
}

void Injector::links() {
  int one = leader_mostly();
  int other = other_than(one);
  Duration length = span();
  switch (kind_) {
    case Kind::cut_members:
    case Kind::cut_etcd: {
      int far = kind_ == Kind::cut_etcd ? world_.network.etcd() : other;
      uint64_t ways = dice_.below(3);
      world_.note("fault: {} -{} {} for {} ms", world_.name(one), ways == 0 ? "x-" : ways == 1 ? "x>" : "<x",
                  far < world_.plan.members ? world_.name(far) : "etcd", to_ms(length));
      if (ways != 2) cut(one, far, length);
      if (ways != 1) cut(far, one, length);
      break;
    }
    case Kind::reject_members: {
      length = draw_skewed(dice_, 100ms, world_.ttl_now());
      bool all = dice_.chance(0.6);
      world_.note("fault: {} and {} reset each other's connections for {} ms", world_.name(one), all ? "all others" : world_.name(other), to_ms(length));
      for (int far = 0; far < world_.plan.members; ++far) {
        if (far == one || (!all && far != other)) continue;
        for (auto [x, y] : {std::pair(one, far), std::pair(far, one)}) {
          cut(x, y, length);
          world_.network.reject(x, y);
          later(length, [&world = world_, from = x, to = y] { world.network.accept(from, to); });
          world_.node(x).pg.reset_connections(y);
        }
      }
      break;
    }
    case Kind::isolate_member: isolate(one, length); break;
    default: {
      int far = dice_.chance(0.5) ? world_.network.etcd() : other;
      Duration at{};
      for (int i = 0; i < 6; ++i) {
        Duration down = draw_skewed(dice_, 50ms, 2s);
        later(at, [&world = world_, one, far, down] {
          if (world.healing()) return;
          world.network.cut(one, far);
          world.network.cut(far, one);
          world.events.after(down, [&world, one, far] {
            world.network.join(one, far);
            world.network.join(far, one);
          });
        });
        at += down + draw_skewed(dice_, 50ms, 2s);
      }
    }
  }
}

void Injector::etcd() {
  switch (kind_) {
    case Kind::etcd_leader_change:
    case Kind::etcd_quorum_loss: {
      Duration length = kind_ == Kind::etcd_leader_change ? draw_skewed(dice_, 100ms, 1800ms) : draw_skewed(dice_, 500ms, world_.ttl_now() * 4);
      world_.note("fault: etcd has no leader for {} ms", to_ms(length));
      world_.etcd.begin_stall();
      later(length, [&world = world_] { world.etcd.end_stall(); });
      break;
    }
    case Kind::etcd_wipe:
      if (world_.may_destroy_data()) {
        world_.etcd.wipe();
        world_.etcd_replaced();
      }
      break;
    case Kind::etcd_restore:
      world_.etcd.take_snapshot();
      later(draw_skewed(dice_, 500ms, 15s), [&world = world_] {
        if (!world.may_destroy_data()) return;
        world.note("fault: etcd is restored from a snapshot");
        world.etcd.restore();
        world.etcd_replaced();
      });
      break;
    case Kind::etcd_lies: {
      int victim = world_.leader();
      if (victim < 0) return;
      Duration length = draw_skewed(dice_, world_.ttl_now(), world_.ttl_now() * 4);
      world_.note("fault: a deposed etcd leader answers {} for {} ms", world_.name(victim), to_ms(length));
      world_.etcd.lie_to(victim, world_.events.now() + length);
      world_.etcd.begin_stall();
      later(draw_skewed(dice_, 100ms, 1s), [&world = world_] { world.etcd.end_stall(); });
      break;
    }
    case Kind::delete_leader_key:
      if (world_.etcd.available()) world_.etcd.delete_key({model::KeyKind::leader, {}});
      break;
    case Kind::revoke_lease:
      if (world_.etcd.available() && world_.etcd.state().leader) world_.etcd.revoke(world_.etcd.state().leader->lease);
      break;
    default: {
      int victim = member();
      Duration lag = draw_skewed(dice_, 100ms, 4s);
      world_.note("fault: the watch of {} lags by {} ms", world_.name(victim), to_ms(lag));
      world_.slow_watch(victim, lag, world_.events.now() + span());
    }
  }
}

void Injector::postgres() {
  Node& victim = world_.node(kind_ == Kind::block_replay ? member() : leader_mostly());
  switch (kind_) {
    case Kind::block_replay: victim.pg.block_replay(span()); break;
    case Kind::busy_checkpointer: victim.pg.busy_checkpointer(span()); break;
    case Kind::panic_fsync:
      if (!victim.pg.is_primary() || !world_.may_destroy_data()) return;
      world_.data_destroyed();
      world_.note("fault: {} panics on an fsync", victim.name);
      victim.pg.crash_backend();
      victim.pg.exit_after_panic = true;
      if (victim.pg.all_dead()) victim.pg.lose_tail(1 + dice_.below(4));
      break;
    case Kind::disk_refuses: {
      Duration length = draw_skewed(dice_, 100ms, 40s);
      world_.note("fault: the disk of {} refuses all writes for {} ms", victim.name, to_ms(length));
      victim.disk_refuses = true;
      later(length, [&victim] { victim.disk_refuses = false; });
      if (!victim.pg.is_primary()) return victim.pg.crash_backend();
      if (!world_.may_destroy_data()) return;
      world_.data_destroyed();  // nobody may trust what it says of its end
      victim.pg.crash_backend();
      victim.pg.exit_after_panic = true;
      break;
    }
    default:
      for (int i = 0; i < world_.plan.members; ++i) {
        if (world_.node(i).shell) world_.node(i).shell->fail_job();
      }
  }
}

void Injector::poolers() {
  if (!world_.pooled) return;
  SimPooler& pooler = world_.pooled->pooler(static_cast<int>(dice_.below(static_cast<uint64_t>(world_.pooled->poolers()))));
  const Duration length = draw_skewed(dice_, 50ms, world_.ttl_now() * 3);
  switch (kind_) {
    case Kind::freeze_pooler: pooler.freeze(length); break;
    case Kind::kill_pooler: pooler.kill(length); break;
    case Kind::lag_pooler: {
      const Duration lag = draw_skewed(dice_, 100ms, 4s);
      world_.note("fault: the watch of {} lags by {} ms", pooler.name(), to_ms(lag));
      pooler.slow_watch(lag, world_.events.now() + length);
      break;
    }
    default: {
      const int far = dice_.chance(0.4) ? world_.network.etcd() : dice_.chance(0.7) ? leader_mostly() : world_.network.clients();
      const uint64_t ways = dice_.below(3);
      world_.note("fault: {} -{} {} for {} ms", pooler.name(), ways == 0 ? "x-" : ways == 1 ? "x>" : "<x",
                  far < world_.plan.members ? world_.name(far) : far == world_.network.etcd() ? "etcd" : "its clients", to_ms(length));
      if (ways != 2) cut(pooler.place(), far, length);
      if (ways != 1) cut(far, pooler.place(), length);
    }
  }
}

void Injector::operators() {
  Node& victim = world_.node(leader_mostly());
  switch (kind_) {
    case Kind::change_ttl: {
      static constexpr Duration choices[] = {2s, 3s, 5s, 8s};
      Duration ttl = choices[dice_.below(4)];
      edit_config([ttl](model::DynamicConfig& c) { c.timings = {ttl, ttl / 3, ttl / 3}; });
      break;
    }
    case Kind::change_count: {
      int count = 1 + static_cast<int>(dice_.below(static_cast<uint64_t>(std::max(1, world_.plan.members - 1))));
      world_.note("fault: synchronous_node_count = {}", count);
      edit_config([count](model::DynamicConfig& c) { c.synchronous_node_count = count; });
      break;
    }
    case Kind::pause_cluster:
      edit_config([](model::DynamicConfig& c) { c.pause = true; });
      later(span(), [&world = world_] {
        if (!world.etcd.state().config) return;
        model::DynamicConfig config = world.etcd.state().config->value;
        config.pause = false;
        world.etcd.put_config(config);
      });
      break;
    case Kind::switchover: {
      int owner = world_.leader();
      if (owner < 0 || !world_.etcd.available()) return;
      std::string to = dice_.chance(0.5) ? world_.name(other_than(owner)) : "";
      world_.etcd.put({model::KeyKind::failover, {}}, model::FailoverRequest{world_.name(owner), to, std::nullopt});
      break;
    }
    case Kind::restart_request:
      if (victim.shell && victim.agent.alive()) victim.shell->request(ha::Request::Kind::restart);
      break;
    case Kind::reinit_request: {
      Node& replica = world_.node(member());
      if (replica.shell && replica.agent.alive()) replica.shell->request(ha::Request::Kind::reinitialize);
      break;
    }
    case Kind::stop_outside: victim.pg.stop_fast([&victim] { victim.put_standby_signal(); }); break;
    case Kind::start_outside: {
      // Somebody kills everything of ours on a node, and somebody else starts PostgreSQL from outside.
      victim.end_postgres([] {});
      victim.kill_agent(draw_skewed(dice_, 3s, 15s));
      later(draw_skewed(dice_, 100ms, 4s), [&victim] {
        if (victim.powered && victim.pg.all_dead() && !victim.agent.alive() && victim.pg.dir.kind == model::DataDir::present) {
          victim.world.note("fault: somebody starts postgres of {}", victim.name);
          victim.guardian.die();
          victim.page = {};
          // The configuration in the data directory itself is that of a server at rest, whatever the agent's own says.
          if (victim.pg.dir.standby_signal) victim.put_standby_signal();
          victim.pg.start();
        }
      });
      break;
    }
    case Kind::stop_agent:
      if (victim.shell && victim.agent.alive()) victim.shell->request(ha::Request::Kind::shutdown);
      break;
    case Kind::crash_after_promotion: {
      int before = world_.checkers.newest();
      Duration after = draw_skewed(dice_, 1ms, 2s);
      bool whole = dice_.chance(0.5);
      crash_next_primary(world_, before, after, whole, 2000);
      break;
    }
    default: {
      // A standby goes away and comes back, then another one.
      int owner = std::max(0, world_.leader());
      Duration at{};
      for (int i = 1; i < world_.plan.members; ++i) {
        Node& standby = world_.node((owner + i) % world_.plan.members);
        Duration away = draw_skewed(dice_, 500ms, 8s);
        later(at, [&standby] {
          if (!standby.world.healing()) standby.power_off();
        });
        later(at + away, [&standby] { standby.power_on(); });
        at += away + draw_skewed(dice_, 10ms, 3s);
      }
    }
  }
}

}  // namespace

void inject(World& world, const Fault& fault) { Injector(world, fault).inject(); }

}  // namespace pgdba::sim
