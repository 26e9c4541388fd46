// What the etcd members of a local cluster say about themselves (POST /v3/maintenance/status), for status and for the
// target `etcd-leader`. Texts in, values out; the caller sends the requests.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pgdba::local {

struct EtcdStatus {
  uint64_t member_id = 0;
  uint64_t leader_id = 0;  // 0: it knows none
  [[nodiscard]] bool leads() const { return leader_id != 0 && leader_id == member_id; }
};

inline constexpr const char* kEtcdStatusPath = "/v3/maintenance/status";
Result<EtcdStatus> parse_etcd_status(std::string_view body);

}  // namespace pgdba::local
