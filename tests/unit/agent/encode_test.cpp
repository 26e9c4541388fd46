#include "agent/encode.h"

#include <gtest/gtest.h>

#include "wire/cluster_json.h"
#include "wire/cluster_view.h"
#include "wire/keys.h"

namespace pgdba::agent {
namespace {

using model::Key;
using model::KeyKind;
constexpr std::string_view kPrefix = "/service/demo/";

ha::Write write(KeyKind kind, std::string name, ha::Value value, model::LeaseId lease = 0) {
  return ha::Write{Key{kind, std::move(name)}, std::move(value), lease};
}

TEST(Encode, every_kind_of_key_has_the_path_that_wire_reads) {
  struct Row {
    Key key;
    const char* path;
    wire::KeyKind kind;
  };
  const Row rows[] = {
      {{KeyKind::initialize, ""}, "initialize", wire::KeyKind::initialize},
      {{KeyKind::config, ""}, "config", wire::KeyKind::config},
      {{KeyKind::leader, ""}, "leader", wire::KeyKind::leader},
      {{KeyKind::sync, ""}, "sync", wire::KeyKind::sync},
      {{KeyKind::status, ""}, "status", wire::KeyKind::status},
      {{KeyKind::history, ""}, "history", wire::KeyKind::history},
      {{KeyKind::failover, ""}, "failover", wire::KeyKind::failover},
      {{KeyKind::member, "pg-1"}, "members/pg-1", wire::KeyKind::member},
      {{KeyKind::term, ""}, "pgdba/term", wire::KeyKind::term},
      {{KeyKind::beat, ""}, "pgdba/beat", wire::KeyKind::beat},
      {{KeyKind::released, ""}, "pgdba/released", wire::KeyKind::released},
      {{KeyKind::switchover, ""}, "pgdba/switchover", wire::KeyKind::switchover},
      {{KeyKind::timeline, "12"}, "pgdba/timeline/12", wire::KeyKind::timeline},
      {{KeyKind::promise, "pg-1"}, "pgdba/promise/pg-1", wire::KeyKind::promise},
      {{KeyKind::suspect, "pg-1"}, "pgdba/suspect/pg-1", wire::KeyKind::suspect},
      {{KeyKind::intent, "pg-1"}, "pgdba/intent/pg-1", wire::KeyKind::intent},
      {{KeyKind::pooler, "p"}, "pgdba/pooler/p", wire::KeyKind::pooler},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(relative_key(row.key), row.path);
    const wire::KeyName name = wire::classify_key(row.path);
    EXPECT_EQ(name.kind, row.kind) << row.path;
    EXPECT_EQ(name.name, row.key.name);
  }
}

// The acquisition of a take-over, out and back through the reader of the view.
TEST(Encode, what_is_written_is_read_back_as_it_was) {
  ha::Txn txn;
  txn.compares = {{Key{KeyKind::leader, ""}, ha::Compare::What::create, 0},
                  {Key{KeyKind::sync, ""}, ha::Compare::What::mod, 41},
                  {Key{KeyKind::leader, ""}, ha::Compare::What::lease, 7}};
  model::SyncState sync{"b", 1, {"a", "c"}};
  model::TermRecord term{5, "b", "a", "failover", 3};
  model::Promise promise;
  promise.state = model::Promise::State::consumed;
  promise.term = 4;
  promise.leader = "a";
  promise.position = {4, 2, Lsn{0x3000060}};
  promise.run_id = "r";
  txn.puts = {write(KeyKind::leader, "", std::string("b"), 99),
              write(KeyKind::sync, "", sync),
              write(KeyKind::term, "", term),
              write(KeyKind::promise, "c", promise),
              write(KeyKind::released, "", model::Released{4, "a"}),
              write(KeyKind::timeline, "3", model::TimelineRecord{5, "b", "n", 0, {}}),
              write(KeyKind::beat, "", model::Beat{5, 17}),
              ha::Write{Key{KeyKind::config, ""}, ha::PutBootstrapConfig{}, 0}};
  txn.deletes = {Key{KeyKind::suspect, "b"}};

  auto encoded = encode(txn, kPrefix, R"({"ttl":5})");
  ASSERT_TRUE(encoded) << encoded.error().text;
  ASSERT_EQ(encoded->compares.size(), 3u);
  EXPECT_EQ(encoded->compares[0].key, "/service/demo/leader");
  EXPECT_EQ(encoded->compares[0].target, dcs::Compare::Target::create);
  EXPECT_EQ(encoded->compares[1].target, dcs::Compare::Target::mod);
  EXPECT_EQ(encoded->compares[1].number, 41);
  EXPECT_EQ(encoded->compares[2].target, dcs::Compare::Target::lease);
  EXPECT_EQ(encoded->compares[2].number, 7);

  std::vector<wire::KeyValue> kvs;
  for (const dcs::Op& op : encoded->then_ops) {
    if (op.kind == dcs::Op::Kind::remove) {
      EXPECT_EQ(op.key, "/service/demo/pgdba/suspect/b");
      continue;
    }
    wire::KeyValue kv;
    kv.key = op.key;
    kv.value = op.value;
    kv.lease = op.lease;
    kv.create = kv.mod = 50;
    kvs.push_back(kv);
  }
  const model::ClusterView view = wire::build_cluster_view(kPrefix, kvs, {50, 1, 1, {}});
  ASSERT_TRUE(view.leader && view.sync && view.term && view.released && view.beat && view.config);
  EXPECT_EQ(view.leader->value, "b");
  EXPECT_EQ(view.leader->lease, 99);
  EXPECT_EQ(view.sync->value, sync);
  EXPECT_EQ(view.term->value, term);
  EXPECT_EQ(view.promises.at("c").value, promise);
  EXPECT_EQ(view.released->value, (model::Released{4, "a"}));
  EXPECT_EQ(view.timelines.at(3).value, (model::TimelineRecord{5, "b", "n", 0, {}}));
  EXPECT_EQ(view.beat->value, (model::Beat{5, 17}));
  EXPECT_EQ(view.config->value.timings.ttl, 5s);
  EXPECT_TRUE(view.unreadable.empty());
}

TEST(Encode, a_value_for_the_wrong_kind_of_key_is_refused) {
  ha::Txn txn;
  txn.puts = {write(KeyKind::sync, "", std::string("b"))};
  EXPECT_EQ(encode(txn, kPrefix, "{}").error().code, Errc::bug);
  txn.puts = {write(KeyKind::leader, "", model::SyncState{})};
  EXPECT_EQ(encode(txn, kPrefix, "{}").error().code, Errc::bug);
  txn.puts = {ha::Write{Key{KeyKind::leader, ""}, ha::PutBootstrapConfig{}, 0}};
  EXPECT_EQ(encode(txn, kPrefix, "{}").error().code, Errc::bug);
}

// etcd answers a transaction without operations from one member's memory, cut off or not (L1).
TEST(Encode, a_transaction_that_writes_nothing_is_refused) {
  ha::Txn txn;
  txn.compares = {{Key{KeyKind::leader, ""}, ha::Compare::What::mod, 1}};
  EXPECT_EQ(encode(txn, kPrefix, "{}").error().code, Errc::bug);
}

TEST(Encode, the_proof_of_the_lock_compares_revision_and_lease_and_writes_the_beat) {
  const dcs::Txn txn = encode(ha::ProveLock{77, 12, {3, 9}}, kPrefix);
  ASSERT_EQ(txn.compares.size(), 2u);
  EXPECT_EQ(txn.compares[0].target, dcs::Compare::Target::mod);
  EXPECT_EQ(txn.compares[0].number, 12);
  EXPECT_EQ(txn.compares[1].target, dcs::Compare::Target::lease);
  EXPECT_EQ(txn.compares[1].number, 77);
  ASSERT_EQ(txn.then_ops.size(), 1u);
  EXPECT_EQ(txn.then_ops[0].key, "/service/demo/pgdba/beat");
  EXPECT_EQ(wire::parse_beat(txn.then_ops[0].value).value(), (model::Beat{3, 9}));
}

}  // namespace
}  // namespace pgdba::agent
