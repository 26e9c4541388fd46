#include "wire/rest_switchover.h"

#include <gtest/gtest.h>

namespace pgdba::wire {
namespace {

model::ClusterView view_with(model::SyncMode mode) {
  model::ClusterView view;
  view.config = model::Keyed<model::DynamicConfig>{};
  view.config->value.synchronous_mode = mode;
  view.leader = model::Keyed<std::string>{"a", 1, 1, 1};
  for (const char* name : {"a", "b", "c"}) view.members[name].value.api_url = "u";
  view.sync = model::Keyed<model::SyncState>{{"a", 0, {"B"}}, 1, 1, 0};
  view.failover = model::Keyed<model::FailoverRequest>{{"a", "b", {}}, 1, 1, 0};
  return view;
}

std::string text(const std::optional<RestAnswer>& answer) {
  return answer ? std::to_string(answer->code) + " " + answer->text : "go on";
}

std::string precheck(const SwitchoverRequest& request, const model::ClusterView& view) {
  auto names = precheck_switchover(request, view);
  if (!names) return text(names.error());
  std::string out;
  for (const std::string& name : *names) out += name + " ";
  return out;
}

TEST(RestSwitchover, precheck) {
  using model::SyncMode;
  struct Row {
    const char* what;
    SwitchoverRequest request;
    SyncMode mode;
    const char* answer;
  };
  const Row rows[] = {
      {"wrong leader", {true, "x", "b", {}}, SyncMode::off, "412 leader name does not match"},
      {"candidate", {true, "a", "b", {}}, SyncMode::off, "b "},
      {"unknown candidate", {true, "a", "z", {}}, SyncMode::off, "412 candidate does not exists"},
      {"not in sync", {true, "a", "c", {}}, SyncMode::priority, "412 candidate name does not match with sync_standby"},
      {"in sync, other case", {true, "a", "b", {}}, SyncMode::priority, "b "},
      {"failover to an asynchronous one", {false, "", "c", {}}, SyncMode::priority, "c "},
      {"quorum: any", {true, "a", "c", {}}, SyncMode::quorum, "c "},
      {"no candidate", {true, "a", "", {}}, SyncMode::quorum, "b c "},
      {"no candidate, priority", {true, "a", "", {}}, SyncMode::priority, "b "},
      {"scheduled: nothing is looked at", {true, "x", "z", parse_utc("2026-11-23T12:00:00Z")}, SyncMode::off, ""},
  };
  for (const Row& row : rows) EXPECT_EQ(precheck(row.request, view_with(row.mode)), row.answer) << row.what;
  auto nobody = view_with(SyncMode::priority);
  nobody.sync.reset();
  EXPECT_EQ(precheck({true, "a", "", {}}, nobody), "412 switchover is not possible: can not find sync_standby");
  auto alone = view_with(SyncMode::off);
  alone.members.erase("b");
  alone.members["c"].value.api_url.clear();
  EXPECT_EQ(precheck({true, "a", "", {}}, alone),
            "412 switchover is not possible: cluster does not have members except leader");
  alone.leader.reset();
  EXPECT_EQ(precheck({true, "a", "", {}}, alone), "412 leader name does not match");
}

TEST(RestSwitchover, candidates) {
  PeerAnswer good{"b", NodeStatus{}};
  good.status->replica = ReplicaXlog{};
  PeerAnswer silent{"c", std::nullopt};
  PeerAnswer down{"d", NodeStatus{}};
  PeerAnswer barred = good;
  barred.status->tags.nofailover = true;
  PeerAnswer undogged = good;
  undogged.status->watchdog_failed = true;
  EXPECT_EQ(failover_limitation(good), std::nullopt);
  EXPECT_EQ(failover_limitation(silent), "not reachable");
  EXPECT_EQ(failover_limitation(down), "not reachable");
  EXPECT_EQ(failover_limitation(barred), "not allowed to promote");
  EXPECT_EQ(failover_limitation(undogged), "not watchdog capable");
  SwitchoverRequest request{true, "a", "", {}};
  EXPECT_EQ(text(judge_candidates(request, {silent, good})), "go on");
  EXPECT_EQ(text(judge_candidates(request, {silent, down, barred})),
            "412 switchover is not possible: no good candidates have been found");
  EXPECT_EQ(text(judge_candidates({false, "", "b", {}}, {})),
            "412 failover is not possible: no good candidates have been found");
}

TEST(RestSwitchover, progress) {
  auto view = view_with(model::SyncMode::off);
  SwitchoverRequest to_b{true, "a", "b", {}};
  SwitchoverRequest any{true, "a", "", {}};
  SwitchoverRequest failover{false, "", "b", {}};
  EXPECT_EQ(text(judge_progress(to_b, "a", view)), "go on");
  view.leader.reset();
  EXPECT_EQ(text(judge_progress(to_b, "a", view)), "go on");
  view.leader = model::Keyed<std::string>{"b", 1, 1, 1};
  EXPECT_EQ(text(judge_progress(to_b, "a", view)), "200 Successfully switched over to \"b\"");
  EXPECT_EQ(text(judge_progress(any, "a", view)), "200 Successfully switched over to \"b\"");
  EXPECT_EQ(text(judge_progress(failover, "", view)), "200 Successfully failed over to \"b\"");
  view.leader->value = "c";
  EXPECT_EQ(text(judge_progress(to_b, "a", view)), "200 Switched over to \"c\" instead of \"b\"");
  EXPECT_EQ(text(judge_progress(failover, "a", view)), "200 Failed over to \"c\" instead of \"b\"");
  view.leader->value = "a";
  view.failover->value = {};
  EXPECT_EQ(text(judge_progress(to_b, "a", view)), "503 Switchover failed");
  EXPECT_EQ(text(judge_progress(failover, "a", view)), "503 Failover failed");
  EXPECT_EQ(text(switchover_status_unknown(to_b, 20)),
            "503 Switchover status unknown after 20 seconds; operation may still be in progress");
  EXPECT_EQ(text(switchover_scheduled(to_b)), "202 Switchover scheduled");
  EXPECT_EQ(text(switchover_not_written()), "503 failed to write failover key into DCS");
}

}  // namespace
}  // namespace pgdba::wire
