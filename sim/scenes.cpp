#include "scenes.h"

#include <map>

#include "world.h"

namespace pgdba::sim {

namespace {

using model::KeyKind;

template <class T>
const T* put_of(const EtcdRequest& request, KeyKind kind) {
  if (request.kind != EtcdRequest::Kind::txn) return nullptr;
  for (const ha::Write& write : request.txn.puts) {
    if (write.key.kind != kind) continue;
    const auto* value = std::get_if<ha::Value>(&write.value);
    return value == nullptr ? nullptr : std::get_if<T>(value);
  }
  return nullptr;
}

// Three members: the leader, one who is deceived, one who knows.
class Scene {
 public:
  Scene(World& world, uint64_t seed, int leader) : w(world), dice(seed), l(leader) {
    b = (l + 1) % 3;
    c = (l + 2) % 3;
    if (dice.chance(0.5)) std::swap(b, c);
    ttl = w.ttl_now();
    timeout = std::clamp<Duration>(ttl / 3, 300ms, 3s);  // of a transaction, as the shell waits
  }

  void later(Duration delay, Events::Fn fn) {
    w.events.after(delay, [&world = w, fn = std::move(fn)] {
      if (!world.healing()) fn();
    });
  }
  void cut(int x, int y, Duration length) {
    for (auto [from, to] : {std::pair(x, y), std::pair(y, x)}) {
      w.network.cut(from, to);
      w.events.after(length, [&world = w, from, to] { world.network.join(from, to); });
    }
  }
  void cut_etcd(int x, Duration length) { cut(x, w.network.etcd(), length); }
  // Both ends hear resets, until end_reject().
  void reject(int x, int y) {
    for (auto [from, to] : {std::pair(x, y), std::pair(y, x)}) {
      w.network.cut(from, to);
      w.network.reject(from, to);
      w.node(from).pg.reset_connections(to);
    }
  }
  static void end_reject(World& w, int x, int y) {
    for (auto [from, to] : {std::pair(x, y), std::pair(y, x)}) {
      w.network.join(from, to);
      w.network.accept(from, to);
    }
  }
  void power_off(int x, Duration length) {
    w.node(x).power_off();
    w.events.after(length, [&node = w.node(x)] { node.power_on(); });
  }
  void hold(std::function<bool(const EtcdRequest&)> match, Duration delay, std::function<void()> caught = {}) {
    w.etcd.hold({std::move(match), delay, std::move(caught)});
  }
  void count(int n) {
    model::DynamicConfig config = w.etcd.state().config->value;
    config.synchronous_node_count = n;
    w.etcd.put_config(config);
  }
  void delete_leader() { w.etcd.delete_key({KeyKind::leader, {}}); }

  // C's promise is late, C gives up and acknowledges again; B, still frozen, counts the promise when it lands.
  void w2() {
    Duration delay = timeout + draw(dice, 400ms, 1500ms);
    reject(l, b);
    reject(l, c);
    later(ttl * 5 / 4, [&world = w, l = l, b = b] { end_reject(world, l, b); });
    auto back = [&world = w, l = l, c = c, done = std::make_shared<bool>(false)] {
      if (!*done) end_reject(world, l, c);
      *done = true;
    };
    later(3s, back);
    hold(
        [name = w.name(c)](const EtcdRequest& r) {
          const auto* promise = put_of<model::Promise>(r, KeyKind::promise);
          return r.who == name && promise != nullptr && promise->state == model::Promise::State::active;
        },
        delay,
        [this, back, delay] {
          back();
          later(delay - 100ms, [&world = w, c = c] { world.slow_watch(c, 800ms, world.events.now() + 1s); });
        });
  }

  // B sends the take-over late; L lives, C withdraws and acknowledges; then the take-over arrives.
  void w1() {
    reject(l, b);
    reject(l, c);
    auto back = [&world = w, l = l, b = b, c = c, done = std::make_shared<bool>(false)] {
      if (*done) return;
      *done = true;
      end_reject(world, l, b);
      end_reject(world, l, c);
    };
    later(3s, back);
    hold([name = w.name(l)](const EtcdRequest& r) { return r.who != name && put_of<std::string>(r, KeyKind::leader) != nullptr; },
         draw(dice, timeout / 2, timeout - 100ms), back);
  }

  // Positions are read before the walreceivers are gone: B goes on for longer than C, and says less.
  void w4() {
    cut_etcd(l, ttl * 4 / 5);
    w.slow_watch(c, draw(dice, 50ms, 400ms), w.events.now() + 2s);
    later(20ms, [this] { delete_leader(); });
  }

  // L comes back clean as a standby of B, and takes the lock as "the former leader" after B has acknowledged more and while
  // the voter is away.
  void w6() {
    power_off(l, 1s);
    w.when([this] { return w.leader() >= 0 && w.leader() != l && w.node(l).pg.streams_from(w.leader()) && w.node(l).pg.takes_clients(); },
           [this] {
             int next = w.leader();
             Node& old = w.node(l);
             if (!old.shell || !old.agent.alive()) return;
             old.supervised = false;
             old.shell->request(ha::Request::Kind::shutdown);
             w.when([&old] { return !old.agent.alive(); },
                    [this, next, &old] {
                      later(1s, [this, next, &old] {
                        power_off(next, 20s);
                        cut_etcd(next == b ? c : b, ttl + 3s);  // the voter cannot elect itself meanwhile
                        later(ttl + 800ms, [&old] {
                          old.supervised = true;
                          old.start_agent();
                        });
                      });
                    },
                    10s);
           },
           12s);
  }

