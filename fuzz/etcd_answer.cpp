// An answer of etcd's gateway, or one line of its watch: each reader gets the same bytes.
#include "target.h"
#include "wire/etcd_json.h"

FUZZ_TARGET(etcd_answer) {
  using namespace pgdba;
  using namespace pgdba::wire::etcd;
  (void)parse_range(data);
  if (auto txn = parse_txn(data)) {
    for (const OpResult& result : txn->results) CHECK(result.kind == Op::Kind::range || result.kvs.empty());
  }
  (void)parse_lease_grant(data);
  (void)parse_lease_keepalive(data);
  (void)parse_header_only(data);
  (void)parse_status(data);
  (void)parse_members(data);
  (void)parse_token(data);
  (void)parse_watch_message(data);
  if (auto error = parse_error(data)) CHECK(errc_of(*error) != Errc::bug);
  const std::string end = prefix_end(data);
  CHECK(end > data || end == std::string(1, '\0'));
}
