// The judges. They know what no member knows: every record, every acknowledgement, every primary.
//
// A: every acknowledged write is on the primary of the newest term, from its promotion on.
//    It is on as many other members as its commit waited for, when it is acknowledged; and nobody destroys a data directory
//    before two others have what it holds (R2).
// B: once a newer term has a primary, an older one acknowledges no write that the newer one lacks (W10's wording), and no
//    term has two primaries. No deadline is later than what etcd guarantees for its lease (L1, L2, W14). A term rises only
//    when the primary changes (L5), and its primary is on the timeline that was recorded for it (R1). A row that a client could read behind an open gate is not lost later (G4).
// In asynchronous mode only B is judged; A's loss is bounded by configuration there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "events.h"
#include "model/cluster.h"
#include "wal.h"

namespace pgdba::sim {

class World;

struct Violation {
  Time at{};
  std::string promise;  // "A", "B", "G4", "C", "D", "shell"
  std::string text;
};

class Checkers {
 public:
  explicit Checkers(World& world) : world_(world) {}
  // A server has become a primary, has started as one, or has loaded another term.
  void on_primary(int member);
  void on_written(RecordId record) { unacknowledged_.push_back(record); }
  void on_acknowledged(RecordId record, int member);
  void on_read(RecordId record, int member);
  // A primary showed something to a client although its own agent has long seen another owner of the lock (W11).
  void on_primary_read(int member);
  // A commit that waited for `count` standbys was released.
  void on_sync_release(RecordId record, int member, int count);
  // A clone or rewind is about to replace the data of a member.
  void on_replace(int member);
  // The guardian of a primary was told until when it may write.
  void on_deadline(int member, model::LeaseId lease, BootTime deadline);
  // A term was committed to etcd for the first time.
  void on_term(const model::TermRecord& term, const std::string& leader_before);
  // A fault took data: for a while copies are not counted.
  void on_data_lost();
  void violate(std::string promise, std::string text);

  [[nodiscard]] const std::vector<RecordId>& unacknowledged() const { return unacknowledged_; }
  [[nodiscard]] const std::optional<Violation>& violation() const { return violation_; }
  [[nodiscard]] size_t acknowledged() const { return acknowledged_.size(); }
  [[nodiscard]] int newest() const { return newest_; }
  [[nodiscard]] model::Term newest_term() const { return newest_term_; }
  [[nodiscard]] int primaries() const { return primaries_; }
  [[nodiscard]] Time last_acknowledged() const { return last_acknowledged_; }
  [[nodiscard]] bool counts_copies() const;

 private:
  void check_all(int member);
  [[nodiscard]] int copies(RecordId record, int without) const;

  World& world_;
  std::vector<RecordId> unacknowledged_;
  std::vector<RecordId> acknowledged_;
  std::vector<RecordId> read_;
  std::optional<Violation> violation_;
  int newest_ = -1;
  model::Term newest_term_ = -1;
  int primaries_ = 0;
  Time last_acknowledged_{};
  std::optional<Time> data_lost_at_;
};

}  // namespace pgdba::sim
