// Write-ahead log as a tree of records: every record has one predecessor, so a log that ends in a given record is
// known completely, and two logs agree up to index i exactly if they hold the same record at i.
#pragma once

#include <cstdint>
#include <vector>

#include "base/lsn.h"

namespace pgdba::sim {

using RecordId = uint32_t;

struct Record {
  enum class Kind : uint8_t { initdb, write, other, checkpoint, shutdown, end_of_recovery };
  Kind kind = Kind::other;
  bool acknowledged = false;  // a commit that a server reported as done
  bool covered = false;       // acknowledged while sync mode was active: promise A covers it
  bool read = false;          // a client saw it before it was acknowledged
  uint8_t author = 0;         // member that wrote it
  uint32_t timeline = 1;
  uint32_t index = 0;         // place in every log that holds it
  Lsn end;
};

// All records of one world.
class Records {
 public:
  Record& operator[](RecordId id) { return records_[id]; }
  const Record& operator[](RecordId id) const { return records_[id]; }
  RecordId add(Record record) {
    records_.push_back(record);
    return static_cast<RecordId>(records_.size() - 1);
  }
  [[nodiscard]] size_t size() const { return records_.size(); }

 private:
  std::vector<Record> records_;
};

// The log of one data directory: the ids of its records in order.
using Wal = std::vector<RecordId>;

inline bool holds(const Records& records, const Wal& wal, RecordId id) {
  uint32_t index = records[id].index;
  return index < wal.size() && wal[index] == id;
}
// Number of records that both logs begin with.
size_t common_prefix(const Wal& a, const Wal& b);

}  // namespace pgdba::sim
