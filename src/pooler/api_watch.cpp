#include "pooler/api_watch.h"

#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <utility>

#include "net/http_client.h"
#include "net/log.h"
#include "net/loop.h"
#include "net/tls.h"
#include "wire/rest_cluster.h"
#include "wire/rest_status.h"

namespace pgdba::pooler {

namespace {

constexpr Duration kEvery = 500ms;
constexpr Duration kPatience = 1s;    // for one endpoint
constexpr Duration kServes = 5s;      // how long an answer may be lent on
constexpr Duration kLeads = 2s;       // the same of a leader's own word, while no member knows the cluster
constexpr Duration kSoonest = 50ms;   // between two looks

}  // namespace

ClusterNews ApiFollower::follow(const std::string& body) {
  ClusterNews news;
  auto report = wire::parse_cluster_answer(body);
  if (!report) {
    news.trouble = report.error().text;
    return news;
  }
  news.known = true;
  for (const wire::MemberReport& member : report->members) {
    ClusterMember one;
    one.name = member.name;
    one.host = member.host;
    one.port = member.port.value_or(5432);
    one.running = member.state == "running" || member.state == "streaming";
    one.role = member.role;
    one.state = member.state;
    one.timeline = member.timeline.value_or(0);
    if (member.replay_lag) one.lag_bytes = static_cast<int64_t>(*member.replay_lag);
    else if (member.lag) one.lag_bytes = static_cast<int64_t>(*member.lag);
    // A leader that is being stopped, started or demoted serves nobody.
    if (member.is_leader() && one.running && news.leader.empty()) {
      if (believes(one)) {
        one.leader = true;
        one.lag_bytes = 0;
        news.leader = member.name;
        news.leader_url = member.api_url;
      } else {
        news.trouble = fmt::format("{} is said to lead on timeline {}, which {} has led on", one.name, one.timeline, leader_);
        if (one.timeline < timeline_) news.trouble = fmt::format("{} is said to lead on timeline {}, older than {}", one.name, one.timeline, timeline_);
      }
    }
    news.members.push_back(std::move(one));
  }
  news.term = term_;
  return news;
}

bool ApiFollower::believes(const ClusterMember& leader) {
  if (leader.timeline == 0 || leader.timeline < timeline_) return false;
  const bool newer = leader.timeline > timeline_;
  const bool changes = leader.name != leader_;
  if (changes && !newer && moved_) return false;
  if (changes) {
    term_ = std::max<uint64_t>(leader.timeline, term_ + 1);
    // The timeline is the old leader's, still, unless nobody led before.
    moved_ = !leader_.empty() && !newer;
    leader_ = leader.name;
  } else if (newer) {
    moved_ = false;
  }
  timeline_ = leader.timeline;
  return true;
}

struct ApiWatch::Impl {
  Options options;
  std::function<void(const ClusterNews&)> news;
  net::Loop loop;
  std::unique_ptr<net::HttpClient> client;
  net::Event wanted{loop};
  std::thread thread;
  size_t first = 0;  // the endpoint that answered last
  ApiFollower follower;
  ClusterNews last;
  uint64_t system_identifier = 0;
  std::string trouble;

  Task<std::optional<ClusterNews>> ask(const std::string& endpoint) {
    auto url = net::parse_url(endpoint + "/cluster");
    if (!url) co_return std::nullopt;
    const BootTime sent = loop.now();
    net::Request request;
    auto answer = co_await client->request(*url, std::move(request), loop.after(kPatience));
    if (!answer || answer->status != 200) {
      trouble = endpoint + ": " + (answer ? "status " + std::to_string(answer->status) : answer.error().text);
      co_return std::nullopt;
    }
    ClusterNews found = follower.follow(answer->body);
    if (!found.known) {
      trouble = endpoint + ": " + found.trouble;
      co_return std::nullopt;
    }
    if (system_identifier == 0) co_await ask_identity(endpoint);
    found.system_identifier = system_identifier;
    found.as_of_us = std::chrono::duration_cast<std::chrono::microseconds>(sent.time_since_epoch()).count();
    found.fresh_until_us = std::chrono::duration_cast<std::chrono::microseconds>((sent + kServes).time_since_epoch()).count();
    co_return found;
  }

