#include "ha/lease.h"

#include <gtest/gtest.h>

namespace pgdba::ha {
namespace {

BootTime at(Duration since_boot) { return BootTime(since_boot); }

class LeaseTest : public testing::Test {
 protected:
  // Asks for the next action and answers it; returns what it was.
  std::optional<Body> answer(Completion c) {
    auto body = lease.next(c.sent_at, budgets);
    if (!body) return body;
    lease.sent(++id, *body);
    c.id = id;
    lease.completed(c, budgets);
    return body;
  }
  Completion granted(Duration sent) {
    Completion c;
    c.sent_at = at(sent);
    c.lease = 77;
    c.ttl = 3s;
    c.era = {1, 5};
    return c;
  }
  Completion kept(Duration sent, Duration ttl = 3s, uint64_t raft_term = 5) {
    Completion c;
    c.sent_at = at(sent);
    c.answered_at = at(sent + 900ms);
    c.ttl = ttl;
    c.era = {1, raft_term};
    return c;
  }
  Completion proved(Duration sent, bool succeeded = true, uint64_t raft_term = 5) {
    Completion c = kept(sent, 3s, raft_term);
    c.succeeded = succeeded;
    return c;
  }

  Rules rules;
  Budgets budgets = budgets_for(3s);
  Lease lease{rules};
  ActionId id = 0;
};

TEST_F(LeaseTest, acquisition_counts_from_the_last_keepalive_not_from_itself) {  // W14
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(12s), budgets);
  EXPECT_EQ(lease.deadline(), at(10s + 3s - budgets.margin));
}

// Seed 5198: the configuration changed while the lease was granted, and the member took a lease of 2 s for one of 8: it
// renewed it too seldom, and each tenure ended before a second was over.
TEST_F(LeaseTest, a_lease_that_was_asked_for_under_another_ttl_is_replaced) {
  auto body = lease.next(at(10s), budgets);
  ASSERT_TRUE(body);
  lease.sent(1, *body);
  Completion c = granted(10s);
  c.id = 1;
  Budgets longer = budgets_for(8s);
  lease.completed(c, longer);
  body = lease.next(at(10s + 10ms), longer);
  ASSERT_TRUE(body && std::holds_alternative<GrantLease>(*body));
  EXPECT_EQ(std::get<GrantLease>(*body).ttl, 8s);
}

TEST_F(LeaseTest, a_keepalive_answered_while_an_acquisition_is_under_way_does_not_count) {  // L1: a deposed leader answers it, too
  answer(granted(10s));
  lease.taking();
  ASSERT_TRUE(answer(kept(12s)));
  lease.acquired(500, 4, at(13s), budgets);
  EXPECT_EQ(lease.deadline(), at(10s + 3s - budgets.margin));
}

TEST_F(LeaseTest, an_acquisition_in_another_raft_term_than_the_keepalive_proves_no_deadline) {  // L1
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s + 1ms), budgets, {1, 6});
  EXPECT_LE(lease.deadline(), at(10s));
  EXPECT_TRUE(lease.owns_lock());
}

TEST_F(LeaseTest, a_rebuilt_etcd_may_have_the_same_raft_term_as_the_one_that_answered_the_keepalive) {  // L1, found by seed 7331
  answer(granted(10s));
  lease.taking();
  Era rebuilt{2, 5};
  lease.acquired(500, 4, at(10s + 1ms), budgets, rebuilt);
  EXPECT_LE(lease.deadline(), at(10s));
  Completion c = proved(11s);
  c.era = rebuilt;
  answer(kept(11s));
  answer(c);
  EXPECT_LE(lease.deadline(), at(10s)) << "the keepalive was another etcd's";
}

TEST_F(LeaseTest, answers_of_an_etcd_that_was_replaced_do_not_count) {  // W13
  answer(granted(10s));
  auto body = lease.next(at(11s), budgets);
  ASSERT_TRUE(body && std::holds_alternative<KeepAlive>(*body));
  lease.sent(99, *body);
  lease.forget_answers();
  Completion late = kept(11s);
  late.id = 99;
  lease.completed(late, budgets);
  EXPECT_FALSE(lease.spare_fresh(at(11s), budgets)) << "it was under way when etcd was replaced";
}

TEST_F(LeaseTest, a_keepalive_alone_does_not_move_the_deadline) {  // L1
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  auto before = lease.deadline();
  auto body = answer(kept(11s));
  ASSERT_TRUE(body && std::holds_alternative<KeepAlive>(*body));
  EXPECT_EQ(lease.deadline(), before);
  body = answer(proved(11s + 10ms));
  ASSERT_TRUE(body && std::holds_alternative<ProveLock>(*body));
  EXPECT_EQ(std::get<ProveLock>(*body).leader_mod, 500);
  EXPECT_EQ(lease.deadline(), at(11s + 3s - budgets.margin)) << "from the sending of the keepalive";
}

TEST_F(LeaseTest, a_proof_under_another_raft_term_proves_nothing) {  // L1
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  auto before = lease.deadline();
  answer(kept(11s, 3s, 5));
  answer(proved(11s, true, 6));
  EXPECT_EQ(lease.deadline(), before);
  EXPECT_FALSE(lease.lost());
  EXPECT_TRUE(lease.next(at(11s + 1ms), budgets)) << "it asks again at once";
}

