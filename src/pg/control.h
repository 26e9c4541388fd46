// pg_controldata's answer.
#pragma once

#include "base/error.h"
#include "base/lsn.h"
#include "model/local.h"
#include "net/loop.h"
#include "net/task.h"
#include "pg/install.h"

namespace pgdba::pg {

struct ControlData {
  model::ControlFile file;
  Lsn redo;                            // of the latest checkpoint
  uint32_t min_recovery_timeline = 0;  // 0: none
  uint64_t segment_size = 16 << 20;
};

// Text of `LC_ALL=C pg_controldata`. invalid: something needed is missing.
Result<ControlData> parse_controldata(std::string_view text);
// A look at the file alone, cheap enough for a loop: "shut down" is there, which a server writes once its last backend has
// gone. Whether the file is whole only read_control() tells.
bool says_shut_down(const std::string& data_dir);
Task<Result<ControlData>> read_control(net::Loop& loop, const Install& install, std::string data_dir,
                                       BootTime deadline);

}  // namespace pgdba::pg
