// The password with which the pooler of `up` may ask for everybody else's.
//
// Bootstrap makes the role without one (pg/settings.h), and a cluster made by an older pgdba has no password for it
// either, so `up` sees to it whenever it runs: what PostgreSQL has is compared with the file below <root>/secrets, and
// set where it differs.
#pragma once

#include "base/error.h"
#include "local/cluster_file.h"
#include "net/loop.h"

namespace pgdba::cli {

// On the primary, which listens at this port. unavailable: the role is not made yet; its agent does that within moments.
Result<void> ensure_pooler_login(net::Loop& loop, const local::ClusterFile& cluster, uint16_t port, Duration patience);

}  // namespace pgdba::cli
