#include "wire/etcd_json.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace pgdba::wire::etcd {
namespace {

const std::string header =
    R"("header":{"cluster_id":"9072473218305301752","member_id":"18446744073709551615","revision":"7","raft_term":"2"})";
const Header parsed_header{9072473218305301752U, 18446744073709551615U, 7, 2};

TEST(EtcdJson, requests) {
  EXPECT_EQ(format_range("/a", true, false), R"({"key":"L2E=","range_end":"L2I="})");
  EXPECT_EQ(format_range("/a", false, true), R"({"key":"L2E=","serializable":true})");
  EXPECT_EQ(format_lease_grant(3, 0), R"({"TTL":"3"})");
  EXPECT_EQ(format_lease_grant(3, 77), R"({"TTL":"3","ID":"77"})");
  EXPECT_EQ(format_lease_keepalive(-5), R"({"ID":"-5"})");
  EXPECT_EQ(format_watch_create("/a/", true, 8),
            R"({"create_request":{"key":"L2Ev","range_end":"L2Ew","start_revision":"8","progress_notify":true}})");
  EXPECT_EQ(format_authenticate("a\"b", "p"), R"({"name":"a\"b","password":"p"})");
}

TEST(EtcdJson, a_transaction_with_everything) {
  Txn txn({Compare::absent("k"), Compare::mod_is("k", 5), Compare::lease_is("k", 9), Compare::value_is("k", "v"),
           Compare::exists("k")},
          {Op::put("k", "v", 9), Op::remove("k"), Op::remove_prefix("k")}, {Op::range("k"), Op::range_prefix("k")});
  EXPECT_EQ(format_txn(txn).value(),
            R"({"compare":[{"key":"aw==","target":"CREATE","result":"EQUAL","create_revision":"0"},)"
            R"({"key":"aw==","target":"MOD","result":"EQUAL","mod_revision":"5"},)"
            R"({"key":"aw==","target":"LEASE","result":"EQUAL","lease":"9"},)"
            R"({"key":"aw==","target":"VALUE","result":"EQUAL","value":"dg=="},)"
            R"({"key":"aw==","target":"CREATE","result":"GREATER","create_revision":"0"}],)"
            R"("success":[{"requestPut":{"key":"aw==","value":"dg==","lease":"9"}},)"
            R"({"requestDeleteRange":{"key":"aw=="}},{"requestDeleteRange":{"key":"aw==","range_end":"bA=="}}],)"
            R"("failure":[{"requestRange":{"key":"aw=="}},{"requestRange":{"key":"aw==","range_end":"bA=="}}]})");
}

