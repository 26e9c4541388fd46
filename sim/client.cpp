#include "client.h"

#include "world.h"

namespace pgdba::sim {

// ---- pooler -------------------------------------------------------------------------------------------------------

void Pooler::start() {
  publish(model::PoolerRecord::State::open);
  refresh();
}

void Pooler::refresh() {
  Time sent = world_.events.now();
  int me = world_.network.clients();
  int etcd = world_.network.etcd();
  world_.network.send(me, etcd, [this, sent, me, etcd] {
    EtcdRequest request;
    request.who = "pooler";
    world_.etcd.handle(std::move(request), [this, sent, me, etcd](const EtcdAnswer&) {
      world_.network.send(etcd, me, [this, sent] {
        as_of_ = std::max(as_of_, sent);
        see();
      });
    });
  });
  world_.events.after(world_.ttl_now() / 6, [this] { refresh(); });
}

void Pooler::etcd_event() {
  if (due_) return;
  due_ = true;
  world_.events.after(draw_skewed(world_.random, 500us, world_.plan.watch_lag), [this] {
    due_ = false;
    if (!world_.network.cut_now(world_.network.etcd(), world_.network.clients())) see();
  });
}

void Pooler::see() {
  const model::ClusterView& state = world_.etcd.state();
  if (state.term && state.term->value.term > term_) {
    term_ = state.term->value.term;
    leader_ = state.term->value.leader;
    hold_.reset();
    publish(model::PoolerRecord::State::open);
  }
  using S = model::Switchover::State;
  bool draining = state.switchover && (state.switchover->value.state == S::draining || state.switchover->value.state == S::stopped) &&
                  state.switchover->value.term == term_ && !state.switchover->value.handover;
  if (draining && !hold_) {
    hold_ = state.switchover->value;
    hold_until_ = world_.events.now() + std::chrono::milliseconds(hold_->hold_ms);
    publish(in_flight_ == 0 ? model::PoolerRecord::State::drained : model::PoolerRecord::State::holding);
  } else if (!draining && hold_) {
    hold_.reset();
    publish(model::PoolerRecord::State::open);
  }
}

int Pooler::server() const {
  if (term_ == 0 || world_.events.now() - as_of_ > world_.ttl_now() / 2) return -1;
  if (hold_ && world_.events.now() < hold_until_) return -1;
  return world_.find(leader_);
}

void Pooler::returned() {
  --in_flight_;
  if (hold_ && in_flight_ == 0 && published_ == model::PoolerRecord::State::holding) publish(model::PoolerRecord::State::drained);
}

void Pooler::publish(model::PoolerRecord::State state) {
  published_ = state;
  world_.network.send(world_.network.clients(), world_.network.etcd(), [this, state] {
    if (!world_.etcd.available()) return;
    world_.etcd.put_pooler("p1", model::PoolerRecord{state, term_, 0, in_flight_});
  });
}

// ---- clients ------------------------------------------------------------------------------------------------------

void Clients::start() {
  pooler_.start();
  auto first = [this] { return draw(world_.random, 0ms, 200ms); };
  for (int i = 0; i < world_.plan.writers; ++i) world_.events.after(first(), [this] { pooled_writer(); });
  for (int i = 0; i < world_.plan.direct_writers; ++i) world_.events.after(first(), [this] { direct_writer(std::make_shared<Session>()); });
  for (int i = 0; i < world_.plan.readers; ++i) world_.events.after(first(), [this] { reader(); });
}

void Clients::write_to(int member, model::Term at_least, uint64_t session_life, std::function<void(WriteResult)> then) {
  int me = world_.network.clients();
  auto finished = std::make_shared<bool>(false);
  auto end = [this, finished, then = std::move(then)](WriteResult result) {
    if (*finished) return;
    *finished = true;
    if (result == WriteResult::ok) {
      ++journal_.ok;
      Time now = world_.events.now();
      journal_.longest_gap = std::max(journal_.longest_gap, now - last_ok_);
      last_ok_ = now;
    } else if (result == WriteResult::failed) {
      ++journal_.failed;
    } else {
      ++journal_.unknown;
    }
    then(result);
  };
  world_.events.after(2s, [end] { end(WriteResult::unknown); });
  world_.network.send(me, member, [this, me, member, at_least, session_life, end] {
    Postgres& pg = world_.node(member).pg;
    if (!pg.postmaster()) {
      world_.network.send(member, me, [end] { end(WriteResult::failed); });
      return;
    }
    pg.server.run(pg.server.life(), [this, me, member, at_least, session_life, end, &pg] {
      auto answer = [this, me, member, end](WriteResult result) {
        world_.network.send(member, me, [end, result] { end(result); });
      };
      if (pg.loaded().term < at_least) {
        answer(WriteResult::failed);
        return;
      }
      pg.client_write(session_life != 0 && session_life == pg.server.life(), answer);
    });
  });
}

void Clients::pooled_writer() {
  int server = pooler_.server();
  Duration pause = draw(world_.random, world_.plan.think / 2, world_.plan.think * 2);
  if (server < 0) {
    world_.events.after(pause, [this] { pooled_writer(); });
    return;
  }
  pooler_.lent();
  write_to(server, pooler_.term(), 0, [this, pause](WriteResult) {
    pooler_.returned();
    world_.events.after(pause, [this] { pooled_writer(); });
  });
}

void Clients::direct_writer(std::shared_ptr<Session> session) {
  Duration pause = draw(world_.random, world_.plan.think / 2, world_.plan.think * 2);
  auto again = [this, pause, session] { world_.events.after(pause, [this, session] { direct_writer(session); }); };
  if (session->member >= 0 && (world_.node(session->member).pg.server.life() != session->life || session->failures > 20)) *session = {};
  if (session->member < 0) {
    auto member = static_cast<int>(world_.random.below(static_cast<uint64_t>(world_.plan.members)));
    const Postgres& pg = world_.node(member).pg;
    if (!pg.takes_clients() || world_.network.cut_now(world_.network.clients(), member)) {
      again();
      return;
    }
    *session = {member, pg.server.life(), 0};
  }
  write_to(session->member, 0, session->life, [again, session](WriteResult result) {
    session->failures = result == WriteResult::ok ? 0 : session->failures + 1;
    again();
  });
}

void Clients::reader() {
  auto member = static_cast<int>(world_.random.below(static_cast<uint64_t>(world_.plan.members)));
  Postgres& pg = world_.node(member).pg;
  world_.network.send(world_.network.clients(), member, [&pg] {
    if (pg.postmaster()) pg.server.run(pg.server.life(), [&pg] { pg.client_read(); });
  });
  world_.events.after(draw(world_.random, 20ms, 120ms), [this] { reader(); });
}

}  // namespace pgdba::sim
