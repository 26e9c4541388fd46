// The store against a real etcd of three members.
#include "dcs/etcd.h"

#include <gtest/gtest.h>

#include "etcd_cluster.h"

namespace pgdba::dcs {
namespace {

struct EtcdTest : ::testing::Test {
  net::Loop loop;
  std::unique_ptr<EtcdCluster> cluster = std::make_unique<EtcdCluster>(loop);

  std::unique_ptr<Store> store(std::vector<std::string> endpoints = {}) {
    EtcdOptions options;
    options.endpoints = endpoints.empty() ? cluster->urls() : std::move(endpoints);
    return make_etcd_store(loop, options).value();
  }
  void run(Task<void> body, Duration limit = 40s) {
    auto whole = [](EtcdCluster& etcd, Task<void> inner, net::Loop& l) -> Task<void> {
      bool ready = co_await etcd.ready(l.after(15s));
      EXPECT_TRUE(ready) << "etcd did not start";
      if (ready) co_await std::move(inner);
    };
    EXPECT_TRUE(loop.run_blocking(whole(*cluster, std::move(body), loop), boot_now() + limit));
  }
  BootTime in(Duration d) { return loop.after(d); }
  static BootTime boot_now() { return net::boot_now(); }
};

#define CO_ASSERT(condition)           \
  if (!(condition)) {                  \
    ADD_FAILURE() << #condition;       \
    co_return;                         \
  }

TEST_F(EtcdTest, transactions_leases_and_ranges) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    // Compare, put, and what comes back.
    Txn create({Compare::absent("/s/leader")}, {Op::put("/s/leader", "a")}, {Op::range("/s/leader")});
    auto won = co_await dcs->txn(create, in(2s));
    CO_ASSERT(won);
    EXPECT_TRUE(won->succeeded);
    EXPECT_NE(won->header.cluster_id, 0u);
    EXPECT_GT(won->header.raft_term, 0u);
    int64_t revision = won->header.revision;

    auto lost = co_await dcs->txn(create, in(2s));
    CO_ASSERT(lost);
    EXPECT_FALSE(lost->succeeded);
    CO_ASSERT(lost->results.size() == 1 && lost->results[0].kvs.size() == 1);
    EXPECT_EQ(lost->results[0].kvs[0].value, "a");
    EXPECT_EQ(lost->results[0].kvs[0].mod, revision);
    EXPECT_EQ(lost->header.revision, revision) << "a lost compare must change nothing";

    Txn stale({Compare::mod_is("/s/leader", revision - 1)}, {Op::put("/s/leader", "b")});
    auto refused = co_await dcs->txn(stale, in(2s));
    EXPECT_TRUE(refused && !refused->succeeded);

    auto empty = co_await dcs->txn(Txn(), in(2s));
    EXPECT_TRUE(!empty && empty.error().code == Errc::bug);

    // Any bytes are values; removing counts.
    std::string binary("\0\xff\n\"x", 5);
    Txn several({}, {Op::put("/s/x/1", binary), Op::put("/s/x/2", ""), Op::remove("/s/none"), Op::range_prefix("/s/x/")});
    auto written = co_await dcs->txn(several, in(2s));
    CO_ASSERT(written && written->results.size() == 4);
    EXPECT_EQ(written->results[2].removed, 0);
    CO_ASSERT(written->results[3].kvs.size() == 2);
    EXPECT_EQ(written->results[3].kvs[0].value, binary);

    auto range = co_await dcs->range_prefix("/s/", Read::linearizable, in(2s));
    CO_ASSERT(range && range->kvs.size() == 3);
    EXPECT_EQ(range->kvs[0].key, "/s/leader");
    auto local = co_await dcs->range_prefix("/s/x", Read::serializable, in(2s));
    EXPECT_TRUE(local && local->kvs.size() == 2);
    Txn sweep({}, {Op::remove_prefix("/s/x/")});
    auto swept = co_await dcs->txn(sweep, in(2s));
    EXPECT_TRUE(swept && swept->results.at(0).removed == 2);

    auto members = co_await dcs->members(in(2s));
    EXPECT_TRUE(members && members->size() == 3);
    // Concurrent calls have connections of their own and never wait for each other.
    std::vector<Task<Result<Range>>> many;
    for (int i = 0; i < 20; ++i) many.push_back(dcs->range_prefix("/s/", Read::linearizable, in(2s)));
    for (auto& result : co_await net::all(loop, std::move(many))) EXPECT_TRUE(result);
  };
  run(body());
}

