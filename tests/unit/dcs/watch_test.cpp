// Watches on a real etcd of three members: nothing lost, nothing twice, whatever happens to the member in use.
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "dcs/endpoints.h"
#include "dcs/etcd.h"
#include "etcd_cluster.h"

namespace pgdba::dcs {
namespace {

struct WatchTest : ::testing::Test {
  net::Loop loop;
  EtcdCluster cluster{loop};

  std::unique_ptr<Store> store() {
    EtcdOptions options;
    options.endpoints = cluster.urls();
    return make_etcd_store(loop, options).value();
  }
  void run(Task<void> body, Duration limit = 40s) {
    auto whole = [](EtcdCluster& etcd, Task<void> inner, net::Loop& l) -> Task<void> {
      bool ready = co_await etcd.ready(l.after(15s));
      EXPECT_TRUE(ready) << "etcd did not start";
      if (ready) co_await std::move(inner);
    };
    EXPECT_TRUE(loop.run_blocking(whole(cluster, std::move(body), loop), net::boot_now() + limit));
  }
  BootTime in(Duration d) { return loop.after(d); }

  Task<int64_t> put(Store& dcs, std::string key, std::string value) {
    Txn txn({}, {Op::put(std::move(key), std::move(value))});
    while (true) {
      auto done = co_await dcs.txn(txn, in(2s));
      if (done) co_return done->header.revision;
    }
  }
  // The values of the next `count` puts.
  Task<std::vector<std::string>> values(Watch& watch, size_t count, BootTime deadline) {
    std::vector<std::string> out;
    while (out.size() < count && loop.now() < deadline) {
      auto batch = co_await watch.next(deadline);
      if (!batch) continue;
      for (const KeyEvent& event : batch->events) out.push_back(event.kv.value);
    }
    co_return out;
  }
};

using Values = std::vector<std::string>;

TEST_F(WatchTest, events_in_order_progress_and_the_end) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    int64_t start = co_await put(*dcs, "/s/before", "0");
    auto watch = dcs->watch("/s/", start);
    for (int i = 1; i <= 20; ++i) co_await put(*dcs, "/s/k", std::to_string(i));
    co_await put(*dcs, "/t/other", "not ours");
    Txn both({}, {Op::remove("/s/k"), Op::put("/s/l", "21")});
    EXPECT_TRUE(co_await dcs->txn(both, in(2s)));
    std::vector<KeyEvent> events;
    BootTime limit = in(3s);
    while (events.size() < 22 && loop.now() < limit) {
      auto batch = co_await watch->next(limit);
      if (!batch) break;
      for (auto& event : batch->events) events.push_back(event);
    }
    EXPECT_EQ(events.size(), 22u);
    if (events.size() != 22) co_return;
    for (size_t i = 0; i < 20; ++i) EXPECT_EQ(events[i].kv.value, std::to_string(i + 1));
    EXPECT_EQ(events[20].kind, KeyEvent::Kind::remove);
    EXPECT_EQ(events[20].kv.key, "/s/k");
    EXPECT_EQ(events[20].kv.mod, events[21].kv.mod) << "one transaction, one revision";
    // Silence is filled with signs of life.
    auto progress = co_await watch->next(in(2s));
    EXPECT_TRUE(progress && progress->kind == WatchBatch::Kind::progress);
    co_await loop.sleep_for(1s);
    EXPECT_LT(loop.now() - watch->last_heard(), 800ms);
    EXPECT_FALSE(watch->endpoint().empty());
    // Its task ends with it, and needs the store no longer.
    watch.reset();
    dcs.reset();
    co_await loop.sleep_for(20ms);
  };
  run(body());
}

TEST_F(WatchTest, a_compacted_revision_is_reported) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    int64_t last = 0;
    for (int i = 0; i < 5; ++i) last = co_await put(*dcs, "/s/k", std::to_string(i));
    net::HttpClient client(loop);
    net::Request request;
    request.method = "POST";
    request.body = R"({"revision":")" + std::to_string(last) + R"("})";
    net::Url url = net::parse_url(cluster.url(0) + "/v3/kv/compaction").value();
    auto done = co_await client.request(url, request, in(2s));
    EXPECT_TRUE(done && done->status == 200);
    auto watch = dcs->watch("/s/", last - 3);
    auto batch = co_await watch->next(in(2s));
    EXPECT_TRUE(batch && batch->kind == WatchBatch::Kind::compacted);
    auto after = co_await watch->next(in(100ms));
    EXPECT_TRUE(!after && after.error().code == Errc::cancelled);
  };
  run(body());
}

// kill -9 of the member in use, then of nobody, then SIGSTOP: the stream moves within a second and repeats nothing.
TEST_F(WatchTest, moves_on_when_its_member_dies_or_freezes) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    auto writer = store();
    int64_t start = co_await put(*writer, "/s/k", "0");
    auto watch = dcs->watch("/s/", start);
    co_await put(*writer, "/s/k", "1");
    auto got1 = co_await values(*watch, 1, in(3s));
    EXPECT_EQ(got1, (Values{"1"}));
    auto member_of = [&](const std::string& endpoint) {
      for (int i = 0; i < 3; ++i) {
        if (cluster.url(i) == endpoint) return i;
      }
      ADD_FAILURE() << endpoint;
      return 0;
    };
    auto moved_within = [&](std::string from, Duration limit) -> Task<void> {
      BootTime before = loop.now();
      while (loop.now() - before < 5s && (watch->endpoint().empty() || watch->endpoint() == from)) {
        co_await loop.sleep_for(5ms);
      }
      EXPECT_LT(loop.now() - before, limit) << from;
    };
    std::string first = watch->endpoint();
    cluster.kill(member_of(first));
    co_await moved_within(first, 1s);
    co_await put(*writer, "/s/k", "2");
    auto got2 = co_await values(*watch, 1, in(5s));
    EXPECT_EQ(got2, (Values{"2"}));

    cluster.start(member_of(first));
    EXPECT_TRUE(co_await cluster.ready(in(10s)));
    std::string second = watch->endpoint();
    cluster.freeze(member_of(second));
    co_await moved_within(second, 1s);
    co_await put(*writer, "/s/k", "3");
    co_await put(*writer, "/s/k", "4");
    auto got3 = co_await values(*watch, 2, in(5s));
    EXPECT_EQ(got3, (Values{"3", "4"}));
    cluster.thaw(member_of(second));
    co_await loop.sleep_for(300ms);
    auto more = co_await values(*watch, 1, in(500ms));
    EXPECT_TRUE(more.empty());
  };
  run(body());
}

