// What the files in and beside a data directory say.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/local.h"
#include "pg/history.h"
#include "pg/layout.h"
#include "pg/marks.h"

namespace pgdba::pg {

// What the files say, read on a helper thread: a disk that does not answer must not hold up the loop.
struct FileFacts {
  model::DataDir data = model::DataDir::empty;
  std::string unusable_why;
  std::vector<History> histories;
  std::map<uint32_t, std::string> nonces;
  bool novote = false;
  std::optional<InitdbMark> initdb;
  bool standby_signal = false;
  model::PgConfig on_disk;
  int64_t control_ns = 0;  // when pg_control was written, and which file it is
  int64_t control_inode = 0;
};

// An error: some file is there and cannot be read. Nothing is concluded from that, least of all that it is gone. Blocking.
Result<FileFacts> read_files(const Layout& layout, KnownHistories& known);

}  // namespace pgdba::pg
