#include "pooler/leader_watch.h"

#include <algorithm>
#include <fmt/format.h>
#include <future>
#include <unistd.h>
#include <utility>

#include "base/text.h"
#include "dcs/cluster_watch.h"
#include "dcs/etcd.h"
#include "net/http_client.h"
#include "net/log.h"
#include "net/loop.h"
#include "pool/follow.h"
#include "wire/cluster_json.h"
#include "wire/keys.h"
#include "wire/rest_cluster.h"
#include "wire/rest_status.h"

namespace pgdba::pooler {

namespace {

constexpr Duration kDrainPoll = 5ms;
// After a change of leader the workers try again each time they are told something: its gate opens within moments.
constexpr Duration kLively = 3s;
constexpr Duration kLivelyPause = 25ms;
constexpr Duration kPatience = 1s;

// Of whoever listens here: one that was killed and started again takes its old key over, so that no switchover waits for
// the dead until its lease ends. Several processes on one port need a name each.
std::string pooler_id(const LeaderWatch::Options& options) {
  char host[256] = "pooler";
  ::gethostname(host, sizeof host - 1);
  if (options.port == 0) return fmt::format("{}-pid-{}", host, ::getpid());
  return fmt::format("{}-{}", host, options.port);
}

}  // namespace

struct LeaderWatch::Impl {
  Options options;
  std::function<void(const ClusterNews&)> news;
  AskLoad ask_load;
  net::Loop loop;
  std::unique_ptr<dcs::Store> store;
  std::string prefix;
  std::optional<dcs::ClusterWatch> watch;
  net::Event changed{loop};
  net::Event drain_news{loop};
  std::thread thread;
  std::string id;

  // Our part in a switchover.
  int64_t lease = 0;
  model::PoolerRecord record;
  model::Revision record_mod = 0;
  pool::SwitchoverHold hold;
  pool::Succession succession;
  pool::LockTtl lock_ttl;
  ClusterNews last;
  BootTime lively_until{};

  // What the leader's own agent has proved to us while etcd is away (ha.md, section 3, third wall).
  std::optional<net::HttpClient> agents;
  BootTime agent_until{};
  uint64_t agent_term = 0;
  std::string patroni_leader;
  uint64_t patroni_term = 0;

  Duration ttl() const {
    const model::ClusterView* view = watch->view();
    return view != nullptr && view->config ? view->config->value.timings.ttl : Duration(30s);
  }

  // Patroni's leader that has lost its key while etcd was away and makes it again is no other leader: its connections are as good as
  // they were (a server that has been a replica in between was restarted, and has lost them).
  void keep_patroni_term(ClusterNews& now) {
    if (now.own_term) patroni_leader.clear();
    if (now.own_term || now.leader.empty()) return;
    if (now.leader == patroni_leader) {
      now.term = patroni_term;
    } else {
      patroni_leader = now.leader;
      patroni_term = now.term;
    }
  }

  ClusterNews look_at(const model::ClusterView& view) {
    ClusterNews out;
    out.known = true;
    out.trouble = watch->trouble();
    out.as_of_us = std::chrono::duration_cast<std::chrono::microseconds>(view.as_of.time_since_epoch()).count();
    const BootTime fresh_until =
        view.as_of + lock_ttl.follow(std::chrono::duration_cast<pool::Micros>(ttl()), view.leader ? view.leader->mod : 0) / 2;
    out.fresh_until_us = std::chrono::duration_cast<std::chrono::microseconds>(fresh_until.time_since_epoch()).count();
    if (view.initialize) out.system_identifier = static_cast<uint64_t>(std::strtoull(view.initialize->value.c_str(), nullptr, 10));
    std::optional<pool::LeaderKey> leader;
    std::optional<pool::TermKey> term;
    if (view.leader) leader = {view.leader->value, view.leader->create};
    if (view.term) term = {static_cast<uint64_t>(view.term->value.term), view.term->value.leader, view.term->mod};
    pool::Leadership leads = pool::leadership_of(leader, term);
    out.number = succession.number_of(leads, watch->epoch(), out.system_identifier);
    out.leader = std::move(leads.leader);
    out.term = leads.term;
    out.own_term = leads.own_term;
    keep_patroni_term(out);
    if (!out.leader.empty() && agent_term == out.term && agent_until > fresh_until) {
      out.fresh_until_us = std::chrono::duration_cast<std::chrono::microseconds>(agent_until.time_since_epoch()).count();
    }
    std::optional<Lsn> primary;
    if (view.status) primary = view.status->value.optime;
    for (const auto& [name, keyed] : view.members) {
      const model::Member& member = keyed.value;
      ClusterMember one;
      one.name = name;
      if (auto url = wire::parse_conn_url(member.conn_url)) {
        one.host = url->host;
        one.port = url->port;
      }
      one.leader = name == out.leader;
      one.running = member.state == model::PgState::running;
      one.role = std::string(model::to_string(member.role));
      one.state = std::string(model::to_string(member.state));
      one.timeline = member.timeline;
      const auto position = member.replay_lsn ? member.replay_lsn : member.xlog_location;
      if (primary && position) {
        one.lag_bytes = one.leader ? 0 : static_cast<int64_t>(lag_bytes(*primary, *position));
      }
      out.members.push_back(std::move(one));
    }
    out.switching = hold.holding_for() != 0;
    return out;
  }

