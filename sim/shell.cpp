#include "shell.h"

#include <algorithm>

#include "world.h"

namespace pgdba::sim {

using Outcome = ha::Completion::Outcome;

Shell::Shell(World& world, Node& node) : world_(world), node_(node), life_(node.agent.life()) {
  ha::Self self;
  self.name = node.name;
  self.run_id = "run" + std::to_string(world.next_pid());
  self.conn_url = world.conn_url(node.index);
  self.api_url = "http://" + node.name + ":8008/patroni";
  self.version = "4.1.0";
  self.pgdba_version = "0.1.0";
  self.tags = node.tags;
  self.bootstrap_config = world.bootstrap_config();
  self.remove_data_on_rewind_failure = true;
  self.remove_data_on_diverged_timelines = true;
  core_ = world.options.make_core(self, world.options.rules);
}

void Shell::start() {
  node_.start_guardian();
  refresh();
  observe_after(1ms);
}

void Shell::run(Duration delay, std::function<void()> fn) {
  world_.events.after(delay, [&agent = node_.agent, life = life_, fn = std::move(fn)]() mutable { agent.run(life, std::move(fn)); });
}

// ---- stepping -----------------------------------------------------------------------------------------------------

void Shell::poke() {
  if (poked_) return;
  poked_ = true;
  run(draw(world_.random, 20us, 200us), [this] {
    poked_ = false;
    step();
  });
}

void Shell::step() {
  if (view_.pg.measured_at == BootTime{}) return;  // as the agent does, which looks at PostgreSQL before it decides anything
  ++steps_;
  view_.now = node_.now();
  view_.wall = WallTime(std::chrono::duration_cast<std::chrono::microseconds>(world_.events.now()) + 1700000000s);
  view_.cluster = have_view_ ? &cluster_ : nullptr;
  view_.page = node_.page;
  view_.freeze_record = node_.freeze_record;
  view_.pg.guardian_alive = node_.guardian.alive();
  view_.completed = std::move(completed_);
  completed_.clear();
  ha::Decision decision = core_->step(view_);
  view_.completed.clear();
  // In pause a primary serves on whoever owns the lock; it counts from when this agent has read that the pause is over.
  bool paused = cluster_.config && cluster_.config->value.pause;
  bool other = have_view_ && !paused && cluster_.leader && cluster_.leader->value != node_.name;
  if (!other) {
    other_owner_since_.reset();
  } else if (!other_owner_since_) {
    other_owner_since_ = world_.events.now();
  }
  if (decision.state != state_) {
    state_ = decision.state;
    world_.note("{}: {}", node_.name, state_);
  }
  if (decision.observe_every.count() > 0) {
    bool sooner = decision.observe_every < observe_every_;
    observe_every_ = std::max<Duration>(decision.observe_every, 5ms);
    if (sooner) observe_after(observe_every_);
  }
  uint64_t life = life_;
  for (ha::Action& action : decision.actions) {
    enqueue(std::move(action));
    if (node_.agent.life() != life) return;  // it was told to exit
  }
  schedule_wake(decision.wake_at);
}

void Shell::schedule_wake(BootTime at) {
  uint64_t mine = ++wake_;
  Time now = world_.events.now();
  Time when = std::clamp<Time>(node_.clock.when(at, now), now + 1ms, now + 5s);
  run(when - now, [this, mine] {
    if (wake_ == mine) step();
  });
}

void Shell::observe_after(Duration delay) {
  uint64_t mine = ++observation_;
  run(delay, [this, mine] {
    if (observation_ == mine) observe();
  });
}

void Shell::observe() {
  if (observing_) return;
  observing_ = true;
  uint64_t mine = ++started_observation_;
  size_t ended = local_completed_.size();
  auto seen = std::make_shared<model::LocalPg>();
  seen->measured_at = node_.now();
  node_.pg.look(*seen);
  seen->guardian_alive = node_.guardian.alive();
  if (world_.random.chance(world_.plan.misread)) {
    if (world_.random.chance(0.5)) seen->on_disk = {};
    if (world_.random.chance(0.5)) seen->control.reset();
  }
  if (seen->answers) seen->answers->asked_at = seen->measured_at;
  Duration needed = seen->query_timed_out ? Duration(500ms) : seen->answers ? draw(world_.random, 300us, 3ms) : draw(world_.random, 50us, 300us);
  run(needed, [this, seen, mine, ended] {
    if (mine != started_observation_) return;  // a newer one is under way
    observing_ = false;
    // As pg::Observer does: PostgreSQL reads standby.signal when it starts, so a running primary gets it back at once (G2).
    if (seen->answers && !seen->answers->in_recovery && world_.options.rules.g2_standby_signal_at_rest && node_.pg.is_primary() &&
        seen->incarnation == node_.pg.incarnation()) {
      node_.pg.dir.standby_signal = true;
    }
    view_.pg = std::move(*seen);
    auto end = local_completed_.begin() + static_cast<ptrdiff_t>(std::min(ended, local_completed_.size()));
    std::move(local_completed_.begin(), end, std::back_inserter(completed_));
    local_completed_.erase(local_completed_.begin(), end);
    step();
    observe_after(local_completed_.empty() ? observe_every_ : Duration{});
  });
}

void Shell::postgres_event() {
  // An action that waits for the server learns that it is gone.
  LaneState& local = lanes_[static_cast<size_t>(ha::Lane::local)];
  if (local.busy && server_life_ != 0 && server_life_ != node_.pg.server.life()) {
    server_life_ = 0;
    run(100us, [this, turn = local.turn] {
      if (lanes_[static_cast<size_t>(ha::Lane::local)].turn == turn) finish(ha::Lane::local, turn, Outcome::failed);
    });
  }
  // Somebody else's kill ends a fast stop, too.
  if (local.busy && std::holds_alternative<ha::StopPg>(local.now.body) && node_.pg.all_dead()) {
    run(200us, [this, turn = local.turn] {
      if (!node_.pg.all_dead()) return;
      node_.put_standby_signal();
      finish(ha::Lane::local, turn, Outcome::done);
    });
  }
  observe_after(draw(world_.random, 100us, 1500us));
}

std::string Shell::summary() const {
  std::string text = fmt::format("{} steps, view of revision {} as of {} ms ago", steps_, cluster_.revision, to_ms(node_.now() - cluster_.as_of));
  static constexpr std::string_view names[] = {"lease", "dcs", "local"};
  for (size_t i = 0; i < 3; ++i) {
    if (lanes_[i].busy) text += fmt::format(", {} lane: {}", names[i], ha::describe(lanes_[i].now));
  }
  return text;
}

void Shell::request(ha::Request::Kind kind) {
  view_.requests.push_back({next_request_++, kind, false});
  poke();
}

// A freeze against a leader whose key is there needs q + 1 suspicions, or the leader's own word (W12).
void Shell::judge_freeze() {
  if (!cluster_.leader || !cluster_.sync || !cluster_.term) return;
  int suspicions = 0;
  for (const auto& [name, suspicion] : cluster_.suspects) {
    if (suspicion.value.term != cluster_.term->value.term) continue;
    if (name == cluster_.leader->value) return;
    ++suspicions;
  }
  if (suspicions > cluster_.sync->value.quorum) return;
  world_.checkers.violate("C", fmt::format("{} freezes although only {} voters suspect {}", node_.name, suspicions, cluster_.leader->value));
}

// ---- lanes --------------------------------------------------------------------------------------------------------

void Shell::enqueue(ha::Action action) {
  if (world_.tracing() && !std::holds_alternative<ha::ProbePeer>(action.body) && !std::holds_alternative<ha::KeepAlive>(action.body) &&
      !std::holds_alternative<ha::ProveLock>(action.body) && !std::holds_alternative<ha::SetDeadline>(action.body)) {
    world_.note("{}: {}", node_.name, ha::describe(action));
  }
  if (std::holds_alternative<ha::WriteFreezeRecord>(action.body)) judge_freeze();
  ha::Lane lane = ha::lane_of(action.body);
  if (lane == ha::Lane::memory) {
    memory(action);
    return;
  }
  if (lane == ha::Lane::probe) {
    if (const auto* peer = std::get_if<ha::ProbePeer>(&action.body)) probe(action, *peer);
    if (const auto* history = std::get_if<ha::FetchHistory>(&action.body)) fetch(action, *history);
    if (std::holds_alternative<ha::Checkpoint>(action.body)) {
      if (!node_.pg.answers()) {
        report(action, Outcome::failed);
      } else {
        // Reported once, also when the server ends before its checkpoint does.
        auto reported = std::make_shared<bool>(false);
        auto end = [this, action, reported](Outcome outcome) {
          if (*reported) return;
          *reported = true;
          report(action, outcome);
        };
        node_.pg.checkpoint([this, end, life = life_] { node_.agent.run(life, [end] { end(Outcome::done); }); });
        run(10s, [end] { end(Outcome::failed); });
      }
    }
    return;
  }
  if (const auto* stop = std::get_if<ha::StopPg>(&action.body); stop != nullptr && stop->mode == ha::StopPg::Mode::immediate) {
    overtake("an immediate stop overtakes it");
  }
  lanes_[static_cast<size_t>(lane)].queue.push_back(std::move(action));
  next(lane);
}

void Shell::next(ha::Lane lane) {
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  if (state.busy || state.queue.empty()) return;
  state.busy = true;
  state.now = std::move(state.queue.front());
  state.queue.pop_front();
  uint64_t turn = ++state.turn;
  switch (lane) {
    case ha::Lane::lease: lease_action(turn, state.now); break;
    case ha::Lane::dcs: dcs_action(turn, state.now); break;
    default: local_action(turn, state.now); break;
  }
}

void Shell::finish(ha::Lane lane, uint64_t turn, Outcome outcome, const Fill& fill) {
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  if (!state.busy || state.turn != turn) return;
  state.busy = false;
  if (lane == ha::Lane::local) server_life_ = 0;
  if (outcome == Outcome::failed && world_.tracing()) world_.note("{}: failed: {}", node_.name, ha::name_of(state.now.body));
  report(state.now, outcome, fill);
  if (outcome != Outcome::done) drop_queue(lane);
  next(lane);
}

void Shell::report(const ha::Action& action, Outcome outcome, const Fill& fill) {
  ha::Completion completion;
  completion.id = action.id;
  completion.outcome = outcome;
  completion.answered_at = node_.now();
  if (outcome == Outcome::failed) completion.text = "failed";
  if (fill) fill(completion);
  const bool local = ha::lane_of(action.body) == ha::Lane::local;
  if (local && !world_.random.chance(world_.plan.early_word)) {
    // What the action changed is seen before the core hears of its end.
    local_completed_.push_back(std::move(completion));
    observing_ = false;
    observe_after(Duration{});
  } else {
    completed_.push_back(std::move(completion));
    poke();
    if (local) observe_after(Duration{});
  }
}

void Shell::drop_queue(ha::Lane lane) {
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  std::deque<ha::Action> queue = std::move(state.queue);
  state.queue.clear();
  for (const ha::Action& action : queue) report(action, Outcome::dropped);
}

void Shell::overtake(std::string_view why) {
  LaneState& state = lanes_[static_cast<size_t>(ha::Lane::local)];
  if (state.busy) {
    break_job();
    finish(ha::Lane::local, state.turn, Outcome::failed, [why](ha::Completion& c) { c.text = std::string(why); });
  }
  drop_queue(ha::Lane::local);
}

void Shell::memory(const ha::Action& action) {
  if (const auto* set = std::get_if<ha::SetDeadline>(&action.body)) {
    ha::Page page;
    page.deadline = set->deadline;
    page.lease = set->lease;
    page.leader_mod = set->leader_mod;
    page.term = set->term;
    node_.set_page(page);
    if (page.deadline) world_.checkers.on_deadline(node_.index, page.lease, *page.deadline);
  } else if (std::holds_alternative<ha::CancelJob>(action.body)) {
    if (job_ != Job::none) overtake("cancelled");
  } else if (const auto* answer = std::get_if<ha::Answer>(&action.body)) {
    std::erase_if(view_.requests, [&](const ha::Request& r) { return r.id == answer->request; });
  } else if (std::holds_alternative<ha::Exit>(action.body)) {
    node_.kill_agent(node_.supervised ? std::optional<Duration>(draw(world_.random, 200ms, 3s)) : std::nullopt);
    return;
  }
  report(action, Outcome::done);
}

// ---- peers --------------------------------------------------------------------------------------------------------

void Shell::probe(const ha::Action& action, const ha::ProbePeer& wanted) {
  int other = world_.find(wanted.name);
  BootTime asked_at = node_.now();
  auto finished = [this, action, name = wanted.name, asked_at](ha::Peer peer) {
    peer.asked_at = asked_at;
    peer.answered_at = node_.now();
    view_.peers[name] = std::move(peer);
    report(action, Outcome::done);
  };
  if (other < 0) {
    run(1ms, [this, action] { report(action, Outcome::failed); });
    return;
  }
  if (world_.network.rejected(node_.index, other)) {
    run(2ms, [finished] {
      ha::Peer refused;
      refused.pg_port = refused.api_port = ha::Peer::Port::refused;
      finished(refused);
    });
    return;
  }
  if (!world_.network.both_ways(node_.index, other)) {
    run(500ms, [finished] { finished({}); });
    return;
  }
  run(world_.network.latency() + world_.network.latency(), [this, other, finished] {
    Node& there = world_.node(other);
    ha::Peer peer;
    if (!world_.network.both_ways(node_.index, other)) {
      run(500ms, [finished, peer] { finished(peer); });
      return;
    }
    if (!there.powered) {
      peer.pg_port = peer.api_port = ha::Peer::Port::unreachable;
      finished(peer);
      return;
    }
    using Port = ha::Peer::Port;
    peer.pg_port = !there.pg.postmaster() ? Port::refused : there.pg.server.frozen() ? Port::timeout : Port::accepted;
    peer.api_port = !there.agent.alive() ? Port::refused : there.agent.frozen() ? Port::timeout : Port::accepted;
    peer.api_answered = there.agent.runs();
    if (peer.api_answered && there.shell) {
      const model::LocalPg& pg = there.shell->view().pg;
      peer.running = pg.process == model::PgProcess::running;
      peer.may_lead = there.tags.may_lead();
      peer.no_data = pg.measured_at != BootTime{} && pg.data != model::DataDir::present;
      if (pg.answers) {
        peer.is_primary = !pg.answers->in_recovery;
        peer.timeline = pg.answers->timeline;
        bool known = peer.is_primary || pg.answers->wal_exhausted || !world_.options.rules.w4_position_after_freeze;
        if (known) peer.position = peer.is_primary ? pg.answers->insert_lsn : pg.answers->flush_lsn;
      }
    }
    if (peer.pg_port == Port::timeout || peer.api_port == Port::timeout) {
      run(400ms, [finished, peer] { finished(peer); });
      return;
    }
    finished(peer);
  });
}

void Shell::fetch(const ha::Action& action, const ha::FetchHistory& wanted) {
  int other = world_.find(wanted.from);
  BootTime asked_at = node_.now();
  run(world_.network.latency() + world_.network.latency(), [this, other, action, asked_at] {
    if (other < 0 || !world_.network.both_ways(node_.index, other) || !world_.node(other).pg.answers()) {
      run(300ms, [this, action] { report(action, Outcome::failed); });
      return;
    }
    const Postgres& pg = world_.node(other).pg;
    ha::UpstreamHistory history;
    history.from = world_.name(other);
    history.asked_at = asked_at;
    history.system_id = pg.dir.system_id;
    history.term = pg.loaded().term;
    history.timeline = pg.timeline();
    history.flush_lsn = pg.end();
    history.in_recovery = !pg.is_primary();
    uint32_t before = 0;
    for (const auto& [number, start] : pg.dir.timeline_starts) {
      if (before != 0) history.ends[before] = start;
      before = number;
    }
    view_.upstream = std::move(history);
    report(action, Outcome::done);
  });
}

}  // namespace pgdba::sim