  // Patroni answers nothing about the cluster while its etcd is away. Its leader may go on (failsafe mode) and says so.
  Task<void> ask_leader() {
    auto url = net::parse_url(last.leader_url);
    if (last.leader.empty() || !url) co_return;
    url->target = "/primary";
    const BootTime sent = loop.now();
    net::Request request;
    auto answer = co_await client->request(*url, std::move(request), loop.after(kPatience));
    if (!answer || answer->status != 200) co_return;
    const auto until = std::chrono::duration_cast<std::chrono::microseconds>((sent + kLeads).time_since_epoch()).count();
    if (until <= last.fresh_until_us) co_return;
    last.fresh_until_us = until;
    last.trouble = trouble;
    news(last);
  }

  // Which cluster this is: all its members say the same.
  Task<void> ask_identity(const std::string& endpoint) {
    auto url = net::parse_url(endpoint + "/patroni");
    if (!url) co_return;
    net::Request request;
    auto answer = co_await client->request(*url, std::move(request), loop.after(kPatience));
    if (!answer) co_return;
    auto status = wire::parse_status_answer(answer->body);
    if (status) system_identifier = static_cast<uint64_t>(std::strtoull(status->system_identifier.c_str(), nullptr, 10));
  }

  Task<void> run() {
    std::string said;
    for (;;) {
      std::optional<ClusterNews> found;
      for (size_t i = 0; i < options.endpoints.size() && !found; ++i) {
        const size_t at = (first + i) % options.endpoints.size();
        found = co_await ask(options.endpoints[at]);
        if (!found) co_await ask_leader();
        // A member that is cut off may know nothing of a leader while another one does.
        if (found && found->leader.empty() && i + 1 < options.endpoints.size()) {
          auto second = co_await ask(options.endpoints[(at + 1) % options.endpoints.size()]);
          if (second && !second->leader.empty()) found = std::move(second);
        }
        if (found) first = at;
      }
      if (found) {
        trouble.clear();
        last = *found;
        news(last);
      }
      if (trouble != said && !trouble.empty()) log::warning("pooler", "cluster_api does not answer: {}", trouble);
      said = trouble;
      // Without a leader there is no time to lose.
      const bool calm = found && !found->leader.empty();
      co_await loop.sleep_for(kSoonest);
      co_await wanted.wait_for(calm ? kEvery - kSoonest : kSoonest);
    }
  }
};

ApiWatch::ApiWatch(Options options, std::function<void(const ClusterNews&)> news) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  impl_->news = std::move(news);
}

Result<void> ApiWatch::start() {
  Impl& self = *impl_;
  std::shared_ptr<net::TlsContext> tls;
  for (const std::string& endpoint : self.options.endpoints) {
    if (tls || !endpoint.starts_with("https:")) continue;
    net::TlsClientOptions trust;
    trust.ca_file = self.options.ca_file;
    auto made = net::TlsContext::client(trust);
    if (!made) return tl::unexpected(std::move(made.error()));
    tls = *made;
  }
  self.client = std::make_unique<net::HttpClient>(self.loop, tls);
  self.loop.spawn(self.run(), "cluster_api");
  self.thread = std::thread([&self] { self.loop.run(); });
  return {};
}

void ApiWatch::look() {
  impl_->loop.post([self = impl_.get()] { self->wanted.notify(); });
}

ApiWatch::~ApiWatch() {
  if (!impl_->thread.joinable()) return;
  impl_->loop.stop();
  impl_->thread.join();
}

}  // namespace pgdba::pooler