// E8 of the design's findings: compares without operations are answered by a member that is cut off from its quorum.
TEST(EtcdJson, a_transaction_without_operations_is_refused) {
  auto refused = format_txn(Txn({Compare::absent("k")}, {}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::bug);
  EXPECT_EQ(format_txn(Txn({}, {}, {Op::range("k")})).value().find("serializable"), std::string::npos);
}

TEST(EtcdJson, prefix_ends) {
  EXPECT_EQ(prefix_end("/a"), "/b");
  EXPECT_EQ(prefix_end("a\xff"), "b");
  EXPECT_EQ(prefix_end("\xff\xff"), std::string(1, '\0'));
  EXPECT_EQ(prefix_end(""), std::string(1, '\0'));
}

TEST(EtcdJson, range_answers) {
  auto range = parse_range("{" + header + R"(,"kvs":[{"key":"L2E=","create_revision":"3","mod_revision":"7",)"
                           R"("version":"2","value":"eA==","lease":"7300794635878448134"},{"key":"L2I="}],"count":"2"})");
  ASSERT_TRUE(range) << range.error().text;
  EXPECT_EQ(range->header, parsed_header);
  ASSERT_EQ(range->kvs.size(), 2u);
  EXPECT_EQ(range->kvs[0], (KeyValue{"/a", "x", 3, 7, 2, 7300794635878448134}));
  EXPECT_EQ(range->kvs[1], (KeyValue{"/b", "", 0, 0, 0, 0}));
}

TEST(EtcdJson, transaction_answers) {
  auto lost = parse_txn("{" + header + "}");
  ASSERT_TRUE(lost);
  EXPECT_FALSE(lost->succeeded);
  auto won = parse_txn("{" + header + R"(,"succeeded":true,"responses":[{"response_put":{"header":{"revision":"7"}}},)"
                       R"({"response_delete_range":{"deleted":"2"}},{"response_range":{"kvs":[{"key":"aw=="}]}}]})");
  ASSERT_TRUE(won) << won.error().text;
  EXPECT_TRUE(won->succeeded);
  ASSERT_EQ(won->results.size(), 3u);
  EXPECT_EQ(won->results[0].kind, Op::Kind::put);
  EXPECT_EQ(won->results[1].removed, 2);
  EXPECT_EQ(won->results[2].kvs.at(0).key, "k");
}

TEST(EtcdJson, leases) {
  auto granted = parse_lease_grant("{" + header + R"(,"ID":"7300794635878448134","TTL":"3"})");
  ASSERT_TRUE(granted);
  EXPECT_EQ(granted->id, 7300794635878448134);
  EXPECT_EQ(granted->ttl_s, 3);
  auto alive = parse_lease_keepalive(R"({"result":{)" + header + R"(,"ID":"5","TTL":"2"}})" + "\n");
  ASSERT_TRUE(alive);
  EXPECT_EQ(alive->ttl_s, 2);
  auto gone = parse_lease_keepalive(R"({"result":{)" + header + R"(,"ID":"5"}})");
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->ttl_s, 0);
  auto refused = parse_lease_keepalive(R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unavailable);
}

TEST(EtcdJson, watch_messages) {
  auto created = parse_watch_message(R"({"result":{)" + header + R"(,"created":true}})");
  ASSERT_TRUE(created && created->created);
  auto progress = parse_watch_message(R"({"result":{)" + header + R"(,"watch_id":"-1"}})");
  ASSERT_TRUE(progress);
  EXPECT_TRUE(progress->events.empty() && !progress->created && !progress->canceled);
  auto compacted = parse_watch_message(R"({"result":{)" + header + R"(,"canceled":true,"compact_revision":"42"}})");
  ASSERT_TRUE(compacted);
  EXPECT_EQ(compacted->compact_revision, 42);
  auto events = parse_watch_message(R"({"result":{)" + header +
                                    R"(,"events":[{"kv":{"key":"aw==","value":"dg==","mod_revision":"7"}},)"
                                    R"({"type":"DELETE","kv":{"key":"aw==","mod_revision":"8"}}]}})");
  ASSERT_TRUE(events);
  ASSERT_EQ(events->events.size(), 2u);
  EXPECT_EQ(events->events[0].kv.value, "v");
  EXPECT_EQ(events->events[1].kind, KeyEvent::Kind::remove);
  EXPECT_EQ(events->events[1].kv.mod, 8);
}

