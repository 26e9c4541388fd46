#include "pooler/api_watch.h"

#include <thread>
#include <utility>

#include "net/http_client.h"
#include "net/log.h"
#include "net/loop.h"
#include "net/tls.h"
#include "wire/rest_cluster.h"

namespace pgdba::pooler {

namespace {

constexpr Duration kEvery = 500ms;
constexpr Duration kPatience = 1s;    // for one endpoint
constexpr Duration kServes = 5s;      // how long an answer may be lent on
constexpr Duration kSoonest = 50ms;   // between two looks

}  // namespace

ClusterNews news_from_cluster_answer(const std::string& body, uint64_t newest) {
  ClusterNews news;
  auto report = wire::parse_cluster_answer(body);
  if (!report) {
    news.trouble = report.error().text;
    return news;
  }
  news.known = true;
  news.term = newest;
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
    // A leader that is being stopped, started or demoted serves nobody; one of an older timeline is a report of the past.
    const bool leads = member.is_leader() && one.running && one.timeline != 0 && one.timeline >= newest;
    if (leads && news.leader.empty()) {
      one.leader = true;
      one.lag_bytes = 0;
      news.leader = member.name;
      news.term = one.timeline;
    }
    news.members.push_back(std::move(one));
  }
  return news;
}

struct ApiWatch::Impl {
  Options options;
  std::function<void(const ClusterNews&)> news;
  net::Loop loop;
  std::unique_ptr<net::HttpClient> client;
  net::Event wanted{loop};
  std::thread thread;
  size_t first = 0;  // the endpoint that answered last
  uint64_t newest = 0;
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
    ClusterNews found = news_from_cluster_answer(answer->body, newest);
    if (!found.known) {
      trouble = endpoint + ": " + found.trouble;
      co_return std::nullopt;
    }
    found.fresh_until_us = std::chrono::duration_cast<std::chrono::microseconds>((sent + kServes).time_since_epoch()).count();
    co_return found;
  }

  Task<void> run() {
    std::string said;
    for (;;) {
      std::optional<ClusterNews> found;
      for (size_t i = 0; i < options.endpoints.size() && !found; ++i) {
        const size_t at = (first + i) % options.endpoints.size();
        found = co_await ask(options.endpoints[at]);
        // A member that is cut off may know nothing of a leader while another one does.
        if (found && found->leader.empty() && i + 1 < options.endpoints.size()) {
          auto second = co_await ask(options.endpoints[(at + 1) % options.endpoints.size()]);
          if (second && !second->leader.empty()) found = std::move(second);
        }
        if (found) first = at;
      }
      if (found) {
        newest = std::max(newest, found->term);
        trouble.clear();
        news(*found);
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
