// The passwords of one local cluster: generated once, each in a file of its own (0600) below <root>/secrets.
#pragma once

#include "base/error.h"
#include "base/secret.h"
#include "local/cluster_file.h"

namespace pgdba::local {

inline constexpr const char* kSuperuser = "postgres";
inline constexpr const char* kReplicator = "replicator";
inline constexpr const char* kRewinder = "rewinder";
inline constexpr const char* kRestUser = "pgdba";
inline constexpr const char* kPoolerUser = "pgdba_pooler";  // made at bootstrap (pg/settings.h)

struct Secrets {
  Secret superuser;
  Secret replication;
  Secret rewind;
  Secret rest;
  Secret pooler;
};

// Reads them; makes those that are missing.
Result<Secrets> ensure_secrets(const ClusterFile& cluster);
Result<Secret> read_rest_secret(const ClusterFile& cluster);
Result<void> write_rest_secret(const ClusterFile& cluster, const Secret& secret);  // empty: there is none
Result<Secret> read_pooler_secret(const ClusterFile& cluster);

// 32 characters of letters and digits from the kernel's random numbers: 190 bits, and nothing that any file format
// would have to quote.
Result<Secret> generate_secret();

}  // namespace pgdba::local
