// Private to the console: what it keeps for one worker, touched on that worker's thread only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pooler/console/console.h"

namespace pgdba::pooler {

struct Console::Entry {
  pool::Client* client = nullptr;
  uint64_t id = 0;
  bool admin = false;
  bool stalled = false;  // does not read its answers: nothing more is read from it meanwhile
  Session session;
};

struct Console::Wait {
  uint64_t id = 0;
  uint64_t client = 0;
  Verb verb = Verb::pause;
  std::string database;
  bool checking = false, again = false;
};

struct Console::Part {
  std::unordered_map<uint64_t, std::shared_ptr<Entry>> sessions;  // by the client's id
  std::vector<Wait> waits;
  uint64_t next_wait = 1;
  uint64_t queries = 0;
  // Of each pool, by database and user, at the last two ends of a stats_period. By name: a pool may go and come again.
  struct Marks {
    pool::Stats older, newer;
  };
  std::map<std::pair<std::string, std::string>, Marks> marks;
  int64_t marked_at = 0, marked_before = 0;  // microseconds on the worker's clock; 0: not yet
  bool gone_posted = false;                  // the news that a server has ended is on its way
};

}  // namespace pgdba::pooler
