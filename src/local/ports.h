// Which ports of this machine are taken, and by whom as far as this user may see.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "local/cluster_file.h"

namespace pgdba::local {

// Could a server listen on 127.0.0.1 at this port now? Asked by binding it.
bool port_is_free(uint16_t port);

struct PortHolder {
  uint16_t port = 0;
  std::optional<pid_t> pid;  // none: another user's process
  std::string program;       // its command line
};
PortHolder find_holder(uint16_t port);
// "port 5432 is held by process 812 (/usr/lib/postgresql/15/bin/postgres -D …)", or the ss line that tells it.
std::string describe_holder(const PortHolder& holder);

// The first offset (0, 10, 20 …) at which every port of such a cluster is free; nullopt: none below 20000.
std::optional<int> first_free_offset(int nodes, const std::function<bool(uint16_t)>& is_free = port_is_free);

// Six free ports for etcd, without those in `avoid` (of other clusters that are stopped now). From 12379 upward, a
// little further for each offset, so that clusters that are made at the same time do not look at the same ports; all
// below the range that the kernel hands out to clients.
Result<void> choose_etcd_ports(ClusterFile& cluster, const std::set<uint16_t>& avoid,
                               const std::function<bool(uint16_t)>& is_free = port_is_free);

}  // namespace pgdba::local
