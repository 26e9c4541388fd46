// Between the core's transactions and etcd's: names of keys become paths, typed values become the bytes that wire/
// fixes. Nothing is decided here; a compare that the core did not name is not added.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "dcs/store.h"
#include "ha/action.h"
#include "model/key.h"

namespace pgdba::agent {

// Below the prefix: "leader", "members/pg-1", "pgdba/promise/pg-1".
std::string relative_key(const model::Key& key);

// `prefix`: of the cluster, "/service/demo/". `bootstrap_config`: what PutBootstrapConfig writes, JSON.
// Errc::bug: a value of one kind for a key of another, or a transaction that writes nothing (etcd would answer it from
// one member's memory).
Result<dcs::Txn> encode(const ha::Txn& txn, std::string_view prefix, std::string_view bootstrap_config);

// The proof of the lock (L1): compares MOD and LEASE of `leader`, puts pgdba/beat.
dcs::Txn encode(const ha::ProveLock& proof, std::string_view prefix);

}  // namespace pgdba::agent