TEST_F(LeaseTest, the_shorter_ttl_counts) {  // L2
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  answer(kept(11s, 2s));
  answer(proved(11s));
  EXPECT_EQ(lease.deadline(), at(11s + 2s - budgets.margin));
}

TEST_F(LeaseTest, a_lost_compare_or_a_lease_that_is_gone_loses_the_lock) {
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  answer(kept(11s));
  answer(proved(11s, false));
  EXPECT_TRUE(lease.lost());
  EXPECT_FALSE(lease.owns_lock());

  Lease other{rules};
  auto body = other.next(at(1s), budgets);
  other.sent(1, *body);
  Completion c = granted(1s);
  c.id = 1;
  other.completed(c, budgets);
  other.taking();
  other.acquired(7, 1, at(1s), budgets);
  body = other.next(at(2s), budgets);
  other.sent(2, *body);
  c = kept(2s, 0s);
  c.id = 2;
  other.completed(c, budgets);
  EXPECT_TRUE(other.lost());
}

TEST_F(LeaseTest, no_answer_moves_nothing_and_one_is_under_way_at_a_time) {  // L2
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  auto body = lease.next(at(11s), budgets);
  lease.sent(50, *body);
  EXPECT_FALSE(lease.next(at(11s + 1ms), budgets));
  Completion c = kept(11s);
  c.id = 50;
  c.outcome = Completion::Outcome::unknown;
  auto before = lease.deadline();
  lease.completed(c, budgets);
  EXPECT_EQ(lease.deadline(), before);
  EXPECT_TRUE(lease.next(at(11s + 500ms), budgets)) << "tried again at once";
}

// Found by the simulator: the keepalive of the old lease was answered after the move, and its time of sending became the
// deadline of the new lease, which is older.
TEST_F(LeaseTest, the_answer_for_another_lease_proves_nothing) {  // L2
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  Budgets longer = budgets_for(8s);
  auto body = lease.next(at(10s + 1ms), longer);  // urgent: the keepalive of the lease in hand comes first
  lease.sent(60, *body);
  Completion c = kept(10s + 1ms);
  c.id = 60;
  lease.completed(c, longer);
  body = lease.next(at(10s + 2ms), longer);
  lease.sent(61, *body);
  c = proved(10s + 2ms);
  c.id = 61;
  lease.completed(c, longer);
  body = lease.next(at(10s + 3ms), longer);
  ASSERT_TRUE(body && std::holds_alternative<GrantLease>(*body));
  lease.sent(62, *body);
  c = granted(10s + 3ms);
  c.id = 62;
  c.lease = 99;
  c.ttl = 8s;
  lease.completed(c, longer);
  ASSERT_EQ(lease.move_to(), 99);
  body = lease.next(at(13s), longer);
  ASSERT_TRUE(body && std::holds_alternative<KeepAlive>(*body));
  lease.sent(63, *body);
  lease.begin_move();
  lease.moved(510, longer);
  auto moved_deadline = lease.deadline();
  c = kept(13s);
  c.id = 63;
  lease.completed(c, longer);
  auto next = lease.next(at(13s + 1ms), longer);
  EXPECT_TRUE(next && std::holds_alternative<KeepAlive>(*next)) << "asked again, for the lease that holds the lock now";
  EXPECT_EQ(lease.deadline(), moved_deadline);
}

TEST_F(LeaseTest, no_proof_is_sent_while_the_lock_moves_to_another_lease) {  // L5
  answer(granted(10s));
  lease.taking();
  lease.acquired(500, 4, at(10s), budgets);
  lease.begin_move();
  auto body = answer(kept(11s));
  ASSERT_TRUE(body && std::holds_alternative<KeepAlive>(*body));
  auto next = lease.next(at(11s + 1ms), budgets);
  EXPECT_FALSE(next && std::holds_alternative<ProveLock>(*next)) << "it would compare the old revision, and look like a lost lock";
}

// Simulator with poolers, seed 21284: an agent that was restarted kept its lock under the lease of the old ttl for ever, and
// renewed it as seldom as the new one allows.
TEST_F(LeaseTest, an_adopted_lock_moves_to_another_ttl_as_well) {
  Page page;
  page.lease = 31;
  page.leader_mod = 700;
  page.term = 6;
  page.deadline = at(20s);
  lease.adopt(page);
  auto body = answer(kept(18s));
  ASSERT_TRUE(body && std::holds_alternative<KeepAlive>(*body));
  answer(proved(18100ms));
  budgets = budgets_for(30s);
  body = answer(granted(18200ms));
  ASSERT_TRUE(body && std::holds_alternative<GrantLease>(*body));
  EXPECT_EQ(std::get<GrantLease>(*body).ttl, 30s);
  EXPECT_EQ(lease.move_to(), 77);
}

TEST_F(LeaseTest, an_adopted_lock_is_proved_by_the_revision_of_the_page) {  // L5
  Page page;
  page.guardian_alive = true;
  page.lease = 77;
  page.leader_mod = 500;
  page.term = 4;
  page.deadline = at(20s);
  lease.adopt(page);
  EXPECT_TRUE(lease.owns_lock());
  EXPECT_EQ(lease.deadline(), at(20s)) << "adopting proves nothing";
  answer(kept(19s));
  auto body = answer(proved(19s));
  EXPECT_EQ(std::get<ProveLock>(*body).leader_mod, 500);
  EXPECT_EQ(lease.deadline(), at(19s + 3s - budgets.margin));
}

}  // namespace
}  // namespace pgdba::ha