TEST_F(EtcdTest, leases_live_are_prolonged_and_end) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    auto lease = co_await dcs->lease_grant(2s, in(2s));
    CO_ASSERT(lease);
    EXPECT_GE(lease->ttl, 2s);
    Txn put({}, {Op::put("/s/leader", "a", lease->id)});
    EXPECT_TRUE(co_await dcs->txn(put, in(2s)));
    BootTime before = loop.now();
    auto alive = co_await dcs->lease_keepalive(lease->id, in(2s));
    CO_ASSERT(alive);
    EXPECT_GE(alive->ttl, 2s);
    EXPECT_GE(alive->sent_at, before);
    EXPECT_LE(alive->sent_at, loop.now());
    EXPECT_GT(alive->header.raft_term, 0u);

    // Left alone it ends, and the key with it.
    for (BootTime limit = in(8s); loop.now() < limit;) {
      auto range = co_await dcs->range_prefix("/s/leader", Read::linearizable, in(2s));
      if (range && range->kvs.empty()) break;
      co_await loop.sleep_for(100ms);
    }
    auto range = co_await dcs->range_prefix("/s/leader", Read::linearizable, in(2s));
    EXPECT_TRUE(range && range->kvs.empty());
    auto gone = co_await dcs->lease_keepalive(lease->id, in(2s));
    CO_ASSERT(gone);
    EXPECT_EQ(gone->ttl, 0s);
    auto late = co_await dcs->txn(put, in(2s));
    EXPECT_TRUE(!late && late.error().code == Errc::not_found) << (late ? "" : late.error().text);

    auto second = co_await dcs->lease_grant(5s, in(2s));
    CO_ASSERT(second);
    EXPECT_TRUE(co_await dcs->lease_revoke(second->id, in(2s)));
    auto again = co_await dcs->lease_revoke(second->id, in(2s));
    EXPECT_TRUE(!again && again.error().code == Errc::not_found);
  };
  run(body());
}

// The member that we talk to stops answering but keeps its connections: nothing may hang on it.
TEST_F(EtcdTest, a_frozen_member_is_left_and_writes_stay_certain) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    auto lease = co_await dcs->lease_grant(30s, in(2s));
    CO_ASSERT(lease);
    cluster->freeze(0);
    co_await loop.sleep_for(300ms);  // longer than probe_age: a write asks first
    BootTime before = loop.now();
    Txn put({}, {Op::put("/s/a", "1")});
    auto written = co_await dcs->txn(put, in(4s));
    EXPECT_TRUE(written) << (written ? "" : written.error().text);
    // Less than a second when the frozen one was a follower; an election of etcd's own comes on top when it led.
    EXPECT_LT(loop.now() - before, 3s);
    before = loop.now();
    auto alive = co_await dcs->lease_keepalive(lease->id, in(4s));
    EXPECT_TRUE(alive && alive->ttl > 0s);
    EXPECT_LT(loop.now() - before, 1s) << "the working endpoint was not remembered";
    cluster->thaw(0);

    // A dead one refuses at once. Reads do not even notice.
    EXPECT_TRUE(co_await cluster->ready(in(5s)));
    cluster->kill(1);
    before = loop.now();
    EXPECT_TRUE(co_await dcs->range_prefix("/s/", Read::serializable, in(2s)));
    EXPECT_LT(loop.now() - before, 500ms);
  };
  run(body());
}

// Without a quorum a write's outcome is unknown or a certain no, never a yes, and never later than its deadline.
TEST_F(EtcdTest, without_quorum_nothing_is_claimed) {
  auto body = [&]() -> Task<void> {
    auto dcs = store();
    Txn first({}, {Op::put("/s/a", "1")});
    EXPECT_TRUE(co_await dcs->txn(first, in(2s)));
    cluster->kill(1);
    cluster->kill(2);
    for (int i = 0; i < 4; ++i) {
      BootTime before = loop.now();
      Txn put({Compare::exists("/s/a")}, {Op::put("/s/a", "2")});
      auto written = co_await dcs->txn(put, in(700ms));
      EXPECT_TRUE(!written && (written.error().code == Errc::timeout || written.error().code == Errc::unavailable));
      EXPECT_LT(loop.now() - before, 900ms);
      auto read = co_await dcs->range_prefix("/s/", Read::linearizable, in(500ms));
      EXPECT_FALSE(read);
    }
    auto memory = co_await dcs->range_prefix("/s/", Read::serializable, in(1s));
    EXPECT_TRUE(memory && memory->kvs.size() == 1);
    cluster->start(1);
    for (BootTime limit = in(15s); loop.now() < limit;) {
      auto read = co_await dcs->range_prefix("/s/", Read::linearizable, in(1s));
      if (read) break;
    }
    auto read = co_await dcs->range_prefix("/s/", Read::linearizable, in(2s));
    EXPECT_TRUE(read && read->kvs.size() == 1);
  };
  run(body());
}