  void follow_switchover(const model::ClusterView& view) {
    using State = model::Switchover::State;
    std::optional<pool::SwitchoverKey> key;
    std::optional<std::string> leader;
    if (view.leader) leader = view.leader->value;
    if (view.switchover) {
      const model::Switchover& value = view.switchover->value;
      using Step = pool::SwitchoverKey::Step;
      const Step step = value.handover ? Step::over : value.state == State::draining ? Step::draining
                        : value.state == State::stopped ? Step::stopped : Step::over;
      key = pool::SwitchoverKey{view.switchover->mod, static_cast<uint64_t>(value.term), value.from, step, value.hold_ms * 1000};
    }
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(loop.now().time_since_epoch()).count();
    switch (hold.follow(key, leader, view.term ? static_cast<uint64_t>(view.term->value.term) : 0, now)) {
      case pool::SwitchoverHold::Change::none: return;
      case pool::SwitchoverHold::Change::begins:
        log::info("pooler", "holding new transactions: switchover from={} to={} hold_ms={}", key->from, view.switchover->value.to,
                  view.switchover->value.hold_ms);
        break;
      case pool::SwitchoverHold::Change::over:
        log::info("pooler", "the switchover is over: leader={}", leader ? *leader : "none");
        break;
      case pool::SwitchoverHold::Change::gives_up:
        log::warning("pooler", "the switchover took longer than it said: lending again");
        break;
    }
    drain_news.notify();
  }

  void tell() {
    const model::ClusterView* view = watch->view();
    if (view == nullptr) return;
    follow_switchover(*view);
    const uint64_t before = last.number;
    last = look_at(*view);
    if (last.number != before) lively_until = loop.after(kLively);
    news(last);
  }

  Task<void> teller() {
    for (;;) {
      co_await changed.wait_for(loop.now() < lively_until ? kLivelyPause : std::min<Duration>(ttl() / 10, 200ms));
      tell();
    }
  }

  // Etcd has proved nothing for a while. The leader's agent knows until when it is the leader, whatever etcd does: by an
  // answer to a question that we sent at `sent` no longer than that from then on. Whoever leads after it has another term,
  // and an agent that has seen one says so. Patroni's says only that it leads now (in failsafe mode as long as all members answer it).
  Task<void> ask_agent() {
    for (;;) {
      co_await loop.sleep_for(100ms);
      const model::ClusterView* view = watch->view();
      if (view == nullptr || !view->leader || last.leader.empty() || loop.now() < view->as_of + ttl() / 4) continue;
      auto member = view->members.find(view->leader->value);
      if (member == view->members.end()) continue;
      auto url = net::parse_url(member->second.value.api_url);
      if (!url) continue;
      const bool own = last.own_term;
      url->target = own ? "/patroni" : "/primary";
      const uint64_t term = last.term;
      const BootTime sent = loop.now();
      net::Request request;
      Result<net::Response> answer = co_await agents->request(std::move(*url), std::move(request), loop.after(ttl() / 4));
      if (!answer) continue;
      BootTime until{};
      if (own) {
        auto status = wire::parse_status_answer(answer->body);
        if (!status || !status->pgdba || static_cast<uint64_t>(status->pgdba->term) != term || status->pgdba->lock_ms.value_or(0) <= 0) continue;
        // It stops its server a while before that (ha/settings.h: ttl/12); what is under way then shall have ended.
        until = sent + std::chrono::milliseconds(*status->pgdba->lock_ms) - ttl() / 6;
      } else if (answer->status == 200) {
        until = sent + ttl() / 10;
      } else {
        continue;
      }
      if (agent_until < sent) {
        log::info("pooler", "etcd is away; the leader proves itself for {} ms", std::chrono::duration_cast<std::chrono::milliseconds>(until - sent).count());
      }
      agent_until = until;
      agent_term = term;
      tell();
    }
  }

  Task<Load> load() {
    struct Shared {
      explicit Shared(net::Loop& l) : done(l) {}
      net::Event done;
      std::optional<Load> load;
    };
    auto shared = std::make_shared<Shared>(loop);
    net::Loop* own = &loop;
    ask_load([shared, own](Load answer) {
      own->post([shared, answer] {
        shared->load = answer;
        shared->done.notify();
      });
    });
    while (!shared->load) co_await shared->done.wait_for(kPatience);
    co_return *shared->load;
  }