  // A base backup under the member's name acknowledges, while the other standby gets nothing.
  void w9() {
    cut(l, c, 3s);
    if (w.node(b).shell && w.node(b).agent.alive()) w.node(b).shell->request(ha::Request::Kind::reinitialize);
  }

  // The others take L for dead and elect; L sees it and serves on.
  void w11() {
    reject(l, b);
    reject(l, c);
    later(4s, [&world = w, l = l, b = b, c = c] {
      end_reject(world, l, b);
      end_reject(world, l, c);
    });
  }

  // The key is gone, L does not see it; the others elect by positions that they asked for.
  void l3() {
    cut_etcd(l, ttl * 4 / 5);
    later(20ms, [this] { delete_leader(); });
  }

  void l5() { w.node(l).kill_agent(draw(dice, 50ms, 300ms)); }

  // The offer of the lock is not taken back before L starts again; the candidate comes late, without L's new writes.
  void open_offer() {
    w.when(
        [this] {
          const auto& s = w.etcd.state().switchover;
          return s && s->value.state == model::Switchover::State::stopped && s->value.from == w.name(l);
        },
        [this] {
          int to = w.find(w.etcd.state().switchover->value.to);
          Duration away = draw(dice, 4500ms, 7s);
          cut_etcd(to, away);
          cut(l, to, away + 1s);
        },
        3s);
  }
  void h2() {
    w.node(l).pg.kill_postmaster();
    open_offer();
  }
  void s1() {
    w.etcd.put({KeyKind::failover, {}}, model::FailoverRequest{w.name(l), w.name(b), std::nullopt});
    open_offer();
  }

  // B joins: in PostgreSQL first, where it acknowledges alone; L dies before etcd knows, C leads alone.
  void y1() {
    power_off(b, 30s);
    auto only_c = [this] {
      const auto& sync = w.etcd.state().sync;
      return sync && sync->value.quorum == 0 && sync->value.standbys == std::set<std::string>{w.name(c)};
    };
    w.when(only_c,
           [this] {
             w.node(b).power_on();
             hold(
                 [leader = w.name(l), name = w.name(b)](const EtcdRequest& r) {
                   const auto* sync = put_of<model::SyncState>(r, KeyKind::sync);
                   return r.who == leader && sync != nullptr && sync->standbys.contains(name);
                 },
                 4s,
                 [this] {
                   cut(l, c, 3s);
                   later(draw(dice, 200ms, 800ms), [this] { power_off(l, 8s); });
                 });
           },
           8s);
  }

  // Two must acknowledge, then one again; the write that lets one voter elect lands late.
  void y4() {
    count(2);
    Duration delay = timeout + 900ms;
    hold(
        [leader = w.name(l)](const EtcdRequest& r) {
          const auto* sync = put_of<model::SyncState>(r, KeyKind::sync);
          return r.who == leader && sync != nullptr && sync->quorum == 0 && sync->standbys.size() == 2;
        },
        delay,
        [this, delay] {
          later(timeout / 2, [this] { count(1); });
          later(delay - 300ms, [this] { cut(l, c, 3s); });
          later(delay + 2ms, [this] {
            cut_etcd(b, 4s);
            power_off(l, 8s);
          });
        });
    later(8s, [this] { count(1); });
  }

  // C gets nothing, B leads on what L and B have; L comes back and makes room for B's log.
  void r2() {
    cut(l, c, 7s);
    cut(b, c, 7s);
    later(draw(dice, 300ms, 600ms), [this] {
      power_off(l, 1s);
      delete_leader();
    });
  }

  // No keepalive of the standbys arrives any more: whoever takes the lock has an old lease, of which a part is over.
  void w14() {
    for (int who : {b, c}) {
      for (int i = 0; i < 4; ++i) {
        hold([name = w.name(who)](const EtcdRequest& r) { return r.who == name && r.kind == EtcdRequest::Kind::keep_alive; }, 9s);
      }
    }
    later(draw(dice, ttl / 6, ttl / 3), [this] { power_off(l, 3s); });
  }

  World& w;
  Random dice;
  int l = 0;
  int b = 0;
  int c = 0;
  Duration ttl{};
  Duration timeout{};
};

}  // namespace

void play_scene(World& world, std::string_view rule, uint64_t dice) {
  static const std::map<std::string_view, void (Scene::*)()> scenes = {
      {"w1", &Scene::w1}, {"w2", &Scene::w2}, {"w4", &Scene::w4}, {"w6", &Scene::w6}, {"w9", &Scene::w9}, {"w11", &Scene::w11},
      {"l3", &Scene::l3}, {"l5", &Scene::l5}, {"h2", &Scene::h2}, {"s1", &Scene::s1}, {"y1", &Scene::y1}, {"y4", &Scene::y4}, {"r2", &Scene::r2},
      {"w14", &Scene::w14},
  };
  auto found = scenes.find(rule);
  if (found == scenes.end() || world.leader() < 0 || !world.settled()) return;
  // It goes on in events after this call: it lives as long as the world.
  auto scene = std::make_shared<Scene>(world, dice, world.leader());
  world.keep(scene);
  ((*scene).*(found->second))();
}

}  // namespace pgdba::sim