TEST(EtcdNobody, is_certain_and_in_time) {
  net::Loop loop;
  EtcdOptions options;
  EXPECT_FALSE(make_etcd_store(loop, options));
  options.endpoints = {"http://127.0.0.1:" + std::to_string(net::pick_free_port().value())};
  auto dcs = make_etcd_store(loop, options).value();
  BootTime before = net::boot_now();
  Txn put({}, {Op::put("/s/a", "1")});
  auto written = net::run_blocking(loop, dcs->txn(put, loop.after(300ms)), loop.after(5s));
  EXPECT_TRUE(!written && written.error().code == Errc::unavailable);
  EXPECT_LT(net::boot_now() - before, 400ms);
  options.endpoints = {"127.0.0.1:2379"};
  auto bad = make_etcd_store(loop, options);
  EXPECT_TRUE(!bad && bad.error().code == Errc::invalid);
}

// One member was wiped and answers as a cluster of its own: its answers count for nothing until the caller knows.
TEST_F(EtcdTest, another_cluster_is_reported_and_not_believed) {
  auto body = [&]() -> Task<void> {
    EtcdCluster other(loop, 1);
    EXPECT_TRUE(co_await other.ready(in(10s)));
    auto dcs = store({cluster->url(0), other.url(0)});
    Txn put({}, {Op::put("/s/a", "1")});
    auto first = co_await dcs->txn(put, in(2s));
    CO_ASSERT(first);
    for (int i = 0; i < 3; ++i) cluster->kill(i);
    auto read = co_await dcs->range_prefix("/s/", Read::linearizable, in(2s));
    EXPECT_TRUE(!read && read.error().code == Errc::conflict) << (read ? "" : read.error().text);
    auto write = co_await dcs->txn(put, in(2s));
    EXPECT_TRUE(!write && write.error().code == Errc::conflict) << (write ? "" : write.error().text);
    uint64_t foreign = dcs->foreign_cluster();
    EXPECT_NE(foreign, 0u);
    EXPECT_NE(foreign, first->header.cluster_id);
    dcs->accept_cluster(foreign);
    auto accepted = co_await dcs->range_prefix("/s/", Read::linearizable, in(2s));
    EXPECT_TRUE(accepted && accepted->kvs.empty()) << "the write before the word of the caller must not have landed";
  };
  run(body());
}

TEST_F(EtcdTest, logs_in_where_etcd_wants_it) {
  auto post = [&](std::string path, std::string json, std::string token = "") -> Task<std::string> {
    net::HttpClient client(loop);
    net::Request request;
    request.method = "POST";
    request.body = json;
    if (!token.empty()) request.headers = {{"Authorization", token}};
    net::Url url = net::parse_url(cluster->url(0) + path).value();
    auto answer = co_await client.request(url, request, in(2s));
    EXPECT_TRUE(answer && answer->status == 200) << path << (answer ? answer->body : answer.error().text);
    co_return answer ? answer->body : "";
  };
  auto body = [&]() -> Task<void> {
    co_await post("/v3/auth/user/add", R"({"name":"root","password":"secret"})");
    co_await post("/v3/auth/user/grant", R"({"user":"root","role":"root"})");
    co_await post("/v3/auth/enable", "{}");
    EtcdOptions options;
    options.endpoints = cluster->urls();
    auto anonymous = make_etcd_store(loop, options).value();
    auto refused = co_await anonymous->range_prefix("/s/", Read::linearizable, in(2s));
    EXPECT_TRUE(!refused && refused.error().code == Errc::denied) << (refused ? "" : refused.error().text);
    options.user = "root";
    options.password = Secret("wrong");
    auto liar = make_etcd_store(loop, options).value();
    Txn put({}, {Op::put("/s/a", "1")});
    auto denied = co_await liar->txn(put, in(5s));
    EXPECT_TRUE(!denied && denied.error().code == Errc::denied) << (denied ? "" : denied.error().text);
    options.password = Secret("secret");
    auto dcs = make_etcd_store(loop, options).value();
    auto logged_in = co_await dcs->txn(put, in(5s));
    EXPECT_TRUE(logged_in) << (logged_in ? "" : logged_in.error().text);
    auto lease = co_await dcs->lease_grant(5s, in(2s));
    EXPECT_TRUE(lease);
    EXPECT_TRUE(co_await dcs->lease_keepalive(lease ? lease->id : 0, in(2s)));
    auto watch = dcs->watch("/s/", 0);
    auto batch = co_await watch->next(in(2s));
    EXPECT_TRUE(batch) << (batch ? "" : batch.error().text);
    // Tokens of the simple kind die with the member that gave them.
    cluster->kill(0);
    // When it led etcd, a write in that moment may rightly end as unknown.
    Result<TxnResult> after = fail(Errc::timeout, "");
    for (int i = 0; i < 5 && !after && after.error().code == Errc::timeout; ++i) after = co_await dcs->txn(put, in(2s));
    EXPECT_TRUE(after) << (after ? "" : after.error().text);
  };
  run(body());
}

}  // namespace
}  // namespace pgdba::dcs