TEST_F(WatchTest, with_nobody_there_it_says_so_and_comes_back) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    int64_t start = co_await put(*dcs, "/s/k", "0");
    auto watch = dcs->watch("/s/", start);
    for (int i = 0; i < 3; ++i) cluster.kill(i);
    co_await loop.sleep_for(200ms);
    BootTime before = loop.now();
    Errc last = Errc::bug;
    while (loop.now() - before < 3s) {
      auto batch = co_await watch->next(in(300ms));
      if (!batch && (last = batch.error().code) == Errc::unavailable) break;
    }
    EXPECT_EQ(last, Errc::unavailable);
    for (int i = 0; i < 3; ++i) cluster.start(i);
    EXPECT_TRUE(co_await cluster.ready(in(15s)));
    co_await put(*dcs, "/s/k", "1");
    auto got4 = co_await values(*watch, 1, in(5s));
    EXPECT_EQ(got4, (Values{"1"}));
  };
  run(body());
}

TEST(RaftTerm, goes_back_only_by_an_answer_with_a_quorum_behind_it) {
  Endpoints endpoints({net::parse_url("http://127.0.0.1:1").value()});
  wire::etcd::Header header;
  header.cluster_id = 7;
  header.raft_term = 5;
  EXPECT_TRUE(endpoints.check(0, header, true, 0));
  header.raft_term = 2;
  EXPECT_FALSE(endpoints.check(0, header, true, 0)) << "a member that is cut off";
  EXPECT_FALSE(endpoints.check(0, header, true, 2)) << "asked for before term 5 was seen";
  EXPECT_TRUE(endpoints.check(0, header, true, 5)) << "all members were emptied";
  EXPECT_TRUE(endpoints.check(0, header, true, 0));
}

// An etcd before 3.4.26 that is made to do what it does once in a long while: a progress answer overtakes an event that it
// speaks of. Serves one connection at a time.
class OvertakingEtcd {
 public:
  OvertakingEtcd() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~OvertakingEtcd() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  static std::string header(int revision) {
    return fmt::format(R"("header":{{"cluster_id":"1","member_id":"2","revision":"{}","raft_term":"3"}})", revision);
  }
  static void say(int client, const std::string& text) { (void)!send(client, text.data(), text.size(), MSG_NOSIGNAL); }
  static void message(int client, const std::string& result) {
    std::string line = R"({"result":{)" + result + "}}\n";
    say(client, fmt::format("{:x}\r\n{}\r\n", line.size(), line));
  }
  void serve() {
    for (int client; (client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0; close(client)) {
      std::string heard;
      char buffer[4096];
      int questions = 0;
      bool watching = false;
      for (ssize_t got; (got = recv(client, buffer, sizeof buffer, 0)) > 0;) {
        heard.append(buffer, static_cast<size_t>(got));
        if (!watching && heard.find("create_request") != std::string::npos) {
          watching = true;
          heard.clear();
          say(client, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
          message(client, header(10) + R"(,"created":true)");
        } else if (watching && heard.find("progress_request") != std::string::npos) {
          heard.clear();
          message(client, header(15));
          if (++questions == 1) {
            message(client, header(15) + R"(,"events":[{"kv":{"key":"L3Mvaw==","create_revision":"12","mod_revision":"12",)"
                                         R"("version":"1","value":"MQ=="}}])");
          }
        } else if (heard.starts_with("POST /v3/kv/range") && heard.ends_with("}")) {
          heard.clear();
          std::string body = "{" + header(10) + "}";
          say(client, fmt::format("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
        }
      }
    }
  }

  int listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

// The agent says "as of this revision I have seen everything" by it.
TEST(WatchProgress, counts_for_what_the_answer_before_it_said) {
  net::Loop loop;
  OvertakingEtcd old;
  auto body = [&]() -> Task<void> {
    EtcdOptions options;
    options.endpoints = {old.url()};
    auto dcs = make_etcd_store(loop, options).value();
    auto watch = dcs->watch("/s/", 10);
    bool seen_event = false;
    int64_t claimed = 0;
    BootTime limit = loop.after(10s);
    while (claimed < 15 && loop.now() < limit) {
      auto batch = co_await watch->next(limit);
      if (!batch) continue;
      if (batch->kind == WatchBatch::Kind::events) seen_event = true;
      if (batch->kind == WatchBatch::Kind::progress) claimed = batch->header.revision;
      EXPECT_TRUE(seen_event || claimed < 12) << "revision 12 is claimed before its event has come";
    }
    EXPECT_TRUE(seen_event);
    EXPECT_EQ(claimed, 15) << "the second answer proves what the first one said";
  };
  EXPECT_TRUE(loop.run_blocking(body(), net::boot_now() + 20s));
}

}  // namespace
}  // namespace pgdba::dcs
