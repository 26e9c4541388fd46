// The JSON of etcd v3's gateway: requests to bytes, bytes to answers. Keys and values travel in base64, 64-bit numbers
// as text, and what is zero, empty or false is left out (the JSON of protocol buffers).
//
// Decoding takes any bytes: never throws, never over-reads, at most kMaxEtcdAnswer of them; unknown fields are
// skipped. Errors of decoding are Errc::invalid.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/etcd.h"

namespace pgdba::wire::etcd {

inline constexpr size_t kMaxEtcdAnswer = 16 * 1024 * 1024;

// The smallest key that no key with this prefix reaches; "\0" (all that follow) when there is none.
std::string prefix_end(std::string_view prefix);

std::string format_range(std::string_view key, bool prefix, bool serializable);                // /v3/kv/range
// bug when the transaction has no operation at all: etcd would answer it from one member's memory.
Result<std::string> format_txn(const Txn& txn);                                                // /v3/kv/txn
std::string format_lease_grant(int64_t ttl_s, int64_t id);                                     // /v3/lease/grant
std::string format_lease_keepalive(int64_t id);                                                // /v3/lease/keepalive
std::string format_lease_revoke(int64_t id);                                                   // /v3/lease/revoke
std::string format_watch_create(std::string_view key, bool prefix, int64_t start_revision);    // /v3/watch
std::string format_watch_progress();                                                           // … on its open body
std::string format_authenticate(std::string_view user, std::string_view password);             // /v3/auth/authenticate

Result<Range> parse_range(std::string_view json);
Result<TxnResult> parse_txn(std::string_view json);
Result<Lease> parse_lease_grant(std::string_view json);
Result<Lease> parse_lease_keepalive(std::string_view json);  // the last line of the stream's answer
Result<Header> parse_header_only(std::string_view json);     // revoke
Result<Status> parse_status(std::string_view json);          // /v3/maintenance/status
Result<std::vector<Member>> parse_members(std::string_view json);  // /v3/cluster/member/list
Result<std::string> parse_token(std::string_view json);      // /v3/auth/authenticate

// One line of a watch's answer. An error object inside is an error by its gRPC code, see errc_of().
Result<WatchMessage> parse_watch_message(std::string_view json);

// The body of an answer whose HTTP status is not 200. invalid when it is none of etcd's.
Result<ErrorAnswer> parse_error(std::string_view json);

// What the caller may conclude when a write was answered so. unavailable: certainly not applied. timeout: unknown.
// Only what etcd says before it proposes anything counts as certain.
Errc errc_of(const ErrorAnswer& answer);

}  // namespace pgdba::wire::etcd
