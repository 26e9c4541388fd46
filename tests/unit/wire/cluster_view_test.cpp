#include "wire/cluster_view.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace pgdba::wire {
namespace {

constexpr const char* kPrefix = "/service/demo/";

KeyValue kv(const std::string& relative, std::string value, int64_t mod, int64_t lease = 0) {
  return {kPrefix + relative, std::move(value), mod, mod, 1, lease};
}

TEST(ClusterView, everything_that_patroni_and_we_write) {
  auto view = build_cluster_view(kPrefix,
                                 {kv("initialize", "7711349752793788765", 2),
                                  kv("config", R"({"ttl":3,"synchronous_mode":"quorum","x":1})", 3),
                                  kv("leader", "a", 4, 77),
                                  kv("members/a", R"({"role":"primary"})", 5, 77),
                                  kv("members/a/b", "{}", 5),
                                  kv("sync", R"({"leader":"a","quorum":1,"sync_standby":"b,c"})", 6),
                                  kv("status", R"({"optime":9})", 7),
                                  kv("history", "[]", 8),
                                  kv("failover", "{}", 9),
                                  kv("failsafe", R"({"a":"u"})", 10),
                                  kv("pgdba/term", R"({"term":3,"leader":"a"})", 11),
                                  kv("pgdba/beat", R"({"term":3,"count":8})", 12),
                                  kv("pgdba/timeline/2", R"({"term":3,"node":"a","nonce":"n"})", 13),
                                  kv("pgdba/promise/b", R"({"state":"withdrawn"})", 14),
                                  kv("pgdba/suspect/b", R"({"term":3})", 15),
                                  kv("pgdba/intent/a", R"({"kind":"stop"})", 16),
                                  kv("pgdba/pooler/p", R"({"state":"open"})", 17),
                                  kv("pgdba/switchover", R"({"state":"draining"})", 18),
                                  kv("pgdba/released", R"({"term":2,"leader":"b"})", 19),
                                  kv("unknown", "x", 20),
                                  {"/service/demo2/leader", "z", 1, 1, 1, 0}},
                                 {.revision = 21, .cluster_id = 5, .raft_term = 6, .as_of = BootTime(7s)});
  EXPECT_EQ(view.revision, 21);
  EXPECT_EQ(view.cluster_id, 5u);
  EXPECT_EQ(view.raft_term, 6u);
  EXPECT_EQ(view.as_of, BootTime(7s));
  EXPECT_EQ(view.initialize->value, "7711349752793788765");
  EXPECT_EQ(view.config->value.timings.ttl, 3s);
  EXPECT_EQ(view.config->value.synchronous_mode, model::SyncMode::quorum);
  EXPECT_EQ(view.config_json, R"({"ttl":3,"synchronous_mode":"quorum","x":1})");
  EXPECT_EQ(view.leader->value, "a");
  EXPECT_EQ(view.leader->lease, 77);
  EXPECT_EQ(view.leader->mod, 4);
  EXPECT_EQ(view.members.size(), 1u);
  EXPECT_EQ(view.sync->value.standbys, (std::set<std::string>{"b", "c"}));
  EXPECT_EQ(view.status->value.optime, Lsn{9});
  EXPECT_TRUE(view.history->value.empty());
  EXPECT_FALSE(view.failover->value.present());
  EXPECT_EQ(view.failsafe->value.at("a"), "u");
  EXPECT_EQ(view.term->value.term, 3);
  EXPECT_EQ(view.beat->value.count, 8);
  EXPECT_EQ(view.timelines.at(2).value.nonce, "n");
  EXPECT_EQ(view.promises.at("b").mod, 14);
  EXPECT_EQ(view.suspects.at("b").value.term, 3);
  EXPECT_EQ(view.intents.at("a").value.kind, model::Intent::Kind::stop);
  EXPECT_TRUE(view.poolers.contains("p"));
  EXPECT_TRUE(view.switchover.has_value());
  EXPECT_EQ(view.released->value.leader, "b");
  EXPECT_TRUE(view.unreadable.empty());
}

TEST(ClusterView, what_cannot_be_read_is_named_and_changes_nothing) {
  auto view = build_cluster_view(kPrefix, {kv("sync", "garbage", 3), kv("leader", "a", 4)}, {.revision = 4});
  EXPECT_FALSE(view.sync.has_value());
  EXPECT_EQ(view.unreadable, (std::map<std::string, int64_t>{{"sync", 3}}));

  apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("sync", R"({"leader":"a","quorum":1,"sync_standby":"b"})", 5)});
  EXPECT_TRUE(view.unreadable.empty());
  apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("sync", "{", 6)});
  EXPECT_EQ(view.sync->value.quorum, 1);
  EXPECT_EQ(view.sync->mod, 5);  // a compare with it fails in etcd, as it must
  EXPECT_EQ(view.unreadable.at("sync"), 6);
  apply_event(view, kPrefix, {KeyEvent::Kind::remove, kv("sync", "", 7)});
  EXPECT_FALSE(view.sync.has_value());
  EXPECT_TRUE(view.unreadable.empty());
}

