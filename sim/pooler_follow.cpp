#include "pooler_follow.h"

#include <algorithm>

#include "world.h"

namespace pgdba::sim {

namespace {

constexpr Duration kPatience = 1s;
constexpr Duration kDrainPoll = 5ms;

pool::Moment micros(Time time) { return std::chrono::duration_cast<std::chrono::microseconds>(time).count(); }

}  // namespace

void PoolerFollow::run(Duration delay, Events::Fn fn) {
  world_.events.after(delay, [this, life = process_.life(), fn = std::move(fn)]() mutable { process_.run(life, std::move(fn)); });
}

Duration PoolerFollow::ttl() const { return have_view_ && view_.config ? view_.config->value.timings.ttl : Duration(30s); }

void PoolerFollow::start() {
  have_view_ = watch_due_ = false;
  view_ = {};
  as_of_ = {};
  proofs_.clear();
  state_ = {};
  leads_ = {};
  succession_ = {};
  lock_ttl_ = {};
  running_.clear();
  hold_ = {};
  lease_ = 0;
  written_at_ = 0;
  busy_until_ = {};
  refresh();
  teller();
  registration();
}

void PoolerFollow::ask(EtcdRequest request, std::function<void(const EtcdAnswer&)> then) {
  const int etcd = world_.network.etcd();
  request.who = id_;
  Random& random = world_.pooled_random;
  if (random.chance(world_.plan.lost_request)) return;
  Duration delay = world_.network.latency();
  if (random.chance(world_.plan.late_request)) delay += draw_skewed(random, kPatience / 2, world_.plan.late_max);
  world_.network.send_in(delay, place_, etcd, [this, etcd, life = process_.life(), request = std::move(request), then = std::move(then)]() mutable {
    world_.etcd.handle(std::move(request), [this, etcd, life, then = std::move(then)](const EtcdAnswer& answer) {
      if (world_.pooled_random.chance(world_.plan.lost_answer)) return;
      world_.network.send(etcd, place_, [this, life, answer, then] { process_.run(life, [answer, then] { then(answer); }); });
    });
  });
}

// ---- the copy of the keys -----------------------------------------------------------------------------------------

void PoolerFollow::refresh() {
  if (have_view_) prove();
  else read();
  run(500ms, [this] { refresh(); });
}

// A reading that brings nothing new costs nothing: it proves that the copy is current.
void PoolerFollow::prove() {
  EtcdRequest request;
  request.kind = EtcdRequest::Kind::txn;
  ask(std::move(request), [this, sent = world_.events.now()](const EtcdAnswer& answer) {
    if (answer.generation != generation_ || answer.log_size > watched_) return read();
    proved(answer.log_size, sent);
    tell();
  });
}

void PoolerFollow::read() {
  EtcdRequest request;
  request.kind = EtcdRequest::Kind::read;
  ask(std::move(request), [this, sent = world_.events.now()](const EtcdAnswer& answer) { install(answer, sent); });
}

void PoolerFollow::install(const EtcdAnswer& answer, Time sent) {
  if (!answer.view) return;
  if (!have_view_ || answer.generation != generation_) {
    if (have_view_ && answer.generation < generation_) return;  // an old answer
    view_ = *answer.view;
    as_of_ = sent;
    have_view_ = true;
    generation_ = answer.generation;
    watched_ = answer.log_size;
    proofs_.clear();
    tell();
    schedule_watch();
    return;
  }
  if (answer.log_size > watched_) {
    view_ = *answer.view;
    watched_ = answer.log_size;
  }
  proved(answer.log_size, sent);
  tell();
}

void PoolerFollow::proved(size_t log_size, Time sent) {
  if (watched_ >= log_size) {
    as_of_ = std::max(as_of_, sent);
  } else {
    proofs_.push_back({sent, log_size});
  }
}

void PoolerFollow::schedule_watch() {
  if (watch_due_ || !have_view_ || !process_.alive()) return;
  if (generation_ == world_.etcd.generation() && watched_ >= world_.etcd.log_size()) return;
  watch_due_ = true;
  Duration lag = draw_skewed(world_.pooled_random, 200us, world_.plan.watch_lag);
  if (world_.events.now() < slow_until_) lag += slow_lag_;
  run(lag, [this, target = world_.etcd.log_size(), generation = world_.etcd.generation()] {
    watch_due_ = false;
    if (world_.network.cut_now(world_.network.etcd(), place_)) {
      watch_due_ = true;
      run(100ms, [this] {
        watch_due_ = false;
        schedule_watch();
      });
      return;
    }
    if (generation != generation_ || generation != world_.etcd.generation()) return read();  // the watch was cancelled
    bool changed = watched_ < target;
    while (watched_ < target) world_.etcd.apply(watched_++, view_);
    std::erase_if(proofs_, [this](const Proof& proof) {
      if (proof.log_size > watched_) return false;
      as_of_ = std::max(as_of_, proof.sent);
      return true;
    });
    if (changed) tell();
    schedule_watch();
  });
}

// ---- what it means ------------------------------------------------------------------------------------------------

void PoolerFollow::tell() {
  if (!have_view_) return;
  const Time now = world_.events.now();
  std::optional<pool::LeaderKey> leader;
  std::optional<std::string> owner;
  std::optional<pool::TermKey> term;
  std::optional<pool::SwitchoverKey> switchover;
  if (view_.leader) {
    leader = {view_.leader->value, view_.leader->create};
    owner = view_.leader->value;
  }
  if (view_.term) term = {static_cast<uint64_t>(view_.term->value.term), view_.term->value.leader, view_.term->mod};
  if (view_.switchover) {
    using State = model::Switchover::State;
    const model::Switchover& value = view_.switchover->value;
    using Step = pool::SwitchoverKey::Step;
    const Step step = value.handover ? Step::over : value.state == State::draining ? Step::draining
                      : value.state == State::stopped ? Step::stopped : Step::over;
    switchover = pool::SwitchoverKey{view_.switchover->mod, static_cast<uint64_t>(value.term), value.from, step, value.hold_ms * 1000};
  }
  const auto change = hold_.follow(switchover, owner, term ? term->term : 0, micros(now));
  if (change == pool::SwitchoverHold::Change::begins) holding_since_ = now;
  if (change != pool::SwitchoverHold::Change::none) world_.note("{}: {}", id_, holding() ? "holds for a switchover" : "holds no more");
  leads_ = pool::leadership_of(leader, term);
  if (view_.initialize) system_identifier_ = static_cast<uint64_t>(std::strtoull(view_.initialize->value.c_str(), nullptr, 10));
  state_.number = succession_.number_of(leads_, generation_, system_identifier_);
  running_.clear();
  for (const auto& [name, member] : view_.members) {
    if (name != leads_.leader && member.value.state == model::PgState::running) running_.push_back(name);
  }
  state_.known = true;
  state_.leader_reachable = !leads_.leader.empty() && view_.members.contains(leads_.leader);
  state_.any_member = !view_.members.empty();
  state_.switching = holding();
  const pool::Micros lock_ttl = lock_ttl_.follow(std::chrono::duration_cast<pool::Micros>(ttl()), view_.leader ? view_.leader->mod : 0);
  state_.fresh_until = micros(as_of_ + lock_ttl / 2);
  news_();
  if (change != pool::SwitchoverHold::Change::none) registration();
}

void PoolerFollow::teller() {
  tell();
  run(std::min<Duration>(ttl() / 10, 200ms), [this] { teller(); });
}

// ---- registration -------------------------------------------------------------------------------------------------

void PoolerFollow::registration() {
  const uint64_t turn = ++turn_;
  const auto again = [this, turn](Duration delay) {
    run(delay, [this, turn] {
      if (turn_ == turn) registration();
    });
  };
  const Time now = world_.events.now();
  const Duration lease_ttl = std::max<Duration>(ttl(), 2s);
  if (now < busy_until_) return again(busy_until_ - now);
  if (lease_ == 0) {
    busy_until_ = now + kPatience;
    EtcdRequest request;
    request.kind = EtcdRequest::Kind::grant;
    request.ttl = lease_ttl;
    ask(std::move(request), [this](const EtcdAnswer& answer) {
      lease_ = answer.lease;
      renewed_ = world_.events.now();
      written_at_ = 0;
      busy_until_ = {};
      registration();
    });
    return again(kPatience);
  }
  if (now - renewed_ > lease_ttl / 4) {
    busy_until_ = now + kPatience;
    EtcdRequest request;
    request.kind = EtcdRequest::Kind::keep_alive;
    request.lease = lease_;
    ask(std::move(request), [this](const EtcdAnswer& answer) {
      if (answer.ttl.count() == 0) lease_ = 0;
      else renewed_ = world_.events.now();
      busy_until_ = {};
      registration();
    });
    return again(kPatience);
  }
  const int in_flight = holding() ? load_().lent : 0;
  const pool::Part part = pool::part_of(hold_.holding_for(), in_flight);
  if (pool::must_write(written_at_, written_, written_term_, part, leads_.term, hold_.holding_for())) {
    busy_until_ = now + kPatience;
    write(part, in_flight);
    return again(kPatience);
  }
  again(holding() ? kDrainPoll : lease_ttl / 8);
}

void PoolerFollow::write(pool::Part part, int in_flight) {
  if (world_.pooled_random.chance(world_.plan.lost_request)) return;
  const int etcd = world_.network.etcd();
  const model::PoolerRecord record{static_cast<model::PoolerRecord::State>(part), static_cast<model::Term>(leads_.term), 0, in_flight};
  world_.network.send(place_, etcd, [this, etcd, part, record, expected = written_at_, lease = lease_, life = process_.life()] {
    if (!world_.etcd.available()) return;
    const bool landed = world_.etcd.put_pooler(id_, record, lease, expected);
    const model::Revision mod = meta_of(world_.etcd.state(), {model::KeyKind::pooler, id_}).mod;
    if (world_.pooled_random.chance(world_.plan.lost_answer)) return;
    world_.network.send(etcd, place_, [this, part, record, landed, mod, lease, life] {
      process_.run(life, [this, part, record, landed, mod, lease] {
        if (lease != lease_) return;
        written_at_ = mod;
        if (landed) {
          written_ = part;
          written_term_ = static_cast<uint64_t>(record.term);
        }
        busy_until_ = landed ? Time{} : world_.events.now() + 20ms;
        registration();
      });
    });
  });
}

std::optional<std::string> PoolerFollow::judge_age() const {
  const auto& lock = world_.etcd.state().leader;
  if (!lock || !view_.leader || lock->mod != view_.leader->mod || generation_ != world_.etcd.generation()) return std::nullopt;
  const auto ttl = world_.etcd.ttl_of(lock->lease);
  const Duration age = world_.events.now() - as_of_;
  if (!ttl || age < *ttl / 2) return std::nullopt;
  return fmt::format("on a view of {} ms, and the lock has a lease of {} ms", to_ms(age), to_ms(*ttl));
}

std::string PoolerFollow::summary() const {
  return fmt::format("leader {}, term {}, {}{}, fresh for {} ms", leads_.leader.empty() ? "nobody" : leads_.leader, leads_.term,
                     state_.known ? "known" : "not known", holding() ? ", holding" : "",
                     (state_.fresh_until - micros(world_.events.now())) / 1000);
}

}  // namespace pgdba::sim