// "Certainly not applied" may be said only of what etcd refuses before it proposes it.
TEST(EtcdJson, what_an_error_means_for_a_write) {
  struct Row {
    const char* body;
    Errc code;
  };
  const Row rows[] = {
      {R"({"error":"etcdserver: request timed out","message":"etcdserver: request timed out","code":14})", Errc::timeout},
      {R"({"error":"x","message":"etcdserver: request timed out, possibly due to previous leader failure","code":14})", Errc::timeout},
      {R"({"error":"x","message":"etcdserver: leader changed","code":14})", Errc::timeout},
      {R"({"error":"x","message":"etcdserver: server stopped","code":14})", Errc::timeout},
      {R"({"error":"x","message":"transport is closing","code":14})", Errc::timeout},
      {R"({"error":"x","message":"context deadline exceeded","code":4})", Errc::timeout},
      {R"({"error":"x","message":"context canceled","code":1})", Errc::timeout},
      {R"({"error":"x","message":"etcdserver: no leader","code":14})", Errc::unavailable},
      {R"({"error":"x","message":"etcdserver: mvcc: database space exceeded","code":8})", Errc::unavailable},
      {R"({"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5})", Errc::not_found},
      {R"({"error":"x","message":"etcdserver: invalid auth token","code":16})", Errc::denied},
      {R"({"error":"x","message":"etcdserver: permission denied","code":7})", Errc::denied},
      {R"({"error":"x","message":"etcdserver: user name is empty","code":3})", Errc::denied},
      {R"({"error":"x","message":"etcdserver: key is not provided","code":3})", Errc::invalid},
      {R"({"error":{"grpc_code":14,"message":"etcdserver: no leader"}})", Errc::unavailable},
      {R"({"message":"something new"})", Errc::timeout},
      {"{\"error\":\"x\",\"message\":\"etcdserver: no leader\",\"code\":14}Grpc-Trailer: y", Errc::unavailable},
  };
  for (const Row& row : rows) {
    auto error = parse_error(row.body);
    ASSERT_TRUE(error) << row.body;
    EXPECT_EQ(errc_of(*error), row.code) << row.body;
  }
  EXPECT_FALSE(parse_error("<html>bad gateway</html>"));
  EXPECT_FALSE(parse_error(""));
}

TEST(EtcdJson, wrong_types_and_foreign_answers_are_errors) {
  for (const char* bad : {"", "null", "[]", "{}", R"({"header":{}})", R"({"header":5})", R"({"kvs":[]})",
                          R"({"header":{"cluster_id":"x"}})", R"({"header":{"cluster_id":"-1"}})",
                          R"({"header":{"cluster_id":"99999999999999999999999"}})",
                          R"({"header":{"cluster_id":"1"},"kvs":5})", R"({"header":{"cluster_id":"1"},"kvs":[5]})",
                          R"({"header":{"cluster_id":"1"},"kvs":[{"key":"!"}]})",
                          R"({"header":{"cluster_id":"1"},"kvs":[{"key":"aw==","mod_revision":1.5}]})"}) {
    EXPECT_FALSE(parse_range(bad)) << bad;
  }
  EXPECT_FALSE(parse_range(std::string(kMaxEtcdAnswer + 1, ' ')));
  EXPECT_FALSE(parse_range(std::string(100'000, '[')));
}

TEST(EtcdJson, hostile_bytes_neither_throw_nor_crash) {
  Random random(3);
  const std::string seeds[] = {
      "{" + header + R"(,"succeeded":true,"kvs":[{"key":"aw==","value":"dg==","lease":"1"}],"responses":[{"response_range":{"kvs":[{"key":"aw=="}]}}],"ID":"1","TTL":"3"})",
      R"({"result":{)" + header + R"(,"events":[{"type":"DELETE","kv":{"key":"aw==","mod_revision":"8"}}],"TTL":"1"}})",
      R"({"error":"x","message":"etcdserver: no leader","code":14})"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seeds[random.below(3)];
    for (uint64_t i = 1 + random.below(4); i > 0; --i) {
      size_t at = random.below(text.size());
      switch (random.below(3)) {
        case 0: text[at] = static_cast<char>(random.below(256)); break;
        case 1: text.erase(at, 1 + random.below(8)); break;
        default: text.insert(at, text.substr(random.below(text.size()), random.below(12)));
      }
      if (text.empty()) text = "{";
    }
    (void)parse_range(text);
    (void)parse_txn(text);
    (void)parse_lease_grant(text);
    (void)parse_lease_keepalive(text);
    (void)parse_watch_message(text);
    (void)parse_status(text);
    (void)parse_members(text);
    (void)parse_token(text);
    if (auto error = parse_error(text)) (void)errc_of(*error);
  }
}

}  // namespace
}  // namespace pgdba::wire::etcd
