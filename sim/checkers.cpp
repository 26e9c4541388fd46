#include "checkers.h"

#include <algorithm>

#include "world.h"

namespace pgdba::sim {

void Checkers::violate(std::string promise, std::string text) {
  if (violation_) return;
  world_.note("VIOLATION of {}: {}", promise, text);
  violation_ = Violation{world_.events.now(), std::move(promise), std::move(text)};
}

void Checkers::on_primary(int member) {
  if (world_.node(member).pg.dir.pristine) {
    violate("A", fmt::format("{} is primary on data that is marked as never written to: it may be thrown away unasked", world_.name(member)));
    return;
  }
  model::Term term = world_.node(member).pg.loaded().term;
  if (term == newest_term_ && newest_ != member && newest_ >= 0 && term > 0) {
    violate("B", fmt::format("{} and {} are both primary in term {}", world_.name(newest_), world_.name(member), term));
    return;
  }
  const model::TermRecord* record = world_.etcd.term_record(term);
  const uint32_t timeline = world_.node(member).pg.timeline();
  if (term > 0 && record != nullptr && record->leader == world_.name(member) && record->timeline != timeline) {
    violate("B", fmt::format("{} is primary of term {} on timeline {}, which was recorded to be {} (R1)", world_.name(member), term, timeline,
                             record->timeline));
    return;
  }
  if (term < newest_term_) return;
  if (term > newest_term_) ++primaries_;
  newest_term_ = term;
  newest_ = member;
  check_all(member);
}

void Checkers::check_all(int member) {
  if (world_.plan.mode == model::SyncMode::off) return;
  const Wal& wal = world_.node(member).pg.dir.wal;
  for (RecordId id : acknowledged_) {
    if (holds(world_.records, wal, id)) continue;
    violate("A", fmt::format("the write at {} of timeline {}, acknowledged, is not on {}, primary of term {}",
                             format_lsn(world_.records[id].end), world_.records[id].timeline, world_.name(member), newest_term_));
    return;
  }
  for (RecordId id : read_) {
    if (holds(world_.records, wal, id)) continue;
    violate("G4", fmt::format("the row written at {} of timeline {} was read, and is not on {}, primary of term {}",
                              format_lsn(world_.records[id].end), world_.records[id].timeline, world_.name(member), newest_term_));
    return;
  }
}

void Checkers::on_acknowledged(RecordId id, int member) {
  Record& record = world_.records[id];
  if (record.acknowledged) return;
  record.acknowledged = true;
  last_acknowledged_ = world_.events.now();
  std::erase(unacknowledged_, id);
  acknowledged_.push_back(id);
  if (newest_ < 0 || newest_ == member) return;
  const DataDirectory& dir = world_.node(newest_).pg.dir;
  if (dir.kind != model::DataDir::present || holds(world_.records, dir.wal, id)) return;
  model::Term term = world_.node(member).pg.loaded().term;
  violate("B", fmt::format("{} of term {} acknowledged the write at {}, which {} of term {} lacks", world_.name(member), term,
                           format_lsn(record.end), world_.name(newest_), newest_term_));
}

void Checkers::on_read(RecordId id, int member) {
  Record& record = world_.records[id];
  if (record.read || world_.plan.mode == model::SyncMode::off) return;
  record.read = true;
  read_.push_back(id);
  if (newest_ < 0 || newest_ == member) return;
  const DataDirectory& dir = world_.node(newest_).pg.dir;
  if (dir.kind != model::DataDir::present || holds(world_.records, dir.wal, id)) return;
  violate("G4", fmt::format("{} showed the row written at {}, which {} of term {} lacks", world_.name(member),
                            format_lsn(record.end), world_.name(newest_), newest_term_));
}

void Checkers::on_primary_read(int member) {
  Node& node = world_.node(member);
  if (newest_ == member || !node.agent.runs() || !node.guardian.runs() || !node.shell) return;
  bool paused = world_.etcd.state().config && world_.etcd.state().config->value.pause;
  auto since = node.shell->other_owner_since();
  if (paused || !since || world_.events.now() < *since + 500ms) return;
  violate("B", fmt::format("{} still serves as a primary {} ms after its agent saw another owner of the lock", node.name,
                           to_ms(world_.events.now() - *since)));
}

int Checkers::copies(RecordId record, int without) const {
  int count = 0;
  for (int i = 0; i < world_.plan.members; ++i) {
    const DataDirectory& dir = world_.node(i).pg.dir;
    if (i != without && dir.kind == model::DataDir::present && holds(world_.records, dir.wal, record)) ++count;
  }
  return count;
}

void Checkers::on_data_lost() { data_lost_at_ = world_.events.now(); }

// What a fault destroyed may have been a copy, also one whose acknowledgement is still on its way.
bool Checkers::counts_copies() const {
  return world_.plan.mode != model::SyncMode::off && (!data_lost_at_ || world_.events.now() > *data_lost_at_ + 15s);
}

void Checkers::on_sync_release(RecordId record, int member, int count) {
  if (!counts_copies()) return;
  int held = copies(record, member);
  if (held >= count) return;
  violate("A", fmt::format("the write at {} was acknowledged by {} on the word of {} standbys, and {} have it", format_lsn(world_.records[record].end),
                           world_.name(member), count, held));
}

void Checkers::on_replace(int member) {
  const auto& sync = world_.etcd.state().sync;
  // "Leader only" is one copy by its meaning; two members cannot keep two others.
  const auto able = std::ranges::count_if(world_.plan.tags, [](const model::Tags& tags) { return !tags.nosync; });
  if (!counts_copies() || able < 3 || !sync || sync->value.standbys.empty()) return;
  const Wal& wal = world_.node(member).pg.dir.wal;
  auto newest = std::find_if(wal.rbegin(), wal.rend(), [this](RecordId id) { return world_.records[id].acknowledged; });
  if (newest == wal.rend()) return;
  int left = copies(*newest, member);
  if (left >= 2) return;
  violate("A", fmt::format("{} destroys its data directory while {} others have the write at {}, which it holds (R2)", world_.name(member), left,
                           format_lsn(world_.records[*newest].end)));
}

void Checkers::on_deadline(int member, model::LeaseId lease, BootTime deadline) {
  const Node& node = world_.node(member);
  auto until = world_.etcd.guaranteed_until(lease);
  // A machine that stood still with its clock believes in its lease for longer (L4, documented).
  const Time now = world_.events.now();
  if (!until || node.clock.stopped() || (node.clock.paused_until() && now < *node.clock.paused_until() + 30s)) return;
  Time end = node.clock.when(deadline, now);
  if (end <= *until || end <= now) return;
  violate("B", fmt::format("the deadline of {} is {} ms later than its lease certainly lives (L1, L2, W14)", node.name, to_ms(end - *until)));
}

void Checkers::on_term(const model::TermRecord& term, const std::string& leader_before) {
  int member = world_.find(term.leader);
  if (member < 0 || term.leader != leader_before) return;
  const Postgres& pg = world_.node(member).pg;
  if (!pg.postmaster() || !pg.is_primary()) return;
  violate("C", fmt::format("term {} although {} was and is the primary: every pooler closes every server (L5)", term.term, term.leader));
}

}  // namespace pgdba::sim