  // Writes our key when what it says has changed. False: not known to be written.
  Task<bool> write(model::PoolerRecord wanted) {
    const std::string key = prefix + wire::keys::pooler(id);
    dcs::Txn txn({record_mod == 0 ? wire::etcd::Compare::absent(key) : wire::etcd::Compare::mod_is(key, record_mod)},
                 {wire::etcd::Op::put(key, wire::format_pooler(wanted), lease)}, {wire::etcd::Op::range(key)});
    const BootTime sent = loop.now();
    Result<dcs::TxnResult> answer = co_await store->txn(std::move(txn), loop.after(kPatience));
    if (!answer) co_return false;
    if (!answer->succeeded) {
      // Ours landed after all, or the lease took it away: the next try knows the revision.
      const auto& kvs = answer->results.empty() ? std::vector<wire::KeyValue>() : answer->results[0].kvs;
      record_mod = kvs.empty() ? 0 : kvs[0].mod;
      co_return false;
    }
    record_mod = answer->header.revision;
    record = wanted;
    watch->wrote(sent, record_mod);
    co_return true;
  }

  Task<void> register_and_drain() {
    BootTime renewed{};
    // The cluster's ttl is the lease's: an agent waits for a pooler that was killed no longer than for another member.
    while (watch->view() == nullptr) co_await loop.sleep_for(20ms);
    for (;;) {
      const Duration lease_ttl = std::max<Duration>(ttl(), 2s);
      if (lease == 0) {
        Result<dcs::LeaseGrant> granted =
            co_await store->lease_grant(std::chrono::duration_cast<std::chrono::seconds>(lease_ttl), loop.after(kPatience));
        if (!granted) {
          co_await loop.sleep_for(500ms);
          continue;
        }
        lease = granted->id;
        record_mod = 0;
        renewed = loop.now();
        record.state = model::PoolerRecord::State::holding;  // so that the first one is written
      }
      if (loop.now() - renewed > lease_ttl / 4) {
        Result<dcs::KeepAlive> alive = co_await store->lease_keepalive(lease, loop.after(kPatience));
        if (alive && alive->ttl.count() == 0) {
          lease = 0;
          continue;
        }
        if (alive) renewed = loop.now();
      }
      model::PoolerRecord wanted;
      wanted.term = static_cast<model::Term>(last.term);
      const model::Revision holding_for = hold.holding_for();
      pool::Part part = pool::part_of(holding_for, 0);
      if (holding_for != 0) {
        // The workers have been told in tell(); what they say now is after that.
        Load now = co_await load();
        wanted.held = now.held;
        wanted.in_flight = now.in_flight;
        part = pool::part_of(holding_for, now.in_flight);
        if (hold.holding_for() != holding_for) continue;
      }
      wanted.state = static_cast<model::PoolerRecord::State>(part);
      if (pool::must_write(record_mod, static_cast<pool::Part>(record.state), static_cast<uint64_t>(record.term), part,
                           static_cast<uint64_t>(wanted.term), holding_for)) {
        if (!co_await write(wanted)) co_await loop.sleep_for(20ms);
        continue;
      }
      co_await drain_news.wait_for(holding_for != 0 ? kDrainPoll : lease_ttl / 8);
    }
  }

  // Our key goes with its lease, so that nobody waits for us.
  Task<void> leave(std::shared_ptr<std::promise<void>> left) {
    if (lease != 0) {
      auto revoked = co_await store->lease_revoke(lease, loop.after(500ms));
      if (!revoked) log::warning("pooler", "our registration ends with its lease: {}", revoked.error().text);
    }
    left->set_value();
  }
};

LeaderWatch::LeaderWatch(Options options, std::function<void(const ClusterNews&)> news, AskLoad ask_load)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  impl_->id = pooler_id(impl_->options);
  impl_->news = std::move(news);
  impl_->ask_load = std::move(ask_load);
}

Result<void> LeaderWatch::start() {
  Impl& self = *impl_;
  dcs::EtcdOptions etcd;
  etcd.endpoints = self.options.endpoints;
  etcd.user = self.options.user;
  etcd.password = self.options.password;
  etcd.tls.ca_file = self.options.ca_file;
  auto store = dcs::make_etcd_store(self.loop, std::move(etcd));
  if (!store) return tl::unexpected(std::move(store.error()));
  self.store = std::move(*store);
  self.prefix = wire::key_prefix(self.options.name_space, self.options.scope);
  self.watch.emplace(self.loop, *self.store, self.prefix, [&self] { self.tell(); });
  self.watch->want_fresh(500ms);
  self.loop.spawn(self.watch->run(), "watch");
  self.loop.spawn(self.watch->stay_fresh(), "freshness");
  self.loop.spawn(self.teller(), "teller");
  self.agents.emplace(self.loop);
  self.loop.spawn(self.ask_agent(), "leader's agent");
  self.loop.spawn(self.register_and_drain(), "registration");
  self.thread = std::thread([&self] { self.loop.run(); });
  return {};
}

void LeaderWatch::look() {
  impl_->loop.post([self = impl_.get()] { self->changed.notify(); });
}

LeaderWatch::~LeaderWatch() {
  if (!impl_->thread.joinable()) return;
  auto left = std::make_shared<std::promise<void>>();
  std::future<void> done = left->get_future();
  impl_->loop.post([self = impl_.get(), left] { self->loop.spawn(self->leave(left), "leave"); });
  done.wait_for(1s);
  impl_->loop.stop();
  impl_->thread.join();
}

}  // namespace pgdba::pooler