TEST(ClusterView, a_bad_value_in_the_configuration_keeps_the_one_in_force) {
  auto view = build_cluster_view(kPrefix, {kv("config", R"({"synchronous_mode":"quorum"})", 3)}, {.revision = 3});
  apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("config", R"({"synchronous_mode":"qourum","ttl":7})", 4)});
  EXPECT_EQ(view.config->value.synchronous_mode, model::SyncMode::quorum);
  EXPECT_EQ(view.config->value.timings.ttl, 7s);
  EXPECT_EQ(view.config->mod, 4);
}

TEST(ClusterView, old_and_foreign_events_are_ignored) {
  auto view = build_cluster_view(kPrefix, {kv("leader", "a", 9)}, {.revision = 9});
  auto before = view;
  EXPECT_FALSE(apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("leader", "b", 8)}));
  EXPECT_FALSE(apply_event(view, kPrefix, {KeyEvent::Kind::put, {"/service/demo2/leader", "b", 10, 10, 1, 0}}));
  EXPECT_EQ(view, before);
  EXPECT_TRUE(apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("leader", "a", 9)}));
  EXPECT_EQ(view, before);
  // Two events of one transaction have one revision.
  EXPECT_TRUE(apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("leader", "b", 10)}));
  EXPECT_TRUE(apply_event(view, kPrefix, {KeyEvent::Kind::put, kv("pgdba/term", R"({"term":4})", 10)}));
  EXPECT_EQ(view.leader->value, "b");
  EXPECT_EQ(view.term->value.term, 4);
  EXPECT_EQ(view.revision, 10);
}

// The invariant of the header, on random histories of a store.
TEST(ClusterView, events_lead_to_what_a_new_reading_gives) {
  const std::pair<std::string, std::vector<std::string>> values[] = {
      {"leader", {"a", "b"}},
      {"initialize", {"", "7711349752793788765"}},
      {"sync", {"{}", R"({"leader":"a","quorum":1,"sync_standby":"b,c"})"}},
      {"config", {R"({"ttl":3})", R"({"pause":true})"}},
      {"status", {"5", R"({"optime":6})"}},
      {"failover", {"{}", "a:b"}},
      {"history", {"[]"}},
      {"members/a", {R"({"state":"running"})", R"({"state":"stopped"})"}},
      {"members/b", {"{}"}},
      {"pgdba/term", {R"({"term":1})", R"({"term":2})"}},
      {"pgdba/promise/a", {R"({"state":"active"})", R"({"state":"consumed"})"}},
      {"pgdba/timeline/7", {"{}"}},
      {"pgdba/pooler/x", {R"({"state":"drained"})"}},
      {"other", {"x"}},
  };
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    std::map<std::string, KeyValue> store;
    auto read = [&](int64_t revision) {
      std::vector<KeyValue> kvs;
      for (const auto& [key, stored] : store) kvs.push_back(stored);
      return build_cluster_view(kPrefix, kvs, {.revision = revision, .cluster_id = 1, .raft_term = 2});
    };
    model::ClusterView followed = read(1);
    for (int64_t revision = 2; revision < 200; ++revision) {
      const auto& [name, choices] = values[random.below(std::size(values))];
      KeyEvent event{KeyEvent::Kind::remove, kv(name, "", revision)};
      if (random.chance(0.7)) {
        event = {KeyEvent::Kind::put,
                 kv(name, choices[random.below(choices.size())], revision, static_cast<int64_t>(random.below(3)))};
        if (store.contains(name)) event.kv.create = store[name].create;
        store[name] = event.kv;
      } else {
        store.erase(name);
      }
      apply_event(followed, kPrefix, event);
      ASSERT_EQ(followed, read(revision)) << "seed " << seed << " revision " << revision << " key " << name;
    }
  }
}

}  // namespace
}  // namespace pgdba::wire
